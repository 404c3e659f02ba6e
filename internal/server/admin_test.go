package server

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/writ-auth/writ/internal/admin"
	"github.com/writ-auth/writ/internal/store/storetest"
)

const adminIssuer = "https://auth.example"

// newAPI mounts the admin API behind a protect that wants the header Scopes to
// name every scope.
func newAPI(t *testing.T) http.Handler {
	t.Helper()
	a, err := admin.New(admin.Config{Issuer: adminIssuer, DB: storetest.New(t, adminIssuer)})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	adminRoutes(mux, a, func(r *http.Request) string { return Address(r, nil) }, func(scopes ...string) func(http.Handler) http.Handler {
		return func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				for _, s := range scopes {
					if !slices.Contains(strings.Fields(r.Header.Get("Scopes")), s) {
						w.WriteHeader(http.StatusForbidden)
						return
					}
				}
				next.ServeHTTP(w, r)
			})
		}
	})
	return mux
}

// ask sends one request with all scopes and returns status and body.
func ask(h http.Handler, method, path, body string) (int, map[string]any) {
	r := httptest.NewRequest(method, adminIssuer+"/admin/v1/"+path, strings.NewReader(body))
	r.Header.Set("Scopes", "admin:read admin:write admin:revoke")
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	out := map[string]any{}
	if w.Body.Len() > 0 {
		if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
			out["not json"] = w.Body.String()
		}
	}
	return w.Code, out
}

func wantStatus(t *testing.T, h http.Handler, method, path, body string, want int) map[string]any {
	t.Helper()
	got, out := ask(h, method, path, body)
	if got != want {
		t.Errorf("%s %s %.200s = %d %v, want %d", method, path, body, got, out, want)
	}
	return out
}

const ordersBody = `{"uri":"https://api.example/orders","name":"Orders","scopes":[{"name":"orders:read","text":"See"},{"name":"orders:write","text":"Change"}]}`

func TestAdminLifeOfAClient(t *testing.T) {
	h := newAPI(t)
	orders := wantStatus(t, h, "POST", "resources", ordersBody, 201)
	made := wantStatus(t, h, "POST", "clients", `{"client_id":"robot","scope":"orders:read","resources":["https://api.example/orders"]}`, 201)
	if made["client_secret"] == nil {
		t.Error("the answer that creates a client has no client_secret")
	}
	wantStatus(t, h, "POST", "clients", `{"client_id":"robot","scope":"orders:read","resources":["https://api.example/orders"]}`, 409)
	for _, path := range []string{"clients/robot", "clients"} {
		_, out := ask(h, "GET", path, "")
		if text, _ := json.Marshal(out); strings.Contains(string(text), "secret\":") {
			t.Errorf("GET %s shows a secret: %s", path, text)
		}
	}
	set := wantStatus(t, h, "PATCH", "clients/robot", `{"scope":"orders:read orders:write"}`, 200)
	if set["scope"] != "orders:read orders:write" || set["client_name"] != "robot" {
		t.Errorf("after PATCH: %v, want the new scope and the old name", set)
	}
	renewed := wantStatus(t, h, "POST", "clients/robot/secret", "", 200)
	if renewed["client_secret"] == nil || renewed["client_secret"] == made["client_secret"] {
		t.Error("the renewed secret is missing or the old one")
	}
	wantStatus(t, h, "DELETE", "clients/robot", "", 204)
	wantStatus(t, h, "GET", "clients/robot", "", 404)
	wantStatus(t, h, "DELETE", "clients/robot", "", 404)

	id, _ := orders["id"].(string)
	set = wantStatus(t, h, "PATCH", "resources/"+id, `{"scopes":[{"name":"orders:read"}]}`, 200)
	if text, _ := json.Marshal(set["scopes"]); string(text) != `[{"name":"orders:read","text":"orders:read"}]` {
		t.Errorf("after PATCH: scopes = %s, want one, with nothing left of the old", text)
	}
	wantStatus(t, h, "PATCH", "resources/"+id, `{"token_life":60}`, 200)
	if got := wantStatus(t, h, "GET", "resources/"+id, "", 200); len(got["scopes"].([]any)) != 1 {
		t.Errorf("after another PATCH: scopes = %v, want the one", got["scopes"])
	}
	wantStatus(t, h, "DELETE", "resources/"+id, "", 204)
}

