package keyset

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/writ-auth/writ/internal/jose"
)

func TestRestoredKeysAreAsOldAsTheyAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		iss := newIssuer(asURL, newKey(t, "b"), newKey(t, "a"))
		s := start(t, iss.config())
		time.Sleep(time.Second)
		document, fetched, err := s.Copy()
		if err != nil || document == nil || time.Since(fetched) > time.Second {
			t.Fatalf("copy = %s, fetched %s, %v", document, fetched, err)
		}
		time.Sleep(5 * time.Hour)
		iss.change(func() { iss.refuse = true })
		next, err := New(iss.config())
		if err != nil {
			t.Fatal(err)
		}
		d, err := next.Draft(document, fetched)
		if err != nil || d.Key("a") == nil || d.Key("c") != nil {
			t.Fatalf("draft = %v, %v, want key a in it and no key c", d, err)
		}
		next.Restore(d)
		if next.Lookup("a") == nil || next.Lookup("b") == nil || !next.Ready() {
			t.Error("the restored keys are not held")
		}
		state := next.State()
		if !state.Fetched.Equal(fetched) || len(state.Keys) != 2 || !state.Keys[0].Since.Equal(fetched) {
			t.Errorf("state = %+v, want two keys fetched at %s", state, fetched)
		}
		if again, _, err := next.Copy(); err != nil || string(again) != string(document) {
			t.Errorf("copy of the copy = %s, %v, want %s", again, err, document)
		}
		time.Sleep(19*time.Hour + time.Second) // a day after they were fetched
		if next.Lookup("a") != nil || next.Ready() {
			t.Error("keys are trusted for longer than if they had never been on disk")
		}
		if _, err := next.Draft(document, fetched); err == nil {
			t.Error("a draft of keys that are too old")
		}
	})
}

func TestTheIssuerOverrulesRestoredKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		withdrawn, stays := newKey(t, "withdrawn"), newKey(t, "stays")
		document, err := jose.EncodeSet([]jose.Key{withdrawn, stays})
		if err != nil {
			t.Fatal(err)
		}
		iss := newIssuer(asURL, stays)
		cfg := iss.config()
		var changes atomic.Int32
		cfg.Changed = func() { changes.Add(1) }
		s, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		d, err := s.Draft(document, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		s.Restore(d)
		before := s.Lookup("stays")
		go func() { _ = s.Run(t.Context()) }()
		time.Sleep(time.Second)
		if s.Lookup("withdrawn") != nil || s.Lookup("stays") != before || changes.Load() != 1 {
			t.Errorf("withdrawn key held: %t, the other is the same: %t, changes %d; want false, true, 1",
				s.Lookup("withdrawn") != nil, s.Lookup("stays") == before, changes.Load())
		}
		s.Restore(d)
		if s.Lookup("withdrawn") != nil {
			t.Error("a copy brings back what the issuer withdrew")
		}
	})
}

func TestDraftRefusesWhatCopyDoesNotWrite(t *testing.T) {
	iss := newIssuer(asURL)
	s, err := New(iss.config())
	if err != nil {
		t.Fatal(err)
	}
	key, err := newKey(t, "a").Encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, document := range map[string]string{
		"nothing":     ``,
		"no set":      `[]`,
		"no keys":     `{"keys":[]}`,
		"a secret":    `{"keys":[` + string(key) + `,{"kty":"oct","kid":"s","k":"AAAA"}]}`,
		"a key twice": `{"keys":[` + string(key) + `,` + string(key) + `]}`,
		"a tail":      `{"keys":[` + string(key) + `]}x`,
	} {
		if _, err := s.Draft([]byte(document), time.Now()); err == nil {
			t.Errorf("%s: drafted, want an error", name)
		}
	}
	d, err := s.Draft([]byte(`{"keys":[`+string(key)+`]}`), time.Now().Add(time.Hour))
	if err != nil || d.fetched.After(time.Now()) {
		t.Errorf("keys of the future: fetched %v, %v, want now", d, err)
	}
}
