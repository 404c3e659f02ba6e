package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/writ-auth/writ/internal/admin"
)

func userCommand(d door) *cobra.Command {
	v := &verb{door: d}
	add := &cobra.Command{
		Use: "add USERNAME", Short: "Add a person", Args: one("USERNAME"),
		Long: "Adds a person. The password is asked for, or read from standard input with\n--password-stdin; with --no-password nobody can sign in to the account yet.",
	}
	flags := addUserFlags(add)
	none := add.Flags().Bool("no-password", false, "without a password")
	add.RunE = v.run(func(ctx context.Context, a *api, cmd *cobra.Command, args []string) error {
		in, err := flags.patch(cmd)
		if err != nil {
			return err
		}
		in["username"] = args[0]
		if in["password"] == nil && !*none {
			if in["password"], err = askPassword(cmd); err != nil {
				return err
			}
		}
		var u admin.User
		if err := a.call(ctx, http.MethodPost, "users", in, &u); err != nil {
			return err
		}
		return v.showUser(cmd, u)
	})
	set := &cobra.Command{Use: "set USER", Short: "Change what is given; a new password signs the person out everywhere", Args: one("USER")}
	changes := addUserFlags(set)
	set.Flags().BoolVar(&changes.disabled, "disabled", false, "switch the account off and end everything; --disabled=false: on again")
	set.RunE = v.run(func(ctx context.Context, a *api, cmd *cobra.Command, args []string) error {
		in, err := changes.patch(cmd)
		if err != nil {
			return err
		}
		if len(in) == 0 {
			return usage(errors.New("nothing to change: give a flag"))
		}
		u, err := findUser(ctx, a, args[0])
		if err != nil {
			return err
		}
		if err := a.call(ctx, http.MethodPatch, "users/"+u.ID, in, &u); err != nil {
			return err
		}
		return v.showUser(cmd, u)
	})
	return v.noun("user", "Manage people: add, list, show, set, remove", add, userList(v), userShow(v), set, userRemove(v))
}

// userFlags are what a person can be given.
type userFlags struct {
	name, email            string
	admin, disabled, stdin bool
}

func addUserFlags(cmd *cobra.Command) *userFlags {
	f := &userFlags{}
	flags := cmd.Flags()
	flags.StringVar(&f.name, "name", "", "name for people (default: the user name)")
	flags.StringVar(&f.email, "email", "", "e-mail address")
	flags.BoolVar(&f.admin, "admin", false, "may operate the server")
	flags.BoolVar(&f.stdin, "password-stdin", false, "read the password from standard input, one line")
	return f
}

func (f *userFlags) patch(cmd *cobra.Command) (map[string]any, error) {
	in := map[string]any{}
	for flag, value := range map[string]any{"name": f.name, "email": f.email, "admin": f.admin, "disabled": f.disabled} {
		if cmd.Flags().Changed(flag) {
			in[flag] = value
		}
	}
	if f.stdin {
		line, err := bufio.NewReader(io.LimitReader(cmd.InOrStdin(), 4096)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read password: %w", err)
		}
		password := strings.TrimRight(line, "\r\n")
		if password == "" {
			return nil, usage(errors.New("standard input has no password"))
		}
		in["password"] = password
	}
	return in, nil
}

// askPassword asks at the terminal, twice.
func askPassword(cmd *cobra.Command) (string, error) {
	in, ok := cmd.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return "", usage(errors.New("which password? Give it with --password-stdin, or give --no-password"))
	}
	read := func(prompt string) (string, error) {
		fmt.Fprint(cmd.ErrOrStderr(), prompt)
		text, err := term.ReadPassword(int(in.Fd()))
		fmt.Fprintln(cmd.ErrOrStderr())
		if err != nil {
			return "", fmt.Errorf("read password: %w", err)
		}
		return string(text), nil
	}
	first, err := read("Password: ")
	if err != nil {
		return "", err
	}
	second, err := read("Again: ")
	if err != nil {
		return "", err
	}
	if first != second {
		return "", usage(errors.New("the two passwords differ"))
	}
	return first, nil
}

// findUser finds a person by id or user name. Ids begin in a way that a user name
// may too, so a name that is nobody's id is still looked up as a name.
func findUser(ctx context.Context, a *api, text string) (admin.User, error) {
	var u admin.User
	err := errNobody(text)
	if strings.HasPrefix(text, "u_") {
		err = a.call(ctx, http.MethodGet, "users/"+url.PathEscape(text), nil, &u)
		var said *refusal
		if err == nil || !errors.As(err, &said) || said.status != http.StatusNotFound {
			return u, err
		}
	}
	var p admin.Page[admin.User]
	if err := a.call(ctx, http.MethodGet, "users?"+url.Values{"username": {text}}.Encode(), nil, &p); err != nil {
		return u, err
	}
	if len(p.Items) == 0 {
		return u, err
	}
	return p.Items[0], nil
}

// nobody is a name that no person has.
type nobody string

func (n nobody) Error() string { return fmt.Sprintf("nobody is called %q here", string(n)) }

func errNobody(name string) error { return &failure{exitRefused, nobody(name)} }

func (v *verb) showUser(cmd *cobra.Command, u admin.User) error {
	return v.out.print(cmd.OutOrStdout(), u, func(w io.Writer) error {
		return pairs(w, [][2]string{
			{"id", u.ID}, {"username", u.Username}, {"name", u.Name}, {"email", u.Email},
			{"admin", yes(u.Admin)}, {"disabled", yes(u.Disabled)}, {"created", moment(u.Created)},
		})
	})
}

func userList(v *verb) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List people", Args: cobra.NoArgs,
		RunE: v.run(func(ctx context.Context, a *api, cmd *cobra.Command, _ []string) error {
			found, err := all[admin.User](ctx, a, "users", 0)
			if err != nil {
				return err
			}
			slices.SortFunc(found, func(x, y admin.User) int { return strings.Compare(x.Username, y.Username) })
			return v.out.print(cmd.OutOrStdout(), found, func(w io.Writer) error {
				var lines [][]string
				for _, u := range found {
					marks := ""
					if u.Admin {
						marks = "admin"
					}
					if u.Disabled {
						marks = strings.TrimSpace("DISABLED " + marks)
					}
					lines = append(lines, []string{u.Username, u.Name, u.Email, marks, u.ID})
				}
				return rows(w, []string{"USERNAME", "NAME", "EMAIL", "MARKS", "ID"}, lines)
			})
		}),
	}
}

func userShow(v *verb) *cobra.Command {
	return &cobra.Command{
		Use: "show USER", Short: "Show a person, by user name or ID", Args: one("USER"),
		RunE: v.run(func(ctx context.Context, a *api, cmd *cobra.Command, args []string) error {
			u, err := findUser(ctx, a, args[0])
			if err != nil {
				return err
			}
			return v.showUser(cmd, u)
		}),
	}
}

func userRemove(v *verb) *cobra.Command {
	return &cobra.Command{
		Use: "remove USER", Short: "Remove a person and end everything they are signed in to", Args: one("USER"),
		RunE: v.run(func(ctx context.Context, a *api, cmd *cobra.Command, args []string) error {
			u, err := findUser(ctx, a, args[0])
			if err != nil {
				return err
			}
			if err := a.call(ctx, http.MethodDelete, "users/"+u.ID, nil, nil); err != nil {
				return err
			}
			return v.out.print(cmd.OutOrStdout(), map[string]string{"removed": u.ID}, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "%s (%s) is removed.\n", visible(u.Username), u.ID)
				return err
			})
		}),
	}
}
