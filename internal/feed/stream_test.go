package feed

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
)

func decodeEvent(t *testing.T, n notary, event []byte) Batch {
	t.Helper()
	m, err := newParser(strings.NewReader(string(event)), readLimit).next()
	if err != nil {
		t.Fatal(err)
	}
	payload, err := n.verify(context.Background(), m.data)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Decode(payload)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParser(t *testing.T) {
	long := strings.Repeat("x", 200_000)
	tests := []struct {
		name  string
		input string
		want  []message
		err   string // after them
	}{
		{"nothing", "", nil, "EOF"},
		{"one", "id: e.1\nevent: batch\ndata: abc\n\n", []message{{"batch", "abc"}}, "EOF"},
		{"carriage returns", "event: batch\r\ndata: abc\r\n\r\n", []message{{"batch", "abc"}}, "EOF"},
		{"no space after the colon", "event:batch\ndata:abc\n\n", []message{{"batch", "abc"}}, "EOF"},
		{"comments and strange fields", ": hello\n\nretry: 5\nx\ndata: abc\n\n", []message{{"", "abc"}}, "EOF"},
		{"event without data", "event: ping\n\ndata: abc\n\n", []message{{"", "abc"}}, "EOF"},
		{"two", "data: a\n\nevent: b\ndata: c\n\n", []message{{"", "a"}, {"b", "c"}}, "EOF"},
		{"long", "data: " + long + "\n\n", []message{{"", long}}, "EOF"},
		{"cut in a line", "data: ab", nil, "EOF"},
		{"cut before the blank line", "data: abc\n", nil, "EOF"},
		{"two lines of data", "data: a\ndata: b\n\n", nil, "two lines"},
		{"line too long", "data: " + long + long + "\n\n", nil, "300000 bytes"},
		{"event too long", "x: " + long + "\ndata: " + long + "\n\n", nil, "300000 bytes"},
		{"line without end", strings.Repeat(long, 5), nil, "300000 bytes"},
	}
	for _, tt := range tests {
		p := newParser(strings.NewReader(tt.input), 300_000)
		for _, want := range tt.want {
			if got, err := p.next(); err != nil || got != want {
				t.Errorf("%s: next = %.60v, %v; want %.60v", tt.name, got, err, want)
			}
		}
		if got, err := p.next(); err == nil || !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: at the end next = %.60v, %v; want %s", tt.name, got, err, tt.err)
		}
	}
}

// FuzzParser: whatever comes, the parser ends, and an event it gives was whole and in bounds.
func FuzzParser(f *testing.F) {
	f.Add("id: e.1\nevent: batch\ndata: abc\n\n")
	f.Add(": x\r\n\r\ndata\n\ndata:\n\nevent: a\nevent: b\ndata: c\n\ndata: d\ndata: e\n\n")
	f.Fuzz(func(t *testing.T, input string) {
		p := newParser(strings.NewReader(input), 100)
		for {
			m, err := p.next()
			if err != nil {
				if errors.Is(err, io.ErrNoProgress) {
					t.Fatal(err)
				}
				return
			}
			if len(m.data)+len(m.name) > 100 || strings.ContainsAny(m.data+m.name, "\n") {
				t.Fatalf("event %q is out of bounds", m)
			}
			if !strings.Contains(input, m.data) {
				t.Fatalf("data %q is not in the input", m.data)
			}
		}
	})
}
