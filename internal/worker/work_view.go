package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/daymill/daymill/internal/lease"
	"github.com/daymill/daymill/internal/view"
	"github.com/daymill/daymill/jobs"
)

// workViewWorker works on tasks of views.
type workViewWorker struct {
	river.WorkerDefaults[jobs.WorkViewArgs]

	engine *view.Engine
}

func newWorkViewWorker(a *assembly) river.Worker[jobs.WorkViewArgs] {
	return &workViewWorker{engine: a.config.Views}
}

// Timeout returns the timeout of control jobs, which is longer than a turn.
func (*workViewWorker) Timeout(*river.Job[jobs.WorkViewArgs]) time.Duration { return controlTimeout }

// Work works on a task for a turn. If the task is not finished then, the reconciler inserts the next job.
func (w *workViewWorker) Work(ctx context.Context, job *river.Job[jobs.WorkViewArgs]) error {
	if w.engine == nil {
		return river.JobCancel(errors.New("this worker does not work on views"))
	}
	_, err := w.engine.Work(ctx, job.Args.Task)
	if errors.Is(err, lease.ErrFenced) {
		return nil // Another process has taken over the task.
	}
	return err
}

// taskEvery is how often a worker looks for tasks of views.
const taskEvery = 3 * time.Second

// views inserts jobs for tasks that are due, until ctx is done.
func (r *reconciler) views(ctx context.Context, engine *view.Engine) {
	ticker := time.NewTicker(taskEvery)
	defer ticker.Stop()
	followed := time.Time{}
	for {
		if now := r.clock.Now(); now.Sub(followed) >= maintainEvery || now.Before(followed) {
			followed = now
			if err := engine.Maintain(ctx); err != nil && ctx.Err() == nil {
				r.logger.WarnContext(ctx, "cannot list views, and will try again", slog.String("error", err.Error()))
			}
		}
		if err := r.tasks(ctx, engine); err != nil && ctx.Err() == nil {
			r.logger.WarnContext(ctx, "cannot insert jobs for views, and will try again", slog.String("error", err.Error()))
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (r *reconciler) tasks(ctx context.Context, engine *view.Engine) error {
	due, err := engine.Due(ctx)
	if err != nil || len(due) == 0 {
		return err
	}
	params := make([]river.InsertManyParams, len(due))
	for i, id := range due {
		params[i] = river.InsertManyParams{Args: jobs.WorkViewArgs{Task: id}}
	}
	return r.db.Tx(ctx, func(tx pgx.Tx) error {
		if _, err := r.client.InsertManyTx(ctx, tx, params); err != nil {
			return fmt.Errorf("insert jobs: %w", err)
		}
		return nil
	})
}
