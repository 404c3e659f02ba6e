package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/writ-auth/writ/internal/admin"
	"github.com/writ-auth/writ/internal/oauth"
)

// grantNames are the short names of grant types on the command line.
var grantNames = [][2]string{
	{"code", oauth.GrantCode}, {"refresh", oauth.GrantRefresh}, {"client", oauth.GrantClient}, {"exchange", oauth.GrantExchange},
}

func clientCommand(d door) *cobra.Command {
	v := &verb{door: d}
	add := &cobra.Command{
		Use: "add [ID]", Short: "Register a client and show its secret, once", Args: upTo("ID"),
		Example: `  writ client add robot --resource https://api.example/orders --scope orders:read
  writ client add orders --guards https://api.example/orders --secret-file orders.secret
  writ client add app --public --native --redirect http://127.0.0.1/callback --scope openid`,
	}
	flags := addClientFlags(add)
	public := add.Flags().Bool("public", false, "has no secret: an app on people's devices or in their browsers")
	native := add.Flags().Bool("native", false, "an app on a device, not a web page")
	secretFile := add.Flags().String("secret-file", "", "write the secret into this new file instead of showing it")
	add.RunE = v.run(func(ctx context.Context, a *api, cmd *cobra.Command, args []string) error {
		in, err := flags.patch(cmd)
		if err != nil {
			return err
		}
		if len(args) == 1 {
			in["client_id"] = args[0]
		}
		if *public {
			in["token_endpoint_auth_method"] = oauth.AuthNone
		}
		if *native {
			in["application_type"] = "native"
		}
		return v.register(ctx, a, cmd, "clients", in, *secretFile, "")
	})

	set := &cobra.Command{
		Use: "set ID", Short: "Change what is given; what takes something away ends the client's tokens", Args: one("ID"),
	}
	changes := addClientFlags(set)
	set.Flags().BoolVar(&changes.disabled, "disabled", false, "switch it off and end its tokens; --disabled=false: on again")
	set.RunE = v.run(func(ctx context.Context, a *api, cmd *cobra.Command, args []string) error {
		in, err := changes.patch(cmd)
		if err != nil {
			return err
		}
		if len(in) == 0 {
			return usage(errors.New("nothing to change: give a flag"))
		}
		var c admin.Client
		if err := a.call(ctx, http.MethodPatch, "clients/"+args[0], in, &c); err != nil {
			return err
		}
		return v.showClient(cmd, c)
	})

	rotate := &cobra.Command{Use: "rotate ID", Short: "Give a client a new secret; the old one is worth nothing from then on", Args: one("ID")}
	rotate.Long = rotate.Short + ".\n\nTokens and keys that were got with the old one stay good. Where it was stolen, end\nthose as well: writ revoke client ID"
	rotated := rotate.Flags().String("secret-file", "", "write the secret into this new file instead of showing it")
	rotate.RunE = v.run(func(ctx context.Context, a *api, cmd *cobra.Command, args []string) error {
		return v.register(ctx, a, cmd, "clients/"+args[0]+"/secret", map[string]any{}, *rotated,
			"Tokens and keys got with the old secret stay good. If it was stolen, end them: writ revoke client "+visible(args[0]))
	})

	return v.noun("client", "Manage clients: add, list, show, set, rotate, remove",
		add, clientList(v), clientShow(v), set, rotate, remove(v, "ID", "Remove a client and end its tokens", func(id string) string { return "clients/" + id }))
}

// remove is the verb of that name, for every noun.
func remove(v *verb, arg, short string, path func(string) string) *cobra.Command {
	return &cobra.Command{
		Use: "remove " + arg, Short: short, Args: one(arg),
		RunE: v.run(func(ctx context.Context, a *api, cmd *cobra.Command, args []string) error {
			if err := a.call(ctx, http.MethodDelete, path(args[0]), nil, nil); err != nil {
				return err
			}
			return v.out.print(cmd.OutOrStdout(), map[string]string{"removed": args[0]}, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "%s is removed.\n", visible(args[0]))
				return err
			})
		}),
	}
}

// clientFlags are what a client can be given.
type clientFlags struct {
	name                               string
	redirects, grants, scopes          []string
	resources, guards                  []string
	firstParty, admin, bound, disabled bool
	trustDomain                        string
}

func addClientFlags(cmd *cobra.Command) *clientFlags {
	f := &clientFlags{}
	flags := cmd.Flags()
	flags.StringVar(&f.name, "name", "", "name for people (default: the ID)")
	flags.StringArrayVar(&f.redirects, "redirect", nil, "where browsers return to; may repeat; loopback ports are free")
	flags.StringSliceVar(&f.grants, "grant", nil, "code, refresh, client, exchange; may repeat (default: what the other flags need)")
	flags.StringSliceVar(&f.scopes, "scope", nil, "the most it may be given; may repeat")
	flags.StringArrayVar(&f.resources, "resource", nil, "API it may get tokens for, by URI; may repeat")
	flags.StringArrayVar(&f.guards, "guards", nil, "API whose tokens it checks, by URI; may repeat")
	flags.BoolVar(&f.firstParty, "first-party", false, "yours: no consent page where browsers return to https")
	flags.BoolVar(&f.admin, "admin", false, "may be given the admin scopes")
	flags.BoolVar(&f.bound, "bound", false, "gets no token without a proof of possession (DPoP)")
	flags.StringVar(&f.trustDomain, "trust-domain", "", "a gateway: may mint transaction tokens for this domain, within --scope")
	return f
}

