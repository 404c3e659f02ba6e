package jose

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
)

// A vector is one token of Project Wycheproof with the verdict it should get.
type vector struct {
	TcID    int
	Comment string
	JWS     string
	Result  string
}

// A group is vectors that share a key, or a key set. The symmetric ones have
// only a private side.
type group struct {
	Comment         string
	Public, Private json.RawMessage
	Tests           []vector
}

// stricter is where our verdict is not the vector's, by file and number. All
// of them are refusals.
var stricter = map[string]map[int]string{
	"json_web_signature_test.json": {
		259: "an empty payload: no token of ours has one, and Split takes it for a detached one",
		272: "an empty payload, as 259",
	},
}

// TestWycheproof runs every vector for signatures and keys. A token by one of
// our algorithms gets the vector's verdict; one by another algorithm is refused
// whatever the vector says. A result that is neither valid nor invalid has no
// rule here: Wycheproof has "acceptable", and in these files no use of it.
func TestWycheproof(t *testing.T) {
	for _, file := range []struct {
		name              string
		verify            func(t *testing.T, g group, token string) bool
		vectors, accepted int
	}{
		{"json_web_signature_test.json", verifyByKey, 401, 14},
		{"json_web_key_test.json", verifyBySet, 26, 1},
	} {
		ran, accepted := 0, 0
		stale := map[int]bool{}
		for id := range stricter[file.name] {
			stale[id] = true
		}
		for _, g := range readVectors(t, file.name) {
			for _, v := range g.Tests {
				if v.Result != "valid" && v.Result != "invalid" {
					t.Fatalf("%s %d: no rule for result %q", file.name, v.TcID, v.Result)
				}
				ran++
				ok := file.verify(t, g, v.JWS)
				if ok {
					accepted++
				}
				want := v.Result == "valid" && slices.Contains(Algorithms(), statedAlg(v.JWS))
				if reason := stricter[file.name][v.TcID]; reason != "" && want && !ok {
					delete(stale, v.TcID)
				} else if ok != want {
					t.Errorf("%s %d (%s, %s): accepted = %v, want %v", file.name, v.TcID, g.Comment, v.Comment, ok, want)
				}
			}
		}
		for id := range stale {
			t.Errorf("%s %d: the verdict is the vector's, so its row in stricter is stale", file.name, id)
		}
		if ran != file.vectors || accepted != file.accepted {
			t.Errorf("%s: ran %d, accepted %d, want %d and %d", file.name, ran, accepted, file.vectors, file.accepted)
		}
	}
}

// TestWycheproofPrivateKeys: none of the private and symmetric keys that come
// with the vectors, alone or in a set, is read (RFC 7517 §9.2).
func TestWycheproofPrivateKeys(t *testing.T) {
	tried := 0
	for _, name := range []string{"json_web_signature_test.json", "json_web_key_test.json"} {
		for _, g := range readVectors(t, name) {
			var set struct{ Keys []json.RawMessage }
			if g.Private != nil && json.Unmarshal(g.Private, &set) != nil {
				t.Fatalf("%s, %s: no object: %s", name, g.Comment, g.Private)
			}
			if g.Private != nil && set.Keys == nil {
				set.Keys = []json.RawMessage{g.Private}
			}
			for _, raw := range set.Keys {
				var secret struct{ D, K *string }
				if json.Unmarshal(raw, &secret) != nil || secret.D == nil && secret.K == nil {
					continue // the public key of a mixed set
				}
				tried++
				if key, err := ParseKey(raw); err == nil {
					t.Errorf("%s, %s: read as %+v, want an error", name, g.Comment, key)
				}
			}
		}
	}
	if want := 50; tried != want {
		t.Errorf("tried %d keys, want %d", tried, want)
	}
}

func readVectors(t *testing.T, name string) []group {
	t.Helper()
	data, err := os.ReadFile("testdata/wycheproof/" + name)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		NumberOfTests int
		TestGroups    []group
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, g := range file.TestGroups {
		n += len(g.Tests)
	}
	if n != file.NumberOfTests {
		t.Fatalf("%s: read %d vectors, want %d", name, n, file.NumberOfTests)
	}
	return file.TestGroups
}

// trusted is what a group gives to the verifier.
func (g group) trusted() json.RawMessage {
	if g.Public != nil {
		return g.Public
	}
	return g.Private
}

// verifyByKey checks a token with the group's key, which must then state an
// algorithm of ours.
func verifyByKey(t *testing.T, g group, token string) bool {
	key, err := ParseKey(g.trusted())
	if err != nil {
		return false
	}
	if !slices.Contains(Algorithms(), key.Alg) {
		t.Errorf("%s: key parsed with alg %q", g.Comment, key.Alg)
	}
	return verifies(token, &key)
}

// verifyBySet looks the token's key up in the group's set, as guards do.
func verifyBySet(t *testing.T, g group, token string) bool {
	keys, _, err := ParseSet(g.trusted())
	if err != nil {
		t.Errorf("%s: the set does not parse: %v", g.Comment, err)
		return false
	}
	m, err := Parse(token)
	if err != nil {
		return false
	}
	i := slices.IndexFunc(keys, func(k Key) bool { return k.ID == m.Header.KeyID })
	return i >= 0 && m.Verify(&keys[i]) == nil
}

// statedAlg is the alg in a token's header, "" where there is none to read. It
// uses nothing of ours, so that the expectation does not rest on what is tested.
func statedAlg(token string) string {
	segment, _, _ := strings.Cut(token, ".")
	data, err := base64.RawURLEncoding.DecodeString(segment)
	var header struct{ Alg string }
	if err != nil || json.Unmarshal(data, &header) != nil {
		return ""
	}
	return header.Alg
}
