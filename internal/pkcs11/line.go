//go:build pkcs11

package pkcs11

import (
	"crypto"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/ThalesGroup/crypto11"
	"github.com/miekg/pkcs11"
)

const (
	sessions = 64               // at once; a token may allow fewer
	patience = 5 * time.Second  // a signature waits for a session for so long
	pause    = 10 * time.Second // between two attempts to open a token again
)

// line is the way to a token. Sessions end, and the log-in with them, when a device
// restarts or a network fails; the line is then opened again by who needs it.
type line struct {
	cfg Config

	mu     sync.Mutex
	ctx    *crypto11.Context // guarded by mu; nil: not open
	next   time.Time         // guarded by mu; not opened again before
	why    error             // guarded by mu; what came of opening it last
	closed bool              // guarded by mu
}

// open returns a context other than failed, which may be nil.
func (l *line) open(failed *crypto11.Context) (*crypto11.Context, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return nil, errors.New("the PKCS#11 token is closed")
	case l.ctx != nil && l.ctx != failed:
		return l.ctx, nil
	case refused(l.why): // for good: a device locks itself after a few wrong PINs
		return nil, l.why
	case l.cfg.Now().Before(l.next):
		if l.why != nil {
			return nil, l.why
		}
		return nil, errors.New("the PKCS#11 token is not opened again so soon")
	}
	if l.ctx != nil {
		_ = l.ctx.Close() // before the next is open: handles may be given out again
		l.ctx = nil
	}
	l.ctx, l.why = l.cfg.dial()
	if failed != nil || l.why != nil {
		l.next = l.cfg.Now().Add(pause)
	}
	return l.ctx, l.why
}

func (c Config) dial() (*crypto11.Context, error) {
	if _, err := os.Stat(c.Module); err != nil { // the loader keeps its reason to itself
		return nil, fmt.Errorf("open PKCS#11 module: %w", err)
	}
	ctx, err := crypto11.Configure(&crypto11.Config{
		Path: c.Module, TokenLabel: c.Label, Pin: c.PIN, MaxSessions: sessions, PoolWaitTimeout: patience,
	})
	if err != nil {
		return nil, fmt.Errorf("open token %q of PKCS#11 module %s: %w", c.Label, c.Module, err)
	}
	return ctx, nil
}

// use does something that may be done twice, the second time over a new line when
// the first was lost.
func (l *line) use(do func(*crypto11.Context) error) error {
	ctx, err := l.open(nil)
	if err != nil {
		return err
	}
	if err = do(ctx); err == nil || !l.lost(ctx, err) {
		return err
	}
	fresh, again := l.open(ctx)
	if again != nil {
		return fmt.Errorf("%w; %w", err, again)
	}
	return do(fresh)
}

// lost reports whether an error may be gone with a new session. That of a context
// which was closed meanwhile is.
func (l *line) lost(ctx *crypto11.Context, err error) bool {
	l.mu.Lock()
	replaced := l.ctx != ctx
	l.mu.Unlock()
	return replaced || errors.Is(err, errAbsent) || among(err, pkcs11.CKR_SESSION_HANDLE_INVALID, pkcs11.CKR_SESSION_CLOSED,
		pkcs11.CKR_USER_NOT_LOGGED_IN, pkcs11.CKR_KEY_HANDLE_INVALID, pkcs11.CKR_OBJECT_HANDLE_INVALID,
		pkcs11.CKR_DEVICE_ERROR, pkcs11.CKR_DEVICE_REMOVED, pkcs11.CKR_TOKEN_NOT_PRESENT,
		pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED, pkcs11.CKR_GENERAL_ERROR, pkcs11.CKR_FUNCTION_FAILED)
}

// refused reports whether the token does not take the PIN.
func refused(err error) bool {
	return among(err, pkcs11.CKR_PIN_INCORRECT, pkcs11.CKR_PIN_INVALID, pkcs11.CKR_PIN_LEN_RANGE,
		pkcs11.CKR_PIN_EXPIRED, pkcs11.CKR_PIN_LOCKED)
}

func among(err error, codes ...pkcs11.Error) bool {
	var code pkcs11.Error
	return errors.As(err, &code) && slices.Contains(codes, code)
}

func (l *line) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.ctx == nil {
		return nil
	}
	ctx := l.ctx
	l.ctx = nil
	return ctx.Close()
}

// key is a private key in the token. It outlives the line that it was found over.
type key struct {
	line   *line
	id     string
	public crypto.PublicKey

	mu   sync.Mutex
	ctx  *crypto11.Context // guarded by mu; where pair is from
	pair crypto11.Signer   // guarded by mu
}

// Public returns the public half.
func (k *key) Public() crypto.PublicKey { return k.public }

// Sign signs in the token, which takes random bytes of its own.
func (k *key) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) (signature []byte, err error) {
	err = k.line.use(func(ctx *crypto11.Context) error {
		pair, err := k.within(ctx)
		if err == nil {
			signature, err = pair.Sign(random, digest, opts)
		}
		return err
	})
	return signature, err
}

// within finds the key over a line, once for each.
func (k *key) within(ctx *crypto11.Context) (crypto11.Signer, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ctx == ctx {
		return k.pair, nil
	}
	pair, err := one(ctx, k.id)
	if err != nil {
		return nil, err
	}
	if same, ok := pair.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !same.Equal(k.public) {
		return nil, errors.New("the PKCS#11 token has another key of this id than before")
	}
	k.ctx, k.pair = ctx, pair
	return pair, nil
}
