// Package jobs is what an application imports: helpers that request rollups in the application's own transaction, functions that
// are called with changes of tables ([OnChange]), and the arguments of Daymill's River jobs. `daymill worker` works the jobs.
//
// An application requests a rollup of a date with [EnqueueDay] or [EnqueueRange], with a plain River insert of
// [RollupDayArgs], or in SQL with analytics.enqueue_rollup. All of them append a request to the ledger in the caller's
// transaction. The request matters, not the job: every committed request is followed by a run that starts after it, even if
// River skips the insert as a duplicate of a running job.
//
//	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
//		if err := importEvents(ctx, tx, day); err != nil {
//			return err
//		}
//		return jobs.EnqueueDay(ctx, tx, client, day)
//	})
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

// DateOf returns the local date of a time in a zone, which should be the reporting zone.
func DateOf(t time.Time, zone *time.Location) Date { return date.Of(t, zone) }

// Queues of Daymill's workers. A trigger moves a rollup_day job that a client inserts into River's default queue to
// QueueRollup.
const (
	QueueRollup  = "daymill"
	QueueControl = "daymill_control"
	QueueCapture = "daymill_capture"
	QueueArchive = "daymill_archive"
)

// Priorities of jobs. A person's request goes before those of the schedule and of backfills.
const (
	PriorityRequest  = 1
	PrioritySchedule = 2
	PriorityBackfill = 3
)

// activeStates returns the states in which a job prevents another insert with the same arguments. River's default also
// includes completed, which would block a date for a day after its job completed.
func activeStates() []rivertype.JobState {
	return []rivertype.JobState{
		rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRetryable,
		rivertype.JobStateRunning, rivertype.JobStateScheduled,
	}
}

// RollupDayArgs are the arguments of the job that rolls up one date. Each date has at most one unfinished job of this kind.
type RollupDayArgs struct {
	Date Date `json:"date" river:"unique"`
}

// Kind returns rollup_day.
func (RollupDayArgs) Kind() string { return "rollup_day" }

// RollupAttempts is how often a date is tried before its job is discarded and the date is shown as failed. With River's
// backoff of attempt⁴ seconds, plus or minus a tenth, the tenth attempt comes about four hours after the first. That outlasts
// a failover, a maintenance window, or a bad deploy that was fixed. A date that fails for longer needs a person, and the
// daily job requests it again every day.
const RollupAttempts = 10

// InsertOpts makes the job unique by its date. The options are on the type because the unique states stored with an existing
// row decide whether it is a duplicate.
func (RollupDayArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{
		Queue:       QueueRollup,
		Priority:    PriorityRequest,
		MaxAttempts: RollupAttempts,
		UniqueOpts:  river.UniqueOpts{ByArgs: true, ByState: activeStates()},
	}
}

// BackfillArgs are the arguments of the job that starts a backfill, which then rolls up its dates one after another. The zero
// values of the optional fields are the defaults.
type BackfillArgs struct {
	From Date `json:"from"`
	To   Date `json:"to"`
	// NewestFirst takes the dates from To back to From.
	NewestFirst bool `json:"newest_first,omitempty"`
	// EveryDate also takes complete dates.
	EveryDate bool `json:"every_date,omitempty"`
	// InFlight is how many dates may be requested or running at a time, over all workers together; 0 means 1.
	InFlight int `json:"in_flight,omitempty"`
	// PauseSeconds is the pause between the end of a date and the request for the next, in seconds.
	PauseSeconds int `json:"pause_seconds,omitempty"`
	// RequestedBy names the requester, for the history.
	RequestedBy string `json:"requested_by,omitempty"`
}

// Kind returns backfill.
func (BackfillArgs) Kind() string { return "backfill" }

// InsertOpts puts the job into the control queue.
func (BackfillArgs) InsertOpts() river.InsertOpts { return controlOpts(false) }

// DailyRollupArgs are the arguments of the periodic job that requests the dates that are due.
type DailyRollupArgs struct {
	// Now requests them even if the job has already run today or is paused: see [EnqueueDailyRollup].
	Now bool `json:"now,omitempty" river:"unique"`
	// RequestedVia says how the job was started, for the history of its requests; empty means schedule.
	RequestedVia string `json:"requested_via,omitempty"`
}

// Kind returns daily_rollup.
func (DailyRollupArgs) Kind() string { return "daily_rollup" }

// InsertOpts makes the job unique.
func (DailyRollupArgs) InsertOpts() river.InsertOpts { return controlOpts(true) }

// PruneLedgerArgs are the arguments of the periodic job that deletes old rows of the ledger.
type PruneLedgerArgs struct{}

// Kind returns prune_ledger.
func (PruneLedgerArgs) Kind() string { return "prune_ledger" }

// InsertOpts makes the job unique.
func (PruneLedgerArgs) InsertOpts() river.InsertOpts { return controlOpts(true) }

// controlAttempts is how often a control job is tried, over about ten minutes. The next day brings another job.
const controlAttempts = 6

func controlOpts(unique bool) river.InsertOpts {
	opts := river.InsertOpts{Queue: QueueControl, MaxAttempts: controlAttempts}
	if unique {
		opts.UniqueOpts = river.UniqueOpts{ByArgs: true, ByState: activeStates()}
	}
	return opts
}
