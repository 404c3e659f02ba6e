package jose

import (
	"encoding/json"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"
)

// bases is the keys that a fuzzed JWK begins with.
var bases = []string{rfc7515EC, rfc7515RSA, rfc8037Ed, rfc7638RSA, `{}`}

// graft puts members into one of bases: in place of its own, when they are an
// object, else in front of them as they stand, which may give members twice or
// no JSON at all.
func graft(which byte, members string) []byte {
	base := bases[int(which)%len(bases)]
	var own, more map[string]json.RawMessage
	if json.Unmarshal([]byte(base), &own) == nil && json.Unmarshal([]byte(members), &more) == nil && !walk([]byte(members)).twice {
		maps.Copy(own, more)
		if data, err := json.Marshal(own); err == nil {
			return data
		}
	}
	return []byte("{" + members + base[1:])
}

// grafts is the seeds of members.
func grafts() []string {
	number := func(bits uint, low int64) string {
		n := new(big.Int).Lsh(big.NewInt(1), bits-1)
		return strict.EncodeToString(n.Add(n, big.NewInt(low)).Bytes())
	}
	padded := strict.EncodeToString(new(big.Int).SetBit(big.NewInt(1), 2047, 1).FillBytes(make([]byte, 257)))
	product := big.NewInt(2)
	for _, p := range fingerprint {
		product.Mul(product, big.NewInt(p))
	}
	weak := new(big.Int).Lsh(big.NewInt(1), 2047)
	weak.Sub(weak, new(big.Int).Mod(weak, product)).Add(weak, product).Add(weak, big.NewInt(1)) // 1, a power of 65537, modulo each
	return []string{
		`{}`, `{"kid":"k1"}`, `{"kid":"k1","use":"sig","key_ops":["verify"],"ext":true}`, `{"kid":"\ud83d\ude00"}`,
		`{"alg":"ES256"}`, `{"alg":"RS256"}`, `{"alg":"PS256"}`, `{"alg":"Ed25519"}`, `{"alg":"EdDSA"}`, `{"alg":""}`, `{"alg":"none"}`, `{"alg":"HS256"}`, `{"alg":"RS384"}`,
		`{"use":"enc"}`, `{"use":""}`, `{"use":"SIG"}`, `{"use":1}`, `{"key_ops":["sign"]}`, `{"key_ops":[]}`, `{"key_ops":"verify"}`, `{"key_ops":null}`, `{"key_ops":["verify",null]}`,
		`{"kid":null}`, `{"kid":7}`, `{"alg":null}`, `{"use":null}`, `{"x":null}`, `{"n":null}`, `{"e":null,"y":null}`, `{"kty":null}`, `{"crv":null}`,
		`{"kty":"oct","k":"AAAA"}`, `{"kty":"OKP","crv":"X25519"}`, `{"crv":"P-384"}`, `{"crv":"P-256"}`, `{"kty":"AKP"}`, `{"kty":"ec"}`,
		`{"d":"AAAA"}`, `{"d":""}`, `{"p":"AQAB"}`, `{"q":"","dp":"","dq":"","qi":""}`, `{"oth":[]}`, `{"k":"AAAA"}`, `{"priv":"AAAA"}`, `{"pub":"AAAA"}`, `{"pub":7}`,
		`{"kty":"EC","crv":"P-384","x":"qofKIr6LBTeOscce8yCtdG4dO2KLp5uYWfdB4IJUKjhVAvJdv1UpbDpUXjhydgq3","y":"NhfeSpYmLG9dnpi_kpLcKfj0Hb0omhR86doxE7XwuMAKYLHOHX6BnXpDHXyQ6g5f"}`,
		`{"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURp"}`, `{"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\n"}`, `{"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo="}`,
		`{"x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}`, `{"x":"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAIA"}`, `{"x":"","y":"","n":"","e":""}`, `{"x":"!","n":"!"}`,
		`{"y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a1"}`, `{"y":"\u0078_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a\r0"}`, `{"y":"AAAA"}`, `{"n":7}`, `{"y":"!"}`,
		`{"e":"AQ"}`, `{"e":"Ag"}`, `{"e":"BA"}`, `{"e":"AAEAAQ"}`, `{"e":"_____w"}`, `{"e":"f____w"}`, `{"e":"AQABAQABAQABAQAB"}`, `{"e":"AQAC"}`,
		`{"n":"` + number(1024, 1) + `"}`, `{"n":"` + number(2047, 1) + `"}`, `{"n":"` + number(2048, 1) + `"}`, `{"n":"` + number(4096, 1) + `"}`, `{"n":"` + number(4097, 1) + `"}`,
		`{"n":"` + number(2048, 0) + `"}`, `{"n":"` + padded + `"}`, `{"n":"` + strict.EncodeToString(weak.Bytes()) + `"}`,
		`{"x5c":["AA"]}`, `{"x5c":[]}`, `{"x5c":null}`, `{"x5t":"AA"}`, `{"x5t#S256":"!"}`, `{"x5u":"%"}`, `{"x5u":7,"pub":7}`, `{"x5c":["AA"],"n":"!"}`, `{"x5c":["AA"],"y":"!","pub":"!"}`,
		`{"x":{"a":1}}`, `{"ext":{"a":1,"a":2}}`, "{\"ext\":\"\xff\"}", `{"ext":"\ud800"}`, `{"kid":"\ud83d\\\ude00"}`, `{"ext":1e999}`, `{"KTY":"oct","Kid":7}`,
		`{"ext":` + strings.Repeat(`[`, 31) + strings.Repeat(`]`, 31) + `}`, `{"ext":` + strings.Repeat(`[`, 40) + strings.Repeat(`]`, 40) + `}`,
		`"kid":"k1",`, `"kty":"EC",`, "\t\"ext\":\"\t\",", `"ext":{"a":1,"a":2},`, `"kid":"a","k\u0069d":"a",`, "\"ext\":\"\xff\",", `}`, ``,
	}
}

