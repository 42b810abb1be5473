package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"golang.org/x/sync/errgroup"

	"github.com/daymill/daymill/internal/clock"
	"github.com/daymill/daymill/internal/lease"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/presence"
	"github.com/daymill/daymill/internal/rollup/ledger"
	"github.com/daymill/daymill/internal/rollup/merge"
	"github.com/daymill/daymill/internal/rollup/run"
	"github.com/daymill/daymill/internal/rollup/schedule"
	"github.com/daymill/daymill/internal/rollup/verification"
	"github.com/daymill/daymill/internal/schema"
	"github.com/daymill/daymill/internal/telemetry"
	"github.com/daymill/daymill/internal/view"
)

// Defaults of Config.
const (
	DefaultWorkers = 2
	// softStop is how long a stopping worker lets runs finish before it releases their dates: long enough for most days of a
	// small application, and a small part of the half minute that platforms grant.
	softStop = 2 * time.Second
	// fetchCooldown is the least time between two fetches from the queue.
	fetchCooldown = time.Millisecond
	// controlWorkers is how many control jobs a process works at a time. A verification may occupy one for a long time.
	controlWorkers = 2
)

// Config configures a worker process.
type Config struct {
	DB *postgres.DB
	// Source is where events are read, such as a follower or several; DB if nil.
	Source       postgres.Source
	Installation schema.Installation
	Logger       *slog.Logger // nil logs nothing
	Clock        pace.Clock   // decides what is due and over; Postgres's if nil
	// Machine is this machine's clock; the system's if nil. If it differs much from Postgres's, the worker does not become leader.
	Machine pace.Clock

	Workers int // dates rolled up at a time by this process; DefaultWorkers if 0
	// Pace is the pace of runs; 0 means no pauses. Governor, if not nil, decides it instead, and never lets it be below Pace.
	Pace     float64
	Governor *pace.Governor

	MaxEntities int // see merge.New
	DailyHour   int // see schedule.Daily
	Lookback    int // see schedule.Daily
	Retention   time.Duration
	// VerifyDates is how many finished dates are compared with their events every day; none if 0. VerifyRepair requests a
	// rollup of those that differ, except those that seem to have lost events.
	VerifyDates  int
	VerifyRepair bool
	// Capture delivers changes. If it is nil, the worker delivers none.
	Capture *Capture
	// Views works on views. If it is nil, the worker does not.
	Views *view.Engine
	// Archive keeps an archive of the database. If it is nil, the worker keeps none.
	Archive *Archive
	// Listeners receive the worker's events; may be empty.
	Listeners telemetry.Listeners
	Name      string // of the process, in the ledger and in River's tables; must be unique
	Version   string // of the program, in the ledger

	// Silence is how long a run may go without a heartbeat before its date is handed to another worker; lease.Silence if 0. It
	// must be the same in all processes and longer than a run's longest statement and pause. Only tests change it.
	Silence time.Duration
	// SliceCounts, if not 0, is the target number of counts per slice: see slice.Scanner. It is for tests.
	SliceCounts int
	// NextRetry, if not nil, replaces River's backoff: it returns when to retry a date after so many failed attempts. It is
	// for tests.
	NextRetry func(failed int) time.Time
}

// DefaultConfig returns a config with all defaults. DB and Installation have none.
func DefaultConfig() Config {
	return Config{
		Workers: DefaultWorkers, Pace: pace.DefaultPace.Pace(), MaxEntities: merge.DefaultMaxEntities,
		DailyHour: schedule.DefaultHour, Lookback: schedule.DefaultLookback, Retention: ledger.DefaultRetention,
		VerifyDates: verification.DefaultDaily,
	}
}

// speed returns what decides the pace of runs.
func (c Config) speed() pace.Speed {
	if c.Governor != nil {
		return c.Governor
	}
	return pace.Fixed(c.Pace)
}

// Worker is a worker process.
type Worker struct {
	config     Config
	client     *river.Client[pgx.Tx]
	reconciler *reconciler
}

