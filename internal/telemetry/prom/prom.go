// Package prom counts signals for Prometheus, and reads gauges from the database when it is scraped. Packages
// cmd and ui serve the registry over HTTP.
package prom

import (
	"context"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/daymill/daymill/internal/telemetry"
)

// NewRegistry returns a new registry with metrics of the process and of Go's runtime, and the build's version.
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

// Listener updates metrics with the samples of signals of this process.
type Listener struct{ metrics map[string]metric }

// metric is a counter or a histogram.
type metric struct {
	counter   *prometheus.CounterVec
	histogram *prometheus.HistogramVec
}

// NewListener registers metrics, with all known series at 0, and returns a listener that updates them.
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

// combinations returns the label values of the series that exist from the start.
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

// Listen applies a signal's samples, and returns ctx. It ignores samples of metrics that were not passed to
// NewListener.
func (l *Listener) Listen(ctx context.Context, signal telemetry.Signal) context.Context {
	sampler, is := signal.(telemetry.Sampler)
	if !is {
		return ctx
	}
	for _, sample := range sampler.Samples() {
		if metric, known := l.metrics[sample.Metric]; known {
			metric.change(sample)
		}
	}
	return ctx
}

// change applies a sample to its series, which it creates if necessary.
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
