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
	cmd := &cobra.Command{
		Use: "revoke KIND VALUE", Short: "End tokens, everywhere and at once",
		Long: `Ends every token that carries the value, and says what that hit and which guards
confirmed that they refuse it now. With --dry-run it says what it would hit and
does nothing.

  jti ID                  one token, and what was made from it
  grant ID                what a person allowed a client
  session ID              a browser's sign-in
  subject NAME            a person by user name, or a client that acts for itself
  client ID               everything a client holds
  subject+client NAME ID  a person's tokens at one client
  actor ID                tokens in which a client acts for somebody else
  jkt THUMBPRINT          tokens bound to a DPoP key
  x5t#S256 THUMBPRINT     tokens bound to a certificate
  kid ID                  tokens that a retired key signed (else: writ key compromise)
  resource URI            tokens for an API
  everything              all tokens and grants; everybody signs in again
  issued-before TIME      tokens issued before a time, e.g. 2026-11-27T06:00:00Z, or 10m for ten minutes ago`,
		Example: "  writ revoke jti $(writ token show --claim jti $TOKEN)\n  writ revoke client robot --reason \"key lost\"\n" +
			"  writ revoke subject alice --step-up\n  writ revoke everything --dry-run",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 || !slices.Contains(admin.Kinds(), args[0]) {
				return fmt.Errorf("give a kind, one of %s", strings.Join(admin.Kinds(), ", "))
			}
			if want := operands(args[0]); len(args) != 1+len(want) {
				return fmt.Errorf("give %s", strings.Join(append([]string{args[0]}, want...), " "))
			}
			return nil
		},
		ValidArgs: admin.Kinds(),
	}
	d.add(cmd)
	v.out.add(cmd)
	reason := cmd.Flags().String("reason", "", "a word for the audit trail")
	dry := cmd.Flags().Bool("dry-run", false, "say what it would hit, and do nothing")
	stepUp := cmd.Flags().Bool("step-up", false, "end nothing: refuse until somebody authenticates again")
	cmd.RunE = v.run(func(ctx context.Context, a *api, cmd *cobra.Command, args []string) error {
		in, err := meant(ctx, a, args, time.Now())
		if err != nil {
			return err
		}
		in.Reason, in.DryRun = *reason, *dry
		if *stepUp {
			in.Effect = "step-up"
		}
		var ended admin.Ended
		if err := a.call(ctx, http.MethodPost, "revocations", in, &ended); err != nil {
			return err
		}
		return v.out.print(cmd.OutOrStdout(), ended, func(w io.Writer) error { return endedText(w, args, in, ended, time.Now()) })
	})
	return cmd
}

// operands is what a kind is followed by.
func operands(kind string) []string {
	switch kind {
	case "everything":
		return nil
	case "subject+client":
		return []string{"NAME", "CLIENT"}
	case "issued-before":
		return []string{"TIME"}
	}
	return []string{"VALUE"}
}

// meant finds what a person means by a kind and its operands. A rule on a name that
// nobody has would end nothing and look as if it had, in the moment in which it
// matters most.
func meant(ctx context.Context, a *api, args []string, now time.Time) (in admin.Revocation, err error) {
	in.Kind = args[0]
	if len(args) > 1 {
		in.Value = args[1]
	}
	switch in.Kind {
	case "jti":
		const length = 24
		if len(in.Value) != length {
			return in, usage(fmt.Errorf("%q is not a jti, which has %d characters: see it with \"writ token show\"", in.Value, length))
		}
	case "subject":
		in.Value, err = subject(ctx, a, in.Value)
	case "subject+client":
		in.ClientID = args[2]
		if in.Value, err = subject(ctx, a, in.Value); err == nil {
			err = isClient(ctx, a, in.ClientID)
		}
	case "client", "actor":
		err = isClient(ctx, a, in.Value)
	case "issued-before":
		in.Value = ""
		in.Before, err = when(args[1], now)
	}
	return in, err
}

// subject finds a person by user name, or a client that acts for itself by its id.
func subject(ctx context.Context, a *api, name string) (string, error) {
	u, err := findUser(ctx, a, name)
	if err == nil {
		return u.ID, nil
	}
	var none nobody
	if !errors.As(err, &none) {
		return "", err
	}
	if err := a.call(ctx, http.MethodGet, "clients/"+url.PathEscape(name), nil, &admin.Client{}); err != nil {
		return "", fmt.Errorf("nothing was ended: no person or client is called %q: %w", name, err)
	}
	return name, nil
}

func isClient(ctx context.Context, a *api, id string) error {
	if err := a.call(ctx, http.MethodGet, "clients/"+url.PathEscape(id), nil, &admin.Client{}); err != nil {
		return fmt.Errorf("nothing was ended: %w", err)
	}
	return nil
}

