package feed

import (
	"bufio"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestSnapshotIsMadeOnceForAll(t *testing.T) {
	n := newNotary(t)
	var signed atomic.Int64
	l := newLog(t, n, func(c *LogConfig) {
		c.Sign = func(payload []byte) (string, error) { signed.Add(1); return n.sign(payload) }
		c.Now = func() time.Time { return testUntil.Add(-time.Hour) }
	})
	l.Append([]Plain{plain(1, KindToken, "a")}, 1, false)
	url := serve(t, l.Events())
	var all []*subscription
	for range 10 {
		s := subscribe(t, n, url, "")
		if b := s.next(); !b.Snapshot || b.Position != 1 {
			t.Errorf("batch = %+v, want a snapshot at 1", b)
		}
		all = append(all, s)
	}
	l.Append([]Plain{plain(2, KindToken, "b")}, 2, false)
	for _, s := range append(all, subscribe(t, n, url, "e1.1")) {
		if b := s.next(); b.Position != 2 {
			t.Errorf("batch = %+v, want one that ends at 2", b)
		}
	}
	if got := signed.Load(); got != 3 {
		t.Errorf("signed %d times, want 3: each batch once, and one snapshot for all", got)
	}
}

func TestPublicSnapshotNamesNobody(t *testing.T) {
	n := newNotary(t)
	l := newLog(t, n, nil)
	l.Append([]Plain{
		plain(1, KindToken, "a"), plain(2, KindGrant, "b"), plain(3, KindSession, "c"),
		plain(4, KindSubject, "d"), plain(5, KindClient, "e"),
	}, 5, false)
	res, err := http.Get(serve(t, l.Snapshot()))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	compact, err := io.ReadAll(bufio.NewReader(res.Body))
	if err != nil {
		t.Fatal(err)
	}
	if got := res.Header.Get("Content-Type"); got != "application/jwt" {
		t.Errorf("Content-Type = %q, want application/jwt", got)
	}
	if got := res.Header.Get("Cache-Control"); !strings.Contains(got, "max-age=1") {
		t.Errorf("Cache-Control = %q, want max-age=1", got)
	}
	payload, err := n.verify(t.Context(), string(compact))
	if err != nil {
		t.Fatal(err)
	}
	b, err := Decode(payload)
	if err != nil {
		t.Fatal(err)
	}
	if !b.Snapshot || !b.Public || b.Position != 5 || !slices.Equal(positions(b), []uint64{1, 2, 3}) {
		t.Errorf("batch = %+v, want a public snapshot at 5 with rules 1, 2 and 3", b)
	}
	if string(b.Key) == string(testKey) {
		t.Error("public snapshot gives the feed key away")
	}
	for _, r := range b.Rules {
		if r.Kind == KindToken && r.Value != Hash(b.Key, KindToken, testIssuer, "a") {
			t.Errorf("value %s is not hashed under the snapshot's key", r.Value)
		}
	}
}

func TestPublicSnapshotIsOffByDefault(t *testing.T) {
	l := newLog(t, newNotary(t), func(c *LogConfig) { c.Public = false })
	w := httptest.NewRecorder()
	l.Snapshot().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if w.Code != http.StatusNotFound {
		t.Errorf("status = %d, want 404", w.Code)
	}
}
