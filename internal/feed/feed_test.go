package feed

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"
)

const testIssuer = "http://127.0.0.1:8400"

var (
	testKey   = []byte("0123456789abcdef0123456789abcdef")
	testUntil = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
)

// notary signs and verifies as an issuer would, with ES256.
type notary struct{ key *ecdsa.PrivateKey }

func newNotary(t testing.TB) notary {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return notary{key}
}

func (n notary) sign(payload []byte) (string, error) {
	enc := base64.RawURLEncoding
	signed := enc.EncodeToString([]byte(`{"alg":"ES256","typ":"writ-feed+jwt"}`)) + "." + enc.EncodeToString(payload)
	sum := sha256.Sum256([]byte(signed))
	sig, err := ecdsa.SignASN1(rand.Reader, n.key, sum[:])
	return signed + "." + enc.EncodeToString(sig), err
}

func (n notary) verify(_ context.Context, compact string) ([]byte, error) {
	i, j := strings.IndexByte(compact, '.'), strings.LastIndexByte(compact, '.')
	if i < 0 || j <= i {
		return nil, errors.New("not a compact token")
	}
	sum := sha256.Sum256([]byte(compact[:j]))
	sig, err := base64.RawURLEncoding.DecodeString(compact[j+1:])
	if err != nil || !ecdsa.VerifyASN1(&n.key.PublicKey, sum[:], sig) {
		return nil, errors.New("signature does not verify")
	}
	return base64.RawURLEncoding.DecodeString(compact[i+1 : j])
}

