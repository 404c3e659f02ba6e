package guardtest

import (
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"iter"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/token"
)

// Forgeries yields name and token of everything a resource server must refuse for c: range
// over it in your own test. Each is one that a careless server accepts. Token(c) is the good
// twin of them all.
func (i *Issuer) Forgeries(c token.Claims) iter.Seq2[string, string] {
	i.tb.Helper()
	c = i.fill(c)
	payload, err := c.Encode()
	if err != nil {
		i.tb.Fatalf("guardtest: %v", err)
	}
	key := i.current()
	f := &forger{
		i: i, key: key, now: time.Now(), payload: string(payload),
		header: string(jose.Header{Alg: jose.ES256, Typ: "at+jwt", KeyID: key.public.ID}.Encode()),
		types:  []string{"txntoken+jwt"}, audience: c.Audience[0],
	}
	return f.all(f.signatures, f.algorithms, f.keys, f.accessKeys, f.headers, f.times, f.names, f.accessNames, f.claims, f.encodings)
}

// all yields what the parts make.
func (f *forger) all(parts ...func()) iter.Seq2[string, string] {
	return func(yield func(name, token string) bool) {
		for _, part := range parts {
			f.made = f.made[:0]
			part()
			for _, m := range f.made {
				if !yield(m.name, m.token) {
					return
				}
			}
		}
	}
}

// forger makes bad tokens out of one good header and payload.
type forger struct {
	i       *Issuer
	key     pair
	now     time.Time
	header  string
	payload string

	types    []string // of tokens that go elsewhere
	audience string
	made     []forgery
}

type forgery struct{ name, token string }

func (f *forger) add(name, token string) { f.made = append(f.made, forgery{name, token}) }

// signed is a token with a good signature of key over header and payload, whatever they say.
func (f *forger) signed(key pair, header, payload string) string {
	return f.over(key, encode(header)+"."+encode(payload))
}

// over signs text, which need not be well encoded.
func (f *forger) over(key pair, text string) string {
	return text + "." + encode(string(f.raw(key, text)))
}

// raw is the signature itself: r and s.
func (f *forger) raw(key pair, text string) []byte {
	sum := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, key.private, sum[:])
	if err != nil {
		f.i.tb.Fatalf("guardtest: %v", err)
	}
	sig := make([]byte, 64)
	r.FillBytes(sig[:32])
	s.FillBytes(sig[32:])
	return sig
}

// claim adds a token in which one claim is changed; an empty value leaves it out.
func (f *forger) claim(name, claim, value string) {
	f.add(name, f.signed(f.key, f.header, edit(f.payload, claim, value)))
}

// member adds a token in whose header one member is changed.
func (f *forger) member(name, member, value string) {
	f.add(name, f.signed(f.key, edit(f.header, member, value), f.payload))
}

// edit sets a member of a JSON object, or removes it when value is empty.
func edit(object, name, value string) string {
	var members []string
	put := func(n, v string) {
		if v != "" {
			members = append(members, quote(n)+":"+v)
		}
	}
	found := false
	// The object is one this package made.
	_ = jose.Members(object, func(n, v string) error {
		if n == name {
			found, v = true, value
		}
		put(n, v)
		return nil
	})
	if !found {
		put(name, value)
	}
	return "{" + strings.Join(members, ",") + "}"
}

// double puts a member in front of an object that has one of that name.
func double(object, name, value string) string {
	return "{" + quote(name) + ":" + value + "," + object[1:]
}

// trail puts it at the end.
func trail(object, name, value string) string {
	return object[:len(object)-1] + "," + quote(name) + ":" + value + "}"
}

func quote(s string) string { return string(jose.AppendString(nil, s)) }

