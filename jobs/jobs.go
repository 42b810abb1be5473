// Package jobs is Daymill's public API: the arguments of its River jobs, and the helpers that enqueue them in an
// application's own transaction. The workers are in internal/worker; `daymill worker` starts them.
//
// An application asks for a rollup of a date with [EnqueueDay] or [EnqueueRange], with a plain River insert of
// [RollupDayArgs], or from SQL with analytics.enqueue_rollup. All of them append a request to the ledger, in the
// caller's transaction; the request is what counts, not the job. A request that commits is followed by a run that
// begins after it, even where River skips the insert as a duplicate of a job that is just running.
package jobs

import (
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/daymill/daymill/internal/date"
)

// Date is a calendar date in the reporting time zone. In JSON it is a string such as "2026-03-01".
type Date = date.Date

// NewDate returns the date of a year, month and day.
func NewDate(year int, month time.Month, day int) Date { return date.New(year, month, day) }

// ParseDate reads a date such as 2026-03-01.
func ParseDate(text string) (Date, error) { return date.Parse(text) }

// DateOf returns the local date of an instant in a zone, which should be the reporting zone.
func DateOf(t time.Time, zone *time.Location) Date { return date.Of(t, zone) }

// Queues that Daymill's workers work. A rollup_day job that a client inserts into River's default queue is moved to
// QueueRollup by a trigger.
const (
	QueueRollup  = "daymill"
	QueueControl = "daymill_control"
	QueueCapture = "daymill_capture"
)

// Priorities of jobs. A request that somebody makes goes before what the schedule and backfills ask for.
const (
	PriorityRequest  = 1
	PrioritySchedule = 2
	PriorityBackfill = 3
)

// activeStates are the states in which a job keeps another of the same arguments from being inserted. River's default
// has completed as well, with which a date could not be enqueued again for a day.
func activeStates() []rivertype.JobState {
	return []rivertype.JobState{
		rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRetryable,
		rivertype.JobStateRunning, rivertype.JobStateScheduled,
	}
}

// RollupDayArgs are the arguments of the job that rolls one date up. There is at most one such job per date that is not
// finished.
type RollupDayArgs struct {
	Date Date `json:"date" river:"unique"`
}

// Kind is rollup_day.
func (RollupDayArgs) Kind() string { return "rollup_day" }

// RollupAttempts is how often a date is tried before its job is discarded and the date is shown as failed. With
// River's backoff of attempt⁴ seconds, plus or minus a tenth, the tenth attempt comes some four hours after the first:
// that outlasts a failover, a maintenance window or a deploy that went wrong and was put right. A date that has failed
// for longer needs a person, and the daily job asks for it again every day.
const RollupAttempts = 10

// InsertOpts makes the job unique by its date. They are on the type, because the states stored with the row that is in
// the table already are those that decide.
func (RollupDayArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{
		Queue:       QueueRollup,
		Priority:    PriorityRequest,
		MaxAttempts: RollupAttempts,
		UniqueOpts:  river.UniqueOpts{ByArgs: true, ByState: activeStates()},
	}
}

// BackfillArgs are the arguments of the job that starts a backfill: its dates are then rolled up one after another. The
// zero values of the optional fields are the defaults.
type BackfillArgs struct {
	From Date `json:"from"`
	To   Date `json:"to"`
	// NewestFirst takes the dates from To to From.
	NewestFirst bool `json:"newest_first,omitempty"`
	// EveryDate takes dates that are complete, too.
	EveryDate bool `json:"every_date,omitempty"`
	// InFlight is how many dates may be requested or running at a time, over all workers together; 1 where 0.
	InFlight int `json:"in_flight,omitempty"`
	// PauseSeconds is how long to wait after a date has finished before the next is requested.
	PauseSeconds int `json:"pause_seconds,omitempty"`
	// RequestedBy names who asked, for the history.
	RequestedBy string `json:"requested_by,omitempty"`
}

// Kind is backfill.
func (BackfillArgs) Kind() string { return "backfill" }

// InsertOpts puts the job into the control queue.
func (BackfillArgs) InsertOpts() river.InsertOpts { return controlOpts(false) }

// DailyRollupArgs are the arguments of the periodic job that asks for the dates that are due.
type DailyRollupArgs struct {
	// Now asks for them although the job has done its work today, or is paused: see [EnqueueDailyRollup].
	Now bool `json:"now,omitempty" river:"unique"`
	// RequestedVia says how the job came about, for the history of what it asks for: schedule where empty.
	RequestedVia string `json:"requested_via,omitempty"`
}

// Kind is daily_rollup.
func (DailyRollupArgs) Kind() string { return "daily_rollup" }

// InsertOpts makes the job unique.
func (DailyRollupArgs) InsertOpts() river.InsertOpts { return controlOpts(true) }

// PruneLedgerArgs are the arguments of the periodic job that deletes what the ledger has kept for long enough.
type PruneLedgerArgs struct{}

// Kind is prune_ledger.
func (PruneLedgerArgs) Kind() string { return "prune_ledger" }

// InsertOpts makes the job unique.
func (PruneLedgerArgs) InsertOpts() river.InsertOpts { return controlOpts(true) }

// controlAttempts is how often a control job is tried, over some ten minutes. The next day brings another.
const controlAttempts = 6

func controlOpts(unique bool) river.InsertOpts {
	opts := river.InsertOpts{Queue: QueueControl, MaxAttempts: controlAttempts}
	if unique {
		opts.UniqueOpts = river.UniqueOpts{ByArgs: true, ByState: activeStates()}
	}
	return opts
}
