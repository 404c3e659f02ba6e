package gateway

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/dpop"
	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/token"
)

// verdicts is testdata/verdicts.json.
type verdicts struct {
	Forgeries map[string]string `json:"forgeries"` // the guard's reason by the name guardtest gives: all of them, each 401 invalid_token
	Rows      []row             `json:"rows"`
}

// A row is one request and what SDK and gateway both say to it. It says only
// what differs from its good twin, which is a GET with a good token in the usual
// place. Text may hold what court.fill knows, in braces.
type row struct {
	Name string `json:"name"`

	Signer    string                     `json:"signer"`     // "other": a key of another issuer
	Header    map[string]json.RawMessage `json:"header"`     // members of the token's header
	HeaderEnd string                     `json:"header_end"` // a member behind the last one, as it is
	Claims    map[string]json.RawMessage `json:"claims"`     // likewise
	ClaimsEnd string                     `json:"claims_end"` // likewise
	Times     map[string]int             `json:"times"`      // claims in seconds from now
	Without   []string                   `json:"without"`    // members left out of header or claims
	Pad       int                        `json:"pad"`        // length of one more claim
	Bound     bool                       `json:"bound"`      // both tokens are bound to the holder's key

	Method string   `json:"method"`
	Target string   `json:"target"`
	Send   []string `json:"send"` // header lines; null: the token as Bearer, or with a proof as DPoP
	Body   string   `json:"body"`
	Proof  proof    `json:"proof"`
	Again  bool     `json:"again"` // the second time the request is sent, byte by byte

	Want    string `json:"want"`    // status, error code, the guard's reason; "-" or nothing where there is none
	Gateway string `json:"gateway"` // the same, where the gateway has a limit of its own, or the issuer has for the inner token

	Fronts map[string]string `json:"fronts"` // the same, by the name of a proxy that answers before it asks
}

// A proof says what a DPoP proof is made for, where that is not the request.
type proof struct {
	Method string `json:"method"`
	URL    string `json:"url"`
	Token  string `json:"token"` // "other" good token, or "none"
	Key    string `json:"key"`   // "thief"
	At     int    `json:"at"`    // seconds from now

	Header  map[string]json.RawMessage `json:"header"` // as a row has them
	Claims  map[string]json.RawMessage `json:"claims"`
	Without []string                   `json:"without"`
}

func readVerdicts(t *testing.T) verdicts {
	t.Helper()
	text, err := os.ReadFile("testdata/verdicts.json")
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	var v verdicts
	if err := d.Decode(&v); err != nil {
		t.Fatalf("testdata/verdicts.json: %v", err)
	}
	return v
}

// A letter is a request that can be written any number of times, each time with
// fresh proofs.
type letter struct {
	row
	token, other string
}

// A pair is a row's request and its good twin.
type pair struct{ bad, twin letter }

// pairs makes all requests of the table.
func (c *court) pairs(t *testing.T, v verdicts) []pair {
	t.Helper()
	// With these, a forgery's header and payload are those of its good twin,
	// unless they are what is forged.
	base := c.claims(row{})
	base.ID, base.IssuedAt, base.Expiry = "forged", time.Now(), time.Now().Add(5*time.Minute)
	forgeries := make(map[string]string)
	for name, forged := range c.issuer.Forgeries(base) {
		if forgeries[name] = forged; v.Forgeries[name] == "" {
			t.Errorf("the table has no verdict on %q", name)
		}
	}
	var all []pair
	seen := make(map[string]bool)
	add := func(r row, bad, good string) {
		if seen[r.Name] {
			t.Errorf("two rows are called %q", r.Name)
		}
		seen[r.Name] = true
		other := c.issuer.Token(c.claims(r))
		twin := row{Name: r.Name, Bound: r.Bound, Want: "200"}
		all = append(all, pair{letter{r, bad, other}, letter{twin, good, other}})
	}
	for name, reason := range v.Forgeries {
		if forgeries[name] == "" {
			t.Errorf("nobody makes %q", name)
			continue
		}
		add(row{Name: name, Want: "401 invalid_token " + reason}, forgeries[name], c.issuer.Token(base))
	}
	for _, r := range v.Rows {
		good := c.issuer.Token(c.claims(r))
		add(r, c.change(t, r, good), good)
	}
	return all
}

// claims are those of a row's good token.
func (c *court) claims(r row) token.Claims {
	claims := token.Claims{Subject: "alice", ClientID: "app", Audience: []string{audience}, Scope: []string{"orders:read"}}
	if r.Bound {
		claims.Confirmation = &token.Confirmation{KeyThumbprint: thumbprint(c.holder)}
	}
	return claims
}

func thumbprint(key *ecdsa.PrivateKey) string {
	public := jose.Key{Alg: jose.ES256, Public: key.Public()}
	return public.Thumbprint()
}

