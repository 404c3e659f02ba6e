package store_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"crypto/sha256"

	"github.com/writ-auth/writ/internal/store"
	"github.com/writ-auth/writ/internal/store/storetest"
)

func hash(n int64) []byte {
	sum := sha256.Sum256(binary.LittleEndian.AppendUint64(nil, uint64(n)))
	return sum[:]
}

// preload makes tables big enough that their indexes have more than one page, as in use.
func preload(b *testing.B, d *store.DB, grants int) {
	b.Helper()
	for at := 0; at < grants; at += 5000 {
		err := d.Update(context.Background(), func(tx *store.Tx) error {
			for i := at; i < min(at+5000, grants); i++ {
				id := fmt.Sprintf("%x", hash(int64(i))[:16])
				g := *grant
				g.ID, g.SessionID = id, id
				r := *refresh
				r.Hash, r.GrantID, r.Spent, r.SuccessorHash, r.Successor = hash(int64(i)), id, time.Time{}, nil, nil
				if err := tx.PutGrant(&g); err != nil {
					return err
				}
				if err := tx.PutRefresh(&r); err != nil {
					return err
				}
			}
			return tx.PutClient(client)
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

const preloaded = 20000

// databases runs a benchmark on both.
func databases(b *testing.B, run func(b *testing.B, d *store.DB)) {
	for name, at := range map[string]func(testing.TB) string{"sqlite": storetest.SQLite, "postgres": storetest.Postgres} {
		b.Run(name, func(b *testing.B) {
			d := storetest.Open(b, at(b), issuer)
			preload(b, d, preloaded)
			before := d.Stats().Retries
			run(b, d)
			b.ReportMetric(float64(d.Stats().Retries-before)/float64(b.N), "retries/op")
		})
	}
}

// BenchmarkPutRefresh is one small durable Update at a time, and 64 at a time.
func BenchmarkPutRefresh(b *testing.B) {
	for _, parallel := range []int{1, 32} {
		b.Run(fmt.Sprint("parallel=", parallel), func(b *testing.B) {
			databases(b, func(b *testing.B, d *store.DB) {
				var n atomic.Int64
				n.Store(1 << 40)
				each := func() {
					r := *refresh
					r.Hash = hash(n.Add(1))
					r.GrantID = fmt.Sprintf("%x", r.Hash[:16])
					if err := d.Update(context.Background(), func(tx *store.Tx) error { return tx.PutRefresh(&r) }); err != nil {
						b.Error(err)
					}
				}
				if parallel == 1 {
					for b.Loop() {
						each()
					}
					return
				}
				b.SetParallelism(parallel)
				b.ResetTimer()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						each()
					}
				})
			})
		})
	}
}

// BenchmarkRotate is the whole transaction of a refresh: client, token, grant and head are
// read, the old token is spent, the new one and the grant's last use are written.
func BenchmarkRotate(b *testing.B) {
	databases(b, func(b *testing.B, d *store.DB) {
		var n, fresh atomic.Int64
		fresh.Store(1 << 41)
		b.SetParallelism(32)
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				old, next := hash(n.Add(1)%preloaded), hash(fresh.Add(1))
				if err := d.Update(context.Background(), func(tx *store.Tx) error { return rotate(tx, old, next) }); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

func rotate(tx *store.Tx, old, next []byte) error {
	if _, err := tx.Client("c1"); err != nil {
		return err
	}
	r, err := tx.Refresh(old)
	if err != nil {
		return err
	}
	g, err := tx.Grant(r.GrantID)
	if err != nil {
		return err
	}
	if _, err := tx.Head(); err != nil {
		return err
	}
	r.Spent, r.SuccessorHash, r.Successor = base, next, make([]byte, 80)
	if err := tx.PutRefresh(r); err != nil {
		return err
	}
	if err := tx.PutRefresh(&store.Refresh{Hash: next, GrantID: g.ID, ClientID: "c1", Created: base, Expires: base}); err != nil {
		return err
	}
	g.Used = base
	return tx.PutGrant(g)
}

// BenchmarkClient is a View of one record.
func BenchmarkClient(b *testing.B) {
	databases(b, func(b *testing.B, d *store.DB) {
		b.ReportAllocs()
		for b.Loop() {
			err := d.View(context.Background(), func(tx *store.Tx) error { _, err := tx.Client("c1"); return err })
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkAppend is an Update that writes a rule, 64 at a time.
func BenchmarkAppend(b *testing.B) {
	databases(b, func(b *testing.B, d *store.DB) {
		b.SetParallelism(32)
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := d.Update(context.Background(), func(tx *store.Tx) error { return tx.Append(rule("x")) }); err != nil {
					b.Error(err)
				}
			}
		})
	})
}
