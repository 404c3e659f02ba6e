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
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/writ-auth/writ/guard"
	"github.com/writ-auth/writ/internal/jose"
)

// issueClientCredentials is the token endpoint, client authentication and all,
// beside a server that only signs.
func issueClientCredentials(ctx context.Context, r rig, d time.Duration) (Result, error) {
	i := r.Issuer
	bare, err := bareSigner(ctx, i)
	if err != nil {
		return Result{}, err
	}
	body := url.Values{"grant_type": {"client_credentials"}, "resource": {i.Resource}}.Encode()
	credentials := base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(i.ClientID) + ":" + url.QueryEscape(i.Secret)))
	request := "POST /token HTTP/1.1\r\nHost: bench\r\nAuthorization: Basic " + credentials +
		"\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body
	v, b, err := turns(d,
		func(d time.Duration) (float64, error) { return rate(i.URL, 16, d, request) },
		func(d time.Duration) (float64, error) { return rate(bare, 16, d, request) })
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

// revokeOne leaves one rule in the feed and waits until the guard holds it.
func revokeOne(ctx context.Context, i *Issuer, g *guard.Guard) error {
	compact, err := ownToken(ctx, i)
	if err != nil {
		return err
	}
	if err := giveUp(ctx, i, compact); err != nil {
		return err
	}
	for end := time.Now().Add(5 * time.Second); g.State().Rules == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return errors.New("the guard holds no rule")
		}
	}
	return nil
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
