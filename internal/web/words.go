package web

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"
)

// moment is a time for people: how long ago, and when exactly.
type moment struct{ Ago, Exact, ISO string }

func at(t, now time.Time) moment {
	if t.IsZero() {
		return moment{}
	}
	t = t.UTC()
	return moment{Ago: ago(t, now.UTC()), Exact: t.Format("2 January 2006, 15:04 UTC"), ISO: t.Format(time.RFC3339)}
}

func ago(t, now time.Time) string {
	const day = 24 * time.Hour
	switch d := now.Sub(t); {
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return count(int(d/time.Minute), "minute") + " ago"
	case d < day:
		return count(int(d/time.Hour), "hour") + " ago"
	case d < 30*day:
		return count(int(d/day), "day") + " ago"
	}
	return "on " + t.Format("2 January 2006")
}

func count(n int, unit string) string {
	if n == 1 {
		return "1 " + unit
	}
	return fmt.Sprintf("%d %ss", n, unit)
}

// browserName makes a User-Agent into words a person knows their browser by. It
// is a hint; nothing is decided by it. The more special names come first, because
// browsers also claim to be the ones they descend from.
func browserName(agent string) string {
	program := mention(agent, [][2]string{
		{"Edg", "Edge"}, {"OPR/", "Opera"}, {"SamsungBrowser/", "Samsung Internet"},
		{"Firefox/", "Firefox"}, {"FxiOS/", "Firefox"}, {"CriOS/", "Chrome"},
		{"Chrome/", "Chrome"}, {"Safari/", "Safari"}, {"curl/", "curl"},
	})
	system := mention(agent, [][2]string{
		{"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Android", "Android"}, {"CrOS", "ChromeOS"},
		{"Windows", "Windows"}, {"Mac OS X", "macOS"}, {"Linux", "Linux"},
	})
	switch {
	case program != "" && system != "":
		return program + " on " + system
	case program != "":
		return program
	case system != "":
		return "A browser on " + system
	}
	return "An unknown browser"
}

func mention(s string, names [][2]string) string {
	for _, n := range names {
		if strings.Contains(s, n[0]) {
			return n[1]
		}
	}
	return ""
}

// destination says where an answer goes. A loopback address means nothing to most
// people, and any program on their device can listen there.
func destination(host string) string {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	ip, err := netip.ParseAddr(strings.Trim(name, "[]"))
	if name == "localhost" || err == nil && ip.IsLoopback() {
		return "an app on this device (" + host + ")"
	}
	return host
}

// clientName falls back to the id where a client has no name.
func clientName(name, id string) string {
	if strings.TrimSpace(name) == "" {
		return id
	}
	return name
}
