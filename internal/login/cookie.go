package login

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/writ-auth/writ/internal/store"
)

// Secret is a string that nobody may read in a log.
type Secret string

// String hides the secret.
func (Secret) String() string { return "[redacted]" }

// GoString hides the secret.
func (Secret) GoString() string { return "[redacted]" }

// LogValue hides the secret.
func (Secret) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// Cookie returns the names of an issuer's cookies: of the browser session, and of
// the browser that began a flow. Over TLS the __Host- prefix keeps other hosts
// from setting them; on http loopback the port keeps issuers of one machine apart.
func Cookie(issuer string) (session, flow string) {
	session, sep := stem(issuer)
	return session, session + sep + "flow"
}

// DeviceCookie returns the name of the cookie by which an account knows a browser.
func DeviceCookie(issuer string) string {
	session, sep := stem(issuer)
	return session + sep + "device"
}

func stem(issuer string) (name, sep string) {
	u, err := url.Parse(issuer)
	if err != nil || u.Scheme != "http" {
		return "__Host-writ", "-"
	}
	return "writ_" + cmp.Or(u.Port(), "80"), "_"
}

// DeviceLife is how long an account knows a browser after the last sign-in there.
const DeviceLife = 365 * 24 * time.Hour

// SetCookie sets one of the issuer's cookies. maxAge 0 keeps it until the browser
// closes; a negative one removes it.
func SetCookie(w http.ResponseWriter, issuer, name, value string, maxAge time.Duration) {
	age := int(maxAge / time.Second)
	if maxAge < 0 {
		age = -1
	}
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: age,
		Secure:   !strings.HasPrefix(issuer, "http:"),
		HttpOnly: true,
		SameSite: http.SameSiteLaxMode, // an application's redirect to /authorize must carry it
	})
}

const secretSize = 32

// NewSecret draws a value for a cookie.
func NewSecret(random io.Reader) (string, error) {
	b := make([]byte, secretSize)
	if _, err := io.ReadFull(random, b); err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(b), nil
}

// hashSecret returns what the store knows of a cookie's value.
func hashSecret(value string) (hash []byte, ok bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(value)
	if err != nil || len(b) != secretSize {
		return nil, false
	}
	sum := sha256.Sum256(b)
	return sum[:], true
}

const deviceNonce = 16

// device makes the value of a device cookie: a nonce, and proof that this account
// gave it out while it had this password. It names nobody. Whoever knew an old
// password may have signed in a thousand times, for as many limits of their own.
func (l *Login) device(u *store.User, nonce []byte) string {
	return base64.RawURLEncoding.EncodeToString(append(nonce[:deviceNonce:deviceNonce], l.deviceMAC(u, nonce)...))
}

func (l *Login) deviceMAC(u *store.User, nonce []byte) []byte {
	return l.mac("device", u.ID, u.PasswordHash, string(nonce))
}

// knows returns the nonce of a device cookie that the account gave out, or nil.
func (l *Login) knows(u *store.User, cookie string) []byte {
	b, err := base64.RawURLEncoding.Strict().DecodeString(cookie)
	if err != nil || len(b) != deviceNonce+sha256.Size {
		return nil
	}
	nonce := b[:deviceNonce]
	if !hmac.Equal(b[deviceNonce:], l.deviceMAC(u, nonce)) {
		return nil
	}
	return nonce
}
