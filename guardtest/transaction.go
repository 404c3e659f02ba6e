package guardtest

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/scope"
	"github.com/writ-auth/writ/token"
)

const (
	domain       = "guardtest.example"
	gatewayID    = "guardtest-gateway"
	errandLife   = 2 * time.Minute
	registration = 48 * time.Hour
)

// A minter is a gateway's key as it was registered.
type minter struct {
	client string
	key    jose.Key
	until  time.Time
}

// TrustDomain is the name of the issuer's trust domain, for guard.Config. In it gateways may
// mint transaction tokens with these scopes, and with those of earlier calls; name them before
// a guard is made, which hears of later ones over the feed.
func (i *Issuer) TrustDomain(scopes ...string) string {
	i.mu.Lock()
	defer i.mu.Unlock()
	more, err := scope.Parse(strings.Join(scopes, " "))
	if err != nil {
		i.tb.Errorf("guardtest: TrustDomain: %v", err)
	}
	if !i.scopes.Contains(more) {
		i.scopes = i.scopes.Union(more)
		i.log.Append(nil, i.log.Applied()+1, true)
	}
	return domain
}

// Transaction mints a transaction token with the claims c as a gateway of the trust domain
// would; Scope must be set, within what TrustDomain was told. It goes into the header
// Txn-Token. Where they are zero, it fills in what Token does, and Audience, Workload and Actor
// for the issuer's own gateway; it lives two minutes.
func (i *Issuer) Transaction(c token.Claims) string {
	i.tb.Helper()
	c = i.fillTransaction(c)
	payload, err := c.EncodeTransaction()
	if err != nil {
		i.tb.Fatalf("guardtest: %v", err)
	}
	compact, err := i.gateway.sign("txntoken+jwt", payload)
	if err != nil {
		i.tb.Fatalf("guardtest: %v", err)
	}
	return compact
}

func (i *Issuer) fillTransaction(c token.Claims) token.Claims {
	if c.Expiry.IsZero() {
		c.Expiry = time.Now().Add(errandLife)
	}
	c = i.fill(c)
	if len(c.Audience) == 0 {
		c.Audience = []string{domain}
	}
	if c.Workload == "" {
		c.Workload = gatewayID
	}
	if c.Actor == nil {
		c.Actor = &token.Actor{Issuer: c.Issuer, Subject: c.Workload}
	}
	return c
}

// innerKeys is the set of the keys that mint transaction tokens.
func (i *Issuer) innerKeys(w http.ResponseWriter, r *http.Request) {
	if _, ok := i.guard(w, r); !ok {
		return
	}
	i.mu.Lock()
	scopes := i.scopes.String()
	all := append([]minter{{gatewayID, i.gateway.public, time.Now().Add(registration)}}, i.minters...)
	i.mu.Unlock()
	out := []byte(`{"keys":[`)
	for n, m := range all {
		jwk, err := m.key.Encode()
		if err != nil {
			i.tb.Errorf("guardtest: encode key: %v", err)
			return
		}
		if n > 0 {
			out = append(out, ',')
		}
		out = append(out, jwk[:len(jwk)-1]...)
		for _, member := range [][2]string{{"client_id", m.client}, {"trust_domain", domain}, {"scope", scopes}} {
			out = append(out, ","+quote(member[0])+":"+quote(member[1])...)
		}
		out = append(strconv.AppendInt(append(out, `,"exp":`...), m.until.Unix(), 10), '}')
	}
	w.Header().Set("Content-Type", "application/jwk-set+json")
	_, _ = w.Write(append(out, "]}"...)) // the reader went away
}

// register takes a gateway's key. Whoever asks for a token for it may mint.
func (i *Issuer) register(w http.ResponseWriter, r *http.Request) {
	_, compact, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	client, ok := i.check(compact, i.url+"/feed")
	if !ok || !client.Has("keys:write") {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		refuse(w, http.StatusUnauthorized, oauth.InvalidToken, "no token for keys:write")
		return
	}
	var body struct {
		Key json.RawMessage `json:"jwk"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, reportMax)).Decode(&body); err != nil {
		refuse(w, http.StatusBadRequest, oauth.InvalidRequest, "the body is not {jwk}")
		return
	}
	key, err := jose.ParseKey(body.Key)
	if err != nil || key.Alg == "" {
		refuse(w, http.StatusBadRequest, oauth.InvalidRequest, "jwk is no public key that says its alg")
		return
	}
	key.ID = key.Thumbprint()
	i.mu.Lock()
	defer i.mu.Unlock()
	at := slices.IndexFunc(i.minters, func(m minter) bool { return m.key.ID == key.ID })
	if at < 0 {
		at = len(i.minters)
		i.minters = append(i.minters, minter{client: client.ClientID, key: key})
		i.log.Append(nil, i.log.Applied()+1, true)
	}
	i.minters[at].until = time.Now().Add(registration)
	answer(w, http.StatusOK, map[string]any{
		"kid": key.ID, "trust_domain": domain, "scope": i.scopes.String(), "expires_in": int64(registration / time.Second),
	})
}