// when reads a time, or how long ago it was.
func when(text string, now time.Time) (time.Time, error) {
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago).UTC().Truncate(time.Second), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, usage(fmt.Errorf("%q is neither a time such as %s nor how long ago, such as 10m", text, now.UTC().Format(time.RFC3339)))
	}
	return t, nil
}

// whatText names what is ended as it was asked for, with the id that was meant.
func whatText(args []string, r admin.Revocation) string {
	if r.Kind == "issued-before" {
		return "everything issued before " + moment(r.Before)
	}
	what := r.Kind
	for i, word := range args[1:] {
		what += " " + visible(word)
		if i == 0 && word != r.Value {
			what += " (" + visible(r.Value) + ")"
		}
	}
	return what
}

func endedText(w io.Writer, args []string, r admin.Revocation, e admin.Ended, now time.Time) error {
	what := whatText(args, r)
	did, would := "Ended", "would end"
	if r.Effect == "step-up" {
		did, would = "Asked for a new authentication", "would ask for a new authentication"
	}
	if e.DryRun {
		fmt.Fprintf(w, "Nothing was done. It %s: %s.\n", would, what)
	} else {
		fmt.Fprintf(w, "%s: %s, at position %d of the feed.\n", did, what, e.Position)
	}
	switch {
	case e.Uncounted:
		fmt.Fprintln(w, "What it hit could not be counted: the server's log says why.")
	case e.Unknown:
		noun, stands := r.Kind, "The rule stands all the same."
		if noun == "kid" {
			noun = "key"
		}
		if e.DryRun {
			stands = "A rule would stand all the same."
		}
		fmt.Fprintf(w, "No %s of this id is known here: is it spelled right? %s\n", noun, stands)
	default:
		hitText(w, e.Hit, e.DryRun, now)
	}
	if e.DryRun {
		return nil
	}
	after := ""
	if e.Confirmed > 0 {
		after = fmt.Sprintf(", the last after %.1f ms", e.After)
	}
	if err := confirmedText(w, e.Confirmed, after, e.Unreached, now); err != nil {
		return err
	}
	if r.Kind == "client" && r.Effect != "step-up" {
		_, err := fmt.Fprintf(w, "Unless it is switched off it can get new tokens: writ client set %s --disabled\n", visible(r.Value))
		return err
	}
	return nil
}

// confirmedText says which guards obey and which do not say so.
func confirmedText(w io.Writer, confirmed int, after string, unreached []admin.Guard, now time.Time) error {
	silent := 0
	for _, g := range unreached {
		if !g.Connected {
			silent++
		}
	}
	fmt.Fprintf(w, "%d of %d connected guards confirmed%s.\n", confirmed, confirmed+len(unreached)-silent, after)
	for _, g := range unreached {
		word := "not yet"
		if !g.Connected {
			word = "gone or cut off"
		}
		fmt.Fprintf(w, "  %s: %s %s, which last reported %s\n", word, visible(g.ClientID), visible(g.Instance), ago(g.Seen, now))
	}
	return nil
}

// hitText says how much is hit, with samples before it is done.
func hitText(w io.Writer, h admin.Hit, samples bool, now time.Time) {
	if h.Sessions+h.Grants+h.Clients+h.Resources == 0 {
		if samples {
			fmt.Fprintln(w, "It is about tokens alone: no session, grant, client or resource here belongs to it.")
		}
		return
	}
	fmt.Fprintf(w, "It is about %s, %s, %s and %s.\n", count(h.Sessions, "session"), count(h.Grants, "grant"),
		count(h.Clients, "client"), count(h.Resources, "resource"))
	if !samples {
		return
	}
	for _, s := range h.Samples.Sessions {
		fmt.Fprintf(w, "  session %s of %s, from %s, signed in %s\n", s.ID, visible(s.Subject), s.Address, ago(s.Since, now))
	}
	for _, g := range h.Samples.Grants {
		fmt.Fprintf(w, "  grant %s of %s to %s, given %s\n", g.ID, visible(g.Subject), visible(g.ClientID), ago(g.Since, now))
	}
	for _, c := range h.Samples.Clients {
		fmt.Fprintf(w, "  client %s\n", visible(c))
	}
	for _, uri := range h.Samples.Resources {
		fmt.Fprintf(w, "  resource %s\n", visible(uri))
	}
	all := h.Sessions + h.Grants + h.Clients + h.Resources
	shown := len(h.Samples.Sessions) + len(h.Samples.Grants) + len(h.Samples.Clients) + len(h.Samples.Resources)
	if all > shown {
		fmt.Fprintf(w, "  and %d more\n", all-shown)
	}
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
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
