package feed

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// readLimit bounds one message. A snapshot of a million rules takes 110 MiB.
const readLimit = 256 << 20

// message is one Server-Sent Event. Its id is left out: what the reader holds is told by the
// signed content alone.
type message struct {
	name string
	data string
}

// parser reads the part of text/event-stream that the feed uses: an event has one line of data.
type parser struct {
	r     *bufio.Reader
	limit int // bytes of one event
}

func newParser(r io.Reader, limit int) *parser {
	return &parser{r: bufio.NewReaderSize(r, 64<<10), limit: limit}
}

// next returns the next event that has data. The error is io.EOF at the end of the stream;
// an event that was cut short is never returned.
func (p *parser) next() (message, error) {
	var m message
	for size, has := 0, false; ; {
		line, err := p.line(p.limit - size)
		if err != nil {
			return message{}, err
		}
		size += len(line) + 1
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "" && has:
			return m, nil
		case line == "":
			m, size = message{}, 0
		case field == "event":
			m.name = value
		case field == "data" && has:
			return message{}, errors.New("event with two lines of data")
		case field == "data":
			m.data, has = value, true
		}
	}
}

// line reads up to a line feed, which may follow a carriage return.
func (p *parser) line(limit int) (string, error) {
	var b strings.Builder
	for {
		piece, err := p.r.ReadSlice('\n')
		if b.Len()+len(piece) > limit {
			return "", fmt.Errorf("event of more than %d bytes", p.limit)
		}
		b.Write(piece)
		if err == nil {
			return strings.TrimSuffix(strings.TrimSuffix(b.String(), "\n"), "\r"), nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return "", err
		}
	}
}
