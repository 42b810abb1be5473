package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/daymill/daymill/internal/archive/base"
	"github.com/daymill/daymill/internal/archive/chain"
	"github.com/daymill/daymill/internal/archive/keeper"
	"github.com/daymill/daymill/internal/archive/proof"
	"github.com/daymill/daymill/internal/archive/retention"
	"github.com/daymill/daymill/internal/archive/signal"
	"github.com/daymill/daymill/internal/archive/store"
	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/telemetry"
	"github.com/daymill/daymill/jobs"
)

const (
	// archiveEvery is how often a worker checks what is due for the archive.
	archiveEvery = time.Minute
	// archiveTimeout is the time limit for a base and a proof, which take longer for a larger database.
	archiveTimeout = 6 * time.Hour
	// pruneEvery is how often the archive is pruned.
	pruneEvery = 24 * time.Hour
)

// Archive has what a worker needs to keep an archive.
type Archive struct {
	URL   string // of the source
	Store *store.Store
	Codec store.Codec // for proofs; with the identity if the archive is encrypted
	// Size, Age and Limit are the fields of keeper.Keeper.
	Size  int64
	Age   time.Duration
	Limit int64
	Jobs  int // see base.Config

	Rule       retention.Rule
	BaseEvery  time.Duration // age of the last base at which the next one is made
	ProveEvery time.Duration // age of the last proof at which the next one is made
	Scratch    string        // server for proofs; no proofs if empty
}

// archive keeps the archive, and inserts jobs that are due, until ctx is done. If there are several workers, one of them reads the slot.
func (r *reconciler) archive(ctx context.Context, archive *Archive) {
	go func() {
		k := keeper.Keeper{
			Config: archive.config(r), Size: archive.Size, Age: archive.Age, Limit: archive.Limit, Listeners: r.listeners,
		}
		if err := k.Run(ctx); err != nil {
			r.logger.ErrorContext(ctx, "archiving failed", slog.String("error", err.Error()))
		}
	}()
	// Otherwise a job of a process that died would keep the next one of its kind waiting until its time is over.
	go func() {
		for r.clock.Sleep(ctx, beatEvery) == nil {
			if err := r.beat(ctx); err != nil && ctx.Err() == nil {
				r.logger.WarnContext(ctx, "the archive's jobs may be given to another process", slog.String("error", err.Error()))
			}
		}
	}()
	pruned := time.Time{}
	for {
		due, err := archive.due(ctx, r.clock.Now(), &pruned)
		for _, args := range due {
			if _, inserted := r.client.Insert(ctx, args, nil); inserted != nil {
				err = errors.Join(err, fmt.Errorf("insert the job %s: %w", args.Kind(), inserted))
			}
		}
		if err != nil && ctx.Err() == nil {
			r.logger.WarnContext(ctx, "the archive will be checked again", slog.String("error", err.Error()))
		}
		if r.clock.Sleep(ctx, archiveEvery) != nil {
			return
		}
	}
}

func (a *Archive) config(r *reconciler) base.Config {
	return base.Config{Source: r.db, URL: a.URL, Store: a.Store, Clock: r.clock, Jobs: a.Jobs}
}

// due returns the jobs that are due.
func (a *Archive) due(ctx context.Context, now time.Time, pruned *time.Time) (due []river.JobArgs, err error) {
	archive, err := chain.Read(ctx, a.Store)
	if err != nil {
		return nil, err
	}
	if n := len(archive.Bases); n > 0 && now.Sub(archive.Bases[n-1].At) > a.BaseEvery {
		due = append(due, jobs.BaseArchiveArgs{})
	}
	if now.Sub(*pruned) > pruneEvery {
		due = append(due, jobs.PruneArchiveArgs{})
		*pruned = now
	}
	if n := len(archive.Proofs); a.Scratch != "" && (n == 0 || now.Sub(archive.Proofs[n-1].At) > a.ProveEvery) {
		due = append(due, jobs.ProveArchiveArgs{})
	}
	return due, nil
}

