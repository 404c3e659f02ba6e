package upstream

import (
	"bytes"
	"strings"
	"testing"
)

// FuzzResponse lets an upstream say anything. What comes of it is what comes of
// it with http.Transport, and none of it becomes the answer to the next request.
func FuzzResponse(f *testing.F) {
	for _, c := range responses {
		if len(c.say) < 4096 {
			f.Add("GET", c.say)
			f.Add("HEAD", c.say)
		}
	}
	f.Fuzz(func(t *testing.T, method, say string) {
		if method != "GET" && method != "HEAD" && method != "OPTIONS" {
			return
		}
		if strings.Count(say, "HTTP/") >= informational || strings.Contains(say, " 101") {
			return // where we are stricter
		}
		want, _ := twice(t, standard, method, said(say))
		got, sent := twice(t, ours, method, said(say))
		if got[0] != want[0] {
			t.Errorf("ours: %s\nwant: %s", got[0], want[0])
		}
		next := "HTTP/1.1 200 OK map[Content-Length:[5]] length 5 [] close false\n\"other\" no error map[]"
		if method == "HEAD" {
			next = strings.Replace(next, `"other"`, `""`, 1)
		}
		if got[1] != next {
			t.Errorf("next: %s\nwant: %s", got[1], next)
		}
		if len(sent) != 1 {
			t.Errorf("sent %q, want the same twice", sent)
		}
	})
}

// FuzzRequest sends anything in the places that callers fill in: either it is
// refused, or it is one request, as http.Transport would send it.
func FuzzRequest(f *testing.F) {
	f.Add("upstream.example", "/a", "b=c", "X-A", "one")
	f.Add("a\r\nX: y", "/a\r\n\r\n", "\x00", "X\nA", "one\r\n\r\nGET / HTTP/1.1\r\n\r\n")
	f.Add("", "", "", "transfer-encoding", "chunked")
	f.Fuzz(func(t *testing.T, host, path, query, name, value string) {
		r := (&server{host: "upstream.example"}).request(t, "GET")
		r.Host, r.URL.Path, r.URL.RawQuery = host, path, query
		r.Header[name] = []string{value}
		if !plain(r) {
			return
		}
		var head bytes.Buffer
		if err := r.Write(&head); err != nil {
			return
		}
		text, ended := strings.CutSuffix(head.String(), "\r\n\r\n")
		if !ended || strings.Contains(text, "\r\n\r\n") || strings.Contains(text, "\x00") ||
			strings.Count(text, "\n") != strings.Count(text, "\r\n") || strings.Count(text, "\r") != strings.Count(text, "\r\n") {
			t.Errorf("written: %q, want one request", head.String())
		}
		for line := range strings.SplitSeq(text, "\r\n") {
			field, _, _ := strings.Cut(line, ":")
			switch strings.ToLower(field) {
			case "content-length", "transfer-encoding", "connection", "upgrade", "expect", "trailer":
				t.Errorf("written: %q, want no %s", text, field)
			}
		}
	})
}
