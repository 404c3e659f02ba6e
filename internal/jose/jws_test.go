package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"
	"testing"
)

func TestSignThenVerify(t *testing.T) {
	keys := signers(t)
	for alg, signer := range keys {
		compact, key := signed(t, signer, alg, claims)
		m, err := Parse(compact)
		if err != nil {
			t.Errorf("%s: Parse: %v", alg, err)
			continue
		}
		if string(m.Payload) != claims || m.Header.Alg != alg || m.Header.Typ != "at+jwt" || m.Header.KeyID != "k1" {
			t.Errorf("%s: parsed %+v %q, want what was signed", alg, m.Header, m.Payload)
		}
		if err := m.Verify(key); err != nil {
			t.Errorf("%s: Verify: %v", alg, err)
		}
	}
}

// TestKeyHasOneAlgorithm tries each token with every key of another algorithm,
// among them the same RSA and Ed25519 keys under their other names.
func TestKeyHasOneAlgorithm(t *testing.T) {
	keys := signers(t)
	keys[PS256], keys[EdDSA] = keys[RS256], keys[Ed25519]
	for alg, signer := range keys {
		compact, _ := signed(t, signer, alg, claims)
		m, err := Parse(compact)
		if err != nil {
			t.Fatal(err)
		}
		for other, holder := range keys {
			key := &Key{Alg: other, Public: holder.Public()}
			if err := m.Verify(key); (err == nil) != (alg == other) {
				t.Errorf("%s token, %s key: %v", alg, other, err)
			}
		}
	}
}

func TestEveryChangedCharacterIsRefused(t *testing.T) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for alg, signer := range signers(t) {
		compact, key := signed(t, signer, alg, `{"sub":"u_1"}`)
		for i := range compact {
			// The neighbour differs in the last bit only, which is where a
			// lenient decoder looks away at the end of a segment.
			for _, c := range []string{neighbour(alphabet, compact[i]), ".", "=", "\n", "A"} {
				forged := compact[:i] + c + compact[i+1:]
				if forged != compact && verifies(forged, key) {
					t.Fatalf("%s: accepted with character %d of %d changed to %q", alg, i, len(compact), c)
				}
			}
		}
		for _, forged := range []string{compact[:len(compact)-1], compact + "A", compact + "=", compact + "\n", " " + compact} {
			if verifies(forged, key) {
				t.Errorf("%s: accepted a token cut short or grown", alg)
			}
		}
	}
}

func neighbour(alphabet string, c byte) string {
	return string(alphabet[(strings.IndexByte(alphabet, c)&63)^1])
}

func TestParseRefuses(t *testing.T) {
	b64 := strict.EncodeToString
	token := func(header string) string { return b64([]byte(header)) + ".e30.AAAA" }
	good := token(`{"alg":"ES256","typ":"at+jwt","kid":"k1","jku":"https://evil.example","x5c":["AA"],"x":{"y":[1,null]}}`)
	if _, err := Parse(good); err != nil {
		t.Fatalf("Parse of the good twin: %v", err)
	}
	for name, compact := range map[string]string{
		"empty":                        "",
		"two dots":                     "..",
		"one segment":                  "e30",
		"two segments":                 "e30.e30",
		"four segments":                good + ".AAAA",
		"empty header":                 ".e30.AAAA",
		"empty payload":                b64([]byte(`{"alg":"ES256"}`)) + "..AAAA",
		"empty signature":              b64([]byte(`{"alg":"ES256"}`)) + ".e30.",
		"padding":                      good + "==",
		"line break":                   good + "\n",
		"carriage return inside":       good[:10] + "\r" + good[10:],
		"space":                        good[:10] + " " + good[10:],
		"standard base64":              strings.TrimSuffix(good, "AAAA") + "AA+/",
		"set bits behind the end":      strings.TrimSuffix(good, "AAAA") + "AB",
		"JSON serialization":           `{"payload":"e30","signatures":[]}`,
		"header no object":             token(`["ES256"]`),
		"header not UTF-8":             token("{\"alg\":\"ES256\",\"a\":\"\xff\"}"),
		"header twice":                 token(`{"alg":"ES256"}{}`),
		"header with byte order mark":  token("\ufeff{\"alg\":\"ES256\"}"),
		"duplicate alg":                token(`{"alg":"ES256","alg":"RS256"}`),
		"duplicate alg, escaped":       token(`{"alg":"ES256","\u0061lg":"RS256"}`),
		"duplicate in a nested object": token(`{"alg":"ES256","x":{"a":1,"a":2}}`),
		"alg missing":                  token(`{"typ":"at+jwt"}`),
		"alg empty":                    token(`{"alg":""}`),
		"alg null":                     token(`{"alg":null}`),
		"alg number":                   token(`{"alg":256}`),
		"kid number":                   token(`{"alg":"ES256","kid":1}`),
		"typ list":                     token(`{"alg":"ES256","typ":["at+jwt"]}`),
		"crit":                         token(`{"alg":"ES256","crit":["exp"],"exp":1}`),
		"crit empty":                   token(`{"alg":"ES256","crit":[]}`),
		"b64 false":                    token(`{"alg":"ES256","b64":false}`),
		"b64 true":                     token(`{"alg":"ES256","b64":true}`),
	} {
		if m, err := Parse(compact); err == nil {
			t.Errorf("%s: parsed as %+v, want an error", name, m.Header)
		}
	}
}

