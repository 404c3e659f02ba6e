//go:build pkcs11

package pkcs11

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// PIN is that of the tokens.
const PIN = "4711 0815"

// SoftHSM makes a token of SoftHSM, with nothing in it.
func SoftHSM(t *testing.T) Config {
	t.Helper()
	module := os.Getenv("WRIT_TEST_SOFTHSM")
	if module == "" {
		if os.Getenv("WRIT_TEST_REQUIRE") != "" {
			t.Fatal("WRIT_TEST_SOFTHSM is not set")
		}
		t.Skip("WRIT_TEST_SOFTHSM is not set")
	}
	dir := t.TempDir()
	conf := filepath.Join(dir, "softhsm2.conf")
	if err := os.WriteFile(conf, []byte("directories.tokendir = "+dir+"\nobjectstore.backend = file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOFTHSM2_CONF", conf)
	out, err := exec.Command("softhsm2-util", "--module", module, "--init-token", "--free", "--label", "writ", "--so-pin", "12345678", "--pin", PIN).CombinedOutput()
	if err != nil {
		t.Fatalf("softhsm2-util: %v\n%s", err, out)
	}
	return Config{Module: module, Label: "writ", PIN: PIN}
}
