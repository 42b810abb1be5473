package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/job"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/protection"
)

// Reason says why an action skipped a job.
type Reason string

// Reasons for skipping a job.
const (
	Changed Reason = "changed" // it no longer exists, no longer matches the filter, or has changed since the snapshot
	Ended   Reason = "ended"   // it has ended, so there is nothing to cancel
	Locked  Reason = "locked"  // another transaction has locked it
	Newer   Reason = "newer"   // another job of the same date, or of the same kind, is open
	Pruned  Reason = "pruned"  // River has deleted it, and it has no date to request
	Running Reason = "running" // a worker is running it
	Waiting Reason = "waiting" // it is already waiting for a worker
)

// Selection is the jobs to act on: those of IDs that match the filter and have not changed since the snapshot.
type Selection struct {
	Filter job.Filter
	Since  job.Snapshot
	IDs    []int64 // about a hundred: they stay locked until the transaction ends
	// Sweep reports that the jobs were not chosen one by one: a retry then skips dates whose events no longer exist.
	Sweep bool
}

// Outcome is the result of an action on a selection. The numbers add up to the number of its IDs.
type Outcome struct {
	Done    int
	Skipped map[Reason]int
}

func (o *Outcome) skip(reason Reason) {
	if o.Skipped == nil {
		o.Skipped = make(map[Reason]int)
	}
	o.Skipped[reason]++
}

// Retry runs jobs again, in the caller's transaction: those that have ended, and those that wait for a later time. River
// keeps its rows for a day or a week only. If it has deleted a rollup_day job, Retry requests the job's date on behalf of
// who.
func (a *Admin) Retry(ctx context.Context, tx pgx.Tx, selection Selection, who audit.Who) (Outcome, error) {
	mayLose := protection.LoseAll
	if selection.Sweep {
		mayLose = protection.LoseNone
		if err := db.New(tx).RequestSweep(ctx); err != nil {
			return Outcome{}, fmt.Errorf("prepare to retry jobs: %w", err)
		}
	}
	outcome, refs, err := a.take(ctx, tx, selection)
	if err != nil {
		return Outcome{}, err
	}
	var dates []date.Date
	for _, ref := range refs {
		switch {
		case ref.pruned && ref.Date.IsZero():
			outcome.skip(Pruned)
		case ref.pruned:
			outcome.Done++
			if !slices.Contains(dates, ref.Date) {
				dates = append(dates, ref.Date)
			}
		case ref.State == "running":
			outcome.skip(Running)
		case ref.State == "available":
			outcome.skip(Waiting)
		default:
			err := a.retry(ctx, tx, ref.ID)
			switch {
			case postgres.Code(err) == pgerrcode.UniqueViolation:
				outcome.skip(Newer)
			case err != nil:
				return Outcome{}, fmt.Errorf("retry job %d: %w", ref.ID, err)
			default:
				outcome.Done++
			}
		}
	}
	if len(dates) == 0 {
		return outcome, nil
	}
	err = db.New(tx).RequestAppendAs(ctx, db.RequestAppendAsParams{MetricDates: dates, RequestedBy: who.Actor, RequestedVia: who.Via, MayLose: mayLose})
	if err != nil {
		return Outcome{}, fmt.Errorf("request the dates of jobs: %w", err)
	}
	return outcome, nil
}

// retry retries a job in a savepoint, because River's unique index allows a date only one job at a time.
func (a *Admin) retry(ctx context.Context, tx pgx.Tx, id int64) error {
	return pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
		_, err := a.client.JobRetryTx(ctx, tx, id)
		return err
	})
}

// Cancel cancels jobs that have not ended, in the caller's transaction. It asks a running job to stop, which its worker does
// within a second or two.
func (a *Admin) Cancel(ctx context.Context, tx pgx.Tx, selection Selection) (Outcome, error) {
	outcome, refs, err := a.take(ctx, tx, selection)
	if err != nil {
		return Outcome{}, err
	}
	for _, ref := range refs {
		if ref.pruned || slices.Contains([]string{"cancelled", "completed", "discarded"}, ref.State) {
			outcome.skip(Ended)
			continue
		}
		if _, err := a.client.JobCancelTx(ctx, tx, ref.ID); err != nil {
			return Outcome{}, fmt.Errorf("cancel job %d: %w", ref.ID, err)
		}
		outcome.Done++
	}
	return outcome, nil
}

// Delete deletes jobs and their history, in the caller's transaction, except running jobs.
func (a *Admin) Delete(ctx context.Context, tx pgx.Tx, selection Selection) (Outcome, error) {
	outcome, refs, err := a.take(ctx, tx, selection)
	if err != nil {
		return Outcome{}, err
	}
	var ofRiver, all []int64
	for _, ref := range refs {
		if ref.State == "running" && !ref.pruned {
			outcome.skip(Running)
			continue
		}
		all = append(all, ref.ID)
		if !ref.pruned {
			ofRiver = append(ofRiver, ref.ID)
		}
	}
	if len(ofRiver) > 0 {
		deleted, err := a.client.JobDeleteManyTx(ctx, tx, river.NewJobDeleteManyParams().IDs(ofRiver...).First(len(ofRiver)))
		if err != nil {
			return Outcome{}, fmt.Errorf("delete jobs: %w", err)
		}
		if len(deleted.Jobs) != len(ofRiver) {
			return Outcome{}, errors.New("delete jobs: River did not delete all of them")
		}
	}
	if _, err := job.Forget(ctx, tx, all); err != nil {
		return Outcome{}, err
	}
	outcome.Done = len(all)
	return outcome, nil
}

// taken is a locked job.
type taken struct {
	job.Ref

	pruned bool // River has no row of it
}

// take locks River's rows of a selection and returns the jobs that still match. It locks River's rows before the history's, as
// the triggers do, so that there is no deadlock. It skips rows that another transaction has locked, such as an open transaction
// that has inserted a duplicate.
func (a *Admin) take(ctx context.Context, tx pgx.Tx, selection Selection) (outcome Outcome, all []taken, err error) {
	locked, err := a.rows(ctx, tx, selection.IDs, "ORDER BY id FOR UPDATE SKIP LOCKED")
	if err != nil {
		return Outcome{}, nil, err
	}
	present, err := a.rows(ctx, tx, selection.IDs, "")
	if err != nil {
		return Outcome{}, nil, err
	}
	refs, err := job.Still(ctx, tx, selection.Filter, selection.Since, selection.IDs)
	if err != nil {
		return Outcome{}, nil, err
	}
	for _, ref := range refs {
		// A row with this id may be another job: River's ids may have started again.
		row := row{ref.ID, ref.Kind}
		switch {
		case slices.Contains(present, row) && !slices.Contains(locked, row):
			outcome.skip(Locked)
		default:
			all = append(all, taken{Ref: ref, pruned: !slices.Contains(present, row)})
		}
	}
	for range len(selection.IDs) - len(refs) {
		outcome.skip(Changed)
	}
	return outcome, all, nil
}

type row struct {
	id   int64
	kind string
}

func (a *Admin) rows(ctx context.Context, tx pgx.Tx, ids []int64, lock string) ([]row, error) {
	rows, err := tx.Query(ctx, "SELECT id, kind FROM "+a.jobTable+" WHERE id = ANY($1) "+lock, ids)
	if err != nil {
		return nil, fmt.Errorf("look at River's jobs: %w", err)
	}
	all, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (one row, err error) {
		err = r.Scan(&one.id, &one.kind)
		return one, err
	})
	if err != nil {
		return nil, fmt.Errorf("look at River's jobs: %w", err)
	}
	return all, nil
}
