package web

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestInvite(t *testing.T) {
	var got []Invited
	answer := error(nil)
	s := newSite(t, func(c *Config) {
		c.Invite = func(_ context.Context, in Invited) error {
			got = append(got, in)
			return answer
		}
	})
	b := s.browser("owner")
	page := b.get("/invite")
	if page.StatusCode != http.StatusOK {
		t.Fatalf("status = %d, want 200", page.StatusCode)
	}
	form := func() url.Values {
		return page.form("code", "secret-code", "username", "olive", "name", "Olive", "password", "correct horse battery")
	}

	answer = Rejection("This code is not good.")
	p := b.post("/invite", form())
	if p.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(p.body, "This code is not good.") {
		t.Errorf("rejected: status %d, want 422 and the reason", p.StatusCode)
	}
	if !strings.Contains(p.body, `value="olive"`) || strings.Contains(p.body, "secret-code") {
		t.Error("rejected: the user name must stay in the form, the code must not")
	}

	answer = errors.New("database is gone")
	if p := b.post("/invite", form()); p.StatusCode != http.StatusInternalServerError || strings.Contains(p.body, "database") {
		t.Errorf("broken: status %d, want 500 without the detail", p.StatusCode)
	}

	answer = nil
	if p := b.post("/invite", form()); p.StatusCode != http.StatusOK || !strings.Contains(p.body, "invite-login") {
		t.Errorf("accepted: status %d, want 200 and the way to sign in", p.StatusCode)
	}
	if n := len(got); n != 3 || got[2].Code != "secret-code" || got[2].Username != "olive" || got[2].Address == "" {
		t.Errorf("Invite was called %d times, last with %v", n, got[n-1])
	}

	// Another browser's form, or none of ours, is refused before anything is looked at.
	other := s.browser("other")
	other.get("/invite")
	if p := other.post("/invite", form()); p.StatusCode != http.StatusForbidden {
		t.Errorf("another browser's form: status %d, want 403", p.StatusCode)
	}
	if len(got) != 3 {
		t.Error("a foreign form reached Invite")
	}
}