func encode(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func (f *forger) signatures() {
	good := f.signed(f.key, f.header, f.payload)
	header, payload, signature, _ := jose.Split(good)
	text := header + "." + payload
	flipped := f.raw(f.key, text)
	flipped[17] ^= 1
	f.add("signature changed", text+"."+encode(string(flipped)))
	f.add("signature of another token", text+"."+encode(string(f.raw(f.key, encode(f.header)+"."+encode("{}")))))
	f.add("signature cut short", text+"."+signature[:40])
	f.add("signature empty", text+".")
	f.add("signature missing", text)
	f.add("signature of zeros", text+"."+encode(string(make([]byte, 64)))) // CVE-2022-21449
	sig := f.raw(f.key, text)
	der, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])})
	if err != nil {
		f.i.tb.Fatalf("guardtest: %v", err)
	}
	f.add("signature in ASN.1", text+"."+encode(string(der))) // RFC 7518 §3.4: r and s, 32 bytes each
	f.add("payload changed", header+"."+encode(edit(f.payload, "sub", `"admin"`))+"."+signature)
	f.add("payload extended", header+"."+encode(trail(f.payload, "admin", "true"))+"."+signature)
	f.add("header changed", encode(edit(f.header, "x", "1"))+"."+payload+"."+signature)
}

func (f *forger) algorithms() {
	none := edit(f.header, "alg", `"none"`)
	f.add("alg none", encode(none)+"."+encode(f.payload)+".")
	f.add("alg none, two segments", encode(none)+"."+encode(f.payload))
	f.add("alg nOnE", encode(edit(f.header, "alg", `"nOnE"`))+"."+encode(f.payload)+".")
	f.add("alg none, signed", f.signed(f.key, none, f.payload))
	f.member("alg missing", "alg", "")
	f.member("alg empty", "alg", `""`)
	f.member("alg in lower case", "alg", `"es256"`)
	f.member("alg of another curve", "alg", `"ES384"`)
	f.member("alg of another kind", "alg", `"RS256"`)
	f.member("alg an array", "alg", `["ES256"]`)

	// The public key, which everybody has, as the secret of a MAC.
	der, err := x509.MarshalPKIXPublicKey(f.key.public.Public)
	if err != nil {
		f.i.tb.Fatalf("guardtest: %v", err)
	}
	jwk, err := f.key.public.Encode()
	if err != nil {
		f.i.tb.Fatalf("guardtest: %v", err)
	}
	mac := edit(f.header, "alg", `"HS256"`)
	f.add("HS256 with the public key as PEM", hs256(mac, f.payload, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})))
	f.add("HS256 with the public key as DER", hs256(mac, f.payload, der))
	f.add("HS256 with the public key as JWK", hs256(mac, f.payload, jwk))
	f.add("HS256 with an empty secret", hs256(edit(mac, "kid", `"../../../dev/null"`), f.payload, nil))
}

func hs256(header, payload string, secret []byte) string {
	text := encode(header) + "." + encode(payload)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(text))
	return text + "." + encode(string(mac.Sum(nil)))
}

func (f *forger) keys() {
	foreign := f.i.foreign
	jwk, err := foreign.public.Encode()
	if err != nil {
		f.i.tb.Fatalf("guardtest: %v", err)
	}
	f.add("foreign key under the same kid", f.signed(foreign, f.header, f.payload))
	f.add("foreign key", f.signed(foreign, edit(f.header, "kid", quote(foreign.public.ID)), f.payload))
	f.add("foreign key without kid", f.signed(foreign, edit(f.header, "kid", ""), f.payload))
	f.add("foreign key in jwk", f.signed(foreign, edit(edit(f.header, "jwk", string(jwk)), "kid", ""), f.payload))
	f.add("foreign key in jwk, same kid", f.signed(foreign, edit(f.header, "jwk", string(jwk)), f.payload))
	elsewhere := edit(f.header, "jku", quote(f.i.url+"/forged/jwks"))
	f.add("foreign key at jku", f.signed(foreign, edit(elsewhere, "kid", quote(foreign.public.ID)), f.payload))
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: f.now.Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, foreign.private.Public(), foreign.private)
	if err != nil {
		f.i.tb.Fatalf("guardtest: %v", err)
	}
	chain, err := json.Marshal([][]byte{cert})
	if err != nil {
		f.i.tb.Fatalf("guardtest: %v", err)
	}
	f.add("foreign key in x5c", f.signed(foreign, edit(f.header, "x5c", string(chain)), f.payload))
	feed := f.i.feedKey
	f.add("key of the feed", f.signed(feed, edit(f.header, "kid", quote(feed.public.ID)), f.payload))
}

