package main

import (
	"cmp"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/writ-auth/writ/internal/config"
)

// logFlags are the flags of every command that serves. A flag comes before
// WRIT_LOG, and that before the configuration file.
type logFlags struct {
	level  string
	format string
}

func (f *logFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.level, "log-level", os.Getenv("WRIT_LOG"), "debug, info, warn or error (WRIT_LOG)")
	cmd.Flags().StringVar(&f.format, "log-format", "", "text or json")
}

// logger builds the process's logger; its level can be moved while it runs.
func (f logFlags) logger(file config.Log, usual slog.Level) (*slog.Logger, *slog.LevelVar, error) {
	level := &slog.LevelVar{}
	if err := f.move(level, file, usual); err != nil {
		return nil, nil, err
	}
	options := &slog.HandlerOptions{Level: level}
	switch format := cmp.Or(f.format, file.Format, "text"); format {
	case "text":
		return slog.New(slog.NewTextHandler(os.Stderr, options)), level, nil
	case "json":
		return slog.New(slog.NewJSONHandler(os.Stderr, options)), level, nil
	default:
		return nil, nil, fmt.Errorf("log format %q is not text or json", format)
	}
}

// move sets the level to what flag, environment and file say now.
func (f logFlags) move(level *slog.LevelVar, file config.Log, usual slog.Level) error {
	text := cmp.Or(f.level, file.Level)
	if text == "" {
		level.Set(usual)
		return nil
	}
	var l slog.Level
	if err := l.UnmarshalText([]byte(strings.ToUpper(text))); err != nil {
		return fmt.Errorf("log level %q is not debug, info, warn or error", text)
	}
	level.Set(l)
	return nil
}
