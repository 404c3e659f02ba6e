package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/writ-auth/writ/internal/admin"
	"github.com/writ-auth/writ/internal/mint"
)

func keyCommand(d door) *cobra.Command {
	v := &verb{door: d}
	list := &cobra.Command{
		Use: "list", Short: "List the keys that sign tokens and the feed, and those of gateways", Args: cobra.NoArgs,
		RunE: v.run(func(ctx context.Context, a *api, cmd *cobra.Command, _ []string) error {
			var answer struct {
				Items []admin.Key `json:"items"`
			}
			if err := a.call(ctx, http.MethodGet, "keys", nil, &answer); err != nil {
				return err
			}
			return v.out.print(cmd.OutOrStdout(), answer.Items, func(w io.Writer) error { return keyTable(w, answer.Items, time.Now()) })
		}),
	}
	rotate := &cobra.Command{
		Use: "rotate", Short: "Publish the next key now; signing moves to it when every guard can hold it", Args: cobra.NoArgs,
	}
	alg := rotate.Flags().String("algorithm", "", "whose keys, e.g. RS256 (default: the server's first)")
	rotate.RunE = v.run(func(ctx context.Context, a *api, cmd *cobra.Command, _ []string) error {
		var answer admin.Rotated
		if err := a.call(ctx, http.MethodPost, "keys/rotate", map[string]string{"algorithm": *alg}, &answer); err != nil {
			return err
		}
		return v.out.print(cmd.OutOrStdout(), answer, func(w io.Writer) error {
			return rotatedText(w, answer, time.Now())
		})
	})
	return v.noun("key", "Manage keys: list, rotate, compromise, seal", list, rotate, compromiseCommand(v), sealCommand())
}

// rotatedText says of the next key when signing moves to it.
func rotatedText(w io.Writer, k admin.Rotated, now time.Time) error {
	if k.State == "signing" {
		_, err := fmt.Fprintf(w, "Key %s was waiting already, and signs from now on.\n", k.ID)
		return err
	}
	published, from := "waits already, published "+ago(k.Created, now), ""
	if k.New {
		published = "is published"
	}
	if k.Due.After(now) {
		from = fmt.Sprintf(" from %s on (%s),", moment(k.Due), ago(k.Due, now))
	}
	_, err := fmt.Fprintf(w, "Key %s %s. It signs%s once every guard holds it:\n\"writ key list\" says how many do not.\n", k.ID, published, from)
	return err
}

func compromiseCommand(v *verb) *cobra.Command {
	cmd := &cobra.Command{
		Use: "compromise KID", Short: "End a key that leaked, and all it signed; the next one signs at once", Args: one("KID"),
		Long: `Ends a key that leaked: nothing more is signed with it, the next key takes its
place, and every token it signed is refused, within a second at connected guards.
Clients with a refresh token get new tokens by themselves. On the server's host
"writ admin key compromise" does the same when no token is good any more.`,
	}
	cmd.RunE = v.run(func(ctx context.Context, a *api, cmd *cobra.Command, args []string) error {
		var done admin.Compromised
		if err := a.call(ctx, http.MethodPost, "keys/"+url.PathEscape(args[0])+"/compromise", struct{}{}, &done); err != nil {
			return err
		}
		return v.out.print(cmd.OutOrStdout(), done, func(w io.Writer) error { return compromisedText(w, done, time.Now()) })
	})
	return cmd
}

func compromisedText(w io.Writer, c admin.Compromised, now time.Time) error {
	fmt.Fprintf(w, "Key %s is ended, with all it signed. Key %s signs now.\n\n", c.KeyID, c.Next)
	var lines [][]string
	for _, s := range c.Steps {
		lines = append(lines, []string{s.Name, fmt.Sprintf("%.1f ms", s.Took)})
	}
	if err := rows(w, []string{"STEP", "TOOK"}, lines); err != nil {
		return err
	}
	fmt.Fprintln(w)
	return confirmedText(w, c.Confirmed, "", c.Unreached, now)
}

func keyTable(w io.Writer, keys []admin.Key, now time.Time) error {
	var lines, inner [][]string
	for _, k := range keys {
		if k.Use == admin.Inner {
			inner = append(inner, []string{k.ID, k.Algorithm, k.ClientID, ago(k.Created, now), ago(k.Expires, now)})
			continue
		}
		since, alive, late := "made "+ago(k.Created, now), "none", "-"
		switch k.State {
		case "waiting":
			since = "until all guards hold it"
			if k.Due.After(now) {
				since = "signs " + ago(k.Due, now) + " at the earliest"
			}
		case "signing":
			since = "for " + span(now.Sub(k.Active))
		case "retired":
			since = "leaves " + ago(k.Expires, now)
		case "ended":
			since = "ended " + ago(k.Ended, now)
		}
		if k.Latest.After(now) && k.State != "ended" {
			alive = "until " + moment(k.Latest)
		}
		if k.Use == "sign" && k.State != "ended" {
			late = strconv.Itoa(len(k.Late))
		}
		lines = append(lines, []string{k.ID, k.Algorithm, k.Use, k.State, since, alive, late})
	}
	if err := rows(w, []string{"KID", "ALGORITHM", "USE", "STATE", "WHEN", "TOKENS ALIVE", "GUARDS LATE"}, lines); err != nil {
		return err
	}
	for _, k := range keys {
		if !k.Foreign.IsZero() && k.State != "ended" {
			fmt.Fprintf(w, "%s is in foreign hands: a token that it signed and nobody issued was seen %s. Do: writ key compromise %s\n",
				k.ID, ago(k.Foreign, now), k.ID)
		}
		for _, g := range k.Late {
			fmt.Fprintf(w, "%s is not held by %s.\n", k.ID, visible(g))
		}
	}
	if len(inner) == 0 {
		return nil
	}
	fmt.Fprintln(w, "\nGateways mint transaction tokens with these; \"writ revoke client ID\" takes a client's back:")
	return rows(w, []string{"KID", "ALGORITHM", "CLIENT", "MADE", "ENDS"}, inner)
}

func sealCommand() *cobra.Command {
	return &cobra.Command{
		Use: "seal FILE", Short: "Make a sealing key in a new file", Args: one("FILE"),
		Long: `Makes the key that seals the private keys in the database. Keep it apart from the
database and its backups: together they open everything, and without it the
database's keys are lost.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := mint.WriteSealKey(args[0], rand.Reader); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s holds a new sealing key. Give it to writ serve with --seal-key-file.\n", args[0])
			return nil
		},
	}
}
