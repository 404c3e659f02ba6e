package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// output is the flag --output of commands that print records.
type output struct{ form string }

func (o *output) add(cmd *cobra.Command) {
	cmd.PersistentFlags().StringVarP(&o.form, "output", "o", "table", "table or json")
}

func (o *output) check() error {
	if o.form != "table" && o.form != "json" {
		return usage(fmt.Errorf("--output %q is neither table nor json", o.form))
	}
	return nil
}

// print writes v as one JSON value, or lets table write it.
func (o *output) print(w io.Writer, v any, table func(io.Writer) error) error {
	if o.form == "table" {
		return table(w)
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// Styles of a terminal.
const (
	bold  = "1"
	green = "32"
	red   = "31"
)

// paint gives text a style where w is a terminal that nobody asked to be plain
// (NO_COLOR, no-color.org).
func paint(w io.Writer, style, text string) string {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

// rows writes a list with a line of headings, or says that there is nothing.
func rows(w io.Writer, headings []string, lines [][]string) error {
	if len(lines) == 0 {
		_, err := fmt.Fprintln(w, "none")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(headings, "\t"))
	for _, line := range lines {
		for i, cell := range line {
			line[i] = visible(cell)
		}
		fmt.Fprintln(t, strings.Join(line, "\t"))
	}
	return t.Flush()
}

// pairs writes one record, a line for each member.
func pairs(w io.Writer, members [][2]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, m := range members {
		fmt.Fprintf(t, "%s\t%s\n", m[0], visible(m[1]))
	}
	return t.Flush()
}

// visible keeps what others wrote from moving the cursor, and shows what is empty.
func visible(s string) string {
	if s == "" {
		return "-"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// moment is a time for people, "" for none.
func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

// span is a length of time in its two largest units.
func span(d time.Duration) string {
	d = d.Abs().Round(time.Second)
	units := []struct {
		name string
		size time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"min", time.Minute}, {"s", time.Second}}
	for i, u := range units {
		if d < u.size && u.size > time.Second {
			continue
		}
		text := fmt.Sprintf("%d %s", d/u.size, u.name)
		if rest := d % u.size; i+1 < len(units) && rest >= units[i+1].size {
			text += fmt.Sprintf(" %d %s", rest/units[i+1].size, units[i+1].name)
		}
		return text
	}
	return ""
}

// ago says how far t is from now.
func ago(t, now time.Time) string {
	switch left := t.Sub(now); {
	case left > 0 && left < time.Second:
		return "now"
	case left <= 0 && left > -time.Second:
		return "just now"
	case left > 0:
		return "in " + span(t.Sub(now))
	}
	return span(now.Sub(t)) + " ago"
}
