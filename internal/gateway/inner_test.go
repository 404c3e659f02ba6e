package gateway

import (
	"net/http"
	"testing"
)

// A service that does not take the inner token any more gets another one at the
// next request, not at the first one's expiry.
func TestInnerTokenRefused(t *testing.T) {
	w := newWorld(t, nil)
	var seen []string
	w.service.mux.HandleFunc("/orders/picky", func(rw http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header.Get("Authorization"))
		if len(seen) == 2 {
			rw.WriteHeader(http.StatusUnauthorized)
		}
	})
	r := w.request("GET", "/orders/picky", "/orders", "orders:read")
	for n, want := range []int{200, 401, 200} {
		if res, body := w.do(r); res.StatusCode != want {
			t.Fatalf("request %d: %s %s, want %d", n+1, res.Status, body, want)
		}
	}
	if seen[0] != seen[1] || seen[1] == seen[2] {
		t.Errorf("inner tokens: the first kept %t, another after the refusal %t, want both", seen[0] == seen[1], seen[1] != seen[2])
	}
}
