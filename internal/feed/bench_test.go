package feed

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"
)

// BenchmarkSpread is the time from Append until the last of many readers in this process holds
// the rule: one signature, and for each reader a loopback connection and a verification.
func BenchmarkSpread(b *testing.B) {
	for _, readers := range []int{20, 200} {
		b.Run(fmt.Sprintf("readers=%d", readers), func(b *testing.B) {
			n := newNotary(b)
			l := newLog(b, n, nil)
			srv := httptest.NewServer(l.Events())
			b.Cleanup(srv.Close)
			b.Cleanup(srv.CloseClientConnections)
			applied := make(chan uint64, readers)
			for range readers {
				run(b, newReader(b, n, srv.URL, func(c *ReaderConfig) {
					c.Client = &http.Client{Transport: &http.Transport{}}
					c.Applied = func(batch Batch) { applied <- batch.Position }
				}))
			}
			for range readers {
				<-applied // the snapshots
			}
			var took []time.Duration
			for b.Loop() {
				p := l.Applied() + 1
				began := time.Now()
				l.Append([]Plain{plain(p, KindGrant, "g")}, p, false)
				for range readers {
					if got := <-applied; got != p {
						b.Fatalf("reader applied %d, want %d", got, p)
					}
				}
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1e3, "p50-ms")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1e3, "p99-ms")
		})
	}
}

// BenchmarkSnapshotMillion is what a replica pays for a reader that starts at a million rules.
func BenchmarkSnapshotMillion(b *testing.B) {
	l := newLog(b, newNotary(b), nil)
	const n = 1_000_000
	for i := range uint64(n) {
		l.rules.Add(Rule{Position: i + 1, Kind: KindGrant, Value: numbered(i), Effect: End, Until: testUntil})
	}
	b.ReportAllocs()
	for b.Loop() {
		s, err := l.whole.make(l)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(len(s.data))/(1<<20), "MiB")
	}
}
