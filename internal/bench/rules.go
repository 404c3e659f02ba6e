package bench

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/writ-auth/writ/internal/feed"
	"github.com/writ-auth/writ/internal/jose"
	"github.com/writ-auth/writ/token"
)

// manyRules is how long a new reader needs until it holds a million rules, beside
// the transfer of the same bytes and the check of their signature.
func manyRules(ctx context.Context, r rig, d time.Duration) (Result, error) {
	const many, turns = 1_000_000, 3
	l, verify, err := million(r.Issuer, many)
	if err != nil {
		return Result{}, err
	}
	origin, err := serve(ctx, l.Events())
	if err != nil {
		return Result{}, err
	}
	if _, _, err := transfer(ctx, origin, verify); err != nil { // has the server make it
		return Result{}, err
	}
	var loads, transfers []float64
	var view feed.View
	size, before := 0, 0
	for range turns {
		view = feed.View{}
		before = memory()
		took, held, err := loadFeed(ctx, r.Issuer, origin, verify)
		if err != nil {
			return Result{}, err
		}
		loads, view = append(loads, took), held
		if took, size, err = transfer(ctx, origin, verify); err != nil {
			return Result{}, err
		}
		transfers = append(transfers, took)
	}
	each := float64(memory()-before) / many
	claims := &token.Claims{Issuer: r.URL, ID: rand.Text(), GrantID: rand.Text(), SessionID: rand.Text(), Subject: rand.Text(), ClientID: r.ClientID}
	check, look, err := lookups(d/8, &view, claims)
	if err != nil {
		return Result{}, err
	}
	return Result{
		Value: median(loads), Unit: "ms", Baseline: median(transfers),
		Note: fmt.Sprintf("%d rules, a snapshot already made; %.0f bytes a rule on the wire, %.0f in memory; a token costs %.2f µs when its five values are hashed, then %.2f; baseline: transfer and signature alone",
			view.Set.Len(), float64(size)/many, each, check, look),
	}, nil
}

// million makes a log of so many live rules and the check of its signatures.
func million(i *Issuer, many int) (*feed.Log, func(context.Context, string) ([]byte, error), error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	header := jose.Header{Alg: jose.Ed25519, Typ: "writ-feed+jwt", KeyID: "bench"}.Encode()
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return nil, nil, err
	}
	l, err := feed.NewLog(feed.LogConfig{
		Issuer: i.URL, Epoch: "bench", Key: key, Logger: quiet(),
		Sign: func(payload []byte) (string, error) { return jose.Sign(private, jose.Ed25519, header, payload) },
	})
	if err != nil {
		return nil, nil, err
	}
	until := time.Now().Add(24 * time.Hour)
	const page = 10_000
	rules := make([]feed.Plain, 0, page)
	for n := 1; n <= many; n++ {
		rules = append(rules, feed.Plain{Position: uint64(n), Kind: feed.KindGrant, Value: fmt.Sprintf("g_%022d", n), Effect: feed.End, Until: until})
		if n%page == 0 {
			l.Append(rules, uint64(n), false)
			rules = rules[:0]
		}
	}
	l.Fresh(uint64(many), time.Now())
	in := &inspector{keys: map[string]*jose.Key{"bench": {ID: "bench", Alg: jose.Ed25519, Public: public}}}
	return l, func(_ context.Context, compact string) ([]byte, error) { return in.check(compact) }, nil
}

// loadFeed follows the feed until the snapshot is held.
func loadFeed(ctx context.Context, i *Issuer, origin string, verify func(context.Context, string) ([]byte, error)) (float64, feed.View, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	held := make(chan struct{}, 1)
	reader, err := feed.NewReader(feed.ReaderConfig{
		Issuer: i.URL, URL: origin, Verify: verify, Logger: quiet(),
		Credential: func(context.Context) (string, error) { return "bench", nil },
		Applied:    func(feed.Batch) { held <- struct{}{} },
	})
	if err != nil {
		return 0, feed.View{}, err
	}
	over := make(chan struct{})
	start := time.Now()
	go func() {
		defer close(over)
		_ = reader.Run(ctx) // ctx's error
	}()
	select {
	case <-held:
	case <-ctx.Done():
		return 0, feed.View{}, errors.New("the snapshot did not come within a minute")
	}
	took := ms(time.Since(start))
	cancel()
	<-over
	return took, reader.View(), nil
}

// transfer reads the snapshot's event and checks its signature, and nothing else.
func transfer(ctx context.Context, origin string, verify func(context.Context, string) ([]byte, error)) (float64, int, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	start := time.Now()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, origin, nil)
	if err != nil {
		return 0, 0, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = res.Body.Close() }()
	in := bufio.NewReaderSize(res.Body, 64<<10)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return 0, 0, err
		}
		if compact, ok := strings.CutPrefix(line, "data: "); ok {
			_, err := verify(ctx, strings.TrimSuffix(compact, "\n"))
			return ms(time.Since(start)), len(line), err
		}
	}
}

// lookups is what a token costs that no rule names: with hashing its values, and
// without.
func lookups(d time.Duration, view *feed.View, claims *token.Claims) (check, look float64, err error) {
	hasher := feed.NewHasher(view.Key)
	var values []feed.Value
	none := func(v feed.Value) error {
		if _, hit := view.Set.Hit(v, feed.Token{}); hit {
			return errors.New("a rule hit a token that none names")
		}
		return nil
	}
	check, err = perCall(d, func() error {
		values = values[:0]
		for n := range claims.Names() {
			values = append(values, hasher.Hash(feed.Kind(n.Kind), n.Issuer, n.Value))
		}
		for _, v := range values {
			if err := none(v); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, 0, err
	}
	count := uint64(0)
	look, err = perCall(d, func() error {
		for _, v := range values {
			count++ // elsewhere in the table each time, as other tokens would be
			binary.BigEndian.PutUint64(v[:8], count*0x9e3779b97f4a7c15)
			if err := none(v); err != nil {
				return err
			}
		}
		return nil
	})
	return check, look, err
}
