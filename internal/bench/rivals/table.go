package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/writ-auth/writ/internal/jose"
)

// A turn is one measurement of one program.
type turn struct{ rate, cpu, p99 float64 }

// A row is a program's medians.
type row struct {
	Name string  `json:"name"`
	Alg  string  `json:"alg"` // of the tokens it checks; "": it looks at none
	Rate float64 `json:"requests_per_second"`
	CPU  float64 `json:"cpu_seconds_per_100k"` // of all its processes; 0: there are none
	P99  float64 `json:"p99_ms"`
}

func summary(name, alg string, turns []turn) row {
	median := func(of func(turn) float64) float64 {
		var all []float64
		for _, t := range turns {
			all = append(all, of(t))
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	return row{
		Name: name, Alg: alg,
		Rate: median(func(t turn) float64 { return t.rate }),
		CPU:  median(func(t turn) float64 { return t.cpu }),
		P99:  median(func(t turn) float64 { return t.p99 }),
	}
}

// A target is what the gateway aims at, and how far it came.
type target struct {
	Text  string  `json:"target"`
	Ratio float64 `json:"ratio"`
	Met   bool    `json:"met"`
}

// report is all there is to say.
type report struct {
	Rows    []row    `json:"rows"`
	Targets []target `json:"targets"`
	LeftOut []string `json:"left_out"`
}

// judge compares the gateway with the others, as far as these are here.
func judge(rows []row, leftOut []string) report {
	find := func(name, alg string) *row {
		for _, r := range rows {
			if r.Name == name && r.Alg == alg {
				return &r
			}
		}
		return nil
	}
	out := report{Rows: rows, Targets: []target{}, LeftOut: append([]string{}, leftOut...)}
	rate := func(alg, other, otherAlg string, goal float64, text string) {
		a, b := find("writ", alg), find(other, otherAlg)
		if a != nil && b != nil {
			ratio := a.Rate / b.Rate
			out.Targets = append(out.Targets, target{fmt.Sprintf("requests a second: ≥ %.2f × %s", goal, text), ratio, ratio >= goal})
		}
	}
	processor := func(alg string, goal float64) {
		a, b := find("writ", alg), find("HAProxy", alg)
		if a != nil && b != nil {
			ratio := a.CPU / b.CPU
			out.Targets = append(out.Targets, target{fmt.Sprintf("processor time: ≤ %.2f × HAProxy jwt_verify, %s", goal, alg), ratio, ratio <= goal})
		}
	}
	rate(jose.RS256, "HAProxy", jose.RS256, 1.15, "HAProxy jwt_verify, RS256")
	rate(jose.ES256, "HAProxy", jose.ES256, 1.7, "HAProxy jwt_verify, ES256")
	processor(jose.ES256, 0.6)
	rate(jose.ES256, "ReverseProxy", "", 0.95, "plain ReverseProxy")
	rate(jose.ES256, "nginx", "", 0.7, "plain nginx")
	return out
}

// table is the report for people.
func (r report) table(out io.Writer) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "GATEWAY\tCHECKS\tREQ/S\tCPU-S PER 100,000\tP99 MS")
	for _, row := range r.Rows {
		checks, cpu := "-", "-"
		if row.Alg != "" {
			checks = row.Alg
		}
		if row.CPU > 0 {
			cpu = fmt.Sprintf("%.2f", row.CPU)
		}
		fmt.Fprintf(t, "%s\t%s\t%.0f\t%s\t%.2f\n", row.Name, checks, row.Rate, cpu, row.P99)
	}
	fmt.Fprintln(t, "\nTARGET OF WRIT\tREACHED\tMET")
	for _, g := range r.Targets {
		fmt.Fprintf(t, "%s\t%.2f\t%s\n", g.Text, g.Ratio, map[bool]string{true: "yes", false: "no"}[g.Met])
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, l := range r.LeftOut {
		fmt.Fprintf(out, "left out: %s\n", l)
	}
	fmt.Fprintf(out, "%d connections, %d tokens seen before, small GET, one upstream; medians; load and upstream share the processors.\n", connections, tokens)
	return nil
}
