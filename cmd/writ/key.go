package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/writ-auth/writ/internal/mint"
)

func keyCommand(d door) *cobra.Command {
	v := &verb{door: d}
	list := &cobra.Command{
		Use: "list", Short: "List the keys that sign tokens and the feed", Args: cobra.NoArgs,
		RunE: v.run(func(ctx context.Context, a *api, cmd *cobra.Command, _ []string) error {
			var answer struct {
				Items []mint.KeyState `json:"items"`
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
		var answer struct {
			KeyID string `json:"kid"`
		}
		if err := a.call(ctx, http.MethodPost, "keys/rotate", map[string]string{"algorithm": *alg}, &answer); err != nil {
			return err
		}
		return v.out.print(cmd.OutOrStdout(), answer, func(w io.Writer) error {
			_, err := fmt.Fprintf(w, "Key %s is published and waits.\n", answer.KeyID)
			return err
		})
	})
	return v.noun("key", "Manage keys: list, rotate, seal", list, rotate, sealCommand())
}

func keyTable(w io.Writer, keys []mint.KeyState, now time.Time) error {
	var lines [][]string
	for _, k := range keys {
		since := "made " + ago(k.Created, now)
		switch k.State {
		case "signing":
			since = "signs since " + span(now.Sub(k.Active))
		case "retired":
			since = "leaves " + ago(k.Expires, now)
		}
		lines = append(lines, []string{k.ID, k.Algorithm, k.Use, k.State, since})
	}
	return rows(w, []string{"KID", "ALGORITHM", "USE", "STATE", "WHEN"}, lines)
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
