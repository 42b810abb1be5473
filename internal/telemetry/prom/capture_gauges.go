package prom

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Stream is how a stream of capture stands.
type Stream struct {
	Name string
	Read bool // a process reads it
	// Lag is how long the last change took from its commit to the log, or how long nobody has been reading.
	Lag              time.Duration
	Behind, Retained int64 // bytes of WAL: not read yet, and held back by the slot
	Gaps             int64 // that are not repaired
	Snapshots        int64 // of tables, that are not finished
	SnapshotRows     int64 // that those have read
	SnapshotEstimate int64 // rows that their tables have
}

// Consumer is how a consumer of changes stands.
type Consumer struct {
	Name     string
	Paused   bool
	Lag      time.Duration // since the first change that it does not have was committed; 0 if it has all
	Behind   int64         // positions of the log
	Failures int64         // attempts in a row
	Letters  int64         // dead letters
}

//nolint:gochecknoglobals // Constants, were there constant structs.
var (
	streamUp          = describe("daymill_stream_up", "Whether a worker reads the stream.", "stream")
	streamLag         = describe("daymill_stream_lag_seconds", "How long the last change took from its commit to the log, or how long nobody has been reading.", "stream")
	streamLagBytes    = describe("daymill_stream_lag_bytes", "WAL that is not read yet; 0 in trigger mode.", "stream")
	streamRetained    = describe("daymill_stream_retained_wal_bytes", "WAL that the replication slot holds back; 0 in trigger mode.", "stream")
	streamGaps        = describe("daymill_stream_open_gaps", "Gaps that are not repaired.", "stream")
	snapshotsOpen     = describe("daymill_snapshot_open_tables", "Tables whose snapshot is not finished.", "stream")
	snapshotRead      = describe("daymill_snapshot_open_rows_read", "Rows that the snapshots that are not finished have read.", "stream")
	snapshotEstimated = describe("daymill_snapshot_open_rows_estimated", "Rows that the tables of these snapshots have, as their statistics say.", "stream")

	consumerLag      = describe("daymill_consumer_lag_seconds", "How long ago the first change was committed that the consumer does not have; 0 if it has all.", "consumer")
	consumerBehind   = describe("daymill_consumer_lag_changes", "Positions of the log that the consumer has not passed.", "consumer")
	consumerPaused   = describe("daymill_consumer_paused", "1 while the consumer is paused.", "consumer")
	consumerFailures = describe("daymill_consumer_failed_attempts", "Attempts in a row that have failed, of the shard with the most.", "consumer")
	consumerLetters  = describe("daymill_consumer_dead_letters", "Changes that the consumer did not take, and those that wait behind them.", "consumer")
)

func describeCapture(to chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{
		streamUp, streamLag, streamLagBytes, streamRetained, streamGaps, snapshotsOpen, snapshotRead, snapshotEstimated,
		consumerLag, consumerBehind, consumerPaused, consumerFailures, consumerLetters,
	} {
		to <- desc
	}
}

func (s Snapshot) capture() (all []prometheus.Metric) {
	for _, one := range s.Streams {
		all = append(all,
			gauge(streamUp, flag(one.Read), one.Name), gauge(streamLag, max(0, one.Lag).Seconds(), one.Name),
			gauge(streamLagBytes, float64(one.Behind), one.Name), gauge(streamRetained, float64(one.Retained), one.Name),
			gauge(streamGaps, float64(one.Gaps), one.Name), gauge(snapshotsOpen, float64(one.Snapshots), one.Name),
			gauge(snapshotRead, float64(one.SnapshotRows), one.Name), gauge(snapshotEstimated, float64(one.SnapshotEstimate), one.Name),
		)
	}
	for _, one := range s.Consumers {
		all = append(all,
			gauge(consumerLag, max(0, one.Lag).Seconds(), one.Name), gauge(consumerBehind, float64(one.Behind), one.Name),
			gauge(consumerPaused, flag(one.Paused), one.Name), gauge(consumerFailures, float64(one.Failures), one.Name),
			gauge(consumerLetters, float64(one.Letters), one.Name),
		)
	}
	return all
}

func flag(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
