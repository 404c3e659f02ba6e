package gateway

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Content goes to the service past the question, however it is sent.
func TestContentBehindFronts(t *testing.T) {
	eachFront(t, func(t *testing.T, a asked) {
		client := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: 5 * time.Second}}
		defer client.CloseIdleConnections()
		writer := a.request("POST", "/", "/orders", "orders:write").Header.Get("Authorization")
		for name, c := range map[string]struct {
			authorization string
			body          func() io.Reader
			expect        bool
			want          int
		}{
			"with a length":             {writer, func() io.Reader { return strings.NewReader("content") }, false, 200},
			"chunked":                   {writer, func() io.Reader { return io.MultiReader(strings.NewReader("con"), strings.NewReader("tent")) }, false, 200},
			"waiting to be asked for":   {writer, func() io.Reader { return strings.NewReader("content") }, true, 200},
			"none":                      {writer, func() io.Reader { return http.NoBody }, false, 200},
			"refused, with a length":    {a.reader, func() io.Reader { return strings.NewReader("content") }, false, 403},
			"refused, chunked":          {a.reader, func() io.Reader { return io.MultiReader(strings.NewReader("content")) }, false, 403},
			"refused, waiting to be so": {a.reader, func() io.Reader { return strings.NewReader("content") }, true, 403},
		} {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			r, err := http.NewRequestWithContext(ctx, "POST", "http://"+a.address+"/orders/7", c.body())
			if err != nil {
				t.Fatal(err)
			}
			r.Host = "api.example"
			r.Header.Set("Authorization", c.authorization)
			if c.expect {
				r.Header.Set("Expect", "100-continue")
			}
			before := a.service.count()
			res, err := client.Do(r)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				cancel()
				continue
			}
			said := body(t, res)
			cancel()
			want := "content"
			if name == "none" {
				want = ""
			}
			a.service.mu.Lock()
			got, reached := a.service.last, len(a.service.seen)-before
			a.service.mu.Unlock()
			if res.StatusCode != c.want || reached != 0 != (c.want == 200) || reached != 0 && got != want {
				t.Errorf("%s: %s %s, %d requests reached the service, the last with %q, want %d", name, res.Status, said, reached, got, c.want)
			}
		}
	})
}
