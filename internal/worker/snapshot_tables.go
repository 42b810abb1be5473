package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/riverqueue/river"

	"github.com/daymill/daymill/internal/capture/snapshot"
	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/telemetry"
	"github.com/daymill/daymill/jobs"
)

// snapshotTurn is how long a job reads the snapshots of a stream.
const snapshotTurn = time.Minute

// snapshotTablesWorker reads the snapshots of a stream.
type snapshotTablesWorker struct {
	river.WorkerDefaults[jobs.SnapshotTablesArgs]

	db        *postgres.DB
	clock     pace.Clock
	pace      pace.Speed
	capture   *Capture
	listeners telemetry.Listeners
}

func newSnapshotTablesWorker(a *assembly) river.Worker[jobs.SnapshotTablesArgs] {
	return &snapshotTablesWorker{
		db: a.config.DB, clock: a.config.Clock, pace: a.config.speed(), capture: a.config.Capture, listeners: a.config.Listeners,
	}
}

// Timeout returns the timeout of control jobs, which is longer than a turn.
func (*snapshotTablesWorker) Timeout(*river.Job[jobs.SnapshotTablesArgs]) time.Duration {
	return controlTimeout
}

// Work reads chunks until its turn is over or nothing is left to read.
func (w *snapshotTablesWorker) Work(ctx context.Context, job *river.Job[jobs.SnapshotTablesArgs]) error {
	if w.capture == nil || w.capture.Source == nil {
		return river.JobCancel(errors.New("this worker reads no tables"))
	}
	c, err := stream.Get(ctx, w.db, job.Args.Stream)
	if err != nil {
		return err
	}
	source, _, err := w.capture.Source(ctx, stream.Place{Name: c.Name, URL: c.URL})
	if err != nil {
		return err
	}
	if source != w.db {
		defer source.Close()
	}
	_, err = snapshot.Run(ctx, snapshot.Config{
		DB: w.db, Source: source, Stream: job.Args.Stream, Clock: w.clock, Pace: w.pace, Turn: snapshotTurn,
		Listeners: w.listeners,
	})
	return err
}

// snapshots returns the jobs of snapshots that are due.
func snapshots(ctx context.Context, on postgres.DBTX) (params []river.InsertManyParams, err error) {
	names, err := db.New(on).SnapshotDue(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for snapshots that are due: %w", err)
	}
	for _, name := range names {
		params = append(params, river.InsertManyParams{Args: jobs.SnapshotTablesArgs{Stream: name}})
	}
	return params, nil
}
