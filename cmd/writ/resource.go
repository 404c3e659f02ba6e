package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/writ-auth/writ/internal/admin"
)

func resourceCommand(d door) *cobra.Command {
	v := &verb{door: d}
	add := &cobra.Command{
		Use: "add URI", Short: "Register an API that tokens are issued for", Args: one("URI"),
		Example: `  writ resource add https://api.example/orders --scope "orders:read=See your orders" --scope orders:write`,
	}
	flags := addResourceFlags(add)
	add.RunE = v.run(func(ctx context.Context, a *api, cmd *cobra.Command, args []string) error {
		in, err := flags.patch(cmd)
		if err != nil {
			return err
		}
		in["uri"] = args[0]
		var r admin.Resource
		if err := a.call(ctx, http.MethodPost, "resources", in, &r); err != nil {
			return err
		}
		return v.showResource(cmd, r)
	})
	set := &cobra.Command{Use: "set URI", Short: "Change what is given; tokens already issued keep what they say", Args: one("URI")}
	changes := addResourceFlags(set)
	set.RunE = v.run(func(ctx context.Context, a *api, cmd *cobra.Command, args []string) error {
		in, err := changes.patch(cmd)
		if err != nil {
			return err
		}
		if len(in) == 0 {
			return usage(errors.New("nothing to change: give a flag"))
		}
		var r admin.Resource
		if err := a.call(ctx, http.MethodPatch, resourcePath(args[0]), in, &r); err != nil {
			return err
		}
		return v.showResource(cmd, r)
	})
	return v.noun("resource", "Manage APIs that tokens are for: add, list, show, set, remove",
		add, resourceList(v), resourceShow(v), set, remove(v, "URI", "Remove an API: no more tokens for it", resourcePath))
}

func resourcePath(uri string) string { return "resources/" + admin.ResourceID(uri) }

// resourceFlags are what an API can be given.
type resourceFlags struct {
	name, algorithm string
	scopes          []string
	life            time.Duration
}

func addResourceFlags(cmd *cobra.Command) *resourceFlags {
	f := &resourceFlags{}
	flags := cmd.Flags()
	flags.StringVar(&f.name, "name", "", "name for people (default: the URI)")
	flags.StringArrayVar(&f.scopes, "scope", nil, "NAME or NAME=TEXT, where TEXT is for the consent page; may repeat")
	flags.DurationVar(&f.life, "token-life", 0, "life of its tokens, e.g. 2m (default: the server's)")
	flags.StringVar(&f.algorithm, "algorithm", "", "what its tokens are signed with, e.g. RS256 (default: the server's)")
	return f
}

func (f *resourceFlags) patch(cmd *cobra.Command) (map[string]any, error) {
	in := map[string]any{}
	if cmd.Flags().Changed("name") {
		in["name"] = f.name
	}
	if cmd.Flags().Changed("algorithm") {
		in["algorithm"] = f.algorithm
	}
	if cmd.Flags().Changed("token-life") {
		if f.life%time.Second != 0 {
			return nil, usage(fmt.Errorf("--token-life %v is not in whole seconds", f.life))
		}
		in["token_life"] = int64(f.life / time.Second)
	}
	if cmd.Flags().Changed("scope") {
		scopes := []admin.Scope{}
		for _, s := range f.scopes {
			name, text, _ := strings.Cut(s, "=")
			scopes = append(scopes, admin.Scope{Name: name, Text: text})
		}
		in["scopes"] = scopes
	}
	return in, nil
}

func (v *verb) showResource(cmd *cobra.Command, r admin.Resource) error {
	return v.out.print(cmd.OutOrStdout(), r, func(w io.Writer) error {
		members := [][2]string{{"uri", r.URI}, {"name", r.Name}, {"token life", lifeOf(r)}, {"algorithm", orDefault(r.Algorithm)}, {"created", moment(r.Created)}}
		for _, s := range r.Scopes {
			members = append(members, [2]string{"scope " + s.Name, s.Text})
		}
		return pairs(w, members)
	})
}

func lifeOf(r admin.Resource) string {
	if r.TokenLife == 0 {
		return "default"
	}
	return span(time.Duration(r.TokenLife) * time.Second)
}

func orDefault(s string) string {
	if s == "" {
		return "default"
	}
	return s
}

func resourceList(v *verb) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List APIs", Args: cobra.NoArgs,
		RunE: v.run(func(ctx context.Context, a *api, cmd *cobra.Command, _ []string) error {
			found, err := all[admin.Resource](ctx, a, "resources", 0)
			if err != nil {
				return err
			}
			return v.out.print(cmd.OutOrStdout(), found, func(w io.Writer) error {
				var lines [][]string
				for _, r := range found {
					var names []string
					for _, s := range r.Scopes {
						names = append(names, s.Name)
					}
					lines = append(lines, []string{r.URI, r.Name, lifeOf(r), orDefault(r.Algorithm), strings.Join(names, " ")})
				}
				return rows(w, []string{"URI", "NAME", "TOKEN LIFE", "ALGORITHM", "SCOPES"}, lines)
			})
		}),
	}
}

func resourceShow(v *verb) *cobra.Command {
	return &cobra.Command{
		Use: "show URI", Short: "Show an API", Args: one("URI"),
		RunE: v.run(func(ctx context.Context, a *api, cmd *cobra.Command, args []string) error {
			var r admin.Resource
			if err := a.call(ctx, http.MethodGet, resourcePath(args[0]), nil, &r); err != nil {
				return err
			}
			return v.showResource(cmd, r)
		}),
	}
}
