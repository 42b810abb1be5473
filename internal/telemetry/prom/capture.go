package prom

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/daymill/daymill/internal/telemetry"
)

// captureCounters count the events of capture.
type captureCounters struct {
	landed, streamErrors, gaps, delivered, letters, snapshotRows, snapshots *prometheus.CounterVec

	batches          *prometheus.CounterVec
	landing, chunk   prometheus.Histogram
	deliveryDuration *prometheus.HistogramVec
}

func newCaptureCounters(registry prometheus.Registerer) captureCounters {
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		registry.MustRegister(c)
		return c
	}
	opts := func(name, help string) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{Name: name, Help: help, Buckets: statementBuckets}
	}
	c := captureCounters{
		landed:       counters("daymill_stream_changes_total", "Changes that were written to the log.", "stream"),
		streamErrors: counters("daymill_stream_errors_total", "How often a stream could not be read on.", "stream"),
		gaps:         counters("daymill_stream_gaps_total", "Gaps that were found in a stream, by stream.", "stream"),
		delivered:    counters("daymill_consumer_delivered_total", "Changes that a consumer took.", "consumer"),
		letters:      counters("daymill_consumer_refused_total", "Changes that became dead letters of a consumer, those that wait behind others included.", "consumer"),
		batches:      counters("daymill_consumer_batches_total", "Batches that were delivered to a consumer, or that it did not take.", "consumer", "outcome"),
		snapshotRows: counters("daymill_snapshot_rows_total", "Rows that snapshots read.", "stream"),
		snapshots:    counters("daymill_snapshots_completed_total", "Snapshots of tables that were completed.", "stream"),
		landing:      prometheus.NewHistogram(opts("daymill_stream_landing_duration_seconds", "How long it took to write a batch to the log.")),
		chunk:        prometheus.NewHistogram(opts("daymill_snapshot_chunk_duration_seconds", "How long it took to read a chunk of a table and to write it to the log.")),
		deliveryDuration: prometheus.NewHistogramVec(
			opts("daymill_consumer_batch_duration_seconds", "How long deliveries of a batch took."), []string{"consumer"}),
	}
	registry.MustRegister(c.landing, c.chunk, c.deliveryDuration)
	return c
}

func (c captureCounters) listen(event telemetry.Event) {
	switch e := event.(type) {
	case telemetry.StreamStart: // At 0 from here on, so that a rate over them sees the first.
		for _, c := range []*prometheus.CounterVec{c.landed, c.streamErrors, c.gaps, c.snapshotRows, c.snapshots} {
			c.WithLabelValues(e.Stream)
		}
	case telemetry.StreamError:
		c.streamErrors.WithLabelValues(e.Stream).Inc()
	case telemetry.Gap:
		c.gaps.WithLabelValues(e.Stream).Inc()
	case telemetry.Land:
		if e.Err == nil {
			c.landed.WithLabelValues(e.Stream).Add(float64(e.Changes))
			c.landing.Observe(e.Took.Seconds())
		}
	case telemetry.DeliveryStart: // As above.
		for _, outcome := range []string{telemetry.Complete, telemetry.Failed, telemetry.Interrupted, telemetry.Lost} {
			c.batches.WithLabelValues(e.Consumer, outcome)
		}
		c.deliveryDuration.WithLabelValues(e.Consumer)
		c.delivered.WithLabelValues(e.Consumer)
		c.letters.WithLabelValues(e.Consumer)
	case telemetry.Delivery:
		c.batches.WithLabelValues(e.Consumer, e.Outcome).Inc()
		c.delivered.WithLabelValues(e.Consumer).Add(float64(e.Delivered))
		c.letters.WithLabelValues(e.Consumer).Add(float64(e.Letters))
		if e.Outcome == telemetry.Complete {
			c.deliveryDuration.WithLabelValues(e.Consumer).Observe(e.Took.Seconds())
		}
	case telemetry.Chunk:
		c.snapshotRows.WithLabelValues(e.Stream).Add(float64(e.Rows))
		if e.Err == nil {
			c.chunk.Observe(e.Took.Seconds())
		}
		if e.Last {
			c.snapshots.WithLabelValues(e.Stream).Inc()
		}
	}
}
