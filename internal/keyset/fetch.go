package keyset

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/writ-auth/writ/internal/jose"
)

const (
	maxBody    = 1 << 20         // of one document
	timeout    = 5 * time.Second // for one fetch with all its requests
	rediscover = time.Hour       // how long the place of the set is remembered

	defaultLife = 5 * time.Minute
	minLife     = time.Minute
	maxLife     = time.Hour
)

// fetch gets the set and puts it in place. life is how long the issuer lets
// its answer be cached. An error leaves what is held as it was.
func (s *Set) fetch(ctx context.Context) (life time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	keys, terms, skipped, life, err := s.get(ctx)
	if err != nil {
		if ctx.Err() != context.Canceled && s.failures == 0 {
			s.cfg.Logger.Warn("key set not fetched", "issuer", s.cfg.Issuer, "error", err)
		}
		s.source = ""
		return 0, err
	}
	if s.failures > 0 {
		s.cfg.Logger.Info("key set fetched again", "issuer", s.cfg.Issuer)
	}
	s.install(keys, terms, skipped)
	return life, nil
}

func (s *Set) get(ctx context.Context) (keys []jose.Key, terms map[string]*Terms, skipped []error, life time.Duration, err error) {
	source, err := s.locate(ctx)
	if err != nil {
		return nil, nil, nil, 0, fmt.Errorf("find the key set of %s: %w", s.cfg.Issuer, err)
	}
	body, header, err := s.read(ctx, source)
	if err != nil {
		return nil, nil, nil, 0, fmt.Errorf("fetch key set: %w", err)
	}
	keys, skipped, err = jose.ParseSet(body) // no id is empty or there twice
	if err != nil {
		return nil, nil, nil, 0, fmt.Errorf("parse key set %s: %w", source, err)
	}
	if s.cfg.Terms {
		terms = parseTerms(body)
	}
	return keys, terms, skipped, lifetime(header), nil
}

// locate returns the URL of the set, from the metadata when there is some.
func (s *Set) locate(ctx context.Context) (string, error) {
	if s.cfg.URL != "" {
		return s.cfg.URL, nil
	}
	if s.source != "" && time.Since(s.discovered) < rediscover {
		return s.source, nil
	}
	body, _, err := s.read(ctx, s.cfg.Metadata)
	if err != nil {
		return "", err
	}
	var issuer, source, endpoint string
	err = jose.Members(body, func(name string, value []byte) (err error) {
		switch name {
		case "issuer":
			issuer, err = jose.String(value)
		case "jwks_uri":
			source, err = jose.String(value)
		case s.cfg.Member:
			endpoint, _ = jose.String(value) // keys do not depend on it
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("parse %s: %w", s.cfg.Metadata, err)
	}
	// RFC 8414 §3.3: the issuer value returned "MUST be identical to the
	// authorization server's issuer identifier value".
	if issuer != s.cfg.Issuer {
		return "", fmt.Errorf("%s is the document of another issuer, %q", s.cfg.Metadata, issuer)
	}
	if err := s.safe(source); err != nil {
		return "", fmt.Errorf("jwks_uri: %w", err)
	}
	if s.cfg.Member != "" && endpoint != "" {
		if err := s.safe(endpoint); err != nil {
			s.cfg.Logger.Warn("endpoint left out", "issuer", s.cfg.Issuer, "member", s.cfg.Member, "error", err)
			endpoint = ""
		}
	}
	s.member.Store(&endpoint)
	s.source, s.discovered = source, time.Now()
	return source, nil
}

// safe reports whether a URL of the metadata may be called.
func (s *Set) safe(source string) error {
	if err := CheckURL(source, s.cfg.InsecureHTTP); err != nil {
		return err
	}
	if strings.HasPrefix(s.cfg.Metadata, "https:") && !strings.HasPrefix(source, "https:") {
		return fmt.Errorf("%q is less safe than the issuer", source)
	}
	return nil
}

// read gets one document, whole.
func (s *Set) read(ctx context.Context, url string) ([]byte, http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Accept", "application/json")
	if s.looks > 0 {
		// RFC 9111 §5.2.1.4: not from a cache, unless the origin says it is still good.
		req.Header.Set("Cache-Control", "no-cache")
	}
	credential, err := s.present(ctx, req)
	if err != nil {
		return nil, nil, err
	}
	res, err := s.client.Do(req)
	if err != nil {
		return nil, nil, err // names the URL
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusUnauthorized && credential != "" {
		s.cfg.Refused(credential)
	}
	if res.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("%s answered %s", url, res.Status)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBody+1))
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", url, err)
	}
	if len(body) > maxBody {
		return nil, nil, fmt.Errorf("%s is larger than %d bytes", url, maxBody)
	}
	return body, res.Header, nil
}