func (f *forger) headers() {
	for _, typ := range []string{"JWT", "logout+jwt", "secevent+jwt", "dpop+jwt", "writ-feed+jwt", ""} {
		f.member("typ "+quote(typ), "typ", quote(typ))
	}
	for _, typ := range f.types {
		f.member("typ "+quote(typ), "typ", quote(typ))
	}
	f.member("typ missing", "typ", "")
	f.member("typ null", "typ", "null")
	f.add("crit not understood", f.signed(f.key, edit(edit(f.header, "x", "1"), "crit", `["x"]`), f.payload))
	f.member("crit empty", "crit", "[]")
	f.add("b64 false", f.signed(f.key, edit(edit(f.header, "b64", "false"), "crit", `["b64"]`), f.payload))
	f.add("alg twice, none first", f.signed(f.key, double(f.header, "alg", `"none"`), f.payload))
	f.add("alg twice, none last", f.signed(f.key, trail(f.header, "alg", `"none"`), f.payload))
	f.add("typ twice", f.signed(f.key, double(f.header, "typ", `"JWT"`), f.payload))
	f.add("kid twice", f.signed(f.key, double(f.header, "kid", `"other"`), f.payload))
	f.add("header an array", f.signed(f.key, "["+f.header+"]", f.payload))
	f.add("header with more behind it", f.signed(f.key, f.header+"{}", f.payload))
}

func (f *forger) times() {
	at := func(d time.Duration) string { return strconv.FormatInt(f.now.Add(d).Unix(), 10) }
	old := edit(edit(f.payload, "exp", at(-time.Hour)), "iat", at(-2*time.Hour))
	f.add("expired", f.signed(f.key, f.header, edit(old, "nbf", "")))
	f.claim("exp missing", "exp", "")
	f.claim("exp a string", "exp", quote(at(time.Hour)))
	f.claim("exp null", "exp", "null")
	f.claim("exp zero", "exp", "0")
	f.claim("exp negative", "exp", "-1")
	f.claim("exp an array", "exp", "["+at(time.Hour)+"]")
	f.claim("exp beyond all numbers", "exp", "1e400")
	f.claim("nbf in the future", "nbf", at(time.Hour))
	f.claim("nbf a string", "nbf", quote(at(-time.Hour)))
	f.claim("iat in the future", "iat", at(time.Hour))
	f.claim("iat missing", "iat", "")
	f.claim("iat a string", "iat", quote(at(0)))
}

func (f *forger) names() {
	f.claim("iss of another", "iss", `"https://issuer.example"`)
	f.claim("iss with a slash", "iss", quote(f.i.url+"/"))
	f.claim("iss longer", "iss", quote(f.i.url+".example"))
	f.claim("iss missing", "iss", "")
	f.claim("iss an array", "iss", "["+quote(f.i.url)+"]")
	audience := f.audience
	f.claim("aud of another", "aud", `"https://other.example"`)
	f.claim("aud with a slash", "aud", quote(audience+"/"))
	f.claim("aud longer", "aud", quote(audience+".example"))
	f.claim("aud shorter", "aud", quote(audience[:len(audience)-1]))
	if upper := strings.ToUpper(audience); upper != audience {
		f.claim("aud in other case", "aud", quote(upper))
	}
	f.claim("aud of others", "aud", "["+quote("x "+audience)+","+quote(audience+"x")+"]")
	f.claim("aud missing", "aud", "")
	f.claim("aud empty", "aud", "[]")
	f.claim("aud null", "aud", "null")
	f.claim("aud a map", "aud", "{"+quote(audience)+":true}")
	f.claim("sub missing", "sub", "")
	f.claim("sub empty", "sub", `""`)
	f.claim("sub a number", "sub", "1")
	f.claim("sub with a line break", "sub", `"user\r\nX-Admin: true"`)
	f.claim("sub with a zero", "sub", `"admin\u0000user"`)
	f.claim("sub with a delete", "sub", `"user\u007f"`)
	f.claim("sub not UTF-8", "sub", "\"user\xff\"")
	f.claim("client_id missing", "client_id", "")
	f.claim("client_id with a line break", "client_id", `"app\nX-Admin: true"`)
}

