package jose

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"slices"
	"strings"
	"testing"
)

// A draft is a token between being signed and being sent.
type draft struct {
	header, payload, signature string // base64url
}

func (d *draft) segment(n byte) *string {
	return [...]*string{&d.header, &d.payload, &d.signature}[n%3]
}

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// edits is what may be done to a signed token: to the segment n, with at as a
// place in it or a value.
var edits = []func(d *draft, n, at byte){
	func(d *draft, n, at byte) { // turn the last character into one that may decode alike
		if s := d.segment(n); *s != "" {
			i := strings.IndexByte(alphabet, (*s)[len(*s)-1])
			*s = (*s)[:len(*s)-1] + string(alphabet[(i^int(at))&63])
		}
	},
	func(d *draft, n, at byte) { insert(d.segment(n), at, "\n") },
	func(d *draft, n, at byte) { insert(d.segment(n), at, "\r\n") },
	func(d *draft, n, at byte) { insert(d.segment(n), at, string(at)) },
	func(d *draft, n, at byte) { *d.segment(n) += strings.Repeat("=", int(at%3)) },
	func(d *draft, n, at byte) { *d.segment(n) = (*d.segment(n))[:int(at)%(len(*d.segment(n))+1)] },
	func(d *draft, n, at byte) { *d.segment(n) = "" },
	func(d *draft, n, at byte) { *d.segment(n) += "." + *d.segment(at) },
	func(d *draft, n, at byte) { *d.segment(n) = *d.segment(at) },
	func(d *draft, n, at byte) {
		*d.segment(n) = strings.NewReplacer("-", "+", "_", "/").Replace(*d.segment(n))
	},
	func(d *draft, n, at byte) { // change a byte of what the segment decodes to
		if data, err := strict.DecodeString(*d.segment(n)); err == nil && len(data) > 0 {
			data[int(at)%len(data)] ^= 1 << (n / 3 % 8)
			*d.segment(n) = strict.EncodeToString(data)
		}
	},
	func(d *draft, n, at byte) { // shift zeros in at an end, or swap halves
		data, err := strict.DecodeString(*d.segment(n))
		switch half := len(data) / 2; {
		case err != nil:
		case at%3 == 0:
			data = append(data, 0)
		case at%3 == 1:
			data = append([]byte{0}, data...)
		default:
			data = append(data[half:len(data):len(data)], data[:half]...)
		}
		*d.segment(n) = strict.EncodeToString(data)
	},
}

func insert(s *string, at byte, what string) {
	i := int(at) % (len(*s) + 1)
	*s = (*s)[:i] + what + (*s)[i:]
}

// zeros is the salt of PS256 signatures: fuzzing wants the same token each time.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// forge signs header and payload with the right key, whatever the header says,
// so that the deep checks are reached; then come the edits, three bytes each.
// For PS256 a first byte of 255 says that the second is the length of the salt.
func forge(t testing.TB, h holder, header, payload, script []byte) string {
	t.Helper()
	d := &draft{header: strict.EncodeToString(header), payload: strict.EncodeToString(payload)}
	salt := sha256.Size
	if len(script) > 1 && script[0] == 255 {
		salt, script = 1+int(script[1])%200, script[2:]
	}
	text := []byte(d.header + "." + d.payload)
	var signature []byte
	var err error
	if h.key.Alg == PS256 {
		digest := sha256.Sum256(text)
		signature, err = rsa.SignPSS(zeros{}, h.signer.(*rsa.PrivateKey), crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: salt})
	} else {
		signature, err = sign(h.signer, h.key.Alg, text)
	}
	if err != nil {
		t.Fatal(err)
	}
	d.signature = strict.EncodeToString(signature)
	for range 4 {
		if len(script) < 3 {
			break
		}
		edits[int(script[0])%len(edits)](d, script[1], script[2])
		script = script[3:]
	}
	return d.header + "." + d.payload + "." + d.signature
}

// A seed is one input of FuzzAgainstGoJose. ALG in its header stands for the
// algorithm of the key that it is tried with.
type seed struct{ header, payload, script string }

