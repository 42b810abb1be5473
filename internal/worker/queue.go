package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/jobs"
)

// ErrNoQueue is returned for a queue that no worker has ever worked.
var ErrNoQueue = errors.New("the queue does not exist yet: start `daymill worker`, which creates it")

// Queue is one of Daymill's queues as River knows it.
type Queue struct {
	Name string
	// PausedAt is when the queue was paused; nil if it is not.
	PausedAt *time.Time
	// SeenAt is when a worker last reported that it works the queue; zero if none ever did.
	SeenAt time.Time
}

// queueNames returns the names of Daymill's queues.
func queueNames() []string {
	return []string{jobs.QueueRollup, jobs.QueueControl, jobs.QueueCapture, jobs.QueueArchive}
}

// Queues returns Daymill's queues, including those that no worker has created yet.
func (a *Admin) Queues(ctx context.Context) ([]Queue, error) {
	names := queueNames()
	queues := make([]Queue, len(names))
	for i, name := range names {
		queues[i].Name = name
	}
	err := a.db.Tx(ctx, func(tx pgx.Tx) error {
		for i := range queues {
			row, err := a.client.QueueGetTx(ctx, tx, queues[i].Name)
			if errors.Is(err, rivertype.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			queues[i].PausedAt, queues[i].SeenAt = row.PausedAt, row.UpdatedAt
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the queues: %w", err)
	}
	return queues, nil
}

// Leader returns the name of the client that River has elected to enqueue the periodic jobs: a Daymill worker, or a
// client of the application if both share River's tables. It is empty if there is none.
func (a *Admin) Leader(ctx context.Context) (name string, err error) {
	err = a.db.Read(ctx, func(on postgres.DBTX) error {
		return on.QueryRow(ctx, "SELECT leader_id FROM "+a.leaders+" WHERE expires_at > now()").Scan(&name)
	})
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return "", fmt.Errorf("read the leader: %w", err)
	}
	return name, nil
}

// PauseQueue stops workers from taking jobs of a queue until ResumeQueue, even after a restart. Running jobs finish. The
// audit records who did it.
func (a *Admin) PauseQueue(ctx context.Context, name string, who audit.Who) error {
	return a.changeQueue(ctx, name, audit.Entry{Who: who, Action: "pause queue", Target: name}, a.client.QueuePauseTx)
}

// ResumeQueue lets workers take jobs of a queue again. The audit records who did it.
func (a *Admin) ResumeQueue(ctx context.Context, name string, who audit.Who) error {
	return a.changeQueue(ctx, name, audit.Entry{Who: who, Action: "resume queue", Target: name}, a.client.QueueResumeTx)
}

func (a *Admin) changeQueue(
	ctx context.Context, name string, entry audit.Entry,
	change func(ctx context.Context, tx pgx.Tx, name string, opts *river.QueuePauseOpts) error,
) error {
	if !slices.Contains(queueNames(), name) {
		return ErrNoQueue
	}
	err := a.db.Tx(ctx, func(tx pgx.Tx) error {
		if err := change(ctx, tx, name, nil); err != nil {
			return err
		}
		return audit.Record(ctx, tx, entry)
	})
	if errors.Is(err, rivertype.ErrNotFound) {
		return ErrNoQueue
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", entry.Action, name, err)
	}
	return nil
}

// RunDaily inserts the daily job to run now, as [EnqueueDailyRollup] does. The audit records who did it.
func (a *Admin) RunDaily(ctx context.Context, who audit.Who) error {
	return a.db.Tx(ctx, func(tx pgx.Tx) error {
		if err := jobs.EnqueueDailyRollup(ctx, tx, a.client); err != nil {
			return err
		}
		return audit.Record(ctx, tx, audit.Entry{Who: who, Action: "run schedule", Target: jobs.DailyRollupArgs{}.Kind()})
	})
}

// AskDaily inserts the daily job as its hour does. The job requests yesterday and the days before it once a day, requests
// dates that have events and are not complete each time, and requests nothing while the schedule is paused. So AskDaily may
// be called at any time, any number of times. It returns false if the job is already waiting or running. The audit records
// who did it.
func (a *Admin) AskDaily(ctx context.Context, who audit.Who) (enqueued bool, err error) {
	err = a.db.Tx(ctx, func(tx pgx.Tx) error {
		inserted, err := a.client.InsertTx(ctx, tx, jobs.DailyRollupArgs{RequestedVia: who.Via}, nil)
		if err != nil {
			return fmt.Errorf("insert the daily job: %w", err)
		}
		if enqueued = !inserted.UniqueSkippedAsDuplicate; !enqueued {
			return nil
		}
		return audit.Record(ctx, tx, audit.Entry{Who: who, Action: "run schedule", Target: jobs.DailyRollupArgs{}.Kind()})
	})
	return enqueued, err
}
