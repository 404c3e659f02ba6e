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
	in, err := h.enter(ctx)
	if err != nil {
		return nil, err
	}
	out := newAPI(in.admin.Issuer(), server.HostAdmin(in.admin, hostUser()))
	out.close = in.close
	return out, nil
}

// inside is what the door leads to.
type inside struct {
	admin *admin.Admin
	db    *store.DB
	vault vault // may be nil
}

func (in *inside) close() error {
	err := in.db.Close()
	if in.vault != nil {
		err = errors.Join(err, in.vault.Close())
	}
	return err
}

// enter opens the store, and the keys where the sealing key is at hand.
func (h *host) enter(ctx context.Context) (*inside, error) {
	at := *h
	keys, err := at.complete()
	if err != nil {
		return nil, err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	kind := "serve"
	if at.data != "" {
		kind = "dev"
	}
	db, err := store.Open(ctx, store.Config{URL: at.database, Issuer: at.issuer, Kind: kind, Logger: log})
	if err != nil {
		return nil, err
	}
	in := &inside{db: db}
	if err := in.open(ctx, at, keys, log); err != nil {
		_ = in.close()
		return nil, err
	}
	return in, nil
}

func (in *inside) open(ctx context.Context, at host, keys config.Keys, log *slog.Logger) (err error) {
	cfg := admin.Config{Issuer: at.issuer, DB: in.db, Logger: log}
	if at.seal != "" {
		if cfg.Keys, err = in.keys(ctx, at, keys, log); err != nil {
			return err
		}
	}
	in.admin, err = admin.New(cfg)
	return err
}

// keys opens the keys; nil without an error where the token that they should be in
// cannot be reached or lacks them: what ends tokens and clients must work then, too.
func (in *inside) keys(ctx context.Context, at host, keys config.Keys, log *slog.Logger) (*mint.Mint, error) {
	seal, err := mint.ReadSealKey(at.seal)
	if err != nil {
		return nil, err
	}
	var m *mint.Mint
	if in.vault, err = openVault(keys.PKCS11); err == nil {
		m, err = openKeys(ctx, mint.Config{Issuer: at.issuer, DB: in.db, Seal: seal, Logger: log}, keys, in.vault)
	}
	if err != nil && keys.PKCS11 != nil && !errors.Is(err, mint.ErrSeal) {
		log.Warn("keys are not opened: commands about them do not work", "error", err)
		return nil, nil
	}
	return m, err
}

// complete fills in from the configuration file or the directory of writ dev
// what no flag says. It never lets a mistyped name make a new, empty store.
func (h *host) complete() (keys config.Keys, err error) {
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
			return keys, err
		}
		if f.Serve == nil {
			return keys, usage(fmt.Errorf("%s has no serve in it", h.config))
		}
		h.issuer = cmp.Or(h.issuer, f.Serve.Issuer)
		h.database = cmp.Or(h.database, f.Serve.Database)
		h.seal = cmp.Or(h.seal, f.Serve.SealKeyFile)
		keys = f.Serve.Keys
	}
	h.issuer = strings.TrimSuffix(h.issuer, "/")
	switch {
	case h.issuer == "":
		return keys, usage(errors.New("whose store? Give the issuer's URL with --issuer, or the server's configuration file with --config"))
	case h.database == "":
		return keys, usage(errors.New("which store? Give --database, or the server's configuration file with --config"))
	}
	if file, ok := strings.CutPrefix(h.database, "sqlite:"); ok || !strings.Contains(h.database, "://") {
		if _, err := os.Stat(file); err != nil {
			return keys, fmt.Errorf("open store: %w", err)
		}
	}
	return keys, nil
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
			in, err := h.enter(cmd.Context())
			if err != nil {
				return err
			}
			defer func() { _ = in.close() }()
			if err := served(cmd.Context(), in.db, in.admin.Issuer()); err != nil {
				return err
			}
			i, err := in.admin.Invite(cmd.Context(), hostUser())
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
