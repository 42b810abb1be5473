package prom

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/daymill/daymill/internal/telemetry"
)

// lagBuckets are for how old a change is when a view has it, in seconds.
var lagBuckets = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 15, 60, 300} //nolint:gochecknoglobals // A constant, were there constant slices.

// views counts what happens to views.
type views struct {
	turns, keys, drift           *prometheus.CounterVec
	chunk, refreshDuration, lag  prometheus.Histogram
	changes, refreshed, failures prometheus.Counter
	differing, repaired, swaps   prometheus.Counter
}

func newViews(registry prometheus.Registerer) views {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
	}
	v := views{
		turns: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "daymill_view_turns_total", Help: "Turns of tasks of views."}, []string{"kind", "outcome"}),
		keys:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "daymill_view_task_keys_total", Help: "Root keys that tasks of views have worked on."}, []string{"kind"}),
		drift: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "daymill_view_drift_total", Help: "Changes of tables that views are made of."}, []string{"state"}),

		chunk:           histogram("daymill_view_longest_chunk_seconds", "The longest chunk of each turn of a view's task.", statementBuckets),
		refreshDuration: histogram("daymill_view_refresh_duration_seconds", "How long applying captured changes to a view took.", statementBuckets),
		lag:             histogram("daymill_view_lag_seconds", "How old the oldest change was when a view had it.", lagBuckets),
		changes:         counter("daymill_view_changes_total", "Captured changes that were applied to views."),
		refreshed:       counter("daymill_view_refreshed_keys_total", "Root keys of views that captured changes have refreshed."),
		failures:        counter("daymill_view_refresh_failures_total", "Times that captured changes could not be applied to a view."),
		differing:       counter("daymill_view_differing_keys_total", "Root keys of views that verifications found different."),
		repaired:        counter("daymill_view_repaired_keys_total", "Root keys of views that verifications have repaired."),
		swaps:           counter("daymill_view_swaps_total", "Tables of views that were built and are served."),
	}
	for _, kind := range []string{"build", "refresh", "verify", "poll", "compare"} {
		for _, outcome := range []string{telemetry.Complete, telemetry.Unfinished, telemetry.Failed} {
			v.turns.WithLabelValues(kind, outcome)
		}
		v.keys.WithLabelValues(kind)
	}
	for _, state := range []string{"open", "followed"} {
		v.drift.WithLabelValues(state)
	}
	registry.MustRegister(v.turns, v.keys, v.drift, v.chunk, v.refreshDuration, v.lag, v.changes, v.refreshed, v.failures, v.differing, v.repaired, v.swaps)
	return v
}

// listen counts an event of a view's.
func (v *views) listen(event telemetry.Event) {
	switch e := event.(type) {
	case telemetry.ViewTaskStop:
		v.turns.WithLabelValues(e.Kind, e.Outcome).Inc()
		v.keys.WithLabelValues(e.Kind).Add(float64(e.Keys))
		v.differing.Add(float64(e.Differing))
		v.repaired.Add(float64(e.Repaired))
		if e.Chunks > 0 {
			v.chunk.Observe(e.Longest.Seconds())
		}
	case telemetry.ViewRefresh:
		if e.Err != nil {
			v.failures.Inc()
			return
		}
		v.changes.Add(float64(e.Changes))
		v.refreshed.Add(float64(e.Keys))
		v.refreshDuration.Observe(e.Took.Seconds())
		if e.Lag > 0 {
			v.lag.Observe(e.Lag.Seconds())
		}
	case telemetry.ViewDrift:
		v.drift.WithLabelValues(e.State).Inc()
	case telemetry.ViewSwap:
		v.swaps.Inc()
	}
}
