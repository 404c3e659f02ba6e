package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/writ-auth/writ/internal/admin"
)

func revokeCommand(d door) *cobra.Command {
	v := &verb{door: d}
	cmd := &cobra.Command{
		Use: "revoke jti|grant|session|subject|client VALUE", Short: "End tokens, everywhere and at once",
		Long: `Ends every token that carries the value: one token by its jti, all of a grant, a
browser session, a person or client as subject, or a client. Says which guards
confirmed that they refuse it now.`,
		Example: "  writ revoke jti $(writ token show --claim jti $TOKEN)\n  writ revoke client robot --reason \"key lost\"",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return fmt.Errorf("give a kind (jti, grant, session, subject or client) and a value")
			}
			return nil
		},
		ValidArgs: []string{"jti", "grant", "session", "subject", "client"},
	}
	d.add(cmd)
	v.out.add(cmd)
	reason := cmd.Flags().String("reason", "", "a word for the audit trail")
	cmd.RunE = v.run(func(ctx context.Context, a *api, cmd *cobra.Command, args []string) error {
		value := args[1]
		if args[0] == "subject" { // people are known by their user names
			if u, err := findUser(ctx, a, value); err == nil {
				value = u.ID
			}
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

func endedText(w io.Writer, r admin.Revocation, e admin.Ended, now time.Time) error {
	fmt.Fprintf(w, "Ended: %s %s, at position %d of the feed.\n", r.Kind, visible(r.Value), e.Position)
	fmt.Fprintf(w, "%d of %d guards confirmed.\n", e.Confirmed, e.Confirmed+len(e.Unreached))
	for _, g := range e.Unreached {
		fmt.Fprintf(w, "  not yet: %s, which last reported %s\n", visible(g.ClientID), ago(g.Seen, now))
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
