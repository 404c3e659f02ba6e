package server

import (
	"bytes"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/admin"
	"github.com/writ-auth/writ/internal/store"
)

// TestGlobalRevocation: who may end tokens ends all of a person by one of the formats,
// nobody else does, and what is wrong ends nothing.
func TestGlobalRevocation(t *testing.T) {
	w := newWorld(t)
	may := w.client(t, admin.Client{ID: "idp", Admin: true, Scope: "admin:revoke"})
	mayNot := w.client(t, admin.Client{ID: "reader", Admin: true, Scope: "admin:read"})
	key := newKey(t)
	people := map[string]*admin.User{}
	for _, name := range []string{"alice", "bob", "carol"} {
		u, err := w.admin.AddUser(t.Context(), admin.System, admin.NewUser{
			User: admin.User{Username: name, Email: name + "@example.com"}, Password: "correct horse battery",
		})
		if err != nil {
			t.Fatal(err)
		}
		people[name] = u
		err = w.db.Update(t.Context(), func(tx *store.Tx) error {
			now := time.Now()
			if err := tx.PutSession(&store.Session{ID: "s-" + name, UserID: u.ID, SecretHash: []byte(name), Created: now, Expires: now.Add(time.Hour)}); err != nil {
				return err
			}
			return tx.PutGrant(&store.Grant{ID: "g-" + name, UserID: u.ID, ClientID: "app", Created: now, Expires: now.Add(time.Hour)})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	send := func(id, secret, kind, body string) int {
		r := request("POST", globalPath, nil)
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader([]byte(body))), int64(len(body))
		r.Header.Set("Content-Type", kind)
		if id != "" {
			compact := w.token(t, id, secret, adminIssuer+"/admin", key)
			r.Header.Set("Authorization", "DPoP "+compact)
			r.Header.Set("DPoP", proof(t, key, "POST", adminIssuer+globalPath, compact))
		}
		return w.do(r).Code
	}
	lives := func(name string) bool {
		alive := false
		err := w.db.View(t.Context(), func(tx *store.Tx) error {
			g, err := tx.Grant("g-" + name)
			if err == nil {
				alive = g.Ended.IsZero()
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return alive
	}
	const json = "application/json"
	subject := func(members string) string { return `{"sub_id":{` + members + `}}` }
	for _, row := range []struct {
		name, id, secret, kind, body string
		want                         int
	}{
		{"without a token", "", "", json, subject(`"format":"email","email":"alice@example.com"`), 401},
		{"without the scope", "reader", mayNot, json, subject(`"format":"email","email":"alice@example.com"`), 403},
		{"a form", "idp", may, "application/x-www-form-urlencoded", "sub_id=x", 400},
		{"no format", "idp", may, json, subject(`"email":"alice@example.com"`), 400},
		{"no subject", "idp", may, json, `{}`, 400},
		{"half of it", "idp", may, json, subject(`"format":"iss_sub","iss":"` + adminIssuer + `"`), 400},
		{"members of another format", "idp", may, json, subject(`"format":"email","email":"alice@example.com","id":"x"`), 400},
		{"twice", "idp", may, json, subject(`"format":"opaque","id":"a","id":"b"`), 400},
		{"an unknown format", "idp", may, json, subject(`"format":"did","url":"did:x"`), 400},
		{"a format of others", "idp", may, json, subject(`"format":"phone_number"`), 422},
		{"another issuer's", "idp", may, json, subject(`"format":"iss_sub","iss":"https://other.example","sub":"` + people["alice"].ID + `"`), 404},
		{"nobody", "idp", may, json, subject(`"format":"opaque","id":"u_nobody"`), 404},
		{"nobody's address", "idp", may, json, subject(`"format":"email","email":"x@example.com"`), 404},
	} {
		if got := send(row.id, row.secret, row.kind, row.body); got != row.want {
			t.Errorf("%s: %d, want %d", row.name, got, row.want)
		}
	}
	for name := range people {
		if !lives(name) {
			t.Errorf("%s was ended by what was refused", name)
		}
	}
	for name, members := range map[string]string{
		"alice": `"format":"iss_sub","iss":"` + adminIssuer + `","sub":"` + people["alice"].ID + `"`,
		"bob":   `"format":"email","email":"bob@example.com"`,
		"carol": `"format":"opaque","id":"` + people["carol"].ID + `"`,
	} {
		if got := send("idp", may, json, subject(members)); got != http.StatusNoContent {
			t.Errorf("%s: %d, want 204", name, got)
		}
		if lives(name) {
			t.Errorf("%s lives on", name)
		}
	}
	if got := w.do(request("GET", globalPath, nil)).Code; got != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d, want 405", got)
	}
}
