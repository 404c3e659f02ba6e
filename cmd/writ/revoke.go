package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/writ-auth/writ/internal/admin"
)

func revokeCommand(d door) *cobra.Command {
	v := &verb{door: d}
	kinds := []string{"jti", "grant", "session", "subject", "client"}
	cmd := &cobra.Command{
		Use: "revoke jti|grant|session|subject|client VALUE", Short: "End tokens, everywhere and at once",
		Long: `Ends every token that carries the value: one token by its jti, all of a grant, a
browser session, a person or client as subject, or a client. Says which guards
confirmed that they refuse it now.`,
		Example: "  writ revoke jti $(writ token show --claim jti $TOKEN)\n  writ revoke client robot --reason \"key lost\"",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 || !slices.Contains(kinds, args[0]) {
				return fmt.Errorf("give a kind (%s) and a value", strings.Join(kinds, ", "))
			}
			return nil
		},
		ValidArgs: kinds,
	}
	d.add(cmd)
	v.out.add(cmd)
	reason := cmd.Flags().String("reason", "", "a word for the audit trail")
	cmd.RunE = v.run(func(ctx context.Context, a *api, cmd *cobra.Command, args []string) error {
		value, err := meant(ctx, a, args[0], args[1])
		if err != nil {
			return err
		}
		var ended admin.Ended
		in := admin.Revocation{Kind: args[0], Value: value, Reason: *reason}
		if err := a.call(ctx, http.MethodPost, "revocations", in, &ended); err != nil {
			return err
		}
		return v.out.print(cmd.OutOrStdout(), ended, func(w io.Writer) error { return endedText(w, in, ended, time.Now()) })
	})
	return cmd
}

// meant finds what a person means by a value. A rule on a name that nobody has
// would end nothing and look as if it had, in the moment in which it matters most.
func meant(ctx context.Context, a *api, kind, value string) (string, error) {
	switch kind {
	case "jti":
		const length = 24
		if len(value) != length {
			return "", usage(fmt.Errorf("%q is not a jti, which has %d characters: see it with \"writ token show\"", value, length))
		}
	case "subject": // people are known by their user names; a client acting for itself by its id
		u, err := findUser(ctx, a, value)
		if err == nil {
			return u.ID, nil
		}
		var none nobody
		if !errors.As(err, &none) {
			return "", err
		}
		if err := a.call(ctx, http.MethodGet, "clients/"+url.PathEscape(value), nil, &admin.Client{}); err != nil {
			return "", fmt.Errorf("nothing was ended: no person or client is called %q: %w", value, err)
		}
	case "client":
		if err := a.call(ctx, http.MethodGet, "clients/"+url.PathEscape(value), nil, &admin.Client{}); err != nil {
			return "", fmt.Errorf("nothing was ended: %w", err)
		}
	}
	return value, nil
}

func endedText(w io.Writer, r admin.Revocation, e admin.Ended, now time.Time) error {
	fmt.Fprintf(w, "Ended: %s %s, at position %d of the feed.\n", r.Kind, visible(r.Value), e.Position)
	silent := 0
	for _, g := range e.Unreached {
		if !g.Connected {
			silent++
		}
	}
	fmt.Fprintf(w, "%d of %d connected guards confirmed.\n", e.Confirmed, e.Confirmed+len(e.Unreached)-silent)
	for _, g := range e.Unreached {
		word := "not yet"
		if !g.Connected {
			word = "gone or cut off"
		}
		fmt.Fprintf(w, "  %s: %s %s, which last reported %s\n", word, visible(g.ClientID), visible(g.Instance), ago(g.Seen, now))
	}
	return nil
}

func guardCommand(d door) *cobra.Command {
	v := &verb{door: d}
	return v.noun("guard", "See the guards and what they hold: list", &cobra.Command{
		Use: "list", Short: "List the guards seen in the last hour", Args: cobra.NoArgs,
		RunE: v.run(func(ctx context.Context, a *api, cmd *cobra.Command, _ []string) error {
			var answer struct {
				Items []admin.Guard `json:"items"`
			}
			if err := a.call(ctx, http.MethodGet, "guards", nil, &answer); err != nil {
				return err
			}
			return v.out.print(cmd.OutOrStdout(), answer.Items, func(w io.Writer) error {
				var lines [][]string
				for _, g := range answer.Items {
					lines = append(lines, []string{
						g.ClientID, g.Instance, yes(g.Connected), yes(g.Current), fmt.Sprint(g.Position), ago(g.Seen, time.Now()),
					})
				}
				return rows(w, []string{"CLIENT", "INSTANCE", "CONNECTED", "CURRENT", "POSITION", "REPORTED"}, lines)
			})
		}),
	})
}

func auditCommand(d door) *cobra.Command {
	v := &verb{door: d}
	list := &cobra.Command{Use: "list", Short: "List what was done, the newest first", Args: cobra.NoArgs}
	limit := list.Flags().Int("limit", 20, "lines; 0: all")
	list.RunE = v.run(func(ctx context.Context, a *api, cmd *cobra.Command, _ []string) error {
		found, err := all[admin.Line](ctx, a, "audit", max(0, *limit))
		if err != nil {
			return err
		}
		return v.out.print(cmd.OutOrStdout(), found, func(w io.Writer) error {
			var lines [][]string
			for _, l := range found {
				lines = append(lines, []string{moment(l.At), l.Actor, l.Action, l.Target, l.Address, detailText(l.Detail)})
			}
			return rows(w, []string{"TIME", "BY", "ACTION", "TARGET", "FROM", "DETAIL"}, lines)
		})
	})
	return v.noun("audit", "See what was done and by whom: list", list)
}

// detailText shows a detail without the punctuation of JSON.
func detailText(detail json.RawMessage) string {
	var text string
	if json.Unmarshal(detail, &text) == nil {
		return text
	}
	var members map[string]any
	if json.Unmarshal(detail, &members) != nil {
		return ""
	}
	var parts []string
	for name, value := range members {
		parts = append(parts, fmt.Sprintf("%s=%v", name, value))
	}
	slices.Sort(parts)
	return strings.Join(parts, " ")
}
