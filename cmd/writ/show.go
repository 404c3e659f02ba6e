package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/token"
)

func tokenShow(at *where, out *output) *cobra.Command {
	var claim string
	cmd := &cobra.Command{
		Use: "show [TOKEN|-]", Short: "Check an access token and say in words what it is", Args: upTo("TOKEN"),
		Long: `Reads a token from the argument or from standard input, checks it with the
server's keys and revocations, and says what each claim means. The exit code is 0
for a token that is good and 1 for one that is not. --claim prints one claim of
any token, unchecked.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			compact, err := readToken(cmd.InOrStdin(), args)
			if err != nil {
				return err
			}
			read, err := readClaims(compact)
			if err != nil {
				return err
			}
			if claim != "" {
				return read.print(cmd.OutOrStdout(), claim)
			}
			v, err := read.judge(cmd.Context(), at)
			if err != nil {
				return err
			}
			return v.print(cmd.OutOrStdout(), out)
		},
	}
	cmd.Flags().StringVar(&claim, "claim", "", "print this claim only, unchecked, e.g. jti")
	return cmd
}

// readToken takes the token from the argument, else from standard input.
func readToken(in io.Reader, args []string) (string, error) {
	text := "-"
	if len(args) == 1 {
		text = args[0]
	}
	if text == "-" {
		const longest = 1 << 20
		read, err := io.ReadAll(io.LimitReader(in, longest))
		if err != nil {
			return "", fmt.Errorf("read token: %w", err)
		}
		text = string(read)
	}
	text = strings.TrimSpace(text)
	if text == "" {
		return "", usage(errors.New("which token? Give it as the argument or on standard input"))
	}
	return text, nil
}

// readable is a token that was taken apart and not believed.
type readable struct {
	message *jose.Message
	claims  *token.Claims
	raw     map[string]json.RawMessage
	order   []string
}

func readClaims(compact string) (*readable, error) {
	m, err := jose.Parse(compact)
	if err != nil {
		return nil, fmt.Errorf("this is no access token: %w", err)
	}
	r := &readable{message: m, raw: map[string]json.RawMessage{}}
	err = jose.Members(m.Payload, func(name string, value []byte) error {
		r.raw[name] = bytes.Clone(value)
		r.order = append(r.order, name)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("this is no access token: %w", err)
	}
	if r.claims, err = token.Decode(m.Payload); err != nil {
		return nil, fmt.Errorf("this is no access token: %w", err)
	}
	return r, nil
}

// print writes one claim as it is, a string without its quotes.
func (r *readable) print(w io.Writer, name string) error {
	value, ok := r.raw[name]
	if !ok {
		return fmt.Errorf("the token has no claim %s; it has %s", visible(name), visible(strings.Join(r.order, ", ")))
	}
	text := string(value)
	if s, err := jose.String(text); err == nil {
		text = visible(s)
	}
	_, err := fmt.Fprintln(w, text)
	return err
}

// verdict is what can be said of a token.
type verdict struct {
	read  *readable
	state string // good, or what is wrong in one word
	why   string
	left  string // what was not checked, "" for nothing
	now   time.Time
}

// judge checks a token as a resource server would, except for what depends on a
// request: audience, scope, proof of possession.
func (r *readable) judge(ctx context.Context, at *where) (*verdict, error) {
	v := &verdict{read: r, now: time.Now()}
	p, err := at.resolve()
	if err != nil {
		return nil, err
	}
	if !token.TypeOK(r.message.Header.Typ) {
		return v.say("wrong", fmt.Sprintf("its type is %q, not at+jwt: it is no access token", visible(r.message.Header.Typ))), nil
	}
	if r.claims.Issuer != p.issuer {
		return v.say("foreign", "it is from "+visible(r.claims.Issuer)+", not from "+p.issuer), nil
	}
	meta, err := discover(ctx, p.issuer)
	if err != nil {
		return nil, err
	}
	key, err := keyOf(ctx, meta.JWKSURI, r.message.Header.KeyID)
	if err != nil {
		return nil, err
	}
	switch {
	case key == nil: // perhaps because it was ended
		if err := v.ended(ctx, p, []token.Name{v.key()}); err != nil || v.state == "ended" {
			return v, err
		}
		v.left = ""
		return v.say("unknown", "no key of the server has the id "+visible(r.message.Header.KeyID)), nil
	case key.Alg != r.message.Header.Alg || key.Verify(r.message.Signed, r.message.Signature) != nil:
		return v.say("forged", "the signature is not the server's over this text"), nil
	case !v.now.Before(r.claims.Expiry):
		return v.say("expired", span(v.now.Sub(r.claims.Expiry))+" ago"), nil
	}
	if err := r.claims.Check(token.Expect{Issuer: p.issuer, Audience: r.claims.Audience[0], Now: v.now}); err != nil {
		return v.say("wrong", err.Error()), nil
	}
	return v, v.ended(ctx, p, v.names())
}

func (v *verdict) say(state, why string) *verdict {
	v.state, v.why = state, why
	return v
}

// keyOf finds a key in the server's set, nil when it is not there.
func keyOf(ctx context.Context, address, id string) (*jose.Key, error) {
	body, err := get(ctx, address)
	if err != nil {
		return nil, err
	}
	keys, _, err := jose.ParseSet(body)
	if err != nil {
		return nil, fmt.Errorf("read the server's keys: %w", err)
	}
	for i := range keys {
		if keys[i].ID == id {
			return &keys[i], nil
		}
	}
	return nil, nil
}

// print says the verdict and every claim. A token that is not good makes the
// exit code 1 without another word.
func (v *verdict) print(w io.Writer, out *output) error {
	err := out.print(w, map[string]any{
		"state": v.state, "reason": v.why, "unchecked": v.left, "expires_in": int64(v.read.claims.Expiry.Sub(v.now) / time.Second),
		"kid": v.read.message.Header.KeyID, "alg": v.read.message.Header.Alg, "claims": v.read.raw,
	}, v.table)
	if err == nil && v.state != stateGood {
		err = &failure{exitRefused, errors.New("")}
	}
	return err
}

func (v *verdict) table(w io.Writer) error {
	c := v.read.claims
	if v.state == stateGood {
		fmt.Fprintf(w, "%s: signed by %s with key %s (%s), expires %s.\n", paint(w, green, "Good"),
			visible(c.Issuer), visible(v.read.message.Header.KeyID), v.read.message.Header.Alg, ago(c.Expiry, v.now))
	} else {
		fmt.Fprintf(w, "%s: %s.\n", paint(w, red, "Not good, "+v.state), v.why)
	}
	if v.left != "" {
		fmt.Fprintf(w, "Not checked: %s.\n", v.left)
	}
	fmt.Fprintln(w)
	return pairs3(w, v.read.words(v.now))
}
