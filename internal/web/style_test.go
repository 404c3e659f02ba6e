package web

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestContrast holds both colour schemes to WCAG 2.2 AA: 4.5 to 1 for text, 3 to 1
// for the edges of what can be operated.
func TestContrast(t *testing.T) {
	sheet, err := files.ReadFile("asset/writ.css")
	if err != nil {
		t.Fatal(err)
	}
	light, dark, ok := strings.Cut(string(sheet), "@media (prefers-color-scheme: dark)")
	if !ok {
		t.Fatal("there is no dark scheme")
	}
	colour := regexp.MustCompile(`--([a-z-]+): #([0-9a-f]{6});`)
	for name, rules := range map[string]string{"light": light, "dark": dark} {
		is := make(map[string]float64)
		for _, m := range colour.FindAllStringSubmatch(rules, -1) {
			is[m[1]] = luminance(t, m[2])
		}
		for _, tt := range []struct {
			fore, back string
			least      float64
		}{
			{"ink", "paper", 4.5}, {"ink", "card", 4.5}, {"ink", "tint", 4.5},
			{"soft", "paper", 4.5}, {"soft", "card", 4.5},
			{"accent", "paper", 4.5}, {"accent", "card", 4.5}, {"accent", "tint", 4.5}, {"on-accent", "accent", 4.5},
			{"danger", "danger-tint", 4.5}, {"on-danger", "danger", 4.5},
			{"on-sample", "sample", 4.5},
			{"edge", "card", 3}, {"edge", "paper", 3}, {"danger", "card", 3},
		} {
			hi, lo := max(is[tt.fore], is[tt.back]), min(is[tt.fore], is[tt.back])
			if got := (hi + 0.05) / (lo + 0.05); got < tt.least {
				t.Errorf("%s: %s on %s has contrast %.2f, want %.1f", name, tt.fore, tt.back, got, tt.least)
			}
		}
	}
}

// luminance is WCAG's relative luminance of a colour in hexadecimal.
func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	sum := 0.0
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		v, err := strconv.ParseUint(hex[2*i:2*i+2], 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		c := float64(v) / 255
		if c <= 0.04045 {
			sum += weight * c / 12.92
			continue
		}
		sum += weight * math.Pow((c+0.055)/1.055, 2.4)
	}
	return sum
}
