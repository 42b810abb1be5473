// Package prom counts signals for Prometheus, and reads the gauges of the database when it is scraped. Who serves the registry
// over HTTP is cmd and ui.
package prom

import (
	"context"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/daymill/daymill/internal/telemetry"
)

// Buckets of histograms, in seconds.
var (
	// Statements should take a tenth of a second, and a quarter of a second at most.
	statementBuckets = []float64{.001, .0025, .005, .01, .025, .05, .075, .1, .15, .2, .25, .5, 1, 2.5, 5, 15} //nolint:gochecknoglobals // A constant, were there constant slices.
	// Runs take between milliseconds, for a small date that is already right, and hours, for a large date at a slow pace.
	runBuckets = []float64{.01, .05, .1, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400} //nolint:gochecknoglobals // As above.
)

// Listener counts events. Its counters are those of this process.
type Listener struct {
	runsStarted, rescues, faults, events, worked, paused prometheus.Counter

	runs, rows, slices, batches, requests, backfills, backfillDates *prometheus.CounterVec

	runDuration, phaseDuration               *prometheus.HistogramVec
	runLongest, sliceDuration, batchDuration prometheus.Histogram
	verified                                 *prometheus.CounterVec
	verifiedEntities, driftedRows            prometheus.Counter
	verifyDuration                           prometheus.Histogram
	capture                                  captureCounters
	archive                                  archiveCounters

	views views
}

// NewRegistry returns a new registry with the metrics of the process and of Go, and the build's version.
func NewRegistry(version string) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "daymill_build_info", Help: "Always 1; the label says which version runs.",
			ConstLabels: prometheus.Labels{"version": version},
		}, func() float64 { return 1 }),
	)
	return registry
}

// NewListener returns a listener whose metrics are in the registry. Metrics whose labels are known begin at 0, so that a rate includes
// their first increase.
func NewListener(registry prometheus.Registerer) *Listener {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		registry.MustRegister(c)
		return c
	}
	counters := func(name, help, label string, values ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
		for _, value := range values {
			c.WithLabelValues(value)
		}
		registry.MustRegister(c)
		return c
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
		registry.MustRegister(h)
		return h
	}
	histograms := func(name, help string, buckets []float64, label string, values ...string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, []string{label})
		for _, value := range values {
			h.WithLabelValues(value)
		}
		registry.MustRegister(h)
		return h
	}
	outcomes := []string{telemetry.Complete, telemetry.Interrupted, telemetry.Lost, failed}
	results := []string{"exact", telemetry.Drifted, "changed", "protected", "incomplete", telemetry.Interrupted, failed}
	return &Listener{
		runsStarted: counter("daymill_runs_started_total", "Runs that have begun."),
		runs:        counters("daymill_runs_total", "Runs that have ended.", "outcome", outcomes...),
		runDuration: histograms("daymill_run_duration_seconds", "How long runs took, pauses included.", runBuckets, "outcome", outcomes...),
		runLongest: histogram("daymill_run_longest_statement_seconds",
			"The longest statement of each run: none is meant to take more than a quarter of a second.", statementBuckets),
		phaseDuration: histograms("daymill_phase_duration_seconds", "How long the phases of runs took, pauses included.",
			runBuckets, "phase", "scan", "publish", "settle"),
		events:        counter("daymill_events_total", "Events of the dates that were completed."),
		rows:          counters("daymill_rows_total", "Rows of metrics that were written.", "change", "inserted", "updated", "deleted"),
		worked:        counter("daymill_run_worked_seconds_total", "Time that runs spent in statements."),
		paused:        counter("daymill_run_paused_seconds_total", "Time that runs spent pausing between statements."),
		slices:        counters("daymill_slices_total", "Slices of dates.", "outcome", telemetry.Read, telemetry.Divided, telemetry.Dense),
		sliceDuration: histogram("daymill_slice_duration_seconds", "How long the statements of slices that were read took.", statementBuckets),
		batches:       counters("daymill_batches_total", "Transactions that publish.", "outcome", telemetry.Written, telemetry.TimedOut),
		batchDuration: histogram("daymill_batch_duration_seconds", "How long the transactions that publish took.", statementBuckets),
		requests: counters("daymill_requests_total", "What happened to requests: a job was made of one, a run claimed it, it was satisfied.",
			"action", "enqueued", "claimed", "satisfied"),
		faults:           counter("daymill_faults_total", "Looks of the worker that found something Daymill rests on lost, disabled or changed."),
		rescues:          counter("daymill_rescues_total", "Dates that were handed on because their run gave no sign of life."),
		backfills:        counters("daymill_backfills_total", "What happened to backfills.", "action", "started", "completed", telemetry.Cancelled),
		backfillDates:    counters("daymill_backfill_dates_total", "What happened to dates of backfills.", "action", "requested", "ended"),
		verified:         counters("daymill_verified_dates_total", "Dates that were recounted.", "result", results...),
		verifiedEntities: counter("daymill_verified_entities_total", "Entities that were recounted."),
		driftedRows:      counter("daymill_drifted_entities_total", "Entities whose metrics of a date differed from a recount."),
		views:            newViews(registry),
		verifyDuration:   histogram("daymill_verify_duration_seconds", "How long recounts of a date took, pauses included.", runBuckets),
		capture:          newCaptureCounters(registry),
		archive:          newArchiveCounters(registry),
	}
}

