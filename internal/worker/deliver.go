package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/consumer"
	"github.com/daymill/daymill/internal/capture/filter"
	"github.com/daymill/daymill/internal/capture/sink"
	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/lease"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/telemetry"
	"github.com/daymill/daymill/jobs"
)

const (
	// deliverWorkers is how many shards a process delivers at a time.
	deliverWorkers = 8
	// deliverTurn is how long a job delivers to its shard, and deliverIdle how long it waits for further changes before it ends.
	// A job per batch would write a row to River's table for each batch.
	deliverTurn = time.Minute
	deliverIdle = 5 * time.Second
	// deliverPoll is how often a waiting job looks for changes, and dueEvery how often the worker looks for shards that need a job. It
	// also looks when this process has landed changes, at most once in dueRest, and every endedEvery for a while after a job ended although
	// there were further changes.
	deliverPoll = 20 * time.Millisecond
	dueEvery    = time.Second
	dueRest     = 50 * time.Millisecond
	endedEvery  = 100 * time.Millisecond
	// idleEvery is how often a worker looks for consumers while there are none, and how often River looks for jobs of capture
	// without a notification.
	idleEvery = 3 * time.Second
	// beatEvery is how often a process gives a sign of life. After beatSilence without one, other processes take over its shards
	// and its jobs of the archive.
	beatEvery   = 2 * time.Second
	beatSilence = 10 * time.Second
)

// Capture holds what a worker needs to read and deliver changes.
type Capture struct {
	Log consumer.Log
	// WALLimit is how many bytes of WAL a slot may hold back before it is dropped; stream.DefaultLimit if 0.
	WALLimit int64
	// Retention is how long the log keeps changes that all consumers have passed; log.DefaultRetention if 0.
	Retention time.Duration
	// Hold is how long the log keeps changes for a consumer that does not receive them; without a limit if 0.
	Hold time.Duration
	// Source opens the database of a stream and returns its URL. It returns the worker's own database or one that the worker closes.
	Source func(ctx context.Context, place stream.Place) (source *postgres.DB, url string, err error)
	// Open opens the sink of a consumer, and its filter. once reports whether the sink is in the same database as the log.
	Open func(ctx context.Context, c consumer.Consumer) (opened sink.Sink, passes *filter.Filter, once bool, err error)
	// Judge returns the reason why a consumer must pause before a change: see consumer.Config.Judge. It may be nil.
	Judge func(ctx context.Context, on postgres.DBTX, c consumer.Consumer, one change.Change, accepted int) (string, error)
}

// judge returns Judge for one consumer.
func (c *Capture) judge(of consumer.Consumer) func(context.Context, postgres.DBTX, change.Change, int) (string, error) {
	if c.Judge == nil {
		return nil
	}
	return func(ctx context.Context, on postgres.DBTX, one change.Change, accepted int) (string, error) {
		return c.Judge(ctx, on, of, one, accepted)
	}
}

// deliverChangesWorker delivers changes to shards of consumers.
type deliverChangesWorker struct {
	river.WorkerDefaults[jobs.DeliverChangesArgs]

	db        *postgres.DB
	clock     pace.Clock
	capture   *Capture
	logger    *slog.Logger
	listeners telemetry.Listeners
	landed    *bell
	ended     func() // is called when a turn ends although there are further changes
}

func newDeliverChangesWorker(a *assembly) river.Worker[jobs.DeliverChangesArgs] {
	return &deliverChangesWorker{
		db: a.config.DB, clock: a.config.Clock, capture: a.config.Capture, logger: a.config.Logger, listeners: a.config.Listeners,
		landed: a.landed, ended: a.ended,
	}
}

// Timeout is that of control jobs, which a turn is shorter than.
func (*deliverChangesWorker) Timeout(*river.Job[jobs.DeliverChangesArgs]) time.Duration {
	return controlTimeout
}

// Work delivers until its turn is over, or until there were no changes for deliverIdle.
func (w *deliverChangesWorker) Work(ctx context.Context, job *river.Job[jobs.DeliverChangesArgs]) error {
	if w.capture == nil {
		return river.JobCancel(errors.New("this worker delivers no changes"))
	}
	c, err := consumer.Get(ctx, w.db, job.Args.Consumer)
	if errors.Is(err, consumer.ErrNone) {
		return nil // The consumer was removed in the meantime.
	}
	if err != nil {
		return err
	}
	opened, passes, once, err := w.capture.Open(ctx, c)
	if err != nil { // Deliver to a sink that fails, so that the shard records the error and is tried again later.
		opened, once = broken{err}, false
		if passes, err = filter.New(filter.Config{}); err != nil {
			return err
		}
	}
	defer func() {
		if err := opened.Close(); err != nil {
			w.logger.WarnContext(ctx, "a sink could not be closed", slog.String("sink", c.Name), slog.String("error", err.Error()))
		}
	}()
	return w.turn(ctx, consumer.Config{
		DB: w.db, Log: w.capture.Log, Sink: opened, Filter: passes, Clock: w.clock, Consumer: c, Shard: job.Args.Shard,
		Turn: deliverTurn, Once: once, Judge: w.capture.judge(c), Listeners: w.listeners,
	})
}

