package signal

import "github.com/daymill/daymill/internal/telemetry"

// Names of the metrics.
const (
	turns           = "daymill_view_turns_total"
	taskKeys        = "daymill_view_task_keys_total"
	drift           = "daymill_view_drift_total"
	longestChunk    = "daymill_view_longest_chunk_seconds"
	refreshDuration = "daymill_view_refresh_duration_seconds"
	lag             = "daymill_view_lag_seconds"
	changes         = "daymill_view_changes_total"
	refreshedKeys   = "daymill_view_refreshed_keys_total"
	failures        = "daymill_view_refresh_failures_total"
	differing       = "daymill_view_differing_keys_total"
	repaired        = "daymill_view_repaired_keys_total"
	swaps           = "daymill_view_swaps_total"
)

// Metrics returns the metrics that the signals change.
func Metrics() []telemetry.Metric {
	statement := telemetry.StatementBuckets()
	age := []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 15, 60, 300} // of a change when it is applied to a view
	kinds := []string{"build", "refresh", "verify", "poll", "compare"}
	return []telemetry.Metric{
		{
			Name: turns, Help: "Turns of tasks of views.", Labels: []string{"kind", "outcome"},
			Values: [][]string{kinds, {Complete, Unfinished, Failed}},
		},
		{Name: taskKeys, Help: "Root keys that tasks of views have handled.", Labels: []string{"kind"}, Values: [][]string{kinds}},
		{
			Name: drift, Help: "Changes of tables that views read.", Labels: []string{"state"},
			Values: [][]string{{"open", "followed"}},
		},
		{Name: longestChunk, Help: "The longest chunk of each turn of a view's task.", Buckets: statement},
		{Name: refreshDuration, Help: "How long applying captured changes to a view took.", Buckets: statement},
		{Name: lag, Help: "Age of the oldest change when it was applied to a view.", Buckets: age},
		{Name: changes, Help: "Captured changes that were applied to views."},
		{Name: refreshedKeys, Help: "Root keys of views that captured changes have refreshed."},
		{Name: failures, Help: "Times that captured changes could not be applied to a view."},
		{Name: differing, Help: "Root keys of views that verifications found different."},
		{Name: repaired, Help: "Root keys of views that verifications have repaired."},
		{Name: swaps, Help: "Newly built tables that now serve as views."},
	}
}
