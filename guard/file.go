package guard

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/writ-auth/writ/internal/disk"
)

// The disk copy of a guard's state: a line of JSON, the issuer's signed
// messages, one a line, and the SHA-256 of all before it. The hash finds what
// broke by itself; against hands there are the signatures of the messages and
// the rights of the file.
const (
	copyForm = "writ guard state 1"
	copySum  = "sha256 "
	copyMost = 512 << 20 // bytes; a million rules take 110 MiB
)

// A copyHead is the first line.
type copyHead struct {
	Form     string   `json:"form"`
	Issuer   string   `json:"issuer"`
	Keys     copyKeys `json:"keys"`
	FeedKeys copyKeys `json:"feed_keys"`

	Gateways *copyKeys `json:"gateways,omitempty"` // with what each key may mint; nil outside a trust domain

	Heard int64 `json:"heard"` // when the issuer last vouched, by our clock; microseconds
}

// copyKeys is a key set. The issuer does not sign it.
type copyKeys struct {
	Fetched int64           `json:"fetched"` // microseconds
	Set     json.RawMessage `json:"set"`
}

// writeCopy puts the copy in the place of an older one, whole or not at all.
func writeCopy(path string, head copyHead, messages []string) error {
	first, err := json.Marshal(head)
	if err != nil {
		return err
	}
	return disk.Write(path, func(f io.Writer) error {
		sum := sha256.New()
		out := bufio.NewWriterSize(io.MultiWriter(f, sum), 256<<10)
		_, _ = out.Write(append(first, '\n')) // Flush tells of any error
		for _, m := range messages {
			_, _ = out.WriteString(m)
			_ = out.WriteByte('\n')
		}
		if err := out.Flush(); err != nil {
			return err
		}
		_, err := io.WriteString(f, copySum+hex.EncodeToString(sum.Sum(nil))+"\n")
		return err
	})
}

// readCopy reads what writeCopy wrote, if nobody else could have written it.
func readCopy(path, issuer string) (head copyHead, messages []string, err error) {
	f, err := disk.Open(path, 0o022)
	if err != nil {
		return head, nil, err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, copyMost+1))
	if err != nil {
		return head, nil, err
	}
	if len(data) > copyMost {
		return head, nil, fmt.Errorf("larger than %d bytes", copyMost)
	}
	const tail = len(copySum) + 2*sha256.Size + 1
	if len(data) < tail {
		return head, nil, errors.New("cut short")
	}
	body, last := data[:len(data)-tail], string(data[len(data)-tail:])
	sum := sha256.Sum256(body)
	if last != copySum+hex.EncodeToString(sum[:])+"\n" {
		return head, nil, errors.New("cut short or damaged: its SHA-256 is another")
	}
	first, rest, _ := strings.Cut(string(body), "\n")
	d := json.NewDecoder(bytes.NewReader([]byte(first)))
	d.DisallowUnknownFields()
	if err := d.Decode(&head); err != nil {
		return head, nil, fmt.Errorf("first line: %w", err)
	}
	switch {
	case head.Form != copyForm:
		return head, nil, fmt.Errorf("form %.40q, want %q", head.Form, copyForm)
	case head.Issuer != issuer:
		return head, nil, fmt.Errorf("state of another issuer, %q", head.Issuer)
	case rest == "" || !strings.HasSuffix(rest, "\n"):
		return head, nil, errors.New("no messages of the feed")
	}
	return head, strings.Split(strings.TrimSuffix(rest, "\n"), "\n"), nil
}

// checkCopy refuses a path at which no copy could be kept.
func checkCopy(path string) error {
	dir, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("guard: state file: %w", err)
	}
	if !dir.IsDir() {
		return fmt.Errorf("guard: state file: %s is no directory", filepath.Dir(path))
	}
	if info, err := os.Lstat(path); err == nil && info.IsDir() {
		return fmt.Errorf("guard: state file: %s is a directory", path)
	}
	return nil
}

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}
