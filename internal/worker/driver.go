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
)

const (
	// lockedEvery is how often the worker tries to record the end of a job whose row somebody has locked.
	lockedEvery = 100 * time.Millisecond
	// fetchPatience is how long fetching jobs may take. It is longer than the statement's own timeout, if it has one: behind a pooler it has none.
	fetchPatience = 15 * time.Second
)

// driver is River's driver with two differences: recording the ends of jobs never waits for a lock, and fetching jobs has a deadline.
//
// River fetches without a deadline. If Postgres never answered, for example because a proxy in between does not notice that Postgres is gone,
// the queue would stand still although the worker's other connections work.
//
// If an application's transaction has inserted a duplicate of a job, that job's row stays locked until the transaction ends.
// River records the ends of several jobs in one statement, so that statement and all later ones would wait
// for the application. This driver records the end of a job with a locked row later, in a statement of its
// own. If the worker exits before that, the rescue of dead workers' jobs does it.
type driver struct {
	*riverpgxv5.Driver

	jobTable string        // quoted, with its schema
	off      func() bool   // whether this machine's clock is too far from Postgres's to lead
	done     func()        // tells the reconciler that a job's end was recorded late
	patience time.Duration // fetchPatience; only tests change it
}

// GetExecutor returns the executor that River sends its statements through.
func (d *driver) GetExecutor() riverdriver.Executor {
	return &executor{Executor: d.Driver.GetExecutor(), driver: d}
}

// UnwrapTx returns the transaction that River's driver knows.
func (d *driver) UnwrapTx(tx riverdriver.ExecutorTx) pgx.Tx {
	if own, is := tx.(*executorTx); is {
		tx = own.ExecutorTx
	}
	return d.Driver.UnwrapTx(tx)
}

// executorTx is a transaction in which a client whose clock is off cannot become leader.
type executorTx struct {
	riverdriver.ExecutorTx

	driver *driver
}

// LeaderAttemptElect does not elect this client if its clock is off.
func (e *executorTx) LeaderAttemptElect(
	ctx context.Context, params *riverdriver.LeaderElectParams,
) (*riverdriver.Leader, error) {
	if e.driver.off() {
		return nil, rivertype.ErrNotFound
	}
	return e.ExecutorTx.LeaderAttemptElect(ctx, params)
}

type executor struct {
	riverdriver.Executor

	driver *driver
}

// Begin begins a transaction.
func (e *executor) Begin(ctx context.Context) (riverdriver.ExecutorTx, error) {
	tx, err := e.Executor.Begin(ctx)
	if err != nil {
		return nil, err
	}
	return &executorTx{ExecutorTx: tx, driver: e.driver}, nil
}

// LeaderAttemptElect does not elect this client if its clock is off.
func (e *executor) LeaderAttemptElect(
	ctx context.Context, params *riverdriver.LeaderElectParams,
) (*riverdriver.Leader, error) {
	if e.driver.off() {
		return nil, rivertype.ErrNotFound
	}
	return e.Executor.LeaderAttemptElect(ctx, params)
}

// LeaderAttemptReelect does not reelect this client if its clock is off.
func (e *executor) LeaderAttemptReelect(
	ctx context.Context, params *riverdriver.LeaderReelectParams,
) (*riverdriver.Leader, error) {
	if e.driver.off() {
		return nil, rivertype.ErrNotFound
	}
	return e.Executor.LeaderAttemptReelect(ctx, params)
}

// JobGetStuck returns only Daymill's stuck jobs. River discards a stuck job of a kind that its client does not know, and an
// application may have its own jobs in the same tables.
func (e *executor) JobGetStuck(ctx context.Context, params *riverdriver.JobGetStuckParams) ([]*rivertype.JobRow, error) {
	stuck, err := e.Executor.JobGetStuck(ctx, params)
	return slices.DeleteFunc(stuck, func(job *rivertype.JobRow) bool {
		return !slices.Contains(queueNames(), job.Queue)
	}), err
}

// JobGetAvailable fetches jobs. If the answer is lost, the rescue of dead workers' jobs or River's own handles the jobs that were fetched.
func (e *executor) JobGetAvailable(ctx context.Context, params *riverdriver.JobGetAvailableParams) (*riverdriver.JobGetAvailableResult, error) {
	ctx, cancel := context.WithTimeout(ctx, e.driver.patience)
	defer cancel()
	return e.Executor.JobGetAvailable(ctx, params)
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

// setStateLater gives up if Postgres does not answer: the rescue of dead workers' jobs handles the rest.
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

// setState records the ends of the jobs whose rows nobody has locked, and returns the others.
func (e *executor) setState(
	ctx context.Context, params *riverdriver.JobSetStateIfRunningManyParams,
) (rows []*rivertype.JobRow, locked *riverdriver.JobSetStateIfRunningManyParams, err error) {
	tx, err := e.Begin(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer tx.Rollback(context.WithoutCancel(ctx)) //nolint:errcheck // Already committed, or another error is returned.
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
