package signal

import "github.com/daymill/daymill/internal/telemetry"

// Names of the metrics.
const (
	runsStarted      = "daymill_runs_started_total"
	runs             = "daymill_runs_total"
	runDuration      = "daymill_run_duration_seconds"
	runLongest       = "daymill_run_longest_statement_seconds"
	phaseDuration    = "daymill_phase_duration_seconds"
	events           = "daymill_events_total"
	rows             = "daymill_rows_total"
	worked           = "daymill_run_worked_seconds_total"
	paused           = "daymill_run_paused_seconds_total"
	slices           = "daymill_slices_total"
	sliceDuration    = "daymill_slice_duration_seconds"
	batches          = "daymill_batches_total"
	batchDuration    = "daymill_batch_duration_seconds"
	requests         = "daymill_requests_total"
	rescues          = "daymill_rescues_total"
	backfills        = "daymill_backfills_total"
	backfillDates    = "daymill_backfill_dates_total"
	verified         = "daymill_verified_dates_total"
	verifiedEntities = "daymill_verified_entities_total"
	driftedEntities  = "daymill_drifted_entities_total"
	verifyDuration   = "daymill_verify_duration_seconds"
)

// Metrics returns the metrics that the signals change.
func Metrics() []telemetry.Metric {
	statement := telemetry.StatementBuckets()
	// Runs take from milliseconds, if a small date is already right, to hours, if a date is large and the
	// pace is slow.
	run := []float64{.01, .05, .1, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400}
	outcomes := []string{Complete, Protected, Interrupted, Lost, failed}
	return []telemetry.Metric{
		{Name: runsStarted, Help: "Runs that have begun."},
		{Name: runs, Help: "Runs that have ended.", Labels: []string{"outcome"}, Values: [][]string{outcomes}},
		{Name: runDuration, Help: "How long runs took, including pauses.", Buckets: run, Labels: []string{"outcome"}, Values: [][]string{outcomes}},
		{Name: runLongest, Help: "The longest statement of each run. No statement should take more than a quarter of a second.", Buckets: statement},
		{
			Name: phaseDuration, Help: "How long the phases of runs took, including pauses.", Buckets: run,
			Labels: []string{"phase"}, Values: [][]string{{"scan", "publish", "settle"}},
		},
		{Name: events, Help: "Events of the dates that were completed."},
		{Name: rows, Help: "Rows of metrics that were written.", Labels: []string{"change"}, Values: [][]string{{"inserted", "updated", "deleted"}}},
		{Name: worked, Help: "Time that runs spent in statements."},
		{Name: paused, Help: "Time that runs spent pausing between statements."},
		{Name: slices, Help: "Slices of dates.", Labels: []string{"outcome"}, Values: [][]string{{Read, Divided, Dense}}},
		{Name: sliceDuration, Help: "How long the statements of a slice took, if it was read.", Buckets: statement},
		{Name: batches, Help: "Transactions that publish metrics.", Labels: []string{"outcome"}, Values: [][]string{{Written, TimedOut}}},
		{Name: batchDuration, Help: "How long transactions that publish metrics took.", Buckets: statement},
		{
			Name: requests, Help: "What happened to requests: enqueued (got a job), claimed (by a run), satisfied.",
			Labels: []string{"action"}, Values: [][]string{{"enqueued", "claimed", "satisfied"}},
		},
		{Name: rescues, Help: "Dates that were handed to another worker because their run gave no sign of life."},
		{Name: backfills, Help: "What happened to backfills.", Labels: []string{"action"}, Values: [][]string{{"started", "completed", Cancelled}}},
		{Name: backfillDates, Help: "What happened to dates of backfills.", Labels: []string{"action"}, Values: [][]string{{"requested", "ended"}}},
		{
			Name: verified, Help: "Dates that were recounted.", Labels: []string{"result"},
			Values: [][]string{{"exact", Drifted, "changed", "protected", "incomplete", Interrupted, failed}},
		},
		{Name: verifiedEntities, Help: "Entities that were recounted."},
		{Name: driftedEntities, Help: "Entities whose metrics of a date differed from a recount."},
		{Name: verifyDuration, Help: "How long recounts of a date took, including pauses.", Buckets: run},
	}
}

// one counts one.
func one(metric string, labels ...string) telemetry.Sample {
	return telemetry.Sample{Metric: metric, Labels: labels, Value: 1}
}
