package bench

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/writ-auth/writ/guard"
	"github.com/writ-auth/writ/internal/gateway"
	"github.com/writ-auth/writ/internal/jose"
)

// gatewayRepeated is the gateway with one token over and over, beside a plain
// reverse proxy with a tuned transport.
func gatewayRepeated(ctx context.Context, i *Issuer, d time.Duration) (Result, error) {
	upstream, err := serve(ctx, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "2")
		_, _ = w.Write([]byte("ok"))
	}))
	if err != nil {
		return Result{}, err
	}
	gate, err := gateway.New(ctx, gateway.Config{
		Issuer: i.URL, URL: i.Gateway, ClientID: i.ClientID, ClientSecret: i.Secret, Logger: quiet(),
		Routes: []gateway.Route{{
			Path: "/api", Rules: []gateway.Rule{{Methods: []string{"GET"}, Scopes: []string{"bench:read"}}},
			Upstream: upstream, UpstreamAudience: i.Inner, Audience: i.Resource,
		}},
	})
	if err != nil {
		return Result{}, err
	}
	limit, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := gate.Ready(limit); err != nil {
		return Result{}, err
	}
	front, err := serve(ctx, gate)
	if err != nil {
		return Result{}, err
	}
	plain, err := plainProxy(ctx, upstream)
	if err != nil {
		return Result{}, err
	}
	compact, err := sample(i, 1)
	if err != nil {
		return Result{}, err
	}
	request := func() string {
		return "GET /api HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer " + compact + "\r\n\r\n"
	}
	v, b, err := turns(d,
		func(d time.Duration) (float64, error) { return load(front, 32, d, request, 200) },
		func(d time.Duration) (float64, error) { return load(plain, 32, d, request, 200) })
	return Result{
		Value: v, Unit: "req/s", Baseline: b, Goal: "ratio ≥ 0.90", Met: atLeast(v/b, 0.90),
		Note: "32 connections, one token, small GET; baseline: httputil.ReverseProxy with 256 idle connections a host",
	}, err
}

func plainProxy(ctx context.Context, upstream string) (string, error) {
	u, err := url.Parse(upstream)
	if err != nil {
		return "", err
	}
	return serve(ctx, &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(u) },
		Transport: &http.Transport{MaxIdleConns: 1024, MaxIdleConnsPerHost: 256, DisableCompression: true},
	})
}

// issueClientCredentials is the token endpoint, client authentication and all,
// beside a server that only signs.
func issueClientCredentials(ctx context.Context, i *Issuer, d time.Duration) (Result, error) {
	bare, err := bareSigner(ctx, i)
	if err != nil {
		return Result{}, err
	}
	body := url.Values{"grant_type": {"client_credentials"}, "resource": {i.Resource}}.Encode()
	credentials := base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(i.ClientID) + ":" + url.QueryEscape(i.Secret)))
	request := func() string {
		return "POST /token HTTP/1.1\r\nHost: bench\r\nAuthorization: Basic " + credentials +
			"\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body
	}
	v, b, err := turns(d,
		func(d time.Duration) (float64, error) { return load(i.URL, 16, d, request, 200) },
		func(d time.Duration) (float64, error) { return load(bare, 16, d, request, 200) })
	return Result{
		Value: v, Unit: "tokens/s", Baseline: b, Goal: "ratio ≥ 0.7", Met: atLeast(v/b, 0.7),
		Note: "16 connections, ES256, SHA-256 of a 256-bit secret; baseline: net/http that parses the form and signs",
	}, err
}

func bareSigner(ctx context.Context, i *Issuer) (string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	header := jose.Header{Alg: jose.ES256, Typ: "at+jwt", KeyID: "bench"}.Encode()
	return serve(ctx, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		now := time.Now().Truncate(time.Second)
		payload, err := json.Marshal(map[string]any{
			"iss": i.URL, "sub": i.ClientID, "aud": r.PostForm.Get("resource"), "client_id": i.ClientID,
			"iat": now.Unix(), "exp": now.Add(time.Minute).Unix(), "jti": rand.Text(), "scope": "bench:read bench:write",
		})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		compact, err := jose.Sign(key, jose.ES256, header, payload)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		out, err := json.Marshal(map[string]any{"access_token": compact, "token_type": "Bearer", "expires_in": 60})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(out)))
		_, _ = w.Write(out)
	}))
}