// NewListener returns a listener whose metrics are in the registry, at 0.
func NewListener(registry prometheus.Registerer, metrics []telemetry.Metric) *Listener {
	l := &Listener{metrics: make(map[string]metric)}
	for _, m := range metrics {
		var one metric
		if m.Buckets == nil {
			one.counter = prometheus.NewCounterVec(prometheus.CounterOpts{Name: m.Name, Help: m.Help}, m.Labels)
			registry.MustRegister(one.counter)
		} else {
			one.histogram = prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: m.Name, Help: m.Help, Buckets: m.Buckets}, m.Labels)
			registry.MustRegister(one.histogram)
		}
		for _, labels := range combinations(m) {
			one.change(telemetry.Sample{Labels: labels, First: true})
		}
		l.metrics[m.Name] = one
	}
	return l
}

// combinations returns the labels of the series that are there from the start.
func combinations(m telemetry.Metric) [][]string {
	if len(m.Values) != len(m.Labels) {
		return nil
	}
	all := [][]string{nil}
	for _, values := range m.Values {
		var longer [][]string
		for _, labels := range all {
			for _, value := range values {
				longer = append(longer, append(slices.Clone(labels), value))
			}
		}
		all = longer
	}
	return all
}

// Listen takes a signal's samples, and returns ctx. Samples of metrics that it was not made with are left out.
func (l *Listener) Listen(ctx context.Context, signal telemetry.Signal) context.Context {
	sampler, is := signal.(telemetry.Sampler)
	if !is {
		return ctx
	}
	for _, sample := range sampler.Samples() {
		if metric, known := l.metrics[sample.Metric]; known {
			metric.change(sample)
		}
	case telemetry.Batch:
		l.batch(e)
	case telemetry.RequestEnqueue:
		l.requests.WithLabelValues("enqueued").Inc()
	case telemetry.RequestClaim:
		l.requests.WithLabelValues("claimed").Add(float64(e.Requests))
	case telemetry.RequestSatisfy:
		l.requests.WithLabelValues("satisfied").Add(float64(e.Requests))
	case telemetry.RunRescue:
		l.rescues.Inc()
	case telemetry.Fault:
		l.faults.Inc()
	case telemetry.BackfillStart:
		l.backfills.WithLabelValues("started").Inc()
	case telemetry.BackfillAdvance:
		l.backfillDates.WithLabelValues("requested").Add(float64(e.Requested))
		l.backfillDates.WithLabelValues("ended").Add(float64(e.Ended))
	case telemetry.BackfillStop:
		action := "completed"
		if e.Outcome == telemetry.Cancelled {
			action = e.Outcome
		}
		l.backfills.WithLabelValues(action).Inc()
	case telemetry.Verify:
		l.verify(e)
	default:
		l.capture.listen(event)
		l.views.listen(event)
		l.archive.listen(event)
	}
	return ctx
}

// change makes a series, and adds a sample to it or observes it.
func (m metric) change(sample telemetry.Sample) {
	if m.counter != nil {
		counter := m.counter.WithLabelValues(sample.Labels...)
		if !sample.First {
			counter.Add(sample.Value)
		}
		return
	}
	histogram := m.histogram.WithLabelValues(sample.Labels...)
	if !sample.First {
		histogram.Observe(sample.Value)
	}
}
