package prom

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/daymill/daymill/internal/telemetry"
)

// archiveCounters count the events of the archive.
type archiveCounters struct {
	transactions, bytes, errors, gaps prometheus.Counter
	bases, proofs                     *prometheus.CounterVec
	lastCommit                        prometheus.Gauge
}

func newArchiveCounters(registry prometheus.Registerer) archiveCounters {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		registry.MustRegister(c)
		return c
	}
	outcomes := func(name, help string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"outcome"})
		c.WithLabelValues(telemetry.Complete)
		c.WithLabelValues(telemetry.Failed)
		registry.MustRegister(c)
		return c
	}
	a := archiveCounters{
		transactions: counter("daymill_archive_transactions_total", "Transactions in segments that were sealed."),
		bytes:        counter("daymill_archive_segment_bytes_total", "Bytes of segments that were sealed."),
		errors:       counter("daymill_archive_errors_total", "How often the database could not be archived."),
		gaps:         counter("daymill_archive_gaps_total", "Gaps of the archive."),
		bases:        outcomes("daymill_archive_bases_total", "Bases that were made, or could not be."),
		proofs:       outcomes("daymill_archive_proofs_total", "Restores that were compared with their source."),
		lastCommit: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "daymill_archive_last_commit_timestamp_seconds", Help: "When the last transaction of the last sealed segment was committed.",
		}),
	}
	registry.MustRegister(a.lastCommit)
	return a
}

func (a archiveCounters) listen(event telemetry.Event) {
	switch e := event.(type) {
	case telemetry.ArchiveSeal:
		a.transactions.Add(float64(e.Transactions))
		a.bytes.Add(float64(e.Bytes))
		if !e.LastCommit.IsZero() {
			a.lastCommit.Set(float64(e.LastCommit.UnixMicro()) / 1e6)
		}
	case telemetry.ArchiveError:
		a.errors.Inc()
	case telemetry.ArchiveGap:
		a.gaps.Inc()
	case telemetry.ArchiveBase:
		a.bases.WithLabelValues(outcome(e.Err == nil)).Inc()
	case telemetry.ArchiveProof:
		a.proofs.WithLabelValues(outcome(e.Failure == "")).Inc()
	}
}

func outcome(good bool) string {
	if good {
		return telemetry.Complete
	}
	return telemetry.Failed
}
