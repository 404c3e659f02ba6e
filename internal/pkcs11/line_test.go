//go:build pkcs11

package pkcs11

import (
	"crypto"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/pkcs11"

	"github.com/writ-auth/writ/internal/jose"
)

// cut ends every session of this process, and the log-in with them, as a device does
// that restarts.
func cut(t *testing.T, module string) {
	t.Helper()
	p := pkcs11.New(module) // initialized already, by the token under test
	defer p.Destroy()
	slots, err := p.GetSlotList(true)
	if err != nil {
		t.Fatal(err)
	}
	for _, slot := range slots {
		if err := p.CloseAllSessions(slot); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLostSessions: a key goes on signing when the sessions were lost, and the token
// is not opened again and again.
func TestLostSessions(t *testing.T) {
	cfg, now := SoftHSM(t), time.Now()
	cfg.Now = func() time.Time { return now }
	v, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	k, err := v.Make("kid", jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	sign := func() error {
		_, err := jose.Sign(k, jose.ES256, jose.Header{Alg: jose.ES256}.Encode(), []byte("{}"))
		return err
	}
	if err := sign(); err != nil {
		t.Fatal(err)
	}
	first := v.line.ctx
	cut(t, cfg.Module)
	if err := sign(); err != nil {
		t.Errorf("Sign after the sessions were lost: %v, want none", err)
	}
	if _, err := v.Find("kid", jose.ES256); err != nil {
		t.Errorf("Find after the sessions were lost: %v, want none", err)
	}
	second := v.line.ctx
	if second == first {
		t.Error("the token was not opened again")
	}
	cut(t, cfg.Module)
	for range 3 {
		if err := sign(); err == nil || !strings.Contains(err.Error(), "not opened again so soon") {
			t.Errorf("Sign after they were lost at once again: %v, want it refused", err)
		}
	}
	if v.line.ctx != second {
		t.Error("the token was opened again at once")
	}
	now = now.Add(pause)
	if _, err := v.Find("kid", jose.ES256); err != nil {
		t.Errorf("Find after a pause: %v, want none", err)
	}
	if err := sign(); err != nil {
		t.Errorf("Sign after a pause: %v, want none", err)
	}
}

// TestLostSessionsOfMany: requests that sign at once share one new log-in.
func TestLostSessionsOfMany(t *testing.T) {
	cfg := SoftHSM(t)
	v, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	k, err := v.Make("kid", jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	sign := func() {
		if _, err := k.Sign(nil, make([]byte, 32), crypto.SHA256); err != nil {
			t.Errorf("Sign = %v, want none", err)
		}
	}
	for range 2 { // before the sessions are lost, and after
		var signing sync.WaitGroup
		for range 2 * sessions {
			signing.Go(sign)
		}
		signing.Wait()
		cut(t, cfg.Module)
	}
}

// TestSwappedKey: over a new line, another key of the same id does not sign.
func TestSwappedKey(t *testing.T) {
	cfg := SoftHSM(t)
	v, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	k, err := v.Make("kid", jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Remove("kid"); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Make("kid", jose.ES256); err != nil {
		t.Fatal(err)
	}
	cut(t, cfg.Module)
	if _, err := k.Sign(nil, make([]byte, 32), crypto.SHA256); err == nil || !strings.Contains(err.Error(), "another key") {
		t.Errorf("Sign = %v, want another key refused", err)
	}
}

// TestRefusedPINIsNotTriedAgain: a device locks itself after a few wrong PINs, and a
// server has many requests.
func TestRefusedPINIsNotTriedAgain(t *testing.T) {
	refusal := pkcs11.Error(pkcs11.CKR_PIN_INCORRECT)
	l := &line{cfg: Config{Module: "none"}, why: refusal}
	if _, err := l.open(nil); !errors.Is(err, refusal) {
		t.Errorf("open = %v, want %v and no attempt", err, refusal)
	}
}