func TestAdminUsersAndRest(t *testing.T) {
	h := newAPI(t)
	u := wantStatus(t, h, "POST", "users", `{"username":"alice","password":"correct horse battery"}`, 201)
	id, _ := u["id"].(string)
	if u["password"] != nil {
		t.Error("the answer shows the password")
	}
	wantStatus(t, h, "POST", "users", `{"username":"alice"}`, 409)
	wantStatus(t, h, "PATCH", "users/"+id, `{"password":"another good one","name":"Alice"}`, 200)
	if p := wantStatus(t, h, "PATCH", "users/"+id, `{"password":"short"}`, 400); p["field"] != "password" {
		t.Errorf("problem = %v, want it about password", p)
	}
	if list := wantStatus(t, h, "GET", "users?username=alice", "", 200); len(list["items"].([]any)) != 1 {
		t.Errorf("users named alice: %v, want one", list)
	}
	ended := wantStatus(t, h, "POST", "revocations", `{"kind":"subject","value":"`+id+`","reason":"left"}`, 200)
	if ended["position"] == float64(0) {
		t.Errorf("ended = %v, want a position", ended)
	}
	rules := wantStatus(t, h, "GET", "revocations?kind=subject&value="+id, "", 200)
	if list := rules["items"].([]any); len(list) != 2 || list[0].(map[string]any)["reason"] != "left" {
		t.Errorf("rules = %v, want this one above that of the new password", rules)
	}
	wantStatus(t, h, "GET", "revocations", "", 400)
	wantStatus(t, h, "GET", "guards", "", 200)
	wantStatus(t, h, "DELETE", "users/"+id, "", 204)
	audit := wantStatus(t, h, "GET", "audit?limit=2", "", 200)
	if len(audit["items"].([]any)) == 0 || audit["next"] == "" {
		t.Errorf("audit = %v, want lines and a next page", audit)
	}
	wantStatus(t, h, "GET", "audit?limit=2&after="+audit["next"].(string), "", 200)
	wantStatus(t, h, "GET", "keys", "", 400) // no sealing key in this test
}

func TestAdminRefusesBodies(t *testing.T) {
	h := newAPI(t)
	wantStatus(t, h, "POST", "resources", ordersBody, 201)
	const good = `"scope":"orders:read","resources":["https://api.example/orders"]`
	tests := map[string]string{ // body: field
		`{` + good + `,"secret":"mine"}`:                  "secret",
		`{` + good + `,"client_secret":"mine"}`:           "client_secret",
		`{` + good + `,"SCOPE":"admin:write"}`:            "SCOPE",
		`{` + good + `,"scope":"admin:write"}`:            "scope",
		`{` + good + `,"\u0073cope":"admin:write"}`:       "scope",
		"{" + good + ",\"re\u017fources\":[]}":            "re\u017fources",
		`{` + good + `,"admin":null}`:                     "admin",
		`{` + good + `,"resources":[null]}`:               "resources",
		`{` + good + `,"admin":"true"}`:                   "admin",
		`{` + good + `,"created":"2026-01-01T00:00:00Z"}`: "created",
		`{` + good + `} {}`:                               "",
		`{` + good:                                        "",
		`[]`:                                              "",
		`"x"`:                                             "",
		"{\"client_name\":\"\xff\"," + good + "}":         "",
		strings.Repeat(`{"scopes":[`, 20000):              "",
		`{"client_name":"` + strings.Repeat("x", 200) + `",` + good + `}`: "client_name",
	}
	for body, field := range tests {
		p := wantStatus(t, h, "POST", "clients", body, 400)
		got, _ := p["field"].(string)
		if got != field {
			t.Errorf("%.100s: problem %v is about %q, want %q", body, p, got, field)
		}
	}
	wantStatus(t, h, "POST", "clients", `{"client_name":"`+strings.Repeat("x", bodyLimit)+`"}`, 413)
	r := httptest.NewRequest("POST", adminIssuer+"/admin/v1/clients", strings.NewReader(`{`+good+`}`))
	r.Header.Set("Scopes", "admin:write")
	r.Header.Set("Content-Type", "text/plain")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusUnsupportedMediaType {
		t.Errorf("text/plain = %d, want 415", w.Code)
	}
	if got := w.Header().Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type of a refusal = %q, want application/problem+json", got)
	}
}

