package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/writ-auth/writ/internal/demo"
)

// card is what `writ dev` prints: lines to copy, each of which works.
func card(p demo.Place, users []demo.User, data string, usual bool) string {
	flag := ""
	if !usual {
		flag = " --data " + quote(data)
	}
	var b strings.Builder
	line := func(what, command string) { fmt.Fprintf(&b, "  # %s\n  %s\n\n", what, command) }
	fmt.Fprintf(&b, `
  Writ is running. This is a sample: everything stays on this machine.

  Authorization server  %s
  Gateway               %s
  Sample app            %s
  Sign in as            %s with password %s
  Data                  %s

`, p.Issuer, p.Gateway, p.App, users[0].Username, users[0].Password, data)
	writ := self()
	get := "TOKEN=$(" + writ + " token get" + flag + " --client demo-service)"
	call := fmt.Sprintf(`curl -i -H "Authorization: Bearer $TOKEN" %s/orders`, p.Gateway)
	line("get a token, and read it", get+" && "+writ+" token show"+flag+" $TOKEN")
	line("call orders through the gateway: 200, and who called whom", call)
	line("a client that may only read tries to write: 403",
		fmt.Sprintf(`curl -i -X POST -d '{"item":"lamp","count":1}' -H "Authorization: Bearer $(%s token get%s --client demo-reader)" %s/orders`, writ, flag, p.Gateway))
	line("end the token, everywhere, and call again: 401",
		writ+" revoke"+flag+" jti $("+writ+" token show"+flag+" --claim jti $TOKEN) && "+call)
	fmt.Fprintf(&b, "  # sign in with the browser\n  %s\n\n  Ctrl-C stops it.\n", p.App)
	return b.String()
}

// self is how to call this program again: as it was called, or by go run, whose
// binary is gone when it ends.
func self() string {
	path, err := os.Executable()
	if err != nil {
		return "writ"
	}
	if strings.Contains(path, "go-build") {
		return "go run ./cmd/writ"
	}
	if found, err := exec.LookPath("writ"); err == nil && found == path {
		return "writ"
	}
	return quote(path)
}

// quote makes s one word for a shell.
func quote(s string) string {
	if strings.ContainsAny(s, " '\"$\\`*?&;|<>()~#!") {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return s
}