func TestErrorsDoNotQuoteTheToken(t *testing.T) {
	compact, _ := signed(t, signers(t)[ES256], ES256, claims)
	for _, bad := range []string{compact + "=", compact + ".x", "x" + compact, compact[:20] + "\n" + compact[20:]} {
		_, err := Parse(bad)
		if err == nil {
			t.Fatal("parsed, want an error")
		}
		for _, segment := range strings.Split(compact, ".") {
			if strings.Contains(err.Error(), segment[:12]) {
				t.Errorf("error quotes the token: %v", err)
			}
		}
	}
}

func TestHeaderIs(t *testing.T) {
	for typ, want := range map[string]bool{
		"at+jwt": true, "AT+JWT": true, "application/at+jwt": true, "Application/At+Jwt": true,
		"": false, "JWT": false, "at": false, "at+jwt ": false, "text/at+jwt": false,
		"application/": false, "application/application/at+jwt": false, "dpop+jwt": false,
	} {
		if got := (Header{Typ: typ}).Is("at+jwt"); got != want {
			t.Errorf("typ %q is at+jwt = %v, want %v", typ, got, want)
		}
	}
	if (Header{Typ: "to\u212aen+jwt"}).Is("token+jwt") {
		t.Error("the Kelvin sign passes for the letter k")
	}
}

func TestHeaderEncode(t *testing.T) {
	h := Header{Alg: ES256, Typ: "dpop+jwt", KeyID: `a"b`, JWK: []byte(`{"kty":"EC"}`)}
	want := `{"alg":"ES256","typ":"dpop+jwt","kid":"a\"b","jwk":{"kty":"EC"}}`
	if got := string(h.Encode()); got != want {
		t.Errorf("header = %s, want %s", got, want)
	}
	back, err := ParseHeader(strict.EncodeToString(h.Encode()))
	if err != nil || fmt.Sprint(back) != fmt.Sprint(h) {
		t.Errorf("header after a round trip = %v, %v, want %v", back, err, h)
	}
	if got, want := string(Header{Alg: ES256}.Encode()), `{"alg":"ES256"}`; got != want {
		t.Errorf("header = %s, want %s", got, want)
	}
}

func TestSignatureLengthsOfES256(t *testing.T) {
	// Values with leading zeros exercise every length of integer.
	keys := signers(t)
	for i := range 300 {
		compact, key := signed(t, keys[ES256], ES256, fmt.Sprintf(`{"n":%d}`, i))
		if !verifies(compact, key) {
			t.Fatalf("signature %d does not verify", i)
		}
	}
	compact, key := signed(t, keys[ES256], ES256, claims)
	m, err := Parse(compact)
	if err != nil {
		t.Fatal(err)
	}
	der, err := keys[ES256].Sign(nil, make([]byte, 32), crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	for name, sig := range map[string][]byte{
		"none": nil, "short": m.Signature[:63], "long": append(m.Signature, 0), "half": m.Signature[:32],
		"zeros": make([]byte, 64), "ASN.1": der, "r is zero": append(make([]byte, 32), m.Signature[32:]...),
	} {
		if err := key.Verify(m.Signed, sig); !errors.Is(err, ErrSignature) {
			t.Errorf("%s: error = %v, want %v", name, err, ErrSignature)
		}
	}
}

// A signer is a signing device that may return nonsense.
type signer struct {
	public crypto.PublicKey
	out    []byte
}

func (s signer) Public() crypto.PublicKey { return s.public }

func (s signer) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return s.out, nil }

func TestSignRefuses(t *testing.T) {
	keys := signers(t)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	huge, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).Lsh(big.NewInt(1), 256), big.NewInt(1)})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		signer crypto.Signer
		alg    string
	}{
		"none":               {keys[ES256], "none"},
		"HS256":              {keys[RS256], "HS256"},
		"lower case":         {keys[ES256], "es256"},
		"no algorithm":       {keys[ES256], ""},
		"other key type":     {keys[RS256], ES256},
		"P-384":              {p384, ES256},
		"RSA of 1024 bits":   {short, RS256},
		"device: empty":      {signer{keys[ES256].Public(), nil}, ES256},
		"device: large":      {signer{keys[ES256].Public(), huge}, ES256},
		"device: raw":        {signer{keys[ES256].Public(), make([]byte, 64)}, ES256},
		"device: wrong type": {signer{"no key", nil}, ES256},
	} {
		if got, err := Sign(c.signer, c.alg, []byte(`{}`), []byte(`{}`)); err == nil {
			t.Errorf("%s: signed %q, want an error", name, got)
		}
	}
}

func TestDecodeSegmentAppends(t *testing.T) {
	got, err := DecodeSegment([]byte("ab"), "Y2Q")
	if err != nil || string(got) != "abcd" {
		t.Errorf("DecodeSegment = %q, %v, want abcd", got, err)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{rfc7515RS256, rfc7515ES256, rfc7515HS256, rfc7515None, rfc8037Ed25519, "..", "e30.e30.AA"} {
		f.Add(s)
	}
	key := parseKey(f, rfc7515EC)
	f.Fuzz(func(t *testing.T, compact string) {
		m, err := Parse(compact)
		if err != nil {
			return
		}
		header, _, _ := strings.Cut(compact, ".")
		again := header + "." + strict.EncodeToString(m.Payload) + "." + strict.EncodeToString(m.Signature)
		if again != compact {
			t.Fatalf("%q has a second spelling %q", compact, again)
		}
		if !strings.HasPrefix(compact, m.Signed+".") {
			t.Fatalf("signed part %q is not the start of %q", m.Signed, compact)
		}
		if m.Verify(key) == nil && compact != rfc7515ES256 {
			t.Fatalf("forged: %q", compact)
		}
		if _, err := ParseHeader(strict.EncodeToString(m.Header.Encode())); err != nil {
			t.Fatalf("header %+v does not survive a round trip: %v", m.Header, err)
		}
	})
}
