//go:build pkcs11

package pkcs11_test

import (
	"crypto"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/ThalesGroup/crypto11"

	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/internal/pkcs11"
)

const pin = pkcs11.PIN

// open opens a token until the end of the test.
func open(t *testing.T, cfg pkcs11.Config) *pkcs11.Token {
	t.Helper()
	v, err := pkcs11.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	return v
}

// check signs with a key and checks that with its public half.
func check(t *testing.T, key crypto.Signer, alg string) {
	t.Helper()
	compact, err := jose.Sign(key, alg, jose.Header{Alg: alg}.Encode(), []byte("{}"))
	if err != nil {
		t.Error(err)
		return
	}
	msg, err := jose.Parse(compact)
	if err != nil {
		t.Fatal(err)
	}
	if err := msg.Verify(&jose.Key{Alg: alg, Public: key.Public()}); err != nil {
		t.Errorf("%s: Verify = %v, want none", alg, err)
	}
}

// TestKeysOutliveTheProcess: what was made is found again, signs the same, and is
// gone when it was removed.
func TestKeysOutliveTheProcess(t *testing.T) {
	cfg := pkcs11.SoftHSM(t)
	made := map[string]crypto.Signer{}
	v, err := pkcs11.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, alg := range []string{jose.ES256, jose.RS256, jose.PS256} {
		if made[alg], err = v.Make("kid-"+alg, alg); err != nil || !v.Makes(alg) {
			t.Fatalf("Make(%s) = %v, Makes = %v, want a key", alg, err, v.Makes(alg))
		}
		check(t, made[alg], alg)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	v = open(t, cfg)
	for alg, before := range made {
		key, err := v.Find("kid-"+alg, alg)
		if err != nil {
			t.Fatal(err)
		}
		if !key.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(before.Public()) {
			t.Errorf("%s: another public key after a restart", alg)
		}
		check(t, key, alg)
		for range 2 { // it may be gone already
			if err := v.Remove("kid-" + alg); err != nil {
				t.Errorf("%s: Remove = %v, want none", alg, err)
			}
		}
		if _, err := v.Find("kid-"+alg, alg); err == nil {
			t.Errorf("%s: found after it was removed", alg)
		}
	}
	if left := objects(t, cfg); left != "" {
		t.Errorf("the token has %s, want nothing left in it", left)
	}
}

// objects lists what a token holds, by label, as another program sees it.
func objects(t *testing.T, cfg pkcs11.Config) string {
	t.Helper()
	ctx := other(t, cfg)
	pairs, err := ctx.FindAllKeyPairs()
	if err != nil {
		t.Fatal(err)
	}
	var labels []string
	for _, pair := range pairs {
		a, err := ctx.GetAttribute(pair, crypto11.CkaLabel)
		if err != nil {
			t.Fatal(err)
		}
		labels = append(labels, string(a.Value))
	}
	return strings.Join(labels, ", ")
}

// other is another program that has the PIN.
func other(t *testing.T, cfg pkcs11.Config) *crypto11.Context {
	t.Helper()
	ctx, err := crypto11.Configure(&crypto11.Config{Path: cfg.Module, TokenLabel: cfg.Label, Pin: cfg.PIN})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ctx.Close() })
	return ctx
}

// TestPrivateKeyStaysInside: nobody reads it out, the PIN in hand or not, and it
// does nothing but sign.
func TestPrivateKeyStaysInside(t *testing.T) {
	cfg := pkcs11.SoftHSM(t)
	v := open(t, cfg)
	for _, alg := range []string{jose.ES256, jose.RS256} {
		if _, err := v.Make(alg, alg); err != nil {
			t.Fatal(err)
		}
	}
	ctx := other(t, cfg)
	pairs, err := ctx.FindAllKeyPairs()
	if err != nil || len(pairs) != 2 {
		t.Fatalf("the token has %d keys, %v, want 2", len(pairs), err)
	}
	for _, pair := range pairs {
		for _, secret := range []crypto11.AttributeType{crypto11.CkaValue, crypto11.CkaPrivateExponent, crypto11.CkaPrime1} {
			if a, err := ctx.GetAttribute(pair, secret); err == nil && a != nil && len(a.Value) > 0 {
				t.Errorf("attribute %d of a private key was read", secret)
			}
		}
		for _, want := range []struct {
			name  crypto11.AttributeType
			value byte
		}{
			{crypto11.CkaSensitive, 1}, {crypto11.CkaAlwaysSensitive, 1}, {crypto11.CkaExtractable, 0},
			{crypto11.CkaNeverExtractable, 1}, {crypto11.CkaPrivate, 1}, {crypto11.CkaDecrypt, 0}, {crypto11.CkaUnwrap, 0},
		} {
			a, err := ctx.GetAttribute(pair, want.name)
			if err != nil || len(a.Value) != 1 || a.Value[0] != want.value {
				t.Errorf("attribute %d = %v, %v, want %d", want.name, a, err, want.value)
			}
		}
	}
}

