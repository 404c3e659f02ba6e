package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/writ-auth/writ/internal/login"
)

func tokenCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "token COMMAND", Short: "Get a token, or read one: get, show, why"}
	var at where
	var out output
	at.add(cmd)
	out.add(cmd)
	cmd.AddCommand(tokenGet(&at, &out), tokenShow(&at, &out), tokenWhy(&at, &out))
	return cmd
}

// getFlags are the flags of `writ token get`.
type getFlags struct {
	client, secretFile, secretEnv string
	resource                      string
	scopes                        []string
	browser, stay                 bool
}

func tokenGet(at *where, out *output) *cobra.Command {
	var f getFlags
	cmd := &cobra.Command{
		Use: "get", Short: "Get an access token and print it", Args: cobra.NoArgs,
		Long: `Gets an access token as a client, or with --browser for the person who signs in.
For writ dev the name of a sample client is enough. For --browser the client
needs the redirect http://127.0.0.1/callback.`,
		Example: `  writ token get --client demo-reader
  writ token get --server https://id.example.com --client robot --secret-file robot.secret --scope orders:read
  writ token get --server https://id.example.com --client my-cli --browser --resource https://api.example.com/orders`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			t, err := f.get(cmd.Context(), at, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			return out.print(cmd.OutOrStdout(), t, func(w io.Writer) error {
				_, err := fmt.Fprintln(w, t.Access)
				return err
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.client, "client", "", "which client; for writ dev a sample client's name")
	flags.StringVar(&f.secretFile, "secret-file", "", "file with the client's secret")
	flags.StringVar(&f.secretEnv, "secret-env", "", "name of an environment variable with the client's secret")
	flags.StringVar(&f.resource, "resource", "", "API the token is for, by URI (default: the client's only one)")
	flags.StringSliceVar(&f.scopes, "scope", nil, "what it may do; may repeat (default: all the client may)")
	flags.BoolVar(&f.browser, "browser", false, "sign in with the browser")
	flags.BoolVar(&f.stay, "no-browser", false, "with --browser: print the address only")
	return cmd
}

func (f *getFlags) get(ctx context.Context, at *where, show io.Writer) (*tokens, error) {
	p, err := at.resolve()
	if err != nil {
		return nil, err
	}
	c, err := f.credentials(p)
	if err != nil {
		return nil, err
	}
	meta, err := discover(ctx, p.issuer)
	if err != nil {
		return nil, err
	}
	s := &session{meta: meta}
	scope := strings.Join(f.scopes, " ")
	if f.browser {
		in := &signIn{session: s, client: c, resource: f.resource, scope: scope, show: show, stay: f.stay}
		return in.run(ctx)
	}
	form := url.Values{"grant_type": {"client_credentials"}}
	if f.resource != "" {
		form.Set("resource", f.resource)
	}
	if scope != "" {
		form.Set("scope", scope)
	}
	return s.ask(ctx, c, form)
}

// credentials finds the client and its secret, and for a sample client the API
// that it is for.
func (f *getFlags) credentials(p *place) (credentials, error) {
	c := credentials{id: f.client}
	switch {
	case f.secretFile != "" && f.secretEnv != "":
		return c, usage(errors.New("--secret-file and --secret-env name two secrets: give one"))
	case f.secretFile != "":
		text, err := os.ReadFile(f.secretFile)
		if err != nil {
			return c, fmt.Errorf("read secret: %w", err)
		}
		c.secret = login.Secret(strings.TrimSpace(string(text)))
	case f.secretEnv != "":
		c.secret = login.Secret(os.Getenv(f.secretEnv))
		if c.secret == "" {
			return c, usage(fmt.Errorf("the environment variable %s is not set", f.secretEnv))
		}
	case p.dev != nil && !f.browser:
		known, err := p.client(f.client)
		if err != nil {
			return c, err
		}
		c.secret = login.Secret(known.Secret)
		if f.resource == "" {
			f.resource = known.Resource
		}
	}
	switch {
	case c.id == "":
		return c, usage(errors.New("which client? Give --client"))
	case c.secret == "" && !f.browser:
		return c, usage(fmt.Errorf("client %s has no secret here: give --secret-file or --secret-env, or sign in with --browser", c.id))
	}
	return c, nil
}