func (w *deliverChangesWorker) turn(ctx context.Context, config consumer.Config) error {
	began := w.clock.Now()
	last := began
	for {
		result, err := consumer.Run(ctx, config)
		switch {
		case errors.Is(err, lease.ErrFenced), errors.Is(err, consumer.ErrPaused):
			return nil // Another process has taken over the shard, or the consumer is paused.
		case err != nil:
			return err
		case result.Err != nil:
			return nil //nolint:nilerr // The listeners were told why the sink did not take changes, and it is tried again later.
		}
		now := w.clock.Now()
		if result.Delivered+result.Letters > 0 {
			last = now
		}
		switch {
		case result.More, now.Sub(began) >= deliverTurn:
			w.ended()
			return nil
		case now.Sub(last) >= deliverIdle:
			return nil
		}
		if err := w.wait(ctx, config); err != nil {
			return err
		}
	}
}

// wait waits until the shard may have changes. It does not take the shard's lease while there are none.
func (w *deliverChangesWorker) wait(ctx context.Context, config consumer.Config) error {
	until := w.clock.Now().Add(time.Second)
	landed := w.landed.next()
	for {
		poll := time.NewTimer(deliverPoll)
		select {
		case <-ctx.Done():
			poll.Stop()
			return context.Cause(ctx)
		case <-landed:
			poll.Stop()
		case <-poll.C:
		}
		landed = w.landed.next()
		if !w.clock.Now().Before(until) {
			return nil
		}
		more := false
		err := w.db.Read(ctx, func(on postgres.DBTX) error {
			shards, err := consumer.Shards(ctx, on, config.Consumer.Name)
			if err != nil || config.Shard >= len(shards) {
				return err
			}
			head, err := w.capture.Log.Head(ctx, on, config.Consumer.Stream)
			more = head > shards[config.Shard].Position
			return err
		})
		if err != nil || more {
			return err
		}
	}
}

// broken stands in for a sink that cannot be opened: every delivery fails with the error.
type broken struct{ err error }

func (b broken) Deliver(context.Context, []change.Change) ([]sink.Refusal, error) { return nil, b.err }
func (broken) Close() error                                                       { return nil }

// deliver inserts jobs for shards that have changes, until ctx is done. If there are consumers, it also gives signs of life, and
// takes over the shards of processes that give none.
func (r *reconciler) deliver(ctx context.Context, capture *Capture) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var beaten, ended time.Time
	landed := r.landed.next()
	for {
		idle := false
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-r.ended:
			ended = r.clock.Now()
		case <-landed:
			idle = true
		}
		landed = r.landed.next()
		consumers, err := r.due(ctx, capture, idle)
		now := r.clock.Now()
		if err == nil && consumers && (now.Sub(beaten) >= beatEvery || now.Before(beaten)) {
			beaten = now
			err = r.beat(ctx)
		}
		if err != nil && ctx.Err() == nil {
			r.logger.WarnContext(ctx, "changes will be delivered later", slog.String("error", err.Error()))
		}
		switch {
		case idle:
			_ = r.clock.Sleep(ctx, dueRest) // It only fails if ctx is done.
		case now.Sub(ended) < dueEvery && !now.Before(ended):
			timer.Reset(endedEvery)
		case consumers, err != nil:
			timer.Reset(dueEvery)
		default:
			timer.Reset(idleEvery)
		}
		if !consumers {
			landed = nil // Until there are some.
		}
	}
}

// endedEarly makes deliver look soon for shards whose job has ended although there were further changes.
func (r *reconciler) endedEarly() {
	select {
	case r.ended <- struct{}{}:
	default:
	}
}

func (r *reconciler) beat(ctx context.Context) error {
	return r.db.Tx(ctx, func(tx pgx.Tx) error {
		rescued, err := db.New(tx).ProcessBeat(ctx, db.ProcessBeatParams{Process: r.self.Name, Silence: beatSilence})
		if err != nil {
			return fmt.Errorf("give a sign of life: %w", err)
		}
		if rescued > 0 {
			r.logger.InfoContext(ctx, "took over the jobs of a process that is gone", slog.Int64("jobs", rescued))
		}
		return nil
	})
}

// due inserts jobs for shards that have changes, and reports whether there are consumers, also if all shards wait for their next attempt:
// a process without a sign of life would be taken for dead. If idle, it leaves out shards that have moved a
// moment ago: they still have a job, which a further insert would only write to.
func (r *reconciler) due(ctx context.Context, capture *Capture, idle bool) (consumers bool, err error) {
	var params []river.InsertManyParams
	err = r.db.Read(ctx, func(on postgres.DBTX) error {
		if params, err = snapshots(ctx, on); err != nil {
			return err
		}
		shards, err := db.New(on).ShardDue(ctx, deliverIdle)
		if err != nil {
			return fmt.Errorf("look for shards that are due: %w", err)
		}
		consumers = len(shards)+len(params) > 0
		heads := map[string]int64{}
		for _, s := range shards {
			if s.Waits {
				continue
			}
			head, known := heads[s.Stream]
			if !known {
				if head, err = capture.Log.Head(ctx, on, s.Stream); err != nil {
					return err
				}
				heads[s.Stream] = head
			}
			if head > s.Position && (!idle || s.IsIdle) || s.Replay {
				params = append(params, river.InsertManyParams{Args: jobs.DeliverChangesArgs{Consumer: s.Consumer, Shard: int(s.Shard)}})
			}
		}
		return nil
	})
	if err != nil || len(params) == 0 {
		return consumers, err
	}
	return consumers, r.db.Tx(ctx, func(tx pgx.Tx) error {
		if _, err := r.client.InsertManyTx(ctx, tx, params); err != nil {
			return fmt.Errorf("insert jobs: %w", err)
		}
		return nil
	})
}
