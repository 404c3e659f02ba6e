//go:build pkcs11

package main_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/internal/pkcs11"
)

const pin = "4711 0815"

// secured is a server whose signing keys are in a token of SoftHSM.
type secured struct {
	*authority
	token pkcs11.Config
	dir   string
	conf  string // the configuration file
	env   []string
}

// secure makes a token and a configuration that names it.
func secure(t *testing.T) *secured {
	t.Helper()
	module := os.Getenv("WRIT_TEST_SOFTHSM")
	if module == "" {
		if os.Getenv("WRIT_TEST_REQUIRE") != "" {
			t.Fatal("WRIT_TEST_SOFTHSM is not set")
		}
		t.Skip("WRIT_TEST_SOFTHSM is not set")
	}
	s := &secured{dir: t.TempDir(), token: pkcs11.Config{Module: module, Label: "writ", PIN: pin}}
	soft := filepath.Join(s.dir, "softhsm2.conf")
	s.write(t, soft, "directories.tokendir = "+s.dir+"\n")
	t.Setenv("SOFTHSM2_CONF", soft)
	for _, label := range []string{"writ", "empty"} {
		out, err := exec.Command("softhsm2-util", "--module", module, "--init-token", "--free", "--label", label, "--so-pin", "12345678", "--pin", pin).CombinedOutput()
		if err != nil {
			t.Fatalf("softhsm2-util: %v\n%s", err, out)
		}
	}
	s.env = append(environment(t), "SOFTHSM2_CONF="+soft)
	s.conf = filepath.Join(s.dir, "writ.yaml")
	s.configure(t, module, "writ", pin)
	s.authority = prepare(t, "http", newSQLite(t), "--config", s.conf)
	return s
}

func (s *secured) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *secured) configure(t *testing.T, module, token, pin string) {
	t.Helper()
	file := filepath.Join(s.dir, "pin")
	s.write(t, file, pin+"\n")
	s.write(t, s.conf, fmt.Sprintf("serve:\n  keys:\n    pkcs11:\n      module: %s\n      token: %s\n      pin_file: %s\n", module, token, file))
}

// run runs a command over the server's store.
func (s *secured) run(t *testing.T, command ...string) *process {
	t.Helper()
	where := []string{"--config", s.conf, "--issuer", s.issuer, "--database", s.database, "--seal-key-file", s.seal}
	return runAs(t, built(t), s.env, append(command, where...)...)
}

// serve starts the server.
func (s *secured) serve(t *testing.T) {
	t.Helper()
	s.process = s.run(t, append([]string{"serve"}, s.flags...)...)
	s.http.CloseIdleConnections()
	s.answers(t, s.http, s.issuer+"/readyz")
}

// published is the server's key set.
func (s *secured) published(t *testing.T) []jose.Key {
	t.Helper()
	res, err := s.http.Get(s.issuer + "/jwks")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	set, _, err := jose.ParseSet(text)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// signed gets a token, checks it with the published key, and returns the key's id.
func (s *secured) signed(t *testing.T) string {
	t.Helper()
	msg, err := jose.Parse(s.grant(t, own("service", api, "orders:read")).Access)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range s.published(t) {
		if k.ID == msg.Header.KeyID {
			if err := msg.Verify(&k); err != nil {
				t.Fatal(err)
			}
			return k.ID
		}
	}
	t.Fatalf("key %s is not published", msg.Header.KeyID)
	return ""
}

// TestHSMSigns: tokens are signed by keys of the token, after a restart by the same;
// another process rotates them, and the running server finds the new key there.
func TestHSMSigns(t *testing.T) {
	s := secure(t)
	s.serve(t)
	kid := s.signed(t)
	inside, err := pkcs11.Open(s.token)
	if err != nil {
		t.Fatal(err)
	}
	defer inside.Close()
	for _, k := range s.published(t) {
		if _, err := inside.Find(k.ID, k.Alg); err != nil {
			t.Errorf("published key %s: %v, want it in the token", k.ID, err)
		}
	}
	rotate := s.run(t, "admin", "key", "rotate")
	<-rotate.done
	if rotate.err != nil {
		t.Fatalf("writ admin key rotate: %v", rotate.err)
	}
	eventually(t, "the new key is published by the running server", func() error {
		for _, k := range s.published(t) {
			if strings.Contains(rotate.out.String(), k.ID) {
				_, err := inside.Find(k.ID, k.Alg)
				return err
			}
		}
		return errors.New("not yet")
	})
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(s.out.String(), pin) {
		t.Error("the server wrote the PIN")
	}
	s.serve(t)
	if again := s.signed(t); again != kid {
		t.Errorf("after a restart %s signs, want %s", again, kid)
	}
}

// TestHSMOutOfReach: without the token the server does not start, says why, and makes
// no keys elsewhere; what an emergency needs works on its host.
func TestHSMOutOfReach(t *testing.T) {
	s := secure(t)
	s.serve(t)
	before := s.signed(t)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, module, token, pin, want string }{
		{"module", s.token.Module + ".none", "writ", pin, "no such file"},
		{"token", s.token.Module, "none", pin, "could not find PKCS#11 token"},
		{"empty token", s.token.Module, "empty", pin, "open key"},
		{"PIN", s.token.Module, "writ", "87654321", "CKR_PIN_INCORRECT"},
	} {
		s.configure(t, tt.module, tt.token, tt.pin)
		out := s.run(t, append([]string{"serve"}, s.flags...)...).fails(t)
		if !strings.Contains(out, tt.want) || strings.Contains(out, tt.pin) {
			t.Errorf("wrong %s: writ serve says %q, want %q and no PIN", tt.name, out, tt.want)
		}
		list := s.run(t, "admin", "client", "list")
		<-list.done
		if out := list.out.String(); list.err != nil || !strings.Contains(out, "service") || !strings.Contains(out, tt.want) {
			t.Errorf("wrong %s: writ admin client list: %v, %q, want the clients and a warning", tt.name, list.err, out)
		}
	}
	s.configure(t, s.token.Module, "writ", pin)
	s.serve(t)
	if after := s.signed(t); after != before {
		t.Errorf("%s signs, want %s as before", after, before)
	}
}