// present puts the credential on a request for a set that is not public.
func (s *Set) present(ctx context.Context, req *http.Request) (credential string, err error) {
	if s.cfg.Credential == nil {
		return "", nil
	}
	if credential, err = s.cfg.Credential(ctx); err != nil {
		return "", fmt.Errorf("credential: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+credential)
	return credential, nil
}

// lifetime is the max-age of an answer (RFC 9111 §5.2.2.1) within our bounds.
func lifetime(h http.Header) time.Duration {
	for directive := range strings.SplitSeq(h.Get("Cache-Control"), ",") {
		value, ok := strings.CutPrefix(strings.TrimSpace(directive), "max-age=")
		if !ok {
			continue
		}
		if seconds, err := strconv.Atoi(value); err == nil && seconds >= 0 {
			return min(max(time.Duration(min(seconds, 86400))*time.Second, minLife), maxLife)
		}
	}
	return defaultLife
}

// install puts the fetched keys in place of those held. A key that did not
// change keeps its pointer: verifiers compare it to know that what they
// checked with it still stands.
func (s *Set) install(keys []jose.Key, terms map[string]*Terms, skipped []error) {
	now := s.cfg.Now()
	var before map[string]known
	if h := s.held.Load(); h != nil {
		before = h.keys
	}
	after := make(map[string]known, len(keys))
	for i := range keys {
		k := &keys[i]
		if s.cfg.Algorithms != nil && !slices.Contains(s.cfg.Algorithms, k.Alg) {
			skipped = append(skipped, fmt.Errorf("key %.64q is for %s", k.ID, k.Alg))
			continue
		}
		t, stated := terms[k.ID]
		if s.cfg.Terms && !stated {
			skipped = append(skipped, fmt.Errorf("key %.64q does not say what it may sign", k.ID))
			continue
		}
		next := known{key: k, since: now, terms: t}
		if old, ok := before[k.ID]; ok && same(old.key, k) && old.terms.equal(t) {
			next.key, next.since = old.key, old.since
		}
		after[k.ID] = next
	}
	changed := s.announce(before, after)
	s.held.Store(&held{keys: after, fetched: now})
	if !changed {
		return
	}
	for _, reason := range skipped {
		s.cfg.Logger.Info("key left out", "issuer", s.cfg.Issuer, "reason", reason.Error())
	}
	if s.cfg.Changed != nil {
		s.cfg.Changed()
	}
}

// same reports whether two keys with one id are one key.
func same(a, b *jose.Key) bool {
	return a.Alg == b.Alg && a.Thumbprint() == b.Thumbprint()
}

// announce logs each key that came or went and reports whether any did.
func (s *Set) announce(before, after map[string]known) bool {
	changed := len(after) == 0 && before == nil
	for _, id := range slices.Sorted(maps.Keys(before)) {
		if after[id].key != before[id].key {
			changed = true
			s.cfg.Logger.Info("key withdrawn", "issuer", s.cfg.Issuer, "kid", id, "alg", before[id].key.Alg)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(after)) {
		if after[id].key != before[id].key {
			changed = true
			s.cfg.Logger.Info("key added", "issuer", s.cfg.Issuer, "kid", id, "alg", after[id].key.Alg)
		}
	}
	return changed
}

// isLoopback reports whether a host name can only be this machine.
func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}
