package guardtest

import (
	"iter"
	"strconv"
	"time"

	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/token"
)

// TransactionForgeries yields name and token of every transaction token that a service of the
// trust domain must refuse for c, in the header Txn-Token. Transaction(c) is the good twin of
// them all; Token(c), in Authorization, is not to be replaced by any of them either.
func (i *Issuer) TransactionForgeries(c token.Claims) iter.Seq2[string, string] {
	i.tb.Helper()
	c = i.fillTransaction(c)
	payload, err := c.EncodeTransaction()
	if err != nil {
		i.tb.Fatalf("guardtest: %v", err)
	}
	f := &forger{
		i: i, key: i.gateway, now: time.Now(), payload: string(payload),
		header: string(jose.Header{Alg: jose.ES256, Typ: "txntoken+jwt", KeyID: i.gateway.public.ID}.Encode()),
		types:  []string{"at+jwt", "application/at+jwt", "txntoken"}, audience: domain,
	}
	return f.all(f.signatures, f.algorithms, f.keys, f.transactionKeys, f.headers, f.times, f.names, f.claims, f.transactions, f.encodings)
}

// transactionKeys are keys that sign other things than transaction tokens, or another
// gateway's.
func (f *forger) transactionKeys() {
	issuer := f.i.current()
	f.add("key of access tokens", f.signed(issuer, edit(f.header, "kid", quote(issuer.public.ID)), f.payload))
	f.add("key of access tokens under the kid", f.signed(issuer, f.header, f.payload))
	f.claim("key of another gateway", "req_wl", `"other-gateway"`)
	both := edit(f.payload, "req_wl", `"other-gateway"`)
	f.add("key of another gateway, which acts", f.signed(f.key, f.header, edit(both, "act", `{"sub":"other-gateway"}`)))
}

func (f *forger) transactions() {
	f.claim("req_wl missing", "req_wl", "")
	f.claim("req_wl a list", "req_wl", "["+quote(gatewayID)+"]")
	f.claim("txn missing", "txn", "")
	f.claim("txn a number", "txn", "1")
	f.claim("an access token's jti", "jti", `"t"`)
	f.claim("aud a list", "aud", "["+quote(f.audience)+"]")
	f.claim("scope missing", "scope", "")
	f.claim("scope empty", "scope", `""`)
	f.claim("scope wider than its key's", "scope", `"guardtest-beyond"`)
	f.claim("scope with another behind", "scope", quote(f.i.granted()+" guardtest-beyond"))
	f.claim("act missing", "act", "")
	f.claim("act of somebody else", "act", `{"sub":"somebody"}`)
	f.claim("act of another issuer", "act", `{"iss":"https://issuer.example","sub":`+quote(gatewayID)+`}`)
	f.claim("act further in", "act", `{"sub":"somebody","act":{"sub":`+quote(gatewayID)+`}}`)
	f.claim("five actors", "act", `{"sub":`+quote(gatewayID)+`,"act":{"sub":"1","act":{"sub":"2","act":{"sub":"3","act":{"sub":"4"}}}}}`)
	f.claim("nine via", "via", `["1","2","3","4","5","6","7","8","9"]`)
	f.claim("lives for hours", "exp", strconv.FormatInt(f.now.Add(4*time.Hour).Unix(), 10))
	f.claim("details of an access token", "authorization_details", `[]`)
	f.claim("an address that is none", "rctx", `{"req_ip":"192.0.2.1\r\nX-Admin: true"}`)
	access := edit(edit(edit(f.payload, "txn", ""), "req_wl", ""), "jti", `"t"`)
	f.add("claims of an access token", f.signed(f.key, f.header, access))
}

// granted is what gateways may mint.
func (i *Issuer) granted() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.scopes.String()
}
