package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/writ-auth/writ/internal/admin"
	"github.com/writ-auth/writ/internal/config"
	"github.com/writ-auth/writ/internal/mint"
	"github.com/writ-auth/writ/internal/server"
	"github.com/writ-auth/writ/internal/store"
)

// host is the door for whoever has the host: into the store itself. It works
// when nobody can sign in and every key is lost.
type host struct {
	config, data, database, issuer, seal string
}

func adminCommand() *cobra.Command {
	h := &host{}
	cmd := &cobra.Command{
		Use: "admin COMMAND", Short: "Do the same on the server's host, in its store; invite owners",
		Long: `Does what operators do, on the server's host and in the store itself: no token is
needed, and the server may run or not. Where the store is comes from the
configuration file of writ serve, from flags, or with --data from a writ dev.`,
	}
	h.add(cmd)
	cmd.AddCommand(inviteCommand(h), revokeCommand(inner{h}))
	cmd.AddCommand(nounCommands(inner{h})...)
	return cmd
}

// inner is host for commands below `writ admin`, which has the flags already.
type inner struct{ *host }

func (inner) add(*cobra.Command) {}

func (h *host) add(cmd *cobra.Command) {
	flags := cmd.PersistentFlags()
	flags.StringVar(&h.config, "config", os.Getenv("WRIT_CONFIG"), "configuration file of writ serve (WRIT_CONFIG)")
	flags.StringVar(&h.data, "data", "", "directory of a writ dev, instead")
	flags.StringVar(&h.database, "database", os.Getenv("WRIT_DATABASE"), "sqlite:FILE or postgres://… (WRIT_DATABASE)")
	flags.StringVar(&h.issuer, "issuer", "", "the issuer's URL")
	flags.StringVar(&h.seal, "seal-key-file", os.Getenv("WRIT_SEAL_KEY_FILE"), "file with the sealing key; only key commands need it (WRIT_SEAL_KEY_FILE)")
}

func (h *host) open(ctx context.Context) (*api, error) {
	a, db, err := h.admin(ctx)
	if err != nil {
		return nil, err
	}
	out := newAPI(a.Issuer(), server.HostAdmin(a, hostUser()))
	out.close = db.Close
	return out, nil
}

// admin opens the store, and the keys where the sealing key is at hand.
func (h *host) admin(ctx context.Context) (*admin.Admin, *store.DB, error) {
	at := *h
	algorithms, err := at.complete()
	if err != nil {
		return nil, nil, err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	kind := "serve"
	if at.data != "" {
		kind = "dev"
	}
	db, err := store.Open(ctx, store.Config{URL: at.database, Issuer: at.issuer, Kind: kind, Logger: log})
	if err != nil {
		return nil, nil, err
	}
	cfg := admin.Config{Issuer: at.issuer, DB: db, Logger: log}
	if at.seal != "" {
		if cfg.Keys, err = openKeys(ctx, at, db, algorithms, log); err != nil {
			_ = db.Close()
			return nil, nil, err
		}
	}
	a, err := admin.New(cfg)
	if err != nil {
		_ = db.Close()
		return nil, nil, err
	}
	return a, db, nil
}

func openKeys(ctx context.Context, at host, db *store.DB, algorithms []string, log *slog.Logger) (*mint.Mint, error) {
	seal, err := mint.ReadSealKey(at.seal)
	if err != nil {
		return nil, err
	}
	return mint.Open(ctx, mint.Config{Issuer: at.issuer, DB: db, Seal: seal, Algorithms: algorithms, Logger: log})
}

// complete fills in from the configuration file or the directory of writ dev
// what no flag says. It never lets a mistyped name make a new, empty store.
func (h *host) complete() (algorithms []string, err error) {
	switch {
	case h.data != "":
		if p, err := (&where{data: h.data}).resolve(); err == nil {
			h.issuer = cmp.Or(h.issuer, p.issuer)
		}
		h.database = "sqlite:" + filepath.Join(h.data, "writ.db")
		h.seal = filepath.Join(h.data, "seal.key")
	case h.config != "":
		f, err := config.Load(h.config)
		if err != nil {
			return nil, err
		}
		if f.Serve == nil {
			return nil, usage(fmt.Errorf("%s has no serve in it", h.config))
		}
		h.issuer = cmp.Or(h.issuer, f.Serve.Issuer)
		h.database = cmp.Or(h.database, f.Serve.Database)
		h.seal = cmp.Or(h.seal, f.Serve.SealKeyFile)
		algorithms = f.Serve.Keys.Algorithms
	}
	h.issuer = strings.TrimSuffix(h.issuer, "/")
	switch {
	case h.issuer == "":
		return nil, usage(errors.New("whose store? Give the issuer's URL with --issuer, or the server's configuration file with --config"))
	case h.database == "":
		return nil, usage(errors.New("which store? Give --database, or the server's configuration file with --config"))
	}
	if file, ok := strings.CutPrefix(h.database, "sqlite:"); ok || !strings.Contains(h.database, "://") {
		if _, err := os.Stat(file); err != nil {
			return nil, fmt.Errorf("open store: %w", err)
		}
	}
	return algorithms, nil
}

// hostUser is how the audit trail names a user of the host.
func hostUser() admin.By {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	return admin.By{Actor: "host:" + name}
}

// served refuses an issuer that no server has had in this store yet: a code made
// under a mistyped name would be good nowhere.
func served(ctx context.Context, db *store.DB, issuer string) error {
	var keys []*store.Key
	err := db.View(ctx, func(tx *store.Tx) (err error) {
		keys, err = tx.Keys()
		return err
	})
	if err == nil && len(keys) == 0 {
		err = fmt.Errorf("this store knows no issuer %s: start writ serve with it first, or mend --issuer", issuer)
	}
	return err
}

func inviteCommand(h *host) *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use: "invite", Short: "Invite an owner: a code that makes one account which may do everything", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			a, db, err := h.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer func() { _ = db.Close() }()
			if err := served(cmd.Context(), db, a.Issuer()); err != nil {
				return err
			}
			i, err := a.Invite(cmd.Context(), hostUser())
			if err != nil {
				return err
			}
			return out.print(cmd.OutOrStdout(), i, func(w io.Writer) error {
				err := pairs(w, [][2]string{{"open", i.URL}, {"code", string(i.Code)}, {"until", moment(i.Expires)}})
				fmt.Fprintln(w, "\nThe code works once. Whoever types it there chooses name and password of the owner.")
				return err
			})
		},
	}
	out.add(cmd)
	return cmd
}