// TestOtherKeysAreNotOurs: keys of another program in the same token are neither
// used nor removed.
func TestOtherKeysAreNotOurs(t *testing.T) {
	cfg := pkcs11.SoftHSM(t)
	v := open(t, cfg)
	if _, err := other(t, cfg).GenerateRSAKeyPairWithLabel([]byte("kid"), []byte("payroll"), 2048); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Find("kid", jose.RS256); err == nil {
		t.Error("Find took the key of another program")
	}
	if err := v.Remove("kid"); err != nil {
		t.Error(err)
	}
	if got := objects(t, cfg); got != "payroll" {
		t.Errorf("the token has %q, want the other program's key", got)
	}
}

// TestAmbiguousKey: of two keys of one id, neither is taken, nor one of another kind.
func TestAmbiguousKey(t *testing.T) {
	v := open(t, pkcs11.SoftHSM(t))
	for _, id := range []string{"twice", "twice", "once"} {
		if _, err := v.Make(id, jose.ES256); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := v.Find("twice", jose.ES256); err == nil || !strings.Contains(err.Error(), "2 keys") {
		t.Errorf("Find = %v, want two keys refused", err)
	}
	if _, err := v.Find("once", jose.RS256); err == nil || !strings.Contains(err.Error(), "not for RS256") {
		t.Errorf("Find = %v, want a key of another kind refused", err)
	}
}

// TestWrongConfig: what is wrong is named, and the PIN is not.
func TestWrongConfig(t *testing.T) {
	good := pkcs11.SoftHSM(t)
	open(t, good) // it is right
	for _, tt := range []struct {
		name string
		edit func(*pkcs11.Config)
		want string
	}{
		{"module that is not there", func(c *pkcs11.Config) { c.Module += ".none" }, "no such file"},
		{"module that is no library", func(c *pkcs11.Config) { c.Module = os.Args[0] }, "failed to open module"},
		{"token that is not there", func(c *pkcs11.Config) { c.Label = "none" }, `token "none"`},
		{"no module", func(c *pkcs11.Config) { c.Module = "" }, "required"},
		{"no label", func(c *pkcs11.Config) { c.Label = "" }, "required"},
		{"no PIN", func(c *pkcs11.Config) { c.PIN = "" }, "required"},
	} {
		cfg := good
		tt.edit(&cfg)
		v, err := pkcs11.Open(cfg)
		if err == nil {
			_ = v.Close()
			t.Errorf("%s: opened", tt.name)
			continue
		}
		if !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), pin) {
			t.Errorf("%s: %v, want it to say %q and no PIN", tt.name, err, tt.want)
		}
	}
}

// TestWrongPIN stands alone: a process that is logged in already needs no PIN.
func TestWrongPIN(t *testing.T) {
	cfg := pkcs11.SoftHSM(t)
	cfg.PIN = "1234 5678"
	v, err := pkcs11.Open(cfg)
	if err == nil {
		_ = v.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "CKR_PIN_INCORRECT") || strings.Contains(err.Error(), cfg.PIN) {
		t.Errorf("Open = %v, want CKR_PIN_INCORRECT and no PIN", err)
	}
}

func TestPINIsNotPrinted(t *testing.T) {
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		if got := fmt.Sprintf(verb, pkcs11.Config{Module: "m", Label: "l", PIN: pin}); strings.Contains(got, pin) {
			t.Errorf("%s prints %s", verb, got)
		}
	}
}

// TestManySign: requests sign at once, more of them than there are sessions.
func TestManySign(t *testing.T) {
	key, err := open(t, pkcs11.SoftHSM(t)).Make("kid", jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	var signing sync.WaitGroup
	for range 100 {
		signing.Go(func() {
			for range 5 {
				check(t, key, jose.ES256)
			}
		})
	}
	signing.Wait()
}