// change makes of a good token what the row says.
func (c *court) change(t *testing.T, r row, good string) string {
	t.Helper()
	if len(r.Header)+len(r.HeaderEnd)+len(r.Claims)+len(r.ClaimsEnd)+len(r.Times)+len(r.Without)+len(r.Signer)+r.Pad == 0 {
		return good
	}
	claims := make(map[string]json.RawMessage)
	for name, value := range r.Claims {
		claims[name] = value
	}
	for name, seconds := range r.Times {
		claims[name] = json.RawMessage(strconv.FormatInt(time.Now().Unix()+int64(seconds), 10))
	}
	if r.Pad > 0 {
		claims["pad"] = json.RawMessage(`"` + strings.Repeat("x", r.Pad) + `"`)
	}
	header, payload := c.edited(t, r.Name, good, edits{r.Header, claims, r.Without, r.HeaderEnd, r.ClaimsEnd})
	if r.Signer == "other" {
		return c.elsewhere.Sign(header, payload)
	}
	return c.issuer.Sign(header, payload)
}

// edits are what to change of a token or proof.
type edits struct {
	header, claims       map[string]json.RawMessage
	without              []string
	headerEnd, claimsEnd string
}

// edited returns header and payload of a compact JWS with changes.
func (c *court) edited(t *testing.T, name, compact string, e edits) (header, payload string) {
	t.Helper()
	head, body, _, err := jose.Split(compact)
	if err != nil {
		t.Fatal(err)
	}
	without := slices.Clone(e.without)
	header = c.edit(t, head, e.header, e.headerEnd, &without)
	payload = c.edit(t, body, e.claims, e.claimsEnd, &without)
	if len(without) > 0 {
		t.Fatalf("%s: there is no %q to leave out", name, without)
	}
	return header, payload
}

// edit changes members of a segment's JSON and takes from without what it left
// out.
func (c *court) edit(t *testing.T, segment string, members map[string]json.RawMessage, end string, without *[]string) string {
	t.Helper()
	text, err := jose.DecodeSegment(nil, segment)
	if err != nil {
		t.Fatal(err)
	}
	object := make(map[string]json.RawMessage)
	if err := json.Unmarshal(text, &object); err != nil {
		t.Fatal(err)
	}
	for name, value := range members {
		object[name] = json.RawMessage(c.fill(string(value)))
	}
	*without = slices.DeleteFunc(*without, func(name string) bool {
		_, ok := object[name]
		delete(object, name)
		return ok
	})
	if text, err = json.Marshal(object); err != nil {
		t.Fatal(err)
	}
	if end != "" {
		return strings.TrimSuffix(string(text), "}") + "," + c.fill(end) + "}"
	}
	return string(text)
}

// fill puts in what a row cannot know.
func (c *court) fill(text string) string {
	return strings.NewReplacer(
		"{issuer}", c.issuer.URL(), "{elsewhere}", c.elsewhere.URL(), "{evil}", c.evil.URL,
		"{kid}", c.kid, "{elsewhere_kid}", c.elsewhereKid, "{jkt}", thumbprint(c.holder),
		"{deep}", strings.Repeat("[", 1000)+strings.Repeat("]", 1000), "{64k}", strings.Repeat("x", 64<<10),
	).Replace(text)
}

// write returns the request as it goes over the wire.
func (c *court) write(t *testing.T, l letter) string {
	t.Helper()
	head, rest, _ := strings.Cut(l.token, ".")
	body, signature, _ := strings.Cut(rest, ".")
	parts := strings.NewReplacer("{token}", l.token, "{other}", l.other, "{cut}", l.token[:len(l.token)-1],
		"{head}", head, "{body}", body, "{sig}", signature)
	fill := func(text string) string {
		text = c.fill(parts.Replace(text))
		for strings.Contains(text, "{proof}") {
			text = strings.Replace(text, "{proof}", c.prove(t, l), 1)
		}
		return text
	}
	lines := l.Send
	switch {
	case lines == nil && l.Bound:
		lines = []string{"Authorization: DPoP {token}", "DPoP: {proof}"}
	case lines == nil:
		lines = []string{"Authorization: Bearer {token}"}
	}
	content := fill(l.Body)
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\nContent-Length: %d\r\n", l.method(), fill(l.target()), len(content))
	for _, line := range lines {
		b.WriteString(fill(line) + "\r\n")
	}
	return b.String() + "\r\n" + content
}

func (r row) method() string {
	if r.Method == "" {
		return "GET"
	}
	return r.Method
}

func (r row) target() string {
	if r.Target == "" {
		return "/orders/7"
	}
	return r.Target
}

// prove makes a proof.
func (c *court) prove(t *testing.T, l letter) string {
	t.Helper()
	key, method, url, compact := c.holder, l.Proof.Method, l.Proof.URL, l.token
	if l.Proof.Key == "thief" {
		key = c.thief
	}
	if method == "" {
		method = l.method()
	}
	if url == "" {
		url = "http://api.example" + l.target()
	}
	switch l.Proof.Token {
	case "other":
		compact = l.other
	case "none":
		compact = ""
	}
	at := time.Now().Add(time.Duration(l.Proof.At) * time.Second)
	proof, err := dpop.New(key, jose.ES256, method, url, compact, at, rand.Text())
	if err != nil {
		t.Fatalf("%s: %v", l.Name, err)
	}
	if p := l.Proof; len(p.Header)+len(p.Claims)+len(p.Without) > 0 {
		header, payload := c.edited(t, l.Name, proof, edits{header: p.Header, claims: p.Claims, without: p.Without})
		if proof, err = jose.Sign(key, jose.ES256, []byte(header), []byte(payload)); err != nil {
			t.Fatalf("%s: %v", l.Name, err)
		}
	}
	return proof
}
