package main

import (
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets scripts run this binary as writ.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"writ": main})
}

// TestScripts runs the command as people do, against a real writ dev.
func TestScripts(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers")
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("XDG_STATE_HOME", e.WorkDir+"/state")
			e.Setenv("XDG_CONFIG_HOME", e.WorkDir+"/config")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "await": await, "browse": browse, "narrow": narrow,
		},
	})
}

// exits CODE COMMAND... runs a command that must end with this exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code = %d, want %d", got, want)
	}
}

// await FILE PATTERN waits for a file with a match, and sets $MATCH to its first
// group or to all of it.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: await FILE PATTERN")
	}
	pattern := regexp.MustCompile(args[1])
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		text, _ := os.ReadFile(ts.MkAbs(args[0])) // not there yet
		if m := pattern.FindSubmatch(text); m != nil {
			ts.Setenv("MATCH", string(m[len(m)-1]))
			return
		}
	}
	ts.Fatalf("%s has no %q in time", args[0], args[1])
}

// narrow fails when the last output is wider than 100 columns or, with a number,
// longer than so many lines.
func narrow(ts *testscript.TestScript, _ bool, args []string) {
	lines := strings.Split(strings.TrimRight(ts.ReadFile("stdout"), "\n"), "\n")
	for _, line := range lines {
		if n := len([]rune(line)); n > 100 {
			ts.Fatalf("a line has %d columns: %q", n, line)
		}
	}
	if len(args) == 1 {
		most, err := strconv.Atoi(args[0])
		ts.Check(err)
		if len(lines) > most {
			ts.Fatalf("%d lines, want at most %d", len(lines), most)
		}
	}
}

var (
	hiddenField = regexp.MustCompile(`<input type="hidden" name="([^"]+)" value="([^"]*)">`)
	address     = regexp.MustCompile(`https?://\S+`)
)

// browse FILE USERNAME PASSWORD opens the first address in a file and does what
// sign-in and consent pages ask for, until another page comes. Its text is the
// output.
func browse(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: browse FILE USERNAME PASSWORD")
	}
	jar, err := cookiejar.New(nil)
	ts.Check(err)
	browser := &http.Client{Jar: jar, Timeout: 20 * time.Second}
	at := address.FindString(ts.ReadFile(args[0]))
	res, err := browser.Get(at)
	for range 6 {
		ts.Check(err)
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		ts.Check(err)
		page := res.Request.URL
		form := url.Values{}
		for _, m := range hiddenField.FindAllStringSubmatch(string(body), -1) {
			form.Set(m[1], html.UnescapeString(m[2]))
		}
		switch page.Path {
		case "/login":
			form.Set("username", args[1])
			form.Set("password", args[2])
		case "/consent":
			form.Set("decision", "allow")
		default:
			_, err := fmt.Fprint(ts.Stdout(), string(body))
			ts.Check(err)
			return
		}
		origin := page.Scheme + "://" + page.Host
		req, rerr := http.NewRequest(http.MethodPost, origin+page.Path, strings.NewReader(form.Encode()))
		ts.Check(rerr)
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", origin)
		res, err = browser.Do(req)
		ts.Check(err)
	}
	ts.Fatalf("the pages do not end")
}
