package grant

import (
	"testing"
	"time"
)

// Forgeries by one key, however many, do not keep back the alarm over another.
func TestAlarmsArePacedByKey(t *testing.T) {
	var p pace
	now := time.Unix(1800000000, 0)
	for _, c := range []struct {
		kid  string
		at   time.Duration
		want bool
	}{{"a", 0, true}, {"a", time.Millisecond, false}, {"b", 2 * time.Millisecond, true}, {"a", time.Second, true}, {"b", time.Second, false}} {
		if got := p.due(c.kid, now.Add(c.at)); got != c.want {
			t.Errorf("key %s after %s: due = %t, want %t", c.kid, c.at, got, c.want)
		}
	}
}