// sets is the seeds of whole JWK sets.
func sets() []string {
	ec := strings.Replace(rfc7515EC, `{`, `{"kid":"ec",`, 1)
	rs := strings.Replace(rfc7515RSA, `{`, `{"kid":"rs","alg":"PS256",`, 1)
	ed := strings.Replace(rfc8037Ed, `{`, `{"kid":"ed",`, 1)
	return []string{
		`{"keys":[]}`, `{"keys":[` + ec + `,` + rs + `,` + ed + `]}`, `{"keys":[` + ec + `,` + ec + `]}`, `{"x":1,"keys":[` + rfc7515EC + ` , ` + rs + `]}`,
		`{"keys":[` + ec + `,` + strings.Replace(rs, `"rs"`, `"ec"`, 1) + `]}`, `{"keys":[` + strings.Replace(ec, `{`, `{"use":"enc",`, 1) + `,` + ec + `]}`,
		`{"keys":[{"kty":"oct","kid":"k","k":"AAAA"},` + rs + `]}`, `{"keys":[{},` + rs + `]}`, `{"keys":[7,` + ed + `]}`, `{"keys":[null]}`, `{"keys":[{"kty":"OKP","crv":"X25519","x":"AA","kid":"x"},` + ed + `]}`,
		`{"keys":null}`, `{}`, `{"Keys":[` + ec + `]}`, `{"keys":{}}`, `{"keys":[` + ec + `],"keys":[]}`, `[` + ec + `]`, `null`, ``, `{"keys":[` + ec + `]`, `{"keys":[` + ec + `,]}`,
		`{"keys":[` + strings.Repeat(rfc8037Ed+`,`, 99) + ed + `]}`, `{"keys":[` + strings.Repeat(rfc8037Ed+`,`, 100) + ed + `]}`,
		`{"keys":[],"x":{"a":1,"a":2}}`, "{\"keys\":[],\"x\":\"\xff\"}", `{"keys":[],"x":"\udc00"}`, `{"keys":[],"x":` + strings.Repeat(`[`, 33) + strings.Repeat(`]`, 33) + `}`,
	}
}

// FuzzKeysAgainstGoJose: of JWKs, alone and in a set, we and go-jose read the
// same and read the same in them, but for the reasons of the tables.
func FuzzKeysAgainstGoJose(f *testing.F) {
	for _, members := range grafts() {
		for which := range bases {
			f.Add(byte(which), members)
		}
	}
	for _, set := range sets() {
		f.Add(byte(255), set)
	}
	f.Fuzz(func(t *testing.T, which byte, text string) {
		if which == 255 {
			disputeSet(t, []byte(text))
			return
		}
		raw := graft(which, text)
		disputeKey(t, raw)
		disputeSet(t, slices.Concat([]byte(`{"keys":[`), raw, []byte(`,`+rfc7638RSA+`]}`)))
	})
}

// TestEveryDisputeOverKeysOccurs: as TestEveryDisputeOverTokensOccurs.
func TestEveryDisputeOverKeysOccurs(t *testing.T) {
	met := map[string]bool{}
	for _, members := range grafts() {
		for which := range bases {
			met[disputeKey(t, graft(byte(which), members))] = true
		}
	}
	for _, set := range sets() {
		met["set: "+disputeSet(t, []byte(set))] = true
	}
	for _, r := range slices.Concat(keyWeRefuse, keyTheyRefuse) {
		if !met[r.name] {
			t.Errorf("%q is listed for keys and does not occur", r.name)
		}
	}
	for _, r := range slices.Concat(setWeRefuse, setTheyRefuse) {
		if !met["set: "+r.name] {
			t.Errorf("%q is listed for sets and does not occur", r.name)
		}
	}
}