// accessNames are the names that only access tokens have, or must not have.
func (f *forger) accessNames() {
	f.claim("jti missing", "jti", "")
	f.claim("jti a number", "jti", "1")
	f.claim("a transaction's txn", "txn", `"t"`)
	f.claim("a transaction's req_wl", "req_wl", quote(gatewayID))
}

// accessKeys are keys that sign other things than access tokens.
func (f *forger) accessKeys() {
	gateway := f.i.gateway
	f.add("key of a gateway", f.signed(gateway, edit(f.header, "kid", quote(gateway.public.ID)), f.payload))
}

func (f *forger) claims() {
	f.claim("scope an array", "scope", `["read","write"]`)
	f.claim("scope with a line break", "scope", `"read\nwrite"`)
	f.claim("scope null", "scope", "null")
	f.claim("bound to a key, without a proof", "cnf", `{"jkt":`+quote(f.i.foreign.public.ID)+`}`)
	f.claim("bound to a certificate, without it", "cnf", `{"x5t#S256":`+quote(f.i.foreign.public.ID)+`}`)
	f.claim("bound in a way nobody knows", "cnf", `{"x":"y"}`)
	p := edit(f.payload, "scope", `"read"`)
	for _, m := range [][2]string{
		{"iss", `"https://issuer.example"`}, {"sub", `"admin"`}, {"aud", `"https://other.example"`},
		{"exp", "1"}, {"scope", `"admin"`},
	} {
		f.add(m[0]+" twice, good one last", f.signed(f.key, f.header, double(p, m[0], m[1])))
		f.add(m[0]+" twice, good one first", f.signed(f.key, f.header, trail(p, m[0], m[1])))
	}
	f.add("sub twice, once escaped", f.signed(f.key, f.header, `{"s\u0075b":"admin",`+p[1:]))
	f.add("claims in an array", f.signed(f.key, f.header, "["+p+"]"))
	f.add("claims with more behind them", f.signed(f.key, f.header, p+`{"sub":"admin"}`))
	f.add("claims after a byte order mark", f.signed(f.key, f.header, "\ufeff"+p))
	f.add("claims empty", f.signed(f.key, f.header, "{}"))
	f.add("claims missing", f.signed(f.key, f.header, ""))
	f.add("claims a token", f.signed(f.key, f.header, quote(f.signed(f.key, f.header, p))))
}

func (f *forger) encodings() {
	header, payload, signature, _ := jose.Split(f.signed(f.key, f.header, f.payload))
	text := header + "." + payload
	f.add("signature padded", text+"."+signature+"==")
	f.add("signature not canonical", text+"."+spare(signature))
	for !strings.ContainsAny(signature, "-_") {
		signature = encode(string(f.raw(f.key, text)))
	}
	f.add("signature in the other alphabet", text+"."+strings.NewReplacer("-", "+", "_", "/").Replace(signature))
	uneven := f.payload
	for len(uneven)%3 == 0 {
		uneven += " " // white space may follow JSON
	}
	padding := strings.Repeat("=", 3-len(uneven)%3)
	f.add("payload padded", f.over(f.key, header+"."+encode(uneven)+padding))
	f.add("payload not canonical", f.over(f.key, header+"."+spare(encode(uneven))))
	f.add("four segments", text+"."+signature+".x")
	f.add("five segments", text+"."+signature+"."+payload+"."+signature)
	f.add("segment in front", "."+text+"."+signature)
	f.add("JSON serialisation", `{"payload":"`+payload+`","protected":"`+header+`","signature":"`+signature+`"}`)
	f.add("general JSON serialisation",
		`{"payload":"`+payload+`","signatures":[{"protected":"`+header+`","signature":"`+signature+`"}]}`)
}

// spare sets a bit of the last character that belongs to no byte: another spelling of the same
// bytes. The segment must have such bits.
func spare(segment string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := len(segment) - 1
	return segment[:last] + string(alphabet[strings.IndexByte(alphabet, segment[last])+1])
}
