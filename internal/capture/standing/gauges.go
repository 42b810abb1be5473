package standing

import (
	"context"
	"fmt"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/telemetry"
)

// Names of the gauges.
const (
	streamUp          = "daymill_stream_up"
	streamLag         = "daymill_stream_lag_seconds"
	streamLagBytes    = "daymill_stream_lag_bytes"
	streamRetained    = "daymill_stream_retained_wal_bytes"
	streamGaps        = "daymill_stream_open_gaps"
	snapshotsOpen     = "daymill_snapshot_open_tables"
	snapshotRead      = "daymill_snapshot_open_rows_read"
	snapshotEstimated = "daymill_snapshot_open_rows_estimated"

	consumerLag      = "daymill_consumer_lag_seconds"
	consumerBehind   = "daymill_consumer_lag_changes"
	consumerPaused   = "daymill_consumer_paused"
	consumerFailures = "daymill_consumer_failed_attempts"
	consumerLetters  = "daymill_consumer_dead_letters"
)

// Gauges returns the gauges of streams and consumers.
func Gauges(conn *postgres.DB, clock pace.Clock) telemetry.Gauges {
	stream, consumer := []string{"stream"}, []string{"consumer"}
	return telemetry.Gauges{
		All: []telemetry.Gauge{
			{Name: streamUp, Labels: stream, Help: "Whether a worker reads the stream."},
			{Name: streamLag, Labels: stream, Help: "How long the last change took from its commit to the log; if nobody reads the stream, how long that has been so."},
			{Name: streamLagBytes, Labels: stream, Help: "WAL that is not read yet; 0 in trigger mode."},
			{Name: streamRetained, Labels: stream, Help: "WAL that the replication slot holds back; 0 in trigger mode."},
			{Name: streamGaps, Labels: stream, Help: "Gaps that are not repaired."},
			{Name: snapshotsOpen, Labels: stream, Help: "Tables whose snapshot is not finished."},
			{Name: snapshotRead, Labels: stream, Help: "Rows that unfinished snapshots have read."},
			{Name: snapshotEstimated, Labels: stream, Help: "Estimated rows of the tables of unfinished snapshots, from statistics."},
			{Name: consumerLag, Labels: consumer, Help: "Age of the oldest change that the consumer does not have yet; 0 if it has all of them."},
			{Name: consumerBehind, Labels: consumer, Help: "Positions of the log that the consumer has not passed."},
			{Name: consumerPaused, Labels: consumer, Help: "1 while the consumer is paused."},
			{Name: consumerFailures, Labels: consumer, Help: "Attempts in a row that have failed, of the shard with the most."},
			{Name: consumerLetters, Labels: consumer, Help: "Changes that the consumer did not accept, and those that wait behind them."},
		},
		Read: func(ctx context.Context) (samples []telemetry.Sample, err error) {
			err = conn.Read(ctx, func(on postgres.DBTX) error {
				streams, err := readStreams(ctx, on)
				if err != nil || len(streams) == 0 {
					return err
				}
				lags, err := Lags(ctx, on, clock.Now())
				for _, one := range lags {
					streams = append(streams, one.samples()...)
				}
				samples = streams
				return err
			})
			return samples, err
		},
	}
}

func readStreams(ctx context.Context, on postgres.DBTX) (samples []telemetry.Sample, err error) {
	queries := db.New(on)
	streams, err := queries.StreamStanding(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the state of streams: %w", err)
	}
	if len(streams) == 0 {
		return nil, nil
	}
	snapshots, err := queries.StreamSnapshots(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the progress of snapshots: %w", err)
	}
	open := make(map[string]db.StreamSnapshotsRow, len(snapshots))
	for _, one := range snapshots {
		open[one.Name] = one
	}
	for _, one := range streams {
		snapshot := open[one.Name] // There are no rows if all snapshots are finished.
		samples = append(samples,
			telemetry.Reading(streamUp, telemetry.Flag(one.State == "running" && !one.IsUnowned), one.Name),
			telemetry.Reading(streamLag, max(0, one.LagSeconds), one.Name),
			telemetry.Reading(streamLagBytes, float64(one.Behind), one.Name),
			telemetry.Reading(streamRetained, float64(one.Retained), one.Name),
			telemetry.Reading(streamGaps, float64(one.Gaps), one.Name),
			telemetry.Reading(snapshotsOpen, float64(snapshot.Tables), one.Name),
			telemetry.Reading(snapshotRead, float64(snapshot.Rows), one.Name),
			telemetry.Reading(snapshotEstimated, float64(snapshot.Estimate), one.Name),
		)
	}
	return samples, nil
}

func (l Lag) samples() []telemetry.Sample {
	return []telemetry.Sample{
		telemetry.Reading(consumerLag, l.Lag.Seconds(), l.Name),
		telemetry.Reading(consumerBehind, float64(l.Behind), l.Name),
		telemetry.Reading(consumerPaused, telemetry.Flag(l.PausedAt != nil), l.Name),
		telemetry.Reading(consumerFailures, float64(l.Failures), l.Name),
		telemetry.Reading(consumerLetters, float64(l.Letters), l.Name),
	}
}
