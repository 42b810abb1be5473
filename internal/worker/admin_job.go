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
	"github.com/daymill/daymill/internal/rollup/guard"
)

// Reason is why a job was left as it is.
type Reason string

// The reasons there are.
const (
	Changed Reason = "changed" // it is gone, or does not match the filter any more, or has changed since the snapshot
	Ended   Reason = "ended"   // it has ended, so there is nothing to cancel
	Locked  Reason = "locked"  // another transaction is at it
	Newer   Reason = "newer"   // another job of the same date, or of the same kind, is under way
	Pruned  Reason = "pruned"  // River has deleted it, and it has no date that could be requested
	Running Reason = "running" // a worker is at it
	Waiting Reason = "waiting" // it waits for a worker already
)

// Selection is the jobs to act on: those of IDs that match the filter, and have not changed since the snapshot.
type Selection struct {
	Filter job.Filter
	Since  job.Snapshot
	IDs    []int64 // a hundred or so: they are locked until the transaction ends
	// Sweep says that the jobs were not chosen one by one: a retry then leaves dates alone whose events are gone.
	Sweep bool
}

// Outcome is what became of a selection. The numbers add up to that of its IDs.
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

// Retry has jobs worked again, in the caller's transaction: those that have ended, and those that wait for a later time.
// River keeps its rows for a day or a week only; of a rollup_day job that it has deleted the date is requested, on behalf
// of actor.
func (a *Admin) Retry(ctx context.Context, tx pgx.Tx, selection Selection, actor string) (Outcome, error) {
	mayLose := guard.LoseAll
	if selection.Sweep {
		mayLose = guard.LoseNone
		// For the requests that come of River's own rows.
		if _, err := tx.Exec(ctx, "SELECT pg_catalog.set_config('daymill.sweep', 'on', true)"); err != nil {
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
	err = db.New(tx).RequestAppendAs(ctx, db.RequestAppendAsParams{MetricDates: dates, RequestedBy: actor, RequestedVia: audit.ViaWeb, MayLose: mayLose})
	if err != nil {
		return Outcome{}, fmt.Errorf("request the dates of jobs: %w", err)
	}
	return outcome, nil
}

// retry retries a job in a savepoint: River lets a date have one job at a time, which the index finds.
func (a *Admin) retry(ctx context.Context, tx pgx.Tx, id int64) error {
	return pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
		_, err := a.client.JobRetryTx(ctx, tx, id)
		return err
	})
}

// Cancel ends jobs that have not ended, in the caller's transaction. One that runs is asked to stop, which its worker
// does within a second or two.
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

// Delete deletes jobs and their history, in the caller's transaction, but for those that run.
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
			return Outcome{}, errors.New("delete jobs: River has left some of them")
		}
	}
	if _, err := job.Forget(ctx, tx, all); err != nil {
		return Outcome{}, err
	}
	outcome.Done = len(all)
	return outcome, nil
}

// taken is a job that is locked.
type taken struct {
	job.Ref

	pruned bool // River has no row of it
}

// take locks River's rows of a selection, and returns those jobs that are still meant. River's rows are locked first, as
// everybody else does it: the history's are written by the triggers on them. What another transaction has locked, such as
// one that has inserted a duplicate and is still open, is skipped.
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
		// A row of somebody else's, where River's numbers have begun anew, is none of this job.
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
