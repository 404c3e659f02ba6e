// Command writ is the whole of Writ in one binary: the authorization server, the
// gateway, a sample of everything, and the tools of operators.
//
// It owns flags, wiring and what people read in a terminal. Decisions are made in
// the packages below it.
//
// Invariant: the exit code says how it went: 0 done, 1 refused, 2 wrong usage,
// 3 not reachable.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// version is set when a release is built.
var version string

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the command in one call: for main, and for tests.
func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	root := rootCommand()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errs)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitDone
	}
	code := exitCode(err)
	if text := err.Error(); text != "" {
		fmt.Fprintln(errs, "writ: "+text)
	}
	if code == exitUsage {
		fmt.Fprintf(errs, "See %q.\n", cmd.CommandPath()+" --help")
	}
	return code
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "writ COMMAND",
		Short:         "Access tokens: issued, checked, passed on, and ended everywhere within a second",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          someCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cobra.EnableCommandSorting = false // overview and help keep this order
	root.AddGroup(&cobra.Group{ID: "run", Title: "Run"}, &cobra.Group{ID: "tokens", Title: "Tokens"}, &cobra.Group{ID: "operate", Title: "Operate"})
	grouped := func(id string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = id
		}
		root.AddCommand(commands...)
	}
	door := &remote{}
	grouped("run", devCommand(), serveCommand(), gatewayCommand(), benchCommand())
	grouped("tokens", tokenCommand(), revokeCommand(door))
	grouped("operate", append([]*cobra.Command{loginCommand()}, nounCommands(door)...)...)
	grouped("operate", adminCommand())
	root.AddCommand(configCommand(), versionCommand())
	usual := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		if cmd == root {
			overview(cmd)
			return
		}
		usual(cmd, args)
	})
	root.SetUsageTemplate(usageText)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage(err) })
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	strict(root)
	return root
}

// someCommand says which commands there are when one is asked for that is not.
func someCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return usage(fmt.Errorf("there is no command %q; did you mean %q?", args[0], near[0]))
	}
	return usage(fmt.Errorf("there is no command %q", args[0]))
}

// strict makes wrong arguments of every command wrong usage, and a noun without
// a verb show its help.
func strict(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error { return usage(check(cmd, args)) }
	} else if !cmd.Runnable() {
		cmd.Args = someCommand
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	for _, c := range cmd.Commands() {
		strict(c)
	}
}

// overview is `writ help`: all commands on one screen.
func overview(root *cobra.Command) {
	out := root.OutOrStdout()
	fmt.Fprintf(out, "%s.\nUsage: writ COMMAND [--help]\n\n", root.Short)
	also := []string{}
	for _, c := range root.Commands() {
		if c.GroupID == "" {
			also = append(also, c.Name())
		}
	}
	for _, g := range root.Groups() {
		fmt.Fprintln(out, paint(out, bold, g.Title))
		for _, c := range root.Commands() {
			if c.GroupID == g.ID {
				fmt.Fprintf(out, "  %-9s %s\n", c.Name(), c.Short)
			}
		}
	}
	fmt.Fprintf(out, "Also: %s\n", strings.Join(also, ", "))
}

// usageText is how every command but the root shows itself.
const usageText = `Usage: {{if .HasAvailableSubCommands}}{{.CommandPath}} COMMAND{{else}}{{.UseLine}}{{end}}
{{- if .HasExample}}

Examples:
{{.Example}}{{end}}
{{- if .HasAvailableSubCommands}}

Commands:
{{- range .Commands}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}
{{- if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}
{{- if .HasAvailableInheritedFlags}}

Flags of {{.Parent.CommandPath}}:
{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}
`

// Exit codes.
const (
	exitDone        = 0
	exitRefused     = 1
	exitUsage       = 2
	exitUnreachable = 3
)

// failure is an error with its exit code.
type failure struct {
	code int
	err  error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func usage(err error) error {
	if err == nil {
		return nil
	}
	return &failure{exitUsage, err}
}

func unreachable(err error) error { return &failure{exitUnreachable, err} }

func exitCode(err error) int {
	var f *failure
	if errors.As(err, &f) {
		return f.code
	}
	return exitRefused
}

// versionCommand says which release this is.
func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Say which version this is", Args: cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			name, with := version, ""
			if info, ok := debug.ReadBuildInfo(); ok {
				with = info.GoVersion
				if name == "" {
					name = info.Main.Version
				}
			}
			fmt.Fprintf(cmd.OutOrStdout(), "writ %s %s\n", name, with)
		},
	}
}
