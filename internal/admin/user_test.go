package admin

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/login"
	"github.com/writ-auth/writ/internal/store"
)

const goodPassword = "correct horse battery"

func TestUserRules(t *testing.T) {
	b := newBench(t)
	tests := []struct {
		name     string
		in       User
		password login.Secret
		field    string
	}{
		{"plain", User{Username: "alice"}, goodPassword, "ok"},
		{"all", User{Username: "bob@example.com", Name: "Bob B.", Email: "bob@example.com", Admin: true}, goodPassword, "ok"},
		{"no password", User{Username: "carol"}, "", "ok"},
		{"trimmed", User{Username: "  dave "}, "", "ok"},
		{"no name", User{}, goodPassword, "username"},
		{"space inside", User{Username: "al ice"}, goodPassword, "username"},
		{"invisible", User{Username: "ali\u200bce"}, goodPassword, "username"},
		{"too long", User{Username: strings.Repeat("a", 65)}, goodPassword, "username"},
		{"no e-mail", User{Username: "x", Email: "alice"}, goodPassword, "email"},
		{"named e-mail", User{Username: "x", Email: "Alice <a@example.com>"}, goodPassword, "email"},
		{"weak", User{Username: "x"}, "short", "password"},
		{"given id", User{ID: "u_mine", Username: "x"}, goodPassword, "id"},
		{"given time", User{Username: "x", Created: time.Unix(1, 0)}, goodPassword, "created"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u, err := b.AddUser(t.Context(), tester, NewUser{User: tt.in, Password: tt.password})
			if tt.field != "ok" {
				wantField(t, err, tt.field)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(u.ID, "u_") || strings.Contains(u.ID, u.Username) {
				t.Errorf("id = %q, want a random one", u.ID)
			}
		})
	}
}

func TestUsernameIsOneWhateverTheKeyboard(t *testing.T) {
	b := newBench(t)
	ctx := t.Context()
	if _, err := b.AddUser(ctx, tester, NewUser{User: User{Username: "jos\u00e9"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.AddUser(ctx, tester, NewUser{User: User{Username: "jose\u0301"}}); !errors.Is(err, store.ErrConflict) {
		t.Errorf("the same name typed otherwise: error = %v, want ErrConflict", err)
	}
	found, err := b.UsersNamed(ctx, " jose\u0301 ")
	if err != nil || len(found) != 1 {
		t.Errorf("found %v, %v, want one", found, err)
	}
	if found, err := b.UsersNamed(ctx, "nobody"); err != nil || len(found) != 0 {
		t.Errorf("found %v, %v, want nobody", found, err)
	}
}

func TestUserChangesEndWhatTheyTakeAway(t *testing.T) {
	b := newBench(t)
	ctx := t.Context()
	u, err := b.AddUser(ctx, tester, NewUser{User: User{Username: "alice", Admin: true}, Password: goodPassword})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name     string
		password login.Secret
		change   func(*User)
		ends     bool
	}{
		{"name", "", func(u *User) { u.Name = "Alice" }, false},
		{"password", "another good password", func(*User) {}, true},
		{"no operator", "", func(u *User) { u.Admin = false }, true},
		{"operator", "", func(u *User) { u.Admin = true }, false},
		{"disabled", "", func(u *User) { u.Disabled = true }, true},
		{"enabled", "", func(u *User) { u.Disabled = false }, false},
	}
	for _, tt := range tests {
		session := &store.Session{ID: "s-" + tt.name, UserID: u.ID, SecretHash: []byte(tt.name), Expires: b.now.Add(time.Hour)}
		if err := b.db.Update(ctx, func(tx *store.Tx) error { return tx.PutSession(session) }); err != nil {
			t.Fatal(err)
		}
		before := len(b.feed(t))
		if _, err := b.SetUser(ctx, tester, u.ID, tt.password, func(u *User) error { tt.change(u); return nil }); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if got := slices.Contains(b.feed(t)[before:], "subject "+u.ID); got != tt.ends {
			t.Errorf("%s: rule written = %v, want %v", tt.name, got, tt.ends)
		}
		err := b.db.View(ctx, func(tx *store.Tx) error { _, err := tx.Session(session.ID); return err })
		if gone := errors.Is(err, store.ErrNotFound); gone != tt.ends {
			t.Errorf("%s: session ended = %v (%v), want %v", tt.name, gone, err, tt.ends)
		}
	}
	_, err = b.SetUser(ctx, tester, u.ID, "", func(u *User) error { u.ID = "u_other"; return nil })
	wantField(t, err, "id")
	if err := b.RemoveUser(ctx, tester, u.ID); err != nil {
		t.Fatal(err)
	}
	if got := b.feed(t); got[len(got)-1] != "subject "+u.ID {
		t.Errorf("after removal the feed ends with %q, want the rule", got[len(got)-1])
	}
	if _, err := b.User(ctx, u.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("removed user: error = %v, want ErrNotFound", err)
	}
}

func TestRenameToTakenName(t *testing.T) {
	b := newBench(t)
	ctx := t.Context()
	for _, name := range []string{"alice", "bob"} {
		if _, err := b.AddUser(ctx, tester, NewUser{User: User{Username: name}}); err != nil {
			t.Fatal(err)
		}
	}
	bob, err := b.UsersNamed(ctx, "bob")
	if err != nil || len(bob) != 1 {
		t.Fatalf("found %v, %v, want bob", bob, err)
	}
	_, err = b.SetUser(ctx, tester, bob[0].ID, "", func(u *User) error { u.Username = "alice"; return nil })
	if !errors.Is(err, store.ErrConflict) {
		t.Errorf("error = %v, want ErrConflict", err)
	}
}
