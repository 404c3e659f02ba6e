//go:build !pkcs11

package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPlainBinaryHasNoPKCS11: where keys should be in a token, a binary that cannot
// reach one does not make them elsewhere. It still does what an emergency needs.
func TestPlainBinaryHasNoPKCS11(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pin, conf := filepath.Join(dir, "pin"), filepath.Join(dir, "writ.yaml")
	if err := os.WriteFile(pin, []byte("1234\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(conf, []byte("serve: {keys: {pkcs11: {module: m.so, token: writ, pin_file: "+pin+"}}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a := prepare(t, "http", newSQLite(t))
	where := []string{"--config", conf, "--issuer", a.issuer, "--database", a.database, "--seal-key-file", a.seal}
	const want = "this binary was built without PKCS#11: build with -tags pkcs11"
	if out := run(t, append([]string{"serve", "--listen", "127.0.0.1:0"}, where...)...).fails(t); !strings.Contains(out, want) {
		t.Errorf("writ serve says %q, want %q", out, want)
	}
	disable := run(t, append([]string{"admin", "client", "set", "service", "--disabled"}, where...)...)
	<-disable.done
	if out := disable.out.String(); disable.err != nil || !strings.Contains(out, "DISABLED") || !strings.Contains(out, want) {
		t.Errorf("writ admin client set: %v, %q, want the client disabled and a warning", disable.err, out)
	}
}
