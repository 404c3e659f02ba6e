package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/writ-auth/writ/internal/admin"
)

// door is a way to the admin API: over the network as an operator, or on the
// host into the store itself.
type door interface {
	add(cmd *cobra.Command) // the flags that say where
	open(ctx context.Context) (*api, error)
}

// remote is the door over the network.
type remote struct{ where }

func (r *remote) open(ctx context.Context) (*api, error) {
	p, err := r.resolve()
	if err != nil {
		return nil, err
	}
	s, err := p.operator(ctx)
	if err != nil {
		return nil, err
	}
	a := newAPI(p.issuer, s)
	if p.dev == nil {
		a.again = fmt.Sprintf("; is the sign-in over? Run \"writ login --server %s\"", p.issuer)
	}
	return a, nil
}

// api calls the admin API.
type api struct {
	http  *http.Client
	base  string
	again string       // what to do where the token is refused
	close func() error // nil: nothing to close
}

func newAPI(issuer string, through http.RoundTripper) *api {
	client := httpClient()
	client.Transport = through
	return &api{http: client, base: issuer + "/admin/v1/"}
}

// call sends in, unless nil, and reads the answer into out, unless nil.
func (a *api) call(ctx context.Context, method, path string, in, out any) error {
	var body bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, &body)
	if err != nil {
		return err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	status, answer, err := do(a.http, req)
	if err != nil {
		return err
	}
	if status < 200 || status > 299 {
		err := refused(status, answer)
		if status == http.StatusUnauthorized && a.again != "" {
			err = fmt.Errorf("%w%s", err, a.again)
		}
		return err
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	return nil
}

// all reads a list page by page, limit entries at most; 0 is all there are.
func all[T any](ctx context.Context, a *api, path string, limit int) ([]T, error) {
	found := []T{}
	for after := ""; ; {
		size := admin.MaxLimit
		if limit > 0 {
			size = min(size, limit-len(found))
		}
		q := url.Values{"limit": {strconv.Itoa(size)}}
		if after != "" {
			q.Set("after", after)
		}
		var p admin.Page[T]
		if err := a.call(ctx, http.MethodGet, path+"?"+q.Encode(), nil, &p); err != nil {
			return nil, err
		}
		found = append(found, p.Items...)
		if p.Next == "" || limit > 0 && len(found) >= limit {
			return found, nil
		}
		if p.Next == after {
			return nil, errors.New("the server's list does not end")
		}
		after = p.Next
	}
}

// verb is what every command on the admin API is made of.
type verb struct {
	door door
	out  output
}

// run opens the door for one action.
func (v *verb) run(action func(ctx context.Context, a *api, cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) (err error) {
		if err := v.out.check(); err != nil {
			return err
		}
		a, err := v.door.open(cmd.Context())
		if err != nil {
			return err
		}
		if a.close != nil {
			defer func() {
				if cerr := a.close(); err == nil {
					err = cerr
				}
			}()
		}
		return action(cmd.Context(), a, cmd, args)
	}
}

// noun makes a command whose verbs are given.
func (v *verb) noun(name, short string, verbs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: name + " COMMAND", Short: short}
	v.door.add(cmd)
	v.out.add(cmd)
	cmd.AddCommand(verbs...)
	return cmd
}

// one wants exactly one argument and says which.
func one(name string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("give one %s", name)
		}
		return nil
	}
}

// upTo wants no more than one argument.
func upTo(name string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) > 1 {
			return fmt.Errorf("give one %s at most", name)
		}
		return nil
	}
}

// nounCommands are the commands on the admin API behind a door.
func nounCommands(d door) []*cobra.Command {
	return []*cobra.Command{
		clientCommand(d), resourceCommand(d), userCommand(d), keyCommand(d), guardCommand(d), auditCommand(d),
	}
}
