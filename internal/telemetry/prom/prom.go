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

// NewRegistry returns a registry of its own, with the process's and Go's metrics and the build's version.
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

// Listener changes metrics by the samples of signals. They are those of this process.
type Listener struct{ metrics map[string]metric }

// metric is a counter or a histogram.
type metric struct {
	counter   *prometheus.CounterVec
	histogram *prometheus.HistogramVec
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
