package worker

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"

	"github.com/daymill/daymill/jobs"
)

// lockedEvery is how often the end of a job is tried to be recorded whose row somebody has locked.
const lockedEvery = 100 * time.Millisecond

// driver is River's driver, but recording the ends of jobs waits for nobody.
//
// An application's transaction that has inserted a duplicate of a job has that job's row locked until it ends, and River
// records the ends of several jobs in one statement: it would wait for the application, with every other job's end in
// that statement and with all that come after it. Here the end of a job whose row is locked is recorded later, by
// itself; a worker that ends before leaves that to the rescue of jobs of dead workers.
type driver struct {
	*riverpgxv5.Driver

	jobTable string // quoted, with its schema
	done     func() // tells the reconciler that a job's end was recorded late
}

// GetExecutor returns what River sends its statements through.
func (d *driver) GetExecutor() riverdriver.Executor {
	return &executor{Executor: d.Driver.GetExecutor(), driver: d}
}

type executor struct {
	riverdriver.Executor

	driver *driver
}

// JobGetStuck returns the jobs that River may take for stuck: Daymill's own only. River discards a stuck job of a kind
// that its client does not know, and an application that has its jobs in the same tables may know better.
func (e *executor) JobGetStuck(ctx context.Context, params *riverdriver.JobGetStuckParams) ([]*rivertype.JobRow, error) {
	stuck, err := e.Executor.JobGetStuck(ctx, params)
	return slices.DeleteFunc(stuck, func(job *rivertype.JobRow) bool {
		return !slices.Contains([]string{jobs.QueueRollup, jobs.QueueControl, jobs.QueueCapture}, job.Queue)
	}), err
}

// JobSetStateIfRunningMany records the ends of jobs.
func (e *executor) JobSetStateIfRunningMany(
	ctx context.Context, params *riverdriver.JobSetStateIfRunningManyParams,
) ([]*rivertype.JobRow, error) {
	rows, locked, err := e.setState(ctx, params)
	if err == nil && len(locked.ID) > 0 {
		go e.setStateLater(context.WithoutCancel(ctx), locked)
	}
	return rows, err
}

// setStateLater gives up where Postgres does not answer: the rescue of jobs of dead workers sees to what is left.
func (e *executor) setStateLater(ctx context.Context, params *riverdriver.JobSetStateIfRunningManyParams) {
	ticker := time.NewTicker(lockedEvery)
	defer ticker.Stop()
	for len(params.ID) > 0 {
		<-ticker.C
		var err error
		if _, params, err = e.setState(ctx, params); err != nil {
			return
		}
	}
	e.driver.done()
}

// setState records the ends of those jobs whose rows nobody has locked, and returns the others.
func (e *executor) setState(
	ctx context.Context, params *riverdriver.JobSetStateIfRunningManyParams,
) (rows []*rivertype.JobRow, locked *riverdriver.JobSetStateIfRunningManyParams, err error) {
	tx, err := e.Begin(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer tx.Rollback(context.WithoutCancel(ctx)) //nolint:errcheck // It is committed, or there is another error.
	free, err := e.ids(ctx, tx, params.ID, "FOR NO KEY UPDATE SKIP LOCKED")
	if err != nil {
		return nil, nil, err
	}
	there := free
	if len(free) < len(params.ID) {
		if there, err = e.ids(ctx, tx, params.ID, ""); err != nil {
			return nil, nil, err
		}
	}
	locked = pick(params, func(id int64) bool { return slices.Contains(there, id) && !slices.Contains(free, id) })
	if len(free) > 0 {
		rows, err = tx.JobSetStateIfRunningMany(ctx, pick(params, func(id int64) bool { return slices.Contains(free, id) }))
		if err != nil {
			return nil, nil, err
		}
	}
	return rows, locked, tx.Commit(ctx)
}

func (e *executor) ids(ctx context.Context, tx riverdriver.ExecutorTx, ids []int64, lock string) ([]int64, error) {
	rows, err := e.driver.UnwrapTx(tx).Query(ctx, "SELECT id FROM "+e.driver.jobTable+" WHERE id = ANY($1) "+lock, ids)
	if err != nil {
		return nil, fmt.Errorf("look for jobs: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowTo[int64])
}

// pick returns the parameters of some of the jobs.
func pick(
	params *riverdriver.JobSetStateIfRunningManyParams, want func(id int64) bool,
) *riverdriver.JobSetStateIfRunningManyParams {
	picked := &riverdriver.JobSetStateIfRunningManyParams{Now: params.Now, Schema: params.Schema}
	for i, id := range params.ID {
		if !want(id) {
			continue
		}
		picked.ID = append(picked.ID, id)
		picked.Attempt = append(picked.Attempt, params.Attempt[i])
		picked.ErrData = append(picked.ErrData, params.ErrData[i])
		picked.FinalizedAt = append(picked.FinalizedAt, params.FinalizedAt[i])
		picked.MetadataDoMerge = append(picked.MetadataDoMerge, params.MetadataDoMerge[i])
		picked.MetadataUpdates = append(picked.MetadataUpdates, params.MetadataUpdates[i])
		picked.ScheduledAt = append(picked.ScheduledAt, params.ScheduledAt[i])
		picked.State = append(picked.State, params.State[i])
	}
	return picked
}
