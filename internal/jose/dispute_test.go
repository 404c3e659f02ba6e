package jose

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// A reason is why one side accepts what the other refuses. It explains a
// dispute when the refusing side says so and the input is so, as read without
// the code under test.
type reason struct {
	name  string
	says  string // what stands in the refusal
	holds func(d *dispute) bool
}

// A dispute is one input and what both sides made of it.
type dispute struct {
	input    string
	segments []string                   // still base64url: of a token three; of a key its numbers
	text     []byte                     // JSON: of a token the header
	members  map[string]json.RawMessage // of text
	key      *Key                       // that a token was checked with
	ours     error
	theirs   error
}

// settle is how a dispute ends: with the name of a reason, "" when both sides
// gave the same verdict, or with the test's failure. What holds of an input
// that we accept must be no reason of ours to refuse.
func (d *dispute) settle(t testing.TB, weRefuse, theyRefuse []reason) string {
	t.Helper()
	for _, r := range weRefuse {
		if d.ours == nil && r.holds(d) {
			t.Fatalf("%q of %q: accepted in spite of %q", d.text, d.input, r.name)
		}
	}
	if (d.ours == nil) == (d.theirs == nil) {
		return ""
	}
	reasons, refusal := weRefuse, d.ours
	if d.ours == nil {
		reasons, refusal = theyRefuse, d.theirs
	}
	for _, r := range reasons {
		if strings.Contains(refusal.Error(), r.says) && r.holds(d) {
			return r.name
		}
	}
	t.Fatalf("%q of %q: our error is %v, go-jose's %v, and no reason explains it", d.text, d.input, d.ours, d.theirs)
	return ""
}

// read fills in the members of text as encoding/json reads them.
func (d *dispute) read(text []byte) {
	d.text = text
	_ = json.Unmarshal(text, &d.members) // what is no object has no members
}

// str is the value of a string member, "" when it is none.
func (d *dispute) str(name string) string {
	var s string
	_ = json.Unmarshal(d.members[name], &s) // then it stays empty
	return s
}

func has(names ...string) func(*dispute) bool {
	return func(d *dispute) bool {
		return slices.ContainsFunc(names, func(name string) bool { return d.members[name] != nil })
	}
}

// noString: one of the members is there and no string. RFC 8259 allows null
// where these RFCs want a string; go-jose takes it for a member left out.
func noString(names ...string) func(*dispute) bool {
	return func(d *dispute) bool {
		return slices.ContainsFunc(names, func(name string) bool {
			value := d.members[name]
			return value != nil && value[0] != '"'
		})
	}
}

// spelling is why we refuse a segment that go-jose decodes; it checks a token's
// signature over the one right spelling, and so takes all of them.
var spelling = []reason{
	{"line break", "line break in base64url", func(d *dispute) bool {
		return slices.ContainsFunc(d.segments, func(s string) bool { return strings.ContainsAny(s, "\r\n") })
	}},
	{"set bits behind the end", "illegal base64 data", func(d *dispute) bool {
		return slices.ContainsFunc(d.segments, func(s string) bool {
			s = strings.NewReplacer("\r", "", "\n", "").Replace(s)
			data, err := base64.RawURLEncoding.DecodeString(s)
			return err == nil && base64.RawURLEncoding.EncodeToString(data) != s
		})
	}},
}

// notation is why we refuse JSON that go-jose reads: two readers could read it
// differently, or a reader might run out of stack.
var notation = []reason{
	{"member twice", "duplicate member", func(d *dispute) bool { return walk(d.text).twice }},
	{"not UTF-8", "not UTF-8", func(d *dispute) bool { return !utf8.Valid(d.text) }},
	{"half a surrogate pair", "bad escape", func(d *dispute) bool { return !utf16OK(d.text) }},
	{"too deep", "too deep", func(d *dispute) bool { return walk(d.text).depth > 32 }},
}

var surrogate = regexp.MustCompile(`(?i)\\u(d[89ab]..\\ud[c-f]..|d[89a-f]..)`)

// utf16OK reports whether all halves of surrogate pairs have their other half.
func utf16OK(text []byte) bool {
	text = bytes.ReplaceAll(text, []byte(`\\`), []byte(`.`)) // between two halves it parts them
	return !slices.ContainsFunc(surrogate.FindAll(text, -1), func(found []byte) bool { return len(found) == len(`\ud800`) })
}

// A shape is what a walk over JSON by encoding/json's tokens finds.
type shape struct {
	depth int // of nesting, at its deepest
	twice bool
}

func walk(text []byte) (found shape) {
	type level struct {
		names map[string]bool // nil in an array
		value bool            // a name was read, its value comes
	}
	var levels []level
	in := json.NewDecoder(bytes.NewReader(text))
	in.UseNumber()
	for {
		token, err := in.Token()
		if err != nil {
			if err != io.EOF {
				return shape{}
			}
			return found
		}
		if token == json.Delim('}') || token == json.Delim(']') {
			levels = levels[:len(levels)-1]
			continue
		}
		if n := len(levels) - 1; n >= 0 && levels[n].names != nil {
			if name, ok := token.(string); ok && !levels[n].value {
				found.twice = found.twice || levels[n].names[name]
				levels[n].names[name], levels[n].value = true, true
				continue
			}
			levels[n].value = false
		}
		switch token {
		case json.Delim('{'):
			levels = append(levels, level{names: map[string]bool{}})
		case json.Delim('['):
			levels = append(levels, level{})
		}
		found.depth = max(found.depth, len(levels))
	}
}

// TestReasonsAreRead: the reading of JSON that explains disputes finds what
// it looks for and nothing else.
func TestReasonsAreRead(t *testing.T) {
	for text, want := range map[string]shape{
		`{"a":1,"b":{"a":[2,{}]}}`:        {depth: 4},
		`{"a":"a","b":"a"}`:               {depth: 1},
		`{"a":{"x":1},"\u0061":0}`:        {depth: 2, twice: true},
		`{"x":[{"b":"b","b":0}],"y":"x"}`: {depth: 3, twice: true},
		`{"x":{"y":{}},"x":1}`:            {depth: 3, twice: true},
	} {
		if got := walk([]byte(text)); got != want {
			t.Errorf("%s: %+v, want %+v", text, got, want)
		}
	}
	for text, want := range map[string]bool{
		`"\ud83d\ude00"`: true, `"\\ud83d"`: true, `"\ud83d\\\ude00"`: false, `"\u00e9"`: true, `"\ud83d"`: false, `"\ude00"`: false, `"\uD83Dx\uDE00"`: false, `"\ude00\ud83d"`: false,
	} {
		if got := utf16OK([]byte(text)); got != want {
			t.Errorf("%s: whole = %v, want %v", text, got, want)
		}
	}
}
