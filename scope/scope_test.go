package scope

import (
	"slices"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		in   string
		want Set
	}{
		{"", nil},
		{"read", Set{"read"}},
		{"write read", Set{"read", "write"}},
		{"read write read", Set{"read", "write"}},
		{"orders:read https://api.example/x", Set{"https://api.example/x", "orders:read"}},
		{"! # [ ] ~", Set{"!", "#", "[", "]", "~"}},
	} {
		got, err := Parse(c.in)
		if err != nil {
			t.Errorf("Parse(%q): %v", c.in, err)
			continue
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("Parse(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, in := range []string{
		" ", " read", "read ", "read  write", "read\twrite", "read\nwrite", "read\x00",
		`re"ad`, `re\ad`, "r\u00e9ad", "read\x7f", "read\xff", "\u00a0",
	} {
		if got, err := Parse(in); err == nil {
			t.Errorf("Parse(%q) = %q, want an error", in, got)
		}
	}
}

func TestHasComparesWholeNames(t *testing.T) {
	s := Set{"orders:read", "profile"}
	for name, want := range map[string]bool{
		"profile": true, "orders:read": true,
		"orders": false, "read": false, "orders:read profile": false, "": false, "Profile": false,
	} {
		if got := s.Has(name); got != want {
			t.Errorf("%q has %q = %v, want %v", s, name, got, want)
		}
	}
	if Set(nil).Has("") {
		t.Error("the empty set has the empty name, want no")
	}
}

func TestSetsWrittenByHandNeedNotBeSorted(t *testing.T) {
	s := Set{"z", "a", "m"}
	for _, name := range s {
		if !s.Has(name) {
			t.Errorf("%q has %q = false, want true", s, name)
		}
	}
	if got, want := s.Intersect(Set{"m", "z"}), (Set{"m", "z"}); !slices.Equal(got, want) {
		t.Errorf("intersection = %q, want %q", got, want)
	}
}

func TestAlgebra(t *testing.T) {
	for _, c := range []struct {
		a, b, both, either string
		contains           bool
	}{
		{"", "", "", "", true},
		{"a", "", "", "a", true},
		{"", "a", "", "a", false},
		{"a b c", "b", "b", "a b c", true},
		{"a b", "b c", "b", "a b c", false},
		{"a", "b", "", "a b", false},
		{"a b", "a b", "a b", "a b", true},
	} {
		a, b := parse(t, c.a), parse(t, c.b)
		if got := a.Intersect(b).String(); got != c.both {
			t.Errorf("%q ∩ %q = %q, want %q", c.a, c.b, got, c.both)
		}
		if got := a.Union(b).String(); got != c.either {
			t.Errorf("%q ∪ %q = %q, want %q", c.a, c.b, got, c.either)
		}
		if got := a.Contains(b); got != c.contains {
			t.Errorf("%q contains %q = %v, want %v", c.a, c.b, got, c.contains)
		}
	}
}

func TestUnionLeavesItsOperandsAlone(t *testing.T) {
	backing := Set{"c", "d", "keep"}
	_ = backing[:2].Union(Set{"a"})
	if want := (Set{"c", "d", "keep"}); !slices.Equal(backing, want) {
		t.Errorf("operand = %q after Union, want %q", backing, want)
	}
}

func TestHasDoesNotAllocate(t *testing.T) {
	s := parse(t, "a b c d e f")
	if n := testing.AllocsPerRun(100, func() { _ = s.Has("f") && !s.Has("g") }); n != 0 {
		t.Errorf("Has allocates %v times, want 0", n)
	}
}

func parse(t *testing.T, s string) Set {
	t.Helper()
	set, err := Parse(s)
	if err != nil {
		t.Fatalf("Parse(%q): %v", s, err)
	}
	return set
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "a", "b a", "a  b", "a\tb", "a a", `"`, "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		set, err := Parse(s)
		if err != nil {
			return
		}
		if !slices.IsSorted(set) || len(slices.Compact(slices.Clone(set))) != len(set) {
			t.Fatalf("Parse(%q) = %q is not sorted and unique", s, set)
		}
		again, err := Parse(set.String())
		if err != nil || !slices.Equal(again, set) {
			t.Fatalf("Parse(%q) = %q, %v after a round trip, want %q", set.String(), again, err, set)
		}
		if want := strings.Count(s, " ") + 1; s != "" && len(set) > want {
			t.Fatalf("Parse(%q) has %d names, want at most %d", s, len(set), want)
		}
	})
}