// NewWorker creates a worker: River's client with the workers and the periodic jobs, and the reconciler.
func NewWorker(config Config) (*Worker, error) {
	if config.Source == nil {
		config.Source = config.DB
	}
	if config.Machine == nil {
		config.Machine = pace.SystemClock{}
	}
	server := clock.New(config.Machine)
	var riverTime river.TestConfig // Despite its name, this is how River takes a clock.
	if config.Clock == nil {
		config.Clock = server
		riverTime.Time = serverTime{server}
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	outage := telemetry.NewOutage(config.Logger)
	config.Logger = outage.Logger()
	config.Workers = cmp.Or(config.Workers, DefaultWorkers)
	config.Silence = cmp.Or(config.Silence, lease.Silence)
	daily := schedule.Daily{Zone: config.Installation.Zone, Hour: config.DailyHour, Lookback: config.Lookback}
	planner := &schedule.Planner{
		Primary: config.DB, Source: config.Source, Daily: daily, Clock: config.Clock, Pace: config.speed(),
	}
	reconcile := &reconciler{
		db: config.DB, clock: config.Clock, zone: config.Installation.Zone, planner: planner, logger: config.Logger, outage: outage,
		silence: config.Silence, listeners: config.Listeners, installation: config.Installation,
		server: server, source: config.Source, governor: config.Governor,
		wake: make(chan struct{}, 1), finished: make(chan struct{}, 1), notified: make(chan struct{}, 1), ended: make(chan struct{}, 1),
		self: presence.Worker{
			Name: config.Name, Version: config.Version, Workers: config.Workers, Pace: config.Pace,
			MaxEntities: config.MaxEntities, DailyHour: config.DailyHour, Lookback: config.Lookback,
			Retention: config.Retention, Follower: config.Source != config.DB,
		},
	}
	jobTable := pgx.Identifier{config.Installation.RiverSchema, "river_job"}.Sanitize()
	workers := river.NewWorkers()
	reconcile.jobTable, reconcile.mostFew = jobTable, int64(run.Options{SliceCounts: config.SliceCounts}.MostFew())
	assembled := &assembly{
		config: config, planner: planner, jobTable: jobTable, done: reconcile.finish, enqueue: reconcile.enqueue, groups: &reconcile.groups, landed: &reconcile.landed, ended: reconcile.endedEarly,
	}
	for _, kind := range Kinds() {
		kind.register(workers, assembled)
	}

	patient := &driver{Driver: riverpgxv5.New(config.DB.Pool), jobTable: jobTable, done: reconcile.finish, off: server.Off, patience: fetchPatience}
	client, err := river.NewClient(patient, &river.Config{
		ID:                  config.Name,
		Schema:              config.Installation.RiverSchema,
		Logger:              config.Logger,
		Workers:             workers,
		FetchOnlyKnownKinds: true,
		PollOnly:            config.DB.Pooled(),
		// Small dates take a few milliseconds: the default of 100 ms would limit the queue's speed.
		FetchCooldown: fetchCooldown,
		Queues:        queues(config),
		// Every client that may become leader must know the periodic jobs. Only worker processes start such a client.
		PeriodicJobs:         periodicJobs(daily),
		ErrorHandler:         cancelGarbage{},
		RescueStuckJobsAfter: rescueAfter,
		SoftStopTimeout:      softStop,
		Test:                 riverTime,
	})
	if err != nil {
		return nil, fmt.Errorf("make River's client: %w", err)
	}
	reconcile.client = client
	return &Worker{config: config, client: client, reconciler: reconcile}, nil
}

// Client returns the worker's River client.
func (w *Worker) Client() *river.Client[pgx.Tx] { return w.client }

// Run works until ctx is done. Then it takes no more jobs, lets running jobs finish for two seconds, cancels the statements
// that are still running, releases the jobs, and returns nil.
func (w *Worker) Run(ctx context.Context) error {
	if err := w.reconciler.prepare(ctx); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	// Stop stops River's client, not ctx: if ctx ended, the client would stop without reporting how that went.
	if err := w.client.Start(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("start River's client: %w", err)
	}
	group.Go(func() error { w.reconciler.run(ctx); return nil })
	group.Go(func() error { w.reconciler.listen(ctx); return nil })
	if capture := w.config.Capture; capture != nil {
		group.Go(func() error { w.reconciler.deliver(ctx, capture); return nil })
		if capture.Source != nil {
			group.Go(func() error { w.reconciler.own(ctx, capture); return nil })
		}
	}
	if engine := w.config.Views; engine != nil {
		group.Go(func() error { w.reconciler.views(ctx, engine); return nil })
	}
	if archive := w.config.Archive; archive != nil {
		group.Go(func() error { w.reconciler.archive(ctx, archive); return nil })
	}
	if governor := w.config.Governor; governor != nil {
		group.Go(func() error { governor.Run(ctx); return nil })
	}
	group.Go(func() error { w.reconciler.forward(ctx, restFor(notifiedEvery)); return nil })
	group.Go(func() error {
		select {
		case <-ctx.Done():
		case <-w.client.Stopped():
			return errors.New("the client of River has stopped unexpectedly")
		}
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		defer cancel()
		if err := w.client.Stop(stop); err != nil {
			return fmt.Errorf("stop River's client: %w", err)
		}
		return nil
	})
	err := group.Wait()
	reconcile := w.reconciler
	if forget := reconcile.forget(context.WithoutCancel(ctx)); forget != nil {
		// The worker's row in the ledger expires a few minutes later.
		reconcile.logger.WarnContext(ctx, "cannot remove this worker from the ledger", slog.String("error", forget.Error()))
	}
	return err
}
