package feed

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"time"
)

// farthest bounds times on the wire, in seconds: beyond it time.Time misbehaves.
const farthest = 1 << 40

// Encode is the JSON form of the batch. Members that say nothing are left out.
func (b Batch) Encode() ([]byte, error) {
	if err := b.check(); err != nil {
		return nil, err
	}
	return b.encode(slices.Values(b.Rules), len(b.Rules)), nil
}

// encode writes the batch with rules, about n of them, in place of its own.
func (b Batch) encode(rules iter.Seq[Rule], n int) []byte {
	dst := b.open(make([]byte, 0, 256+96*n))
	first := len(dst)
	for r := range rules {
		if len(dst) > first {
			dst = append(dst, ',')
		}
		dst = r.append(dst)
	}
	return append(dst, "]}"...)
}

// open writes everything before the first rule.
func (b Batch) open(dst []byte) []byte {
	dst = append(dst, `{"iss":`...)
	dst = appendString(dst, b.Issuer)
	dst = append(dst, `,"epoch":`...)
	dst = appendString(dst, b.Epoch)
	dst = append(dst, `,"prev":`...)
	dst = strconv.AppendUint(dst, b.Prev, 10)
	dst = append(dst, `,"position":`...)
	dst = strconv.AppendUint(dst, b.Position, 10)
	if !b.AsOf.IsZero() {
		dst = append(dst, `,"asof":`...)
		dst = strconv.AppendInt(dst, b.AsOf.UnixMicro(), 10)
	}
	if b.Snapshot {
		dst = append(dst, `,"snapshot":true,"key":"`...)
		dst = base64.RawURLEncoding.AppendEncode(dst, b.Key)
		dst = append(dst, '"')
	}
	if b.Public {
		dst = append(dst, `,"public":true`...)
	}
	if b.KeysChanged {
		dst = append(dst, `,"keys_changed":true`...)
	}
	return append(dst, `,"rules":[`...)
}

func (r Rule) append(dst []byte) []byte {
	dst = append(dst, `{"position":`...)
	dst = strconv.AppendUint(dst, r.Position, 10)
	dst = append(dst, `,"kind":`...)
	dst = appendString(dst, string(r.Kind))
	dst = append(dst, `,"value":"`...)
	dst = base64.RawURLEncoding.AppendEncode(dst, r.Value[:])
	dst = append(dst, '"')
	if r.Effect != End {
		dst = append(dst, `,"effect":`...)
		dst = appendString(dst, string(r.Effect))
	}
	if r.timed() {
		dst = append(dst, `,"before":`...)
		dst = strconv.AppendInt(dst, r.Before.Unix(), 10)
	}
	dst = append(dst, `,"until":`...)
	dst = strconv.AppendInt(dst, r.Until.Unix(), 10)
	return append(dst, '}')
}

// appendString quotes s. Plain ASCII, the usual case, is copied as it is.
func appendString(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			quoted, _ := json.Marshal(s) // a string always has a JSON form
			return append(dst, quoted...)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}

// check holds for every batch, sent or received.
func (b *Batch) check() error {
	switch {
	case b.Issuer == "" || b.Epoch == "":
		return errors.New("feed: batch without issuer or epoch")
	case b.Prev > b.Position:
		return fmt.Errorf("feed: batch goes back from %d to %d", b.Prev, b.Position)
	case b.Snapshot != (len(b.Key) > 0):
		return errors.New("feed: a snapshot, and nothing else, carries the key")
	case b.Snapshot && b.Prev != 0:
		return errors.New("feed: snapshot with a predecessor")
	case b.Public && !b.Snapshot:
		return errors.New("feed: public batch that is no snapshot")
	case !b.Snapshot && b.Prev == b.Position && len(b.Rules) > 0:
		return errors.New("feed: heartbeat with rules")
	}
	for i := range b.Rules {
		r := &b.Rules[i]
		if r.Position == 0 || r.Kind == "" || r.Until.Unix() <= 0 || r.Until.Unix() > farthest {
			return fmt.Errorf("feed: rule %d of batch %d lacks position, kind or end", i, b.Position)
		}
		if r.timed() && (r.Before.Unix() <= 0 || r.Before.Unix() > farthest) {
			return fmt.Errorf("feed: rule %d of batch %d lacks the time it is about", i, b.Position)
		}
	}
	return nil
}

// Decode reads a payload whose signature was checked already. Members it does not know are
// passed over, so that an issuer may add some; those it knows must be spelled exactly, stand
// there once and hold the right type.
func Decode(payload []byte) (Batch, error) {
	s, err := scan(payload)
	if err != nil {
		return Batch{}, err
	}
	var b Batch
	required := []string{"iss", "epoch", "prev", "position", "rules"}
	optional := []string{"asof", "snapshot", "key", "public", "keys_changed"}
	for name := range s.object(required, optional) {
		switch name {
		case "iss":
			b.Issuer = s.text()
		case "epoch":
			b.Epoch = s.text()
		case "prev":
			b.Prev = s.integer()
		case "position":
			b.Position = s.integer()
		case "rules":
			b.Rules = s.rules()
		case "asof":
			b.AsOf = time.UnixMicro(int64(s.most(farthest * 1e6))).UTC()
		case "snapshot":
			b.Snapshot = s.boolean()
		case "key":
			b.Key = s.bytes()
		case "public":
			b.Public = s.boolean()
		case "keys_changed":
			b.KeysChanged = s.boolean()
		}
	}
	if s.err != nil {
		return Batch{}, s.err
	}
	return b, b.check()
}

func (s *scanner) rules() []Rule {
	required := []string{"position", "kind", "value", "until"}
	optional := []string{"effect", "before"}
	// A rule takes some 90 bytes on the wire and as many in memory.
	rules := make([]Rule, 0, (len(s.data)-s.at)/90)
	for range s.array() {
		r := Rule{Effect: End}
		for name := range s.object(required, optional) {
			switch name {
			case "position":
				r.Position = s.integer()
			case "kind":
				r.Kind = s.kind()
			case "value":
				s.value(&r.Value)
			case "until":
				r.Until = time.Unix(int64(s.most(farthest)), 0).UTC()
			case "effect":
				r.Effect = s.effect()
			case "before":
				r.Before = time.Unix(int64(s.most(farthest)), 0).UTC()
			}
		}
		rules = append(rules, r)
	}
	return rules
}

// kind does not allocate for the kinds it knows.
func (s *scanner) kind() Kind {
	raw := s.unescaped()
	for _, k := range kinds {
		if string(raw) == string(k) {
			return k
		}
	}
	return Kind(raw)
}

// effect takes what it does not know for the hardest.
func (s *scanner) effect() Effect {
	if string(s.unescaped()) == string(StepUp) {
		return StepUp
	}
	return End
}
