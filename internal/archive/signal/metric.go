package signal

import "github.com/daymill/daymill/internal/telemetry"

// Names of the metrics.
const (
	transactions = "daymill_archive_transactions_total"
	segmentBytes = "daymill_archive_segment_bytes_total"
	failures     = "daymill_archive_errors_total"
	gaps         = "daymill_archive_gaps_total"
	bases        = "daymill_archive_bases_total"
	proofs       = "daymill_archive_proofs_total"
)

// Outcomes of bases and proofs.
const (
	complete = "complete"
	failed   = "failed"
)

// Metrics returns the metrics that the signals change.
func Metrics() []telemetry.Metric {
	outcome, outcomes := []string{"outcome"}, [][]string{{complete, failed}}
	return []telemetry.Metric{
		{Name: transactions, Help: "Transactions in sealed segments."},
		{Name: segmentBytes, Help: "Bytes of sealed segments."},
		{Name: failures, Help: "How often the database could not be archived."},
		{Name: gaps, Help: "Gaps of the archive."},
		{Name: bases, Help: "Bases of the archive, by outcome.", Labels: outcome, Values: outcomes},
		{Name: proofs, Help: "Restores that were compared with their source, by outcome.", Labels: outcome, Values: outcomes},
	}
}
