package login

import (
	"bytes"
	"net/http/httptest"
	"testing"
	"time"
)

func TestCookieNames(t *testing.T) {
	for issuer, want := range map[string][3]string{
		"https://as.example":      {"__Host-writ", "__Host-writ-flow", "__Host-writ-device"},
		"https://as.example:8443": {"__Host-writ", "__Host-writ-flow", "__Host-writ-device"},
		"http://127.0.0.1:8400":   {"writ_8400", "writ_8400_flow", "writ_8400_device"},
		"http://[::1]:8400/t":     {"writ_8400", "writ_8400_flow", "writ_8400_device"},
		"http://localhost":        {"writ_80", "writ_80_flow", "writ_80_device"},
	} {
		session, flow := Cookie(issuer)
		if got := [3]string{session, flow, DeviceCookie(issuer)}; got != want {
			t.Errorf("cookies of %s = %q, want %q", issuer, got, want)
		}
	}
}

func TestSetCookie(t *testing.T) {
	for _, tt := range []struct {
		issuer string
		age    time.Duration
		want   string
	}{
		{"https://as.example", 0, "n=v; Path=/; HttpOnly; Secure; SameSite=Lax"},
		{"https://as.example", time.Hour, "n=v; Path=/; Max-Age=3600; HttpOnly; Secure; SameSite=Lax"},
		{"https://as.example", -1, "n=v; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax"},
		{"http://127.0.0.1:8400", 0, "n=v; Path=/; HttpOnly; SameSite=Lax"},
	} {
		w := httptest.NewRecorder()
		SetCookie(w, tt.issuer, "n", "v", tt.age)
		if got := w.Header().Get("Set-Cookie"); got != tt.want {
			t.Errorf("SetCookie(%s, %v) = %q, want %q", tt.issuer, tt.age, got, tt.want)
		}
	}
}

func TestNewSecret(t *testing.T) {
	s, err := NewSecret(bytes.NewReader(make([]byte, 32)))
	if err != nil || len(s) != 43 {
		t.Errorf("NewSecret = %q, %v, want 43 characters", s, err)
	}
	if _, ok := hashSecret(s); !ok {
		t.Error("a secret of our own has no hash")
	}
	if _, err := NewSecret(bytes.NewReader(make([]byte, 31))); err == nil {
		t.Error("a secret of 31 random bytes")
	}
}