// token signs b, or ends the test.
func (n notary) token(t testing.TB, b Batch) string {
	t.Helper()
	payload, err := b.Encode()
	if err != nil {
		t.Fatal(err)
	}
	token, err := n.sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func plain(position uint64, kind Kind, value string) Plain {
	return Plain{Position: position, Kind: kind, Value: value, Effect: End, Until: testUntil}
}

// holds reports whether the view refuses a token decided on at rev that carries value.
func holds(v View, kind Kind, value string, rev uint64) bool {
	_, hit := v.Set.Hit(Hash(v.Key, kind, testIssuer, value), Token{Rev: rev})
	return hit
}

func TestHashFramesItsParts(t *testing.T) {
	if a, b := Hash(testKey, "jti", "x", "y"), Hash(testKey, "jt", "ix", "y"); a == b {
		t.Errorf("kind and issuer run together: both hash to %s", a)
	}
	if a, b := Hash(testKey, "jti", "x", "y"), Hash(testKey, "jti", "xy", ""); a == b {
		t.Errorf("issuer and value run together: both hash to %s", a)
	}
	if a, b := Hash(testKey, "jti", "x", "y"), Hash(publicKey(testKey), "jti", "x", "y"); a == b {
		t.Errorf("public key hashes like the feed key: %s", a)
	}
	if got, want := Hash(testKey, KindToken, testIssuer, "abc").String(), "2_cbge0pptxy36yu5HPZXA"; got != want {
		t.Errorf("Hash = %s, want %s: the wire format changed", got, want)
	}
}

func TestRuleHits(t *testing.T) {
	tests := []struct {
		kind          Kind
		position, rev uint64
		want          bool
	}{
		{KindGrant, 5, 4, true},
		{KindGrant, 5, 5, false},
		{KindGrant, 5, 6, false},
		{KindSubject, 1, 0, true},
		{KindClient, 5, 5, false},
		{KindSession, 5, 4, true},
		{KindToken, 5, 4, true},
		{KindToken, 5, 5, true},
		{KindToken, 5, 1 << 63, true},
		{KindPair, 5, 4, true},
		{KindPair, 5, 5, false},
		{KindActor, 5, 5, false},
		{KindResource, 5, 5, false},
		{KindEverything, 5, 4, true},
		{KindEverything, 5, 5, false}, // a fresh sign-in after it
		{KindProofKey, 5, 1 << 63, true},
		{KindCert, 5, 1 << 63, true},
		{KindSigningKey, 5, 1 << 63, true}, // who stole it would choose his rev
	}
	for _, tt := range tests {
		r := Rule{Kind: tt.kind, Position: tt.position}
		if got := r.Hits(Token{Rev: tt.rev}); got != tt.want {
			t.Errorf("%s at %d hits rev %d = %t, want %t", tt.kind, tt.position, tt.rev, got, tt.want)
		}
	}
}

// TestTimedRules: a step-up holds for all that was authenticated for before it, however new
// the token is, and for no client that acts for itself; issued-before compares iat alone.
func TestTimedRules(t *testing.T) {
	at := time.Unix(1000, 0)
	step := Rule{Kind: KindSubject, Position: 5, Effect: StepUp, Before: at}
	before := Rule{Kind: KindIssuedBefore, Position: 5, Effect: End, Before: at}
	never := time.Time{}.Unix()
	tests := []struct {
		name  string
		rule  Rule
		token Token
		want  bool
	}{
		{"authenticated earlier", step, Token{Rev: 4, AuthTime: 999}, true},
		{"refreshed since, authenticated earlier", step, Token{Rev: 9, AuthTime: 999}, true},
		{"authenticated since", step, Token{Rev: 4, AuthTime: 1000}, false},
		{"nobody knows when", step, Token{Rev: 9, AuthTime: never}, true},
		{"a client itself", step, Token{Rev: 4, AuthTime: never, Self: true}, false},
		{"issued earlier", before, Token{Rev: 9, IssuedAt: 999}, true},
		{"issued then", before, Token{Rev: 0, IssuedAt: 1000}, false},
		{"a client itself, issued earlier", before, Token{IssuedAt: 999, Self: true}, true},
	}
	for _, tt := range tests {
		if got := tt.rule.Hits(tt.token); got != tt.want {
			t.Errorf("%s: hits = %t, want %t", tt.name, got, tt.want)
		}
	}
	half := Plain{Kind: KindSubject, Effect: StepUp, Before: at.Add(time.Millisecond), Until: at}
	if got := half.Rule(testKey, testIssuer).Before; got.Unix() != 1001 {
		t.Errorf("before = %d, want 1001: auth_time of the same second is earlier", got.Unix())
	}
}

// TestPair: no two pairs read alike.
func TestPair(t *testing.T) {
	if Pair("a b", "c") == Pair("a", "b c") {
		t.Error("two pairs read alike")
	}
}

// sample is a batch of n rules with everything in it.
func sample(n int) Batch {
	b := Batch{
		Issuer: testIssuer, Epoch: "e1", Prev: 3, Position: 3 + uint64(n),
		AsOf: time.UnixMicro(1790000000123456).UTC(), KeysChanged: true, Rules: []Rule{},
	}
	for i := range n {
		r := Rule{
			Position: 4 + uint64(i), Kind: kinds[1+i%5], Effect: End,
			Until: time.Unix(1790000300+int64(i), 0).UTC(),
		}
		r.Value = Hash(testKey, r.Kind, testIssuer, string(rune(i)))
		if i%2 == 1 {
			r.Effect, r.Before = StepUp, time.Unix(1790000000, 0).UTC()
		}
		b.Rules = append(b.Rules, r)
	}
	return b
}

func TestBatchRoundTrip(t *testing.T) {
	snapshot := sample(7)
	snapshot.Prev, snapshot.Snapshot, snapshot.Public, snapshot.Key = 0, true, true, testKey
	strange := sample(1)
	strange.Epoch = "a\"\\\x01é"
	strange.Rules[0].Kind = "a new \"kind\""
	for _, want := range []Batch{sample(0), sample(1), sample(50), snapshot, strange} {
		data, err := want.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(data)
		if err != nil {
			t.Fatalf("Decode(%s): %v", data, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("Decode(Encode) = %+v\nwant %+v", got, want)
		}
	}
}

func TestBatchOnTheWire(t *testing.T) {
	b := sample(2)
	b.Prev, b.Snapshot, b.Key = 0, true, []byte{1, 2, 3}
	got, err := b.Encode()
	if err != nil {
		t.Fatal(err)
	}
	want := `{"iss":"http://127.0.0.1:8400","epoch":"e1","prev":0,"position":5,"asof":1790000000123456,` +
		`"snapshot":true,"key":"AQID","keys_changed":true,"rules":[` +
		`{"position":4,"kind":"jti","value":"` + b.Rules[0].Value.String() + `","until":1790000300},` +
		`{"position":5,"kind":"grant","value":"` + b.Rules[1].Value.String() + `","effect":"step-up","before":1790000000,"until":1790000301}]}`
	if string(got) != want {
		t.Errorf("batch = %s\nwant    %s", got, want)
	}
}

func TestDecodeIsOpenToMembersAndKinds(t *testing.T) {
	b, err := Decode([]byte(` {"new":{"a":[1,{"b":"]}\""}],"iss":true}, "i\u0073s":"i","epoch":"e" , "prev":0,"position":9,
		"rules":[ {"position":9,"kind":"planet","value":"AAAAAAAAAAAAAAAAAAAAAA","until":5,"effect":"fade","x":null} ] } `))
	if err != nil {
		t.Fatal(err)
	}
	want := Batch{Issuer: "i", Epoch: "e", Position: 9, Rules: []Rule{
		{Position: 9, Kind: "planet", Effect: End, Until: time.Unix(5, 0).UTC()},
	}}
	if !reflect.DeepEqual(b, want) {
		t.Errorf("Decode = %+v\nwant     %+v", b, want)
	}
}

func TestDecodeIsStrict(t *testing.T) {
	const rule = `{"position":9,"kind":"jti","value":"AAAAAAAAAAAAAAAAAAAAAA","until":5}`
	const good = `{"iss":"i","epoch":"e","prev":0,"position":9,"rules":[` + rule + `]}`
	if _, err := Decode([]byte(good)); err != nil {
		t.Fatalf("Decode(%s): %v", good, err)
	}
	change := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("%q is not in the good batch", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	tests := map[string]string{
		"empty":                  "",
		"not an object":          `[]`,
		"null":                   `null`,
		"trailing data":          good + "{}",
		"cut short":              good[:len(good)-1],
		"not UTF-8":              change(`"i"`, "\"\xff\""),
		"issuer twice":           change(`"iss":"i"`, `"iss":"i","iss":"i"`),
		"issuer twice, escaped":  change(`"iss":"i"`, `"iss":"i","\u0069ss":"i"`),
		"issuer in other case":   change(`"iss"`, `"ISS"`),
		"issuer missing":         change(`"iss":"i",`, ``),
		"issuer empty":           change(`"iss":"i"`, `"iss":""`),
		"issuer a number":        change(`"iss":"i"`, `"iss":1`),
		"issuer null":            change(`"iss":"i"`, `"iss":null`),
		"epoch missing":          change(`"epoch":"e",`, ``),
		"prev missing":           change(`"prev":0,`, ``),
		"prev after position":    change(`"prev":0`, `"prev":10`),
		"position missing":       change(`"position":9,"rules"`, `"rules"`),
		"position a string":      change(`"position":9`, `"position":"9"`),
		"position a float":       change(`"position":9`, `"position":9.0`),
		"position with exponent": change(`"position":9`, `"position":9e0`),
		"position negative":      change(`"position":9`, `"position":-9`),
		"position over 64 bits":  change(`"position":9`, `"position":18446744073709551616`),
		"position an array":      change(`"position":9`, `"position":[9]`),
		"rules missing":          `{"iss":"i","epoch":"e","prev":0,"position":9}`,
		"rules null":             `{"iss":"i","epoch":"e","prev":0,"position":9,"rules":null}`,
		"rules an object":        `{"iss":"i","epoch":"e","prev":0,"position":9,"rules":{}}`,
		"rule a number":          change(rule, `1`),
		"rule with kind missing": change(`"kind":"jti",`, ``),
		"rule with kind empty":   change(`"kind":"jti"`, `"kind":""`),
		"rule without value":     change(`"value":"AAAAAAAAAAAAAAAAAAAAAA",`, ``),
		"rule without end":       change(`,"until":5`, ``),
		"rule with end zero":     change(`"until":5`, `"until":0`),
		"rule with end far off":  change(`"until":5`, `"until":99999999999999`),
		"rule at zero":           change(`"position":9,"kind"`, `"position":0,"kind"`),
		"value too short":        change(`AAAAAAAAAAAAAAAAAAAAAA`, `AAAAAAAAAAAAAAAAAAAAA`),
		"value padded":           change(`AAAAAAAAAAAAAAAAAAAAAA`, `AAAAAAAAAAAAAAAAAAAAAA==`),
		"value not canonical":    change(`AAAAAAAAAAAAAAAAAAAAAA`, `AAAAAAAAAAAAAAAAAAAAAB`),
		"value with line breaks": change(`AAAAAAAAAAAAAAAAAAAAAA`, `\nAAAAAAAAAAAAAAAAAAAA\n`),
		"value in other letters": change(`AAAAAAAAAAAAAAAAAAAAAA`, `AAAAAAAAAAAAAAAAAAAA+/`),
		"effect a number":        change(`"until":5`, `"until":5,"effect":1`),
		"step-up since when":     change(`"until":5`, `"until":5,"effect":"step-up"`),
		"before a text":          change(`"until":5`, `"until":5,"effect":"step-up","before":"5"`),
		"heartbeat with rules":   change(`"prev":0`, `"prev":9`),
		"snapshot without key":   change(`"prev":0`, `"prev":0,"snapshot":true`),
		"snapshot with prev":     change(`"prev":0`, `"prev":1,"snapshot":true,"key":"AQID"`),
		"snapshot a string":      change(`"prev":0`, `"prev":0,"snapshot":"true","key":"AQID"`),
		"key without snapshot":   change(`"prev":0`, `"prev":0,"key":"AQID"`),
		"key with line break":    change(`"prev":0`, `"prev":0,"snapshot":true,"key":"AQ\nID"`),
		"public without it":      change(`"prev":0`, `"prev":0,"public":true`),
		"as-of far off":          change(`"prev":0`, `"prev":0,"asof":9223372036854775807`),
	}
	for name, data := range tests {
		if b, err := Decode([]byte(data)); err == nil {
			t.Errorf("%s: Decode(%s) = %+v, want an error", name, data, b)
		}
	}
}

func TestEncodeRefusesWhatDecodeRefuses(t *testing.T) {
	b := sample(1)
	b.Rules[0].Until = time.Time{}
	if data, err := b.Encode(); err == nil {
		t.Errorf("Encode of a rule without end = %s, want an error", data)
	}
}

// FuzzDecode holds the decoder against encoding/json: what it accepts means the same there,
// and comes out of Encode unchanged.
func FuzzDecode(f *testing.F) {
	for _, n := range []int{0, 1, 3} {
		data, err := sample(n).Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(`{"i\u0073s":"\ud83d\ude00","epoch":"e","x":[{}],"prev":0,"position":9,"rules":[{"position":9,"kind":"k","value":"AAAAAAAAAAAAAAAAAAAAAA","until":5}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := Decode(data)
		if err != nil {
			return
		}
		var other struct {
			Iss, Epoch     string
			Prev, Position uint64
			Rules          []struct {
				Position    uint64
				Kind, Value string
				Until       int64
			}
		}
		dec := json.NewDecoder(bytes.NewReader(data))
		if err := dec.Decode(&other); err != nil {
			// Members in other case are unknown to us and typed wrongly for it.
			if strings.Contains(err.Error(), "cannot unmarshal") {
				return
			}
			t.Fatalf("encoding/json: %v", err)
		}
		again, err := b.Encode()
		if err != nil {
			t.Fatalf("Encode of what Decode gave: %v", err)
		}
		second, err := Decode(again)
		if err != nil || !reflect.DeepEqual(b, second) {
			t.Fatalf("second Decode = %+v, %v; want %+v", second, err, b)
		}
		if strings.Count(string(data), `"`) != strings.Count(string(again), `"`) {
			return // it held members we pass over, which encoding/json may have folded in
		}
		if len(other.Rules) != len(b.Rules) || other.Iss != b.Issuer || other.Epoch != b.Epoch || other.Position != b.Position {
			t.Fatalf("encoding/json reads %+v, Decode %+v", other, b)
		}
		for i, r := range b.Rules {
			o := other.Rules[i]
			if o.Position != r.Position || o.Kind != string(r.Kind) || o.Value != r.Value.String() || o.Until != r.Until.Unix() {
				t.Fatalf("encoding/json reads rule %+v, Decode %+v", o, r)
			}
		}
	})
}

func BenchmarkDecodeMillion(b *testing.B) {
	data, err := sample(1_000_000).Encode()
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(data); err != nil {
			b.Fatal(err)
		}
	}
}
