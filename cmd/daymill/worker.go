package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/daymill/daymill/internal/load"
	"github.com/daymill/daymill/internal/memory"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/merge"
	"github.com/daymill/daymill/internal/rollup/run"
	"github.com/daymill/daymill/internal/rollup/source"
	"github.com/daymill/daymill/internal/schema"
	"github.com/daymill/daymill/internal/view"
	"github.com/daymill/daymill/internal/worker"
)

// paceOptions holds the pace of work that is done in many statements.
type paceOptions struct {
	Pace float64 `env:"DAYMILL_PACE" default:"0.2" help:"How long to pause at least after each statement, as a multiple of how long it took. While others use the database, pauses are longer. 0 means no pauses, whatever the database does."`
}

// check returns a usage error if the pace is out of range.
func (o paceOptions) check() error {
	if o.Pace < 0 || o.Pace > 1000 {
		return usagef("--pace is %g: give a number from 0 (no pauses) to 1000", o.Pace)
	}
	return nil
}

// engineOptions holds the options of runs, for the worker and for `rollup`.
type engineOptions struct {
	sourceOptions
	paceOptions

	MaxEntities int `env:"DAYMILL_MAX_ENTITIES" default:"0" help:"How many entities a run keeps in memory; a date with more takes several passes. 0 means as many as fit into half of the process's memory limit, and at most a million."`
}

// check returns a usage error if a value is out of range.
func (o engineOptions) check() error {
	if o.MaxEntities < 0 {
		return usagef("--max-entities is %d: give at least 1, or 0 for as many as fit into memory", o.MaxEntities)
	}
	return o.paceOptions.check()
}

// governor returns what decides the pace of work in a database; nil if there are no pauses. Somebody has to run it.
func (o paceOptions) governor(a *app, db *postgres.DB) *pace.Governor {
	if o.Pace == 0 {
		return nil
	}
	return load.Governor(db, a.machineClock(), o.Pace)
}

// speed returns the governor, or no pauses without one.
func speed(governor *pace.Governor) pace.Speed {
	if governor == nil {
		return nil
	}
	return governor
}

// govern returns what decides the pace of a command's work in a database. Call stop after the work.
func (o paceOptions) govern(ctx context.Context, a *app, db *postgres.DB) (_ pace.Speed, stop func()) {
	governor := o.governor(a, db)
	if governor == nil {
		return nil, func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { governor.Run(ctx) })
	return governor, func() { cancel(); running.Wait() }
}

// maxEntities returns how many entities a run may keep in memory if runs of them run at the same time.
func (o engineOptions) maxEntities(runs int) int {
	if o.MaxEntities > 0 {
		return o.MaxEntities
	}
	return merge.Affordable(memory.Limit(), runs)
}

type workerCmd struct {
	workerProcess
	metricsOptions

	MetricsListen string `env:"DAYMILL_METRICS_LISTEN" placeholder:"ADDRESS" help:"The address to serve /metrics on for Prometheus, such as 127.0.0.1:9464; not served if empty. Without a token, only loopback addresses are allowed."`
}

// workerProcess works jobs, in a separate process or together with the pages.
type workerProcess struct {
	engineOptions
	workerOptions
	archiveOptions `embed:"" prefix:"archive-"`
}

