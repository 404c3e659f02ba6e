package guard

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/internal/keyset"
	"github.com/writ-auth/writ/internal/oauth"
)

const (
	defaultLeeway    = 30 * time.Second
	mostLeeway       = 60 * time.Second
	defaultStaleness = 10 * time.Second
	defaultAllow     = 15 * time.Minute
	defaultCache     = 65536
)

// check returns cfg with its defaults in place, or what is wrong with it.
func (cfg Config) check() (Config, error) {
	if cfg.Issuer == "" || cfg.Audience == "" {
		return cfg, errors.New("guard: issuer and audience are required")
	}
	// RFC 8414 §2: an issuer is a URL without query and fragment.
	if strings.ContainsAny(cfg.Issuer, "?#") {
		return cfg, fmt.Errorf("guard: issuer %q must have no query and no fragment", cfg.Issuer)
	}
	if err := keyset.CheckURL(cfg.Issuer, cfg.InsecureHTTP); err != nil {
		return cfg, fmt.Errorf("guard: issuer: %w", err)
	}
	if cfg.TrustDomain != "" && !oauth.IsTrustDomain(cfg.TrustDomain) {
		return cfg, fmt.Errorf("guard: trust domain %q is not a name in lower case without a scheme, such as inside.example", cfg.TrustDomain)
	}
	if cfg.TrustDomain != "" && cfg.Credential == nil {
		return cfg, errors.New("guard: in a trust domain a guard needs a credential: the keys of its gateways are not public")
	}
	if cfg.Algorithms == nil {
		cfg.Algorithms = jose.Algorithms()
	}
	if len(cfg.Algorithms) == 0 {
		return cfg, errors.New("guard: no algorithm is left")
	}
	for _, alg := range cfg.Algorithms {
		// EdDSA is Ed25519 by its old name (RFC 9864), for issuers that still use it.
		if alg != jose.EdDSA && !slices.Contains(jose.Algorithms(), alg) {
			return cfg, fmt.Errorf("guard: algorithm %q is not one of %s", alg, strings.Join(jose.Algorithms(), " "))
		}
	}
	cfg.Algorithms = slices.Clone(cfg.Algorithms)
	cfg.Proxies = slices.Clone(cfg.Proxies)
	if cfg.Leeway < 0 || cfg.Leeway > mostLeeway {
		return cfg, fmt.Errorf("guard: leeway %v is not between 0 and %v", cfg.Leeway, mostLeeway)
	}
	if cfg.MaxStaleness < 0 {
		return cfg, fmt.Errorf("guard: negative staleness %v", cfg.MaxStaleness)
	}
	if err := cfg.WhenStale.check(); err != nil {
		return cfg, err
	}
	if cfg.WhenStale.Do == Introspect && cfg.Credential == nil {
		return cfg, errors.New("guard: to introspect when stale, a credential is needed")
	}
	if cfg.StateFile != "" {
		if err := checkCopy(cfg.StateFile); err != nil {
			return cfg, err
		}
	}
	return cfg.complete(), nil
}

func (s Stale) check() error {
	if s.Do < Deny || s.Do > Introspect || s.For < 0 {
		return errors.New("guard: when stale, either deny, allow for a time, or introspect")
	}
	if s.Else != Deny && (s.Else != Allow || s.Do != Introspect) {
		return errors.New("guard: deny or allow is what can be done where introspection cannot")
	}
	return nil
}

// complete puts defaults in place of zero values.
func (cfg Config) complete() Config {
	if cfg.Leeway == 0 {
		cfg.Leeway = defaultLeeway
	}
	if cfg.MaxStaleness == 0 {
		cfg.MaxStaleness = defaultStaleness
	}
	if cfg.CacheTokens == 0 {
		cfg.CacheTokens = defaultCache
	}
	if cfg.HTTPClient == nil {
		cfg.HTTPClient = ownClient()
	}
	if cfg.Refused == nil {
		cfg.Refused = func(string) {}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return cfg
}

// checkAudience applies RFC 8707 §2: an absolute URI without a fragment.
func checkAudience(audience string) error {
	u, err := url.Parse(audience)
	if err != nil {
		return fmt.Errorf("guard: parse audience: %w", err)
	}
	if !u.IsAbs() || strings.Contains(audience, "#") {
		return fmt.Errorf("guard: audience %q is not an absolute URI without a fragment", audience)
	}
	return nil
}
