package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/writ-auth/writ/internal/admin"
	"github.com/writ-auth/writ/internal/oauth"
)

// saved is an operator's sign-in to one server, kept in a file of its own.
type saved struct {
	Issuer  string    `json:"issuer"`
	Key     string    `json:"key"` // PEM; the tokens are worth nothing without it
	Access  string    `json:"access_token"`
	Expires time.Time `json:"expires"`
	Refresh string    `json:"refresh_token"`
}

// String hides the secrets.
func (*saved) String() string { return "[redacted]" }

func loginCommand() *cobra.Command {
	var server string
	var stay, out bool
	cmd := &cobra.Command{
		Use: "login --server URL", Short: "Sign in to a server as an operator, with the browser",
		Long: `Signs in with the browser and keeps the sign-in for this server, bound to a key
that stays on this machine. The account needs the mark admin. It ends with the
browser session; --out ends it now.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if server == "" {
				return usage(errors.New("which server? Give its URL with --server"))
			}
			issuer, err := serverURL(server)
			if err != nil {
				return err
			}
			if out {
				return signOut(cmd.Context(), cmd, issuer)
			}
			return signInTo(cmd.Context(), cmd, issuer, stay)
		},
	}
	cmd.Flags().StringVar(&server, "server", "", "URL of the server")
	cmd.Flags().BoolVar(&stay, "no-browser", false, "print the address only")
	cmd.Flags().BoolVar(&out, "out", false, "sign out")
	return cmd
}

func signInTo(ctx context.Context, cmd *cobra.Command, issuer string, stay bool) error {
	meta, err := discover(ctx, issuer)
	if err != nil {
		return err
	}
	key, err := newKey()
	if err != nil {
		return fmt.Errorf("make key: %w", err)
	}
	text, err := encodeKey(key)
	if err != nil {
		return err
	}
	in := &signIn{
		session: &session{meta: meta, key: key}, client: credentials{id: admin.CLI}, stay: stay, show: cmd.ErrOrStderr(),
		resource: issuer + "/admin", scope: "admin:read admin:revoke admin:write",
	}
	t, err := in.run(ctx)
	if err != nil {
		return err
	}
	s := &saved{Issuer: issuer, Key: string(text)}
	if err := s.keep(t); err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "Signed in to %s.\n", issuer)
	return nil
}

// signOut gives the tokens back and forgets them.
func signOut(ctx context.Context, cmd *cobra.Command, issuer string) error {
	s, err := readSaved(issuer)
	if err != nil {
		return err
	}
	meta, err := discover(ctx, issuer)
	if err == nil {
		err = giveBack(ctx, meta, s.Refresh)
	}
	path, perr := savedPath(issuer)
	if perr != nil {
		return perr
	}
	if rerr := os.Remove(path); rerr != nil {
		return fmt.Errorf("forget sign-in: %w", rerr)
	}
	if err != nil {
		return fmt.Errorf("forgotten here, but the server was not told: %w", err)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "Signed out of %s.\n", issuer)
	return nil
}

// giveBack revokes the refresh token, and with it the whole grant (RFC 7009).
func giveBack(ctx context.Context, meta *oauth.Metadata, refresh string) error {
	return post(ctx, meta.RevocationEndpoint, url.Values{
		"token": {refresh}, "token_type_hint": {"refresh_token"}, "client_id": {admin.CLI},
	})
}

// savedPath is where the sign-in to a server is kept.
func savedPath(issuer string) (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("find the user's configuration directory: %w", err)
	}
	name := strings.NewReplacer("://", "_", ":", "_").Replace(issuer)
	return filepath.Join(dir, "writ", "login", name+".json"), nil
}

func readSaved(issuer string) (*saved, error) {
	path, err := savedPath(issuer)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &failure{exitRefused, fmt.Errorf("nobody is signed in to %s: run \"writ login --server %s\"", issuer, issuer)}
	}
	if err != nil {
		return nil, fmt.Errorf("read sign-in: %w", err)
	}
	var s saved
	if err := json.Unmarshal(text, &s); err != nil || s.Issuer != issuer {
		return nil, fmt.Errorf("%s is no sign-in to %s: sign in again with \"writ login --server %s\"", path, issuer, issuer)
	}
	return &s, nil
}

// keep writes new tokens into the file, whole or not at all.
func (s *saved) keep(t *tokens) error {
	s.Access, s.Expires = t.Access, time.Now().Add(time.Duration(t.ExpiresIn)*time.Second)
	if t.Refresh != "" {
		s.Refresh = t.Refresh
	}
	path, err := savedPath(s.Issuer)
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("keep sign-in: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("keep sign-in: %w", err)
	}
	fresh, err := os.CreateTemp(filepath.Dir(path), "new.*") // 0600
	if err != nil {
		return fmt.Errorf("keep sign-in: %w", err)
	}
	defer func() { _ = os.Remove(fresh.Name()) }()
	_, err = fresh.Write(append(text, '\n'))
	if cerr := fresh.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(fresh.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("keep sign-in: %w", err)
	}
	return nil
}

// openLogin is the session of a kept sign-in.
func openLogin(issuer string, meta *oauth.Metadata) (*session, error) {
	kept, err := readSaved(issuer)
	if err != nil {
		return nil, err
	}
	key, err := decodeKey([]byte(kept.Key))
	if err != nil {
		return nil, fmt.Errorf("read sign-in: %w", err)
	}
	s := &session{meta: meta, key: key, held: &tokens{Access: kept.Access}, expires: kept.Expires}
	s.renew = func(ctx context.Context) (*tokens, error) { return s.refresh(ctx, kept) }
	return s, nil
}

// refresh spends the refresh token for the next. Another command may have been
// faster: then what it kept is used.
func (s *session) refresh(ctx context.Context, kept *saved) (*tokens, error) {
	t, err := s.ask(ctx, credentials{id: admin.CLI}, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {kept.Refresh}})
	var said *refusal
	if errors.As(err, &said) {
		now, rerr := readSaved(kept.Issuer)
		if rerr == nil && now.Access != kept.Access && time.Until(now.Expires) > 0 && now.Key == kept.Key {
			return &tokens{Access: now.Access, ExpiresIn: int64(time.Until(now.Expires) / time.Second)}, nil
		}
		return nil, &failure{exitRefused, fmt.Errorf("the sign-in to %s is over (%w): run \"writ login --server %s\"", kept.Issuer, said, kept.Issuer)}
	}
	if err != nil {
		return nil, err
	}
	return t, kept.keep(t)
}