// errNoArchive is the reason for cancelling a job of the archive.
var errNoArchive = errors.New("this worker keeps no archive: set DAYMILL_ARCHIVE")

// archiveWorker works jobs of one kind.
type archiveWorker[A jobArgs] struct {
	river.WorkerDefaults[A]

	archive *Archive
	work    func(ctx context.Context, archive *Archive) error
}

// Timeout is long, because a large database may be dumped or restored.
func (*archiveWorker[A]) Timeout(*river.Job[A]) time.Duration { return archiveTimeout }

// Work works the job.
func (w *archiveWorker[A]) Work(ctx context.Context, _ *river.Job[A]) error {
	if w.archive == nil {
		return river.JobCancel(errNoArchive)
	}
	return w.work(ctx, w.archive)
}

func newBaseArchiveWorker(a *assembly) river.Worker[jobs.BaseArchiveArgs] {
	return &archiveWorker[jobs.BaseArchiveArgs]{archive: a.config.Archive, work: func(ctx context.Context, archive *Archive) error {
		made, err := base.Take(ctx, base.Config{Source: a.config.DB, URL: archive.URL, Store: archive.Store, Clock: a.config.Clock, Jobs: archive.Jobs}, "the schedule")
		telemetry.Tell(ctx, a.config.Listeners, signal.Base{Position: made.Position, Reason: made.Reason, Bytes: made.Bytes(), Took: made.Took, Err: err})
		if err != nil {
			return err
		}
		return river.RecordOutput(ctx, made)
	}}
}

func newPruneArchiveWorker(a *assembly) river.Worker[jobs.PruneArchiveArgs] {
	return &archiveWorker[jobs.PruneArchiveArgs]{archive: a.config.Archive, work: func(ctx context.Context, archive *Archive) error {
		plan, err := retention.Prune(ctx, archive.Store, archive.Rule, a.config.Clock.Now())
		if err != nil {
			return err
		}
		return river.RecordOutput(ctx, map[string]int64{"segments": int64(len(plan.Segments)), "bases": int64(len(plan.Bases)), "bytes": plan.Bytes})
	}}
}

func newProveArchiveWorker(a *assembly) river.Worker[jobs.ProveArchiveArgs] {
	return &archiveWorker[jobs.ProveArchiveArgs]{archive: a.config.Archive, work: func(ctx context.Context, archive *Archive) error {
		if archive.Scratch == "" {
			return river.JobCancel(errors.New("no scratch server is given: set DAYMILL_ARCHIVE_SCRATCH"))
		}
		proved, err := archive.prove(ctx, a.config.Clock)
		if err != nil {
			return err
		}
		telemetry.Tell(ctx, a.config.Listeners, signal.Proof{
			Position: proved.Position, Tables: proved.Tables, Rows: proved.Rows, Failure: proved.Failure, Took: proved.Took,
		})
		return river.RecordOutput(ctx, proved)
	}}
}

func (a *Archive) prove(ctx context.Context, clock pace.Clock) (chain.Proof, error) {
	return proof.Run(ctx, proof.Config{URL: a.URL, Store: a.Store, Codec: a.Codec, Scratch: a.Scratch, Clock: clock})
}

// ArchiveJob inserts a job of the archive that a person requests: a base or a proof. It returns false if one is already waiting or running.
// The audit records who did it.
func (a *Admin) ArchiveJob(ctx context.Context, prove bool, who audit.Who) (inserted bool, err error) {
	var args river.JobArgs = jobs.BaseArchiveArgs{}
	if prove {
		args = jobs.ProveArchiveArgs{}
	}
	err = a.db.Tx(ctx, func(tx pgx.Tx) error {
		result, err := a.client.InsertTx(ctx, tx, args, nil)
		if err != nil {
			return fmt.Errorf("insert the job: %w", err)
		}
		if inserted = !result.UniqueSkippedAsDuplicate; !inserted {
			return nil
		}
		return audit.Record(ctx, tx, audit.Entry{Who: who, Action: "start " + args.Kind(), Target: "archive", Detail: map[string]any{"job": result.Job.ID}})
	})
	return inserted, err
}