var seeds = []seed{
	{`{"alg":"ALG"}`, `{}`, ""},
	{`{"alg":"ALG","typ":"at+jwt","kid":"k1"}`, claims, ""},
	{" {\t\"typ\" : \"JWT\",\r\n\"alg\":\"\\u0041LG\" } ", "payload, no JSON \x00\xff", ""},
	{`{"alg":"ALG","kid":"\ud83d\ude00é\u0000","x":[1,-0.5e-7,true,null,{"y":{}}]}`, `[]`, ""},
	{`{"alg":"ALG"}`, ``, ""},
	{`{"alg":"ALG","alg":"none"}`, `{}`, ""},
	{`{"alg":"ALG","\u0061lg":"ALG"}`, `{}`, ""},
	{`{"alg":"ALG","Alg":"none","ALG":1}`, `{}`, ""},
	{`{"alg":"none"}`, `{}`, ""},
	{`{"alg":"HS256"}`, `{}`, ""},
	{`{"alg":"ES256"}`, `{}`, ""},
	{`{"alg":"RS256"}`, `{}`, ""},
	{`{"alg":"EdDSA"}`, `{}`, ""},
	{`{"alg":null}`, `{}`, ""},
	{`{"alg":["ALG"]}`, `{}`, ""},
	{`{"alg":"ALG "}`, `{}`, ""},
	{`{"typ":"JWT"}`, `{}`, ""},
	{`null`, `{}`, ""},
	{``, `{}`, ""},
	{`{"alg":"ALG"}{}`, `{}`, ""},
	{"\ufeff" + `{"alg":"ALG"}`, `{}`, ""},
	{`{"alg":"ALG",}`, `{}`, ""},
	{`{"alg":"ALG","crit":[]}`, `{}`, ""},
	{`{"alg":"ALG","crit":null}`, `{}`, ""},
	{`{"alg":"ALG","crit":["b64"],"b64":true}`, `{}`, ""},
	{`{"alg":"ALG","crit":["b64"],"b64":false}`, `{}`, ""},
	{`{"alg":"ALG","crit":["exp"],"exp":1}`, `{}`, ""},
	{`{"alg":"ALG","b64":true}`, `{}`, ""},
	{`{"alg":"ALG","b64":false}`, `{}`, ""},
	{`{"alg":"ALG","b64":"no"}`, `{}`, ""},
	{`{"alg":"ALG","typ":7}`, `{}`, ""},
	{`{"alg":"ALG","typ":null}`, `{}`, ""},
	{`{"alg":"ALG","kid":null}`, `{}`, ""},
	{`{"alg":"ALG","kid":7}`, `{}`, ""},
	{`{"alg":"ALG","nonce":7}`, `{}`, ""},
	{`{"alg":"ALG","nonce":null,"cty":7,"zip":"DEF","enc":[],"epk":{},"jku":"https://evil.example"}`, `{}`, ""},
	{`{"alg":"ALG","x5c":["AA"]}`, `{}`, ""},
	{`{"alg":"ALG","x5c":[],"x5t":"AA","x5u":"%"}`, `{}`, ""},
	{`{"alg":"ALG","x":1e999}`, `{}`, ""},
	{`{"alg":"ALG","x":01}`, `{}`, ""},
	{"{\"alg\":\"ALG\",\"x\":\"\xff\"}", `{}`, ""},
	{"{\"alg\":\"ALG\",\"\xff\":\"\"}", `{}`, ""},
	{`{"alg":"ALG","x":"\ud800"}`, `{}`, ""},
	{`{"alg":"ALG","kid":"\udc00\ud800"}`, `{}`, ""},
	{`{"alg":"ALG","x":"\u12"}`, `{}`, ""},
	{"{\"alg\":\"ALG\",\"x\":\"\t\"}", `{}`, ""},
	{`{"alg":"ALG","x":{"a":1,"a":2}}`, `{}`, ""},
	{`{"alg":"ALG","x":` + strings.Repeat(`[`, 31) + strings.Repeat(`]`, 31) + `}`, `{}`, ""},
	{`{"alg":"ALG","x":` + strings.Repeat(`[`, 32) + strings.Repeat(`]`, 32) + `}`, `{}`, ""},
	{`{"alg":"ALG","jwk":` + rfc8037Ed + `}`, `{}`, ""},
	{`{"alg":"ALG","jwk":null}`, `{}`, ""},
	{`{"alg":"ALG","jwk":{"kty":"oct","k":"AAAA"}}`, `{}`, ""},
	{`{"alg":"ALG","jwk":"key"}`, `{}`, ""},
	{`{"alg":"ALG","jwk":` + strings.Replace(rfc8037Ed, `{`, `{"x5x":{"a":1,"a":2},`, 1) + `}`, `{}`, ""},
	{`{"alg":"ALG","jwk":` + strings.Replace(rfc8037Ed, `{`, `{"d":"AAAA",`, 1) + `}`, `{}`, ""},
	{`{"alg":"ALG"}`, `{}`, "\xff\x00"}, // salt
	{`{"alg":"ALG"}`, `{}`, "\xff\x1f"},
	{`{"alg":"ALG"}`, `{}`, "\xff\x20"},
	{`{"alg":"ALG"}`, `{}`, "\x00\x00\x01"}, // last character
	{`{"alg":"ALG"}`, `{}`, "\x00\x01\x01"},
	{`{"alg":"ALG"}`, `{}`, "\x00\x02\x01"},
	{`{"alg":"ALG","kid":"k"}`, `{} `, "\x00\x00\x02\x00\x01\x02"},
	{`{"alg":"ALG"}`, `{}`, "\x01\x00\x05"}, // line breaks
	{`{"alg":"ALG"}`, `{}`, "\x02\x01\x00"},
	{`{"alg":"ALG"}`, `{}`, "\x01\x02\xff"},
	{`{"alg":"ALG"}`, ``, "\x01\x01\x00"},
	{`{"alg":"ALG"}`, `{}`, "\x03\x01 \x03\x02\t"}, // other characters
	{`{"alg":"ALG"}`, `{}`, "\x03\x02."},
	{`{"alg":"ALG"}`, `{}`, "\x04\x00\x01\x04\x01\x02\x04\x02\x01"}, // padding
	{`{"alg":"ALG"}`, `{}`, "\x05\x02\x20"},                         // cut off
	{`{"alg":"ALG"}`, `{}`, "\x05\x00\x05"},
	{`{"alg":"ALG"}`, `{}`, "\x06\x02\x00"}, // left out
	{`{"alg":"ALG"}`, `{}`, "\x06\x00\x00\x06\x01\x00\x06\x02\x00"},
	{`{"alg":"ALG"}`, `{}`, "\x07\x02\x01"},   // one segment more
	{`{"alg":"ALG"}`, `{}`, "\x08\x01\x00"},   // one in place of another
	{`{"alg":"ALG"}`, claims, "\x09\x02\x00"}, // base64 of the other alphabet
	{`{"alg":"ALG"}`, `{}`, "\x0a\x02\x00"},   // changed bytes
	{`{"alg":"ALG"}`, claims, "\x0a\x01\x30"},
	{`{"alg":"ALG"}`, `{}`, "\x0b\x02\x00"}, // longer, shifted, swapped
	{`{"alg":"ALG"}`, `{}`, "\x0b\x02\x01"},
	{`{"alg":"ALG"}`, `{}`, "\x0b\x02\x02"},
}