// revoke20 is the time from the acknowledged revocation of a token to its refusal
// at the last of 20 guards, each with a connection of its own.
func revoke20(ctx context.Context, i *Issuer, d time.Duration) (Result, error) {
	const many = 20
	var guards []*guard.Guard
	for n := range many {
		g, err := watch(ctx, i, i.Watchers[n%len(i.Watchers)], 0)
		if err != nil {
			return Result{}, err
		}
		guards = append(guards, g)
	}
	var last, acknowledged []float64
	need := guard.Need{Scopes: []string{"bench:read"}}
	for end := time.Now().Add(d); time.Now().Before(end) && len(last) < 1000; {
		compact, err := ownToken(ctx, i)
		if err != nil {
			return Result{}, err
		}
		request := call(compact)
		for _, g := range guards {
			if _, err := g.Verify(request, need); err != nil {
				return Result{}, err
			}
		}
		start := time.Now()
		if err := giveUp(ctx, i, compact); err != nil {
			return Result{}, err
		}
		told := time.Now()
		if err := refused(guards, request, need, told.Add(5*time.Second)); err != nil {
			return Result{}, err
		}
		last = append(last, ms(time.Since(told)))
		acknowledged = append(acknowledged, ms(told.Sub(start)))
	}
	if len(last) == 0 {
		return Result{}, errors.New("no revocation fitted into the time")
	}
	v := percentile(last, 99)
	return Result{
		Value: v, Unit: "ms", Baseline: percentile(acknowledged, 99), Goal: "p99 ≤ 100 ms", Met: atMost(v, 100),
		Note: fmt.Sprintf("p99 of %d, p50 %.2f ms, after the acknowledgement; baseline: p99 of the acknowledged call itself", len(last), percentile(last, 50)),
	}, nil
}

// refused waits until every guard refuses the request because it was revoked.
func refused(guards []*guard.Guard, request *http.Request, need guard.Need, limit time.Time) error {
	for _, g := range guards {
		for {
			_, err := g.Verify(request, need)
			var refusal *guard.Refusal
			if errors.As(err, &refusal) {
				if refusal.Reason != guard.ReasonRevoked {
					return err
				}
				break
			}
			if time.Now().After(limit) {
				return errors.New("a guard still accepts the token")
			}
			time.Sleep(50 * time.Microsecond)
		}
	}
	return nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func percentile(all []float64, p int) float64 {
	sorted := slices.Clone(all)
	slices.Sort(sorted)
	return sorted[min(len(sorted)-1, len(sorted)*p/100)]
}

// ownToken gets a token by client credentials.
func ownToken(ctx context.Context, i *Issuer) (string, error) {
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	err := post(ctx, i, "/token", url.Values{"grant_type": {"client_credentials"}, "resource": {i.Resource}}, &answer)
	return answer.AccessToken, err
}

// giveUp revokes a token (RFC 7009) and returns when that is acknowledged.
func giveUp(ctx context.Context, i *Issuer, compact string) error {
	return post(ctx, i, "/revoke", url.Values{"token": {compact}}, nil)
}

// revokeOne leaves one rule in the feed.
func revokeOne(ctx context.Context, i *Issuer) error {
	compact, err := ownToken(ctx, i)
	if err != nil {
		return err
	}
	return giveUp(ctx, i, compact)
}

func post(ctx context.Context, i *Issuer, path string, form url.Values, out any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, i.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(url.QueryEscape(i.ClientID), url.QueryEscape(i.Secret))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", path, res.Status)
	}
	if out == nil {
		return nil
	}
	return json.NewDecoder(res.Body).Decode(out)
}