// workerOptions holds the options of a process that works jobs.
type workerOptions struct {
	Workers   int           `env:"DAYMILL_WORKERS" default:"2" help:"How many dates this process rolls up at a time."`
	DailyHour int           `env:"DAYMILL_DAILY_HOUR" default:"2" help:"The hour of the day, in the reporting zone, at which yesterday is rolled up."`
	Lookback  int           `env:"DAYMILL_LOOKBACK" default:"2" help:"How many days before yesterday are rolled up again every day, to count late events."`
	Retention time.Duration `env:"DAYMILL_RETENTION" default:"9600h" help:"How long the ledger keeps finished runs and requests; 0 means forever. Metrics are never deleted."`

	VerifyDates  int  `env:"DAYMILL_VERIFY_DATES" default:"7" help:"How many finished dates are compared with their events every day, least recently verified first; 0 means none."`
	VerifyRepair bool `env:"DAYMILL_VERIFY_REPAIR" help:"Request a rollup of dates that differ, unless they seem to have lost events."`

	CaptureWALLimit  int64         `name:"capture-wal-limit" env:"DAYMILL_CAPTURE_WAL_LIMIT" default:"10240" placeholder:"MIB" help:"How many MiB of WAL a replication slot may hold back before Daymill drops it and records a gap; half of max_slot_wal_keep_size if that is less."`
	CaptureRetention time.Duration `env:"DAYMILL_CAPTURE_RETENTION" default:"24h" help:"How long the log keeps changes that all consumers have received."`
	CaptureHold      time.Duration `env:"DAYMILL_CAPTURE_HOLD" default:"168h" help:"How long the log keeps changes for a sink that is paused or fails. After that, Daymill pauses the sink and forgets them, and resuming it takes a snapshot of its tables. 0 means without a limit."`
}

func (o workerOptions) check() error {
	switch {
	case o.Workers < 1 || o.Workers > 100:
		return usagef("--workers is %d: give a number from 1 to 100", o.Workers)
	case o.DailyHour < 0 || o.DailyHour > 23:
		return usagef("--daily-hour is %d: give an hour from 0 to 23", o.DailyHour)
	case o.Lookback < 0 || o.Lookback > 366:
		return usagef("--lookback is %d: give a number of days from 0 to 366", o.Lookback)
	case o.Retention < 0:
		return usagef("--retention is %s: give a duration, or 0 to keep everything", o.Retention)
	case o.VerifyDates < 0 || o.VerifyDates > 1000:
		return usagef("--verify-dates is %d: give a number of dates a day from 0 (none) to 1000", o.VerifyDates)
	case o.CaptureWALLimit < 1 || o.CaptureWALLimit > 1<<30:
		return usagef("--capture-wal-limit is %d: give a number of MiB, such as 10240", o.CaptureWALLimit)
	case o.CaptureRetention < time.Minute:
		return usagef("--capture-retention is %s: give a minute or more", o.CaptureRetention)
	case o.CaptureHold < 0 || o.CaptureHold > 0 && o.CaptureHold < o.CaptureRetention:
		return usagef("--capture-hold is %s: give --capture-retention (%s) or more, or 0 for no limit", o.CaptureHold, o.CaptureRetention)
	default:
		return nil
	}
}

// Run works jobs until the process is told to stop.
func (c *workerCmd) Run(ctx context.Context, a *app) error {
	if err := c.check(); err != nil {
		return err
	}
	if err := c.checkListen(c.MetricsListen); err != nil {
		return err
	}
	if err := c.checkToken(); err != nil {
		return err
	}
	stopTracing, err := a.trace(ctx)
	if err != nil {
		return err
	}
	defer stopTracing()
	a.PoolSize = max(a.PoolSize, c.connections())
	db, installation, err := a.openInstalled(ctx, "worker")
	if err != nil {
		return err
	}
	defer db.Close()
	told, err := a.telemetry(ctx, db, installation, a.logger())
	if err != nil {
		return err
	}
	defer a.alerting(ctx, db, told.metrics)()
	return told.beside(ctx, c.MetricsListen, c.MetricsToken, func(ctx context.Context) error {
		return c.work(ctx, a, db, installation, told)
	})
}

// check returns a usage error if a value is out of range.
func (c *workerProcess) check() error {
	if err := c.engineOptions.check(); err != nil {
		return err
	}
	return c.workerOptions.check()
}

// connections returns how many connections a worker needs: one that listens, one on which River listens, one or two that River and the reconciler
// share, one for each date that is rolled up, one for a date that is verified, and two that streams and deliveries share.
func (c *workerProcess) connections() int { return c.Workers + 7 }

