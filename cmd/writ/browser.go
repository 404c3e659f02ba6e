package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"time"

	"github.com/writ-auth/writ/internal/jose"
)

// signIn is a sign-in with the browser: authorization code with PKCE (RFC 7636)
// back to a loopback port (RFC 8252 §7.3).
type signIn struct {
	session  *session // with a key, code and tokens are bound to it
	client   credentials
	resource string
	scope    string
	show     io.Writer // where people read
	stay     bool      // do not open the browser
}

// answerTime is how long a person may take.
const answerTime = 10 * time.Minute

// callback is the path the browser comes back to.
const callback = "/callback"

// run sends the person to the browser and redeems what comes back.
func (in *signIn) run(ctx context.Context) (*tokens, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the browser: %w", err)
	}
	back := "http://" + l.Addr().String() + callback
	verifier, state := rand.Text()+rand.Text(), rand.Text()
	address := in.address(back, verifier, state)
	fmt.Fprintf(in.show, "Sign in with the browser:\n\n  %s\n\n", address)
	if !in.stay {
		openBrowser(ctx, address)
	}
	code, err := in.wait(ctx, l, state)
	if err != nil {
		return nil, err
	}
	return in.session.ask(ctx, in.client, url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {back}, "code_verifier": {verifier},
	})
}

// address is the authorization request.
func (in *signIn) address(back, verifier, state string) string {
	sum := sha256.Sum256([]byte(verifier))
	q := url.Values{
		"response_type": {"code"}, "client_id": {in.client.id}, "redirect_uri": {back}, "state": {state},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}
	if in.scope != "" {
		q.Set("scope", in.scope)
	}
	if in.resource != "" {
		q.Set("resource", in.resource)
	}
	if in.session.key != nil { // RFC 9449 §10: the code is worth nothing without the key
		key := jose.Key{Alg: jose.ES256, Public: in.session.key.Public()}
		q.Set("dpop_jkt", key.Thumbprint())
	}
	return in.session.meta.AuthorizationEndpoint + "?" + q.Encode()
}

// wait serves the one page the browser comes back to.
func (in *signIn) wait(ctx context.Context, l net.Listener, state string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	type outcome struct {
		code string
		err  error
	}
	arrived := make(chan outcome, 1)
	server := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		// Any page can make a browser call this port: only who knows the state counts.
		if r.URL.Path != callback || subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(state)) != 1 {
			http.Error(w, "This is not the answer that writ waits for.", http.StatusBadRequest)
			return
		}
		code, err := in.answer(q)
		text := "You are signed in. You can close this page and go back to the terminal."
		if err != nil {
			text = "Sign-in did not work. The terminal says why."
		}
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, text+"\n") // the browser may have gone
		select {
		case arrived <- outcome{code, err}:
		default: // answered already
		}
	})}
	go func() { _ = server.Serve(l) }()
	defer func() {
		over, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if server.Shutdown(over) != nil {
			_ = server.Close()
		}
	}()
	select {
	case o := <-arrived:
		return o.code, o.err
	case <-ctx.Done():
		return "", fmt.Errorf("nobody signed in: %w", ctx.Err())
	}
}

// answer reads the authorization response.
func (in *signIn) answer(q url.Values) (code string, err error) {
	switch {
	case q.Get("iss") != in.session.meta.Issuer: // RFC 9207 §2.4
		return "", errors.New("the answer came from another server than the one asked")
	case q.Get("error") != "":
		return "", &failure{exitRefused, &refusal{code: q.Get("error") + ":", text: q.Get("error_description")}}
	case q.Get("code") == "":
		return "", errors.New("the server answered without a code")
	}
	return q.Get("code"), nil
}

// openBrowser opens a page where there is a desktop. Where not, the person has
// the address.
func openBrowser(ctx context.Context, address string) {
	name := "xdg-open"
	switch {
	case runtime.GOOS == "darwin":
		name = "open"
	case os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "":
		return // xdg-open would take over the terminal
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return
	}
	cmd := exec.CommandContext(ctx, path, address)
	if cmd.Start() == nil {
		go func() { _ = cmd.Wait() }()
	}
}
