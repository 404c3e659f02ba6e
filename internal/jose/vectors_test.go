package jose

import "testing"

// Keys and tokens of the RFCs named at their use.
const (
	rfc7515RSA = `{"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"}`
	rfc7515EC  = `{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`
	rfc8037Ed  = `{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
	rfc7638RSA = `{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}`

	rfc7515Payload = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
	rfc7515RS256   = "eyJhbGciOiJSUzI1NiJ9." + rfc7515Payload + ".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
	rfc7515ES256   = "eyJhbGciOiJFUzI1NiJ9." + rfc7515Payload + ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
	rfc7515HS256   = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." + rfc7515Payload + ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	rfc7515None    = "eyJhbGciOiJub25lIn0." + rfc7515Payload + "."
	rfc8037Ed25519 = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
)

func parseKey(t testing.TB, raw string) *Key {
	t.Helper()
	key, err := ParseKey([]byte(raw))
	if err != nil {
		t.Fatalf("ParseKey: %v", err)
	}
	if key.Alg == "" {
		key.Alg = usual(key.Public)
	}
	return &key
}

// TestSignaturesOfTheRFCs: RFC 7515 A.2, A.3 and RFC 8037 A.4.
func TestSignaturesOfTheRFCs(t *testing.T) {
	keys := []*Key{parseKey(t, rfc7515RSA), parseKey(t, rfc7515EC), parseKey(t, rfc8037Ed)}
	for i, compact := range []string{rfc7515RS256, rfc7515ES256, rfc8037Ed25519} {
		m, err := Parse(compact)
		if err != nil {
			t.Errorf("Parse of vector %d: %v", i, err)
			continue
		}
		for k, key := range keys {
			if err := m.Verify(key); (err == nil) != (i == k) {
				t.Errorf("vector %d with the key of vector %d: %v", i, k, err)
			}
		}
	}
}

// TestUnsecuredAndSymmetricTokensAreRefused: RFC 7515 A.5 has an empty
// signature; A.1's algorithm is one that no key can state.
func TestUnsecuredAndSymmetricTokensAreRefused(t *testing.T) {
	if _, err := Parse(rfc7515None); err == nil {
		t.Error(`a token with alg "none" parses, want an error`)
	}
	m, err := Parse(rfc7515HS256)
	if err != nil {
		t.Fatalf("Parse: %v", err)
	}
	for _, raw := range []string{rfc7515RSA, rfc7515EC, rfc8037Ed} {
		key := parseKey(t, raw)
		if err := m.Verify(key); err == nil {
			t.Errorf("HS256 verifies with a key for %s", key.Alg)
		}
		// The attack that confuses libraries: the public key as HMAC secret.
		key.Alg = "HS256"
		if err := m.Verify(key); err == nil {
			t.Error("a public key stating HS256 verifies")
		}
	}
}

// TestThumbprintsOfTheRFCs: RFC 7638 §3.1 and RFC 8037 A.3.
func TestThumbprintsOfTheRFCs(t *testing.T) {
	for raw, want := range map[string]string{
		rfc7638RSA: "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
		rfc8037Ed:  "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
	} {
		if got := parseKey(t, raw).Thumbprint(); got != want {
			t.Errorf("thumbprint = %s, want %s", got, want)
		}
	}
	if got := (&Key{Public: "no key"}).Thumbprint(); got != "" {
		t.Errorf("thumbprint of no key = %q, want none", got)
	}
}

func verifies(compact string, key *Key) bool {
	m, err := Parse(compact)
	return err == nil && m.Verify(key) == nil
}
