package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/writ-auth/writ/internal/demo"
	"github.com/writ-auth/writ/internal/login"
)

// where is which server a command talks to: --data or --server.
type where struct {
	data   string
	server string
}

func (f *where) add(cmd *cobra.Command) {
	cmd.PersistentFlags().StringVar(&f.data, "data", "", "directory of a running writ dev (default: where writ dev keeps it)")
	cmd.PersistentFlags().StringVar(&f.server, "server", "", "URL of a server, after writ login")
}

// place is a server and what is known of it on this machine.
type place struct {
	issuer string
	dir    string   // of writ dev; "" for other servers
	dev    *devFile // nil for other servers
}

// devFile is what a running writ dev says of itself.
type devFile struct {
	PID     int           `json:"pid"`
	Issuer  string        `json:"issuer"`
	Gateway string        `json:"gateway"`
	App     string        `json:"app"`
	Clients []demo.Client `json:"clients"`
	Users   []demo.User   `json:"users"`
}

// operator is the sample client that operates a writ dev.
const operator = "demo-operator"

// resolve finds the server.
func (f *where) resolve() (*place, error) {
	if f.server != "" && f.data != "" {
		return nil, usage(errors.New("--data and --server name two servers: give one"))
	}
	if f.server != "" {
		issuer, err := serverURL(f.server)
		if err != nil {
			return nil, err
		}
		return &place{issuer: issuer}, nil
	}
	dir := f.data
	if dir == "" {
		var err error
		if dir, err = defaultData(); err != nil {
			return nil, err
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "dev.json"))
	switch {
	case errors.Is(err, fs.ErrNotExist) && f.data != "":
		return nil, unreachable(fmt.Errorf("no writ dev runs in %s: start it with \"writ dev --data %s\"", dir, quote(dir)))
	case errors.Is(err, fs.ErrNotExist):
		return nil, unreachable(errors.New(`which server? Start "writ dev", or sign in with "writ login --server URL" and give --server URL`))
	case err != nil:
		return nil, fmt.Errorf("read dev.json: %w", err)
	}
	p := &place{dir: dir, dev: &devFile{}}
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(p.dev); err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(dir, "dev.json"), err)
	}
	p.issuer = p.dev.Issuer
	return p, nil
}

// serverURL checks the URL of a server: what is sent there is secret.
func serverURL(text string) (string, error) {
	text = strings.TrimSuffix(text, "/")
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return "", usage(fmt.Errorf("--server %q must be scheme and host alone, such as https://id.example.com", text))
	}
	if !private(u) {
		return "", usage(fmt.Errorf("--server %q must be https: what is sent there is secret", text))
	}
	return text, nil
}

// client finds a sample client of writ dev.
func (p *place) client(id string) (demo.Client, error) {
	var names []string
	for _, c := range p.dev.Clients {
		if c.ID == id {
			return c, nil
		}
		if c.Secret != "" && c.ID != operator {
			names = append(names, c.ID)
		}
	}
	return demo.Client{}, usage(fmt.Errorf("which client? Give --client one of %s, or --secret-file for another", strings.Join(names, ", ")))
}

// operator makes a session that may call the admin API.
func (p *place) operator(ctx context.Context) (*session, error) {
	meta, err := discover(ctx, p.issuer)
	if err != nil {
		return nil, err
	}
	if p.dev == nil {
		return openLogin(p.issuer, meta)
	}
	c, err := p.client(operator)
	if err != nil {
		return nil, err
	}
	key, err := keyFile(filepath.Join(p.dir, "cli-key.pem"))
	if err != nil {
		return nil, err
	}
	s := &session{meta: meta, key: key}
	s.renew = func(ctx context.Context) (*tokens, error) {
		return s.ask(ctx, credentials{c.ID, login.Secret(c.Secret)}, url.Values{
			"grant_type": {"client_credentials"}, "resource": {cmp.Or(c.Resource, p.issuer+"/admin")},
		})
	}
	return s, nil
}
