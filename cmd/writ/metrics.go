package main

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/writ-auth/writ/guard"
)

// metricsFace serves what c collects on a listener of its own, none where listen
// is empty.
func metricsFace(listenAt, key string, c figures, log *slog.Logger) ([]*face, error) {
	if listenAt == "" {
		return nil, nil
	}
	registry := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{c, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})} {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	listeners, err := listen(listenAt, key)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		MaxRequestsInFlight: 4, Timeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}))
	log.Info("metrics are served", "listen", listeners[0].Addr().String())
	return []*face{newFace("metrics", listeners, mux, log)}, nil
}

// figures is a set of metrics that is read anew each time somebody asks.
type figures func(out samples)

// samples takes one value after the other.
type samples chan<- prometheus.Metric

// Describe says nothing: which metrics there are depends on what there is to tell.
func (figures) Describe(chan<- *prometheus.Desc) {}

// Collect reads them.
func (f figures) Collect(out chan<- prometheus.Metric) { f(out) }

func (s samples) gauge(name, help string, value float64) {
	s <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, nil, nil), prometheus.GaugeValue, value)
}

func (s samples) counter(name, help string, value uint64) {
	s <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, nil, nil), prometheus.CounterValue, float64(value))
}

// guardFigures is what a gateway tells of its guard.
func guardFigures(state func() guard.State) figures {
	return func(out samples) {
		s := state()
		if s.Ready {
			out.gauge("writ_guard_clock_behind_seconds", "By how much the clock was behind the issuer's at its last word.", s.Behind.Seconds())
			out.gauge("writ_guard_staleness_seconds", "How old the revocations held are.", s.Staleness.Seconds())
			out.gauge("writ_guard_position", "Position in the revocation feed.", float64(s.Position))
		}
		out.gauge("writ_guard_rules", "Revocations held.", float64(s.Rules))
		out.gauge("writ_guard_keys", "Signing keys of the issuer held.", float64(len(s.Keys)))
		refusals := prometheus.NewDesc("writ_guard_refusals_total", "Requests refused.", []string{"reason"}, nil)
		for reason, n := range s.Refusals {
			out <- prometheus.MustNewConstMetric(refusals, prometheus.CounterValue, float64(n), reason)
		}
	}
}

// figures is what a replica of the authorization server tells.
func (a *authority) figures(out samples) {
	out.gauge("writ_feed_position", "Position of the revocation feed at this replica.", float64(a.log.Applied()))
	out.gauge("writ_feed_subscribers", "Guards connected to this replica.", float64(a.log.Subscribers()))
	if asOf := a.log.AsOf(); !asOf.IsZero() {
		out.gauge("writ_feed_asof_age_seconds", "Since this replica last knew the feed to be complete.", time.Since(asOf).Seconds())
	}
	stats := a.db.Stats()
	out.counter("writ_store_retries_total", "Transactions that ran again.", stats.Retries)
	out.counter("writ_store_unavailable_total", "Transactions given up.", stats.Unavailable)
	fit := 1.0
	if a.keys.Fit() != nil {
		fit = 0
	}
	out.gauge("writ_mint_clock_ok", "1, or 0 while the clock is off and nothing is signed.", fit)
}
