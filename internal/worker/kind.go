package worker

import (
	"context"
	"time"

	"github.com/riverqueue/river"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/rollup/schedule"
	"github.com/daymill/daymill/jobs"
)

// Kind is everything that Daymill knows about one kind of job. River's workers and periodic jobs, the queues, the catch-up,
// the check of arguments, the history's filter and the pages are all made from [Kinds]. So a new kind needs its arguments in
// package jobs, a file with its worker here, and an entry in the list.
type Kind struct {
	Name string
	// Does describes the kind in a sentence, for the pages.
	Does string
	// Queue is the queue of its jobs. The history of jobs includes all queues but QueueCapture, which has very many
	// jobs.
	Queue       string
	MaxAttempts int
	// Timeout bounds an attempt; -1 if the ledger's heartbeat takes its place.
	Timeout time.Duration
	// Daily reports that the schedule inserts a job every day at the daily hour. The job records its last success under the
	// kind's name.
	Daily bool
	// CanPause reports that an admin may pause the daily job.
	CanPause bool
	// NeedsSource reports that a daily job has nothing to do until a source is set.
	NeedsSource bool

	args     func() any           // a pointer to zero arguments, to decode into
	insert   func() river.JobArgs // the arguments of the daily job
	register func(*river.Workers, *assembly)
}

// newKind fills in what the arguments and the worker determine.
func newKind[A jobArgs](kind Kind, timeout time.Duration, worker func(*assembly) river.Worker[A]) Kind {
	var zero A
	opts := zero.InsertOpts()
	kind.Name, kind.Queue, kind.MaxAttempts, kind.Timeout = zero.Kind(), opts.Queue, opts.MaxAttempts, timeout
	kind.args = func() any { return new(A) }
	kind.insert = func() river.JobArgs { return zero }
	kind.register = func(workers *river.Workers, assembly *assembly) { river.AddWorker(workers, worker(assembly)) }
	return kind
}

// jobArgs are arguments with insert options.
type jobArgs interface {
	river.JobArgs
	river.JobArgsWithInsertOpts
}

// Kinds returns all kinds of jobs, most frequent first.
func Kinds() []Kind {
	return []Kind{
		newKind(Kind{
			Does: "Rolls up one date.",
		}, -1, newRollupDayWorker),
		newKind(Kind{
			Does:  "Requests yesterday, the days before it, and every date that has events and is not complete.",
			Daily: true, CanPause: true, NeedsSource: true,
		}, controlTimeout, newDailyRollupWorker),
		newKind(Kind{
			Does: "Starts a backfill: a range of dates, rolled up one after another.",
		}, controlTimeout, newBackfillWorker),
		newKind(Kind{
			Does:  "Counts the events of some finished dates again and compares them with their rows, least recently verified first.",
			Daily: true,
		}, verifyTimeout, newVerifyDatesWorker),
		newKind(Kind{
			Does:  "Deletes runs, requests, jobs and audit entries that are older than the retention, and drops months of metrics that are no longer kept.",
			Daily: true,
		}, controlTimeout, newPruneLedgerWorker),
		newKind(Kind{
			Does: "Delivers changes to one shard of a sink.",
		}, controlTimeout, newDeliverChangesWorker),
		newKind(Kind{
			Does: "Works on a view's task: builds its table, refreshes many of its rows, or compares them with the SELECT.",
		}, controlTimeout, newWorkViewWorker),
		newKind(Kind{
			Does: "Reads the existing rows of tables into the log, chunk by chunk.",
		}, controlTimeout, newSnapshotTablesWorker),
		newKind(Kind{
			Does: "Dumps the database into the archive again.",
		}, archiveTimeout, newBaseArchiveWorker),
		newKind(Kind{
			Does: "Deletes segments and bases of the archive that are older than the rule says.",
		}, archiveTimeout, newPruneArchiveWorker),
		newKind(Kind{
			Does: "Restores the archive into a scratch database, and compares every table with the source.",
		}, archiveTimeout, newProveArchiveWorker),
	}
}

// KindNames returns the names of all kinds.
func KindNames() []string {
	kinds := Kinds()
	names := make([]string, 0, len(kinds))
	for _, kind := range kinds {
		names = append(names, kind.Name)
	}
	return names
}

// kindOf returns the kind with a name, and false if it is not Daymill's.
func kindOf(name string) (Kind, bool) {
	for _, kind := range Kinds() {
		if kind.Name == name {
			return kind, true
		}
	}
	return Kind{}, false
}

// assembly holds what the workers of jobs need.
type assembly struct {
	config   Config
	planner  *schedule.Planner
	jobTable string // quoted, with its schema
	done     func() // makes the reconciler look at once
	groups   *groupRest
	enqueue  func(ctx context.Context, dates []date.Date, priority int) error // creates jobs for dates
	landed   *bell                                                            // rings when this process has landed changes
	ended    func()                                                           // makes the reconciler look for shards that need a job
}

// queues returns how many jobs of each queue a process works at a time.
func queues(config Config) map[string]river.QueueConfig {
	most := map[string]river.QueueConfig{}
	for _, kind := range Kinds() {
		most[kind.Queue] = river.QueueConfig{MaxWorkers: controlWorkers}
	}
	most[jobs.QueueRollup] = river.QueueConfig{MaxWorkers: config.Workers}
	most[jobs.QueueCapture] = river.QueueConfig{MaxWorkers: deliverWorkers, FetchPollInterval: idleEvery}
	if config.Archive == nil {
		delete(most, jobs.QueueArchive) // Another worker may keep the archive.
	}
	if config.Capture == nil {
		delete(most, jobs.QueueCapture)
	}
	return most
}

// periodicJobs returns the daily jobs for River, whose elected leader inserts them.
func periodicJobs(daily schedule.Daily) []*river.PeriodicJob {
	var periodic []*river.PeriodicJob
	for _, kind := range Kinds() {
		if kind.Daily {
			periodic = append(periodic, river.NewPeriodicJob(daily,
				func() (river.JobArgs, *river.InsertOpts) { return kind.insert(), nil },
				&river.PeriodicJobOpts{ID: kind.Name, RunOnStart: kind.Name == schedule.Name}))
		}
	}
	return periodic
}
