package feed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"
)

// follow reads the event stream until it breaks.
func (r *Reader) follow(ctx context.Context) error {
	asking, cancel := context.WithTimeout(ctx, 10*time.Second)
	credential, err := r.cfg.Credential(asking)
	cancel()
	if err != nil {
		return fmt.Errorf("credential for the feed: %w", err)
	}
	req, err := http.NewRequest(http.MethodGet, r.cfg.URL, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Authorization", "Bearer "+credential)
	if v := r.View(); v.Ready && !r.gap {
		req.Header.Set("Last-Event-ID", cursor{v.Epoch, v.Position}.String())
	}
	err = r.read(ctx, req, "text/event-stream", func(ctx context.Context, body io.Reader) error {
		p := newParser(body, readLimit)
		for {
			m, err := p.next()
			if err != nil {
				return err
			}
			if m.name != "snapshot" && m.name != "batch" {
				continue
			}
			if err := r.take(ctx, m.data); err != nil {
				return err
			}
		}
	})
	if errors.Is(err, errUnknown) {
		r.cfg.Refused(credential)
	}
	return err
}

// poll reads the public snapshot once.
func (r *Reader) poll(ctx context.Context) error {
	req, err := http.NewRequest(http.MethodGet, r.cfg.PublicURL, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/jwt")
	return r.read(ctx, req, "application/jwt", func(ctx context.Context, body io.Reader) error {
		var compact strings.Builder
		n, err := io.Copy(&compact, io.LimitReader(body, readLimit+1))
		if err != nil {
			return err
		}
		if n > readLimit {
			return errors.New("snapshot too large")
		}
		return r.take(ctx, compact.String())
	})
}

// read sends req and hands the body to use. The connection is cut when no byte came for as
// long as patience; time spent in use itself does not count.
func (r *Reader) read(ctx context.Context, req *http.Request, media string, use func(context.Context, io.Reader) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(patience, func() { cancel(errSilent) })
	defer silence.Stop()
	req.Header.Set("Accept-Encoding", "identity")
	res, err := r.cfg.Client.Do(req.WithContext(ctx))
	if err != nil {
		return because(ctx, err)
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusUnauthorized {
		return fmt.Errorf("GET %s: %w", req.URL, errUnknown)
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", req.URL, res.Status)
	}
	if got, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); got != media {
		return fmt.Errorf("GET %s: content type %q, want %s", req.URL, got, media)
	}
	if err := use(ctx, &timed{res.Body, silence}); err != nil {
		return fmt.Errorf("read %s: %w", req.URL, because(ctx, err))
	}
	return nil
}

// because prefers the reason a context was cancelled for.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// timed lets the timer run only while a read waits.
type timed struct {
	r       io.Reader
	silence *time.Timer
}

func (t *timed) Read(p []byte) (int, error) {
	t.silence.Reset(patience)
	defer t.silence.Stop()
	return t.r.Read(p)
}
