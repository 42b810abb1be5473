package prom

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/daymill/daymill/internal/telemetry"
)

const (
	// readAtMost is the least time between two reads of the database. Scrapes in between get the same values again.
	readAtMost = 5 * time.Second
	// readLimit bounds a reading. Scrapers usually wait for ten seconds.
	readLimit = 3 * time.Second
)

// Gauges is the collector of the gauges. It reads the database when it is scraped, at most every five seconds.
type Gauges struct {
	// Failed, if not nil, is called with the error if the database could not be read.
	Failed func(err error)

	clock  interface{ Now() time.Time }
	parts  []telemetry.Gauges
	gauges map[string]*prometheus.Desc

	mu     sync.Mutex
	readAt time.Time
	last   []prometheus.Metric
}

//nolint:gochecknoglobals // Never changed; Go has no constants of this type.
var readable = prometheus.NewDesc("daymill_database_up",
	"1 if the gauges could be read from the database; if 0, all other gauges are missing.", nil, nil)

// NewGauges returns a collector of the gauges that the parts of Daymill contribute.
func NewGauges(clock interface{ Now() time.Time }, parts ...telemetry.Gauges) *Gauges {
	g := &Gauges{clock: clock, parts: parts, gauges: make(map[string]*prometheus.Desc)}
	for _, part := range parts {
		for _, one := range part.All {
			g.gauges[one.Name] = prometheus.NewDesc(one.Name, one.Help, one.Labels, nil)
		}
	}
	return g
}

// Describe lists the gauges.
func (g *Gauges) Describe(to chan<- *prometheus.Desc) {
	to <- readable
	for _, desc := range g.gauges {
		to <- desc
	}
}

// Collect reads the database unless it was read within readAtMost. Concurrent scrapes share a reading.
func (g *Gauges) Collect(to chan<- prometheus.Metric) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.clock.Now()
	if age := now.Sub(g.readAt); g.last == nil || age >= readAtMost || age < 0 {
		g.readAt, g.last = now, g.collect()
	}
	for _, metric := range g.last {
		to <- metric
	}
}

// collect returns the gauges or, if they could not be read, only the one that says so.
func (g *Gauges) collect() []prometheus.Metric {
	// Prometheus passes no context to collectors.
	ctx, cancel := context.WithTimeout(context.Background(), readLimit)
	defer cancel()
	all, err := g.read(ctx)
	up := telemetry.Flag(err == nil)
	if err != nil && g.Failed != nil {
		g.Failed(err)
	}
	return append(all, prometheus.MustNewConstMetric(readable, prometheus.GaugeValue, up))
}

func (g *Gauges) read(ctx context.Context) ([]prometheus.Metric, error) {
	var all []prometheus.Metric
	for _, part := range g.parts {
		samples, err := part.Read(ctx)
		if err != nil {
			return nil, err
		}
		for _, sample := range samples {
			desc, known := g.gauges[sample.Metric]
			if !known {
				return nil, fmt.Errorf("read gauges: there is no gauge %s", sample.Metric)
			}
			metric, err := prometheus.NewConstMetric(desc, prometheus.GaugeValue, sample.Value, sample.Labels...)
			if err != nil {
				return nil, fmt.Errorf("read gauges: %s: %w", sample.Metric, err)
			}
			all = append(all, metric)
		}
	}
	return all, nil
}