// FuzzAgainstGoJose: of tokens that are signed well and odd otherwise, and of
// such as were changed on the way, we and go-jose accept the same and read the
// same in them, but for the reasons of tokenWeRefuse and tokenTheyRefuse.
func FuzzAgainstGoJose(f *testing.F) {
	all := holders(f)
	for which, h := range all {
		for _, s := range seeds {
			f.Add(byte(which), []byte(strings.ReplaceAll(s.header, "ALG", h.key.Alg)), []byte(s.payload), []byte(s.script))
		}
	}
	f.Fuzz(func(t *testing.T, which byte, header, payload, script []byte) {
		i := int(which) % len(all)
		token := forge(t, all[i], header, payload, script)
		disputeToken(t, token, all[i].key)
		// The next is the same key under its other name, or one of another kind.
		disputeToken(t, token, all[(i+1)%len(all)].key)
	})
}

// TestEveryDisputeOverTokensOccurs: no reason stands in the tables that the
// seeds do not meet.
func TestEveryDisputeOverTokensOccurs(t *testing.T) {
	met := map[string]bool{}
	for _, h := range holders(t) {
		for _, s := range seeds {
			header := []byte(strings.ReplaceAll(s.header, "ALG", h.key.Alg))
			met[disputeToken(t, forge(t, h, header, []byte(s.payload), []byte(s.script)), h.key)] = true
		}
	}
	for _, r := range slices.Concat(tokenWeRefuse, tokenTheyRefuse) {
		if !met[r.name] {
			t.Errorf("%q is listed and does not occur", r.name)
		}
	}
}
