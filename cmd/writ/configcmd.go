package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/writ-auth/writ/internal/config"
)

func configCommand() *cobra.Command {
	check := &cobra.Command{
		Use: "check FILE", Short: "Say what is wrong with a configuration file, or ok", Args: one("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := config.Load(args[0])
			if err == nil {
				err = f.Check()
			}
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), "ok")
			return nil
		},
	}
	cmd := &cobra.Command{Use: "config COMMAND", Short: "Look at configuration files: check"}
	cmd.AddCommand(check)
	return cmd
}