// patch is the flags that were given, as members of the request.
func (f *clientFlags) patch(cmd *cobra.Command) (map[string]any, error) {
	grants := make([]string, len(f.grants))
	for i, name := range f.grants {
		grants[i] = name
		for _, known := range grantNames {
			if name == known[0] {
				grants[i] = known[1]
			}
		}
	}
	var scopes []string
	for _, s := range f.scopes {
		scopes = append(scopes, strings.Fields(s)...)
	}
	in := map[string]any{}
	for flag, member := range map[string]struct {
		name  string
		value any
	}{
		"name": {"client_name", f.name}, "redirect": {"redirect_uris", given(f.redirects)}, "grant": {"grant_types", grants},
		"scope": {"scope", strings.Join(scopes, " ")}, "resource": {"resources", given(f.resources)}, "guards": {"guards", given(f.guards)},
		"first-party": {"first_party", f.firstParty}, "admin": {"admin", f.admin}, "bound": {"dpop_bound_access_tokens", f.bound},
		"disabled": {"disabled", f.disabled}, "trust-domain": {"trust_domain", f.trustDomain},
	} {
		if cmd.Flags().Changed(flag) {
			in[member.name] = member.value
		}
	}
	return in, nil
}

// given drops empty values, so that --redirect "" empties a list.
func given(list []string) []string {
	return slices.DeleteFunc(append([]string{}, list...), func(s string) bool { return s == "" })
}

// register posts in and shows the secret that comes back, or keeps it in a file, and
// then says what else there is to know.
func (v *verb) register(ctx context.Context, a *api, cmd *cobra.Command, path string, in any, file, besides string) error {
	keep := func(string) error { return nil }
	if file != "" {
		f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // before a secret is made that could not be kept
		if errors.Is(err, fs.ErrExist) {
			return usage(fmt.Errorf("%s is there already, and may hold a secret that is in use: name a new file, or move that one away", file))
		}
		if err != nil {
			return fmt.Errorf("keep secret: %w", err)
		}
		defer func() { _ = f.Close() }()
		keep = func(secret string) error {
			_, err := fmt.Fprintln(f, secret)
			return err
		}
	}
	var r admin.Registration
	if err := a.call(ctx, http.MethodPost, path, in, &r); err != nil {
		if file != "" {
			_ = os.Remove(file)
		}
		return err
	}
	secret := string(r.Secret)
	if file != "" {
		if err := keep(secret); err != nil {
			return fmt.Errorf("keep secret of %s: %w", r.ID, err)
		}
		r.Secret = ""
	}
	return v.out.print(cmd.OutOrStdout(), r, func(w io.Writer) error {
		members := describeClient(r.Client)
		switch {
		case file != "":
			members = append(members, [2]string{"secret", "in " + file})
		case secret != "":
			members = append(members, [2]string{"secret", secret + "  (shown only now)"})
		}
		err := pairs(w, members)
		if err == nil && besides != "" {
			_, err = fmt.Fprintln(w, besides)
		}
		return err
	})
}

func (v *verb) showClient(cmd *cobra.Command, c admin.Client) error {
	return v.out.print(cmd.OutOrStdout(), c, func(w io.Writer) error { return pairs(w, describeClient(c)) })
}

func describeClient(c admin.Client) [][2]string {
	return [][2]string{
		{"id", c.ID}, {"name", c.Name}, {"kind", kindOf(c)}, {"grants", shortGrants(c.GrantTypes)},
		{"redirects", strings.Join(c.RedirectURIs, " ")}, {"scope", c.Scope}, {"resources", strings.Join(c.Resources, " ")},
		{"guards", strings.Join(c.Guards, " ")}, {"trust domain", c.TrustDomain}, {"marks", marksOf(c)}, {"created", moment(c.Created)},
	}
}

func kindOf(c admin.Client) string {
	kind := "confidential"
	if c.AuthMethod == oauth.AuthNone {
		kind = "public"
	}
	if c.Application == "native" {
		kind += " native"
	}
	return kind
}

func shortGrants(types []string) string {
	var names []string
	for _, t := range types {
		for _, known := range grantNames {
			if t == known[1] {
				t = known[0]
			}
		}
		names = append(names, t)
	}
	return strings.Join(names, " ")
}

func marksOf(c admin.Client) string {
	var marks []string
	for _, m := range []struct {
		on   bool
		name string
	}{{c.Disabled, "DISABLED"}, {c.Admin, "admin"}, {c.FirstParty, "first-party"}, {c.BoundTokens, "bound"}, {len(c.Guards) > 0, "guard"}} {
		if m.on {
			marks = append(marks, m.name)
		}
	}
	return strings.Join(marks, " ")
}

func clientList(v *verb) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List clients", Args: cobra.NoArgs,
		RunE: v.run(func(ctx context.Context, a *api, cmd *cobra.Command, _ []string) error {
			found, err := all[admin.Client](ctx, a, "clients", 0)
			if err != nil {
				return err
			}
			return v.out.print(cmd.OutOrStdout(), found, func(w io.Writer) error {
				var lines [][]string
				for _, c := range found {
					lines = append(lines, []string{c.ID, kindOf(c), shortGrants(c.GrantTypes), marksOf(c), c.Scope})
				}
				return rows(w, []string{"ID", "KIND", "GRANTS", "MARKS", "SCOPE"}, lines)
			})
		}),
	}
}

func clientShow(v *verb) *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "Show a client", Args: one("ID"),
		RunE: v.run(func(ctx context.Context, a *api, cmd *cobra.Command, args []string) error {
			var c admin.Client
			if err := a.call(ctx, http.MethodGet, "clients/"+args[0], nil, &c); err != nil {
				return err
			}
			return v.showClient(cmd, c)
		}),
	}
}
