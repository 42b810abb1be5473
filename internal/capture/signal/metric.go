package signal

import "github.com/daymill/daymill/internal/telemetry"

// Names of the metrics.
const (
	landed          = "daymill_stream_changes_total"
	landingDuration = "daymill_stream_landing_duration_seconds"
	streamErrors    = "daymill_stream_errors_total"
	gaps            = "daymill_stream_gaps_total"
	delivered       = "daymill_consumer_delivered_total"
	letters         = "daymill_consumer_refused_total"
	batches         = "daymill_consumer_batches_total"
	batchDuration   = "daymill_consumer_batch_duration_seconds"
	snapshotRows    = "daymill_snapshot_rows_total"
	chunkDuration   = "daymill_snapshot_chunk_duration_seconds"
	snapshots       = "daymill_snapshots_completed_total"
)

// Metrics returns the metrics that the signals change.
func Metrics() []telemetry.Metric {
	statement := telemetry.StatementBuckets()
	stream, consumer := []string{"stream"}, []string{"consumer"}
	return []telemetry.Metric{
		{Name: landed, Help: "Changes that were written to the log.", Labels: stream},
		{Name: landingDuration, Help: "How long it took to write a batch to the log.", Buckets: statement},
		{Name: streamErrors, Help: "How often reading a stream stopped with an error.", Labels: stream},
		{Name: gaps, Help: "Gaps that were found in a stream.", Labels: stream},
		{Name: delivered, Help: "Changes that a consumer accepted.", Labels: consumer},
		{Name: letters, Help: "Changes that became dead letters of a consumer, including those that wait behind others.", Labels: consumer},
		{Name: batches, Help: "Batches that were sent to a consumer, by outcome.", Labels: []string{"consumer", "outcome"}},
		{Name: batchDuration, Help: "How long the delivery of a batch took.", Buckets: statement, Labels: consumer},
		{Name: snapshotRows, Help: "Rows that snapshots read.", Labels: stream},
		{Name: chunkDuration, Help: "How long it took to read a chunk of a table and to write it to the log.", Buckets: statement},
		{Name: snapshots, Help: "Snapshots of tables that were completed.", Labels: stream},
	}
}