func TestAdminRefusesQueries(t *testing.T) {
	h := newAPI(t)
	for _, q := range []string{"limit=0", "limit=1001", "limit=x", "limit=1&limit=2", "offset=3", "after=a&after=b"} {
		wantStatus(t, h, "GET", "clients?"+q, "", 400)
	}
	wantStatus(t, h, "GET", "audit?after=x", "", 400)
	wantStatus(t, h, "GET", "nothing", "", 404)
	wantStatus(t, h, "PUT", "clients", "{}", 405)
	wantStatus(t, h, "DELETE", "clients", "", 405)
	wantStatus(t, h, "DELETE", "resources", "", 405)
	wantStatus(t, h, "GET", "clients/..%2fusers", "", 404)
}

// TestAdminScopes asks for each operation with every scope but the one it needs.
func TestAdminScopes(t *testing.T) {
	h := newAPI(t)
	all := []string{"admin:read", "admin:write", "admin:revoke"}
	for _, op := range (api{}).operations() {
		want := "admin:write"
		switch {
		case op.method == "GET":
			want = "admin:read"
		case op.path == "revocations":
			want = "admin:revoke"
		}
		if op.scope != want {
			t.Errorf("%s %s needs %s, want %s", op.method, op.path, op.scope, want)
		}
		others := slices.DeleteFunc(slices.Clone(all), func(s string) bool { return s == want })
		r := httptest.NewRequest(op.method, adminIssuer+"/admin/v1/"+strings.ReplaceAll(op.path, "{id}", "x"), nil)
		r.Header.Set("Scopes", strings.Join(others, " "))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusForbidden {
			t.Errorf("%s %s without %s = %d, want 403", op.method, op.path, want, w.Code)
		}
	}
}

// TestAdminIsDocumented holds doc/admin.md to the list of operations.
func TestAdminIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../doc/admin.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range (api{}).operations() {
		if heading := "`" + op.method + " /" + op.path + "`"; !strings.Contains(string(text), heading) {
			t.Errorf("doc/admin.md does not mention %s", heading)
		}
	}
}

var example = regexp.MustCompile("(?s)```http\n(\\S+) (\\S+)\n(.*?)```\n```json\n(\\d+)\n(.*?)```")

// TestAdminExamplesAreTrue sends the requests of doc/admin.md in their order and
// compares what comes back; … stands for anything.
func TestAdminExamplesAreTrue(t *testing.T) {
	text, err := os.ReadFile("../../doc/admin.md")
	if err != nil {
		t.Fatal(err)
	}
	h := newAPI(t)
	examples := example.FindAllStringSubmatch(string(text), -1)
	if len(examples) < 8 {
		t.Fatalf("%d examples found, want at least 8", len(examples))
	}
	for _, e := range examples {
		method, path, body, status, answer := e[1], e[2], e[3], e[4], e[5]
		code, got := ask(h, method, strings.TrimPrefix(path, "/"), body)
		if strconv.Itoa(code) != status {
			t.Errorf("%s %s = %d, want %s", method, path, code, status)
		}
		var want map[string]any
		if err := json.Unmarshal([]byte(answer), &want); err != nil {
			t.Errorf("%s %s: the answer in the text is no JSON: %v", method, path, err)
		}
		if !alike(got, want) {
			t.Errorf("%s %s = %v\nwant %v", method, path, got, want)
		}
	}
}

// alike compares JSON values; the string … is like anything.
func alike(got, want any) bool {
	switch w := want.(type) {
	case string:
		return w == "…" || got == want
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok || len(g) != len(w) {
			return false
		}
		for name, value := range w {
			if !alike(g[name], value) {
				return false
			}
		}
		return true
	case []any:
		g, ok := got.([]any)
		return ok && slices.EqualFunc(g, w, alike)
	}
	return got == want
}