// work works jobs until ctx is done, and logs what it does.
func (c *workerProcess) work(
	ctx context.Context, a *app, db *postgres.DB, installation schema.Installation, told *processTelemetry,
) error {
	events, closeEvents, err := c.open(ctx, a, db, "worker")
	if err != nil {
		return err
	}
	defer closeEvents()
	logger := a.logger()
	// If another table has the name public.raw_events, the worker can still work.
	if err := source.Adopt(ctx, db, installation); errors.Is(err, source.ErrRefused) {
		logger.WarnContext(ctx, "public.raw_events is not used as the source", slog.String("error", err.Error()))
	} else if err != nil {
		return err
	}
	exists, err := source.Exists(ctx, db)
	if err != nil {
		return err
	}
	if !exists {
		logger.WarnContext(ctx, "there is nothing to roll up yet", slog.String("error", source.ErrNone.Error()))
	}
	databases := a.databases(db, nil)
	defer databases.Close()
	archive, err := c.archiveWork(ctx, a)
	if err != nil {
		return err
	}
	governor := c.governor(a, db)
	views := &view.Engine{DB: db, Databases: databases, Clock: a.testClock, Pace: speed(governor), Listeners: told.listeners}
	capture := a.capture(db, views)
	capture.WALLimit, capture.Retention, capture.Hold = c.CaptureWALLimit<<20, c.CaptureRetention, c.CaptureHold
	worker, err := worker.NewWorker(worker.Config{
		DB: db, Source: events, Installation: installation, Logger: logger, Clock: a.testClock,
		Listeners: told.listeners, Workers: c.Workers, Pace: c.Pace, Governor: governor, MaxEntities: c.maxEntities(c.Workers + 1),
		DailyHour: c.DailyHour, Lookback: c.Lookback, Retention: c.Retention, Name: told.name, Version: versionString(),
		VerifyDates: c.VerifyDates, VerifyRepair: c.VerifyRepair, Capture: capture, Views: views, Archive: archive,
	})
	if err != nil {
		return err
	}
	logger.InfoContext(ctx, "worker started",
		slog.String("version", versionString()), slog.String("database", postgres.Host(a.DatabaseURL)),
		slog.String("time_zone", installation.TimeZone), slog.Int("workers", c.Workers),
		slog.Float64("pace", c.Pace), slog.Bool("pooler", db.Pooled()))
	err = worker.Run(ctx)
	logger.InfoContext(context.WithoutCancel(ctx), "worker stopped")
	return err
}

// processName returns a name for this process in the ledger: the platform's name or the host's, the process id, and a random
// number.
func processName() string {
	host := os.Getenv("DYNO") // Heroku: worker.1
	if host == "" {
		host, _ = os.Hostname() // On an error, the process id is enough.
	}
	// Platforms give the processes of two deploys the same name, and containers the same process id.
	return fmt.Sprintf("%s/%d/%04x", host, os.Getpid(), rand.Uint32N(1<<16))
}

// runner returns a runner for dates in this process.
func (o engineOptions) runner(a *app, db *postgres.DB, events postgres.Source, installation schema.Installation, speed pace.Speed) *run.Runner {
	return &run.Runner{
		Primary: db, Source: events, Type: installation.EntityType, Clock: a.clock(),
		Options: run.Options{Pace: speed, MaxEntities: o.maxEntities(1), Worker: a.processName()},
	}
}

// clock returns Postgres's clock once a database is open, because it decides what is due, over or still to come. Before that it
// returns the machine's clock.
func (a *app) clock() pace.Clock {
	if a.testClock == nil && a.serverClock != nil {
		return a.serverClock
	}
	return a.machineClock()
}

// machineClock returns the machine's clock, or the one that a test has set.
func (a *app) machineClock() pace.Clock {
	if a.testClock != nil {
		return a.testClock
	}
	return pace.SystemClock{}
}
