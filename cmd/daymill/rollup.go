package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/protection"
	"github.com/daymill/daymill/internal/rollup/run"
	"github.com/daymill/daymill/internal/rollup/schedule"
	"github.com/daymill/daymill/internal/schema"
)

type rollupCmd struct {
	engineOptions

	Dates date.Range `arg:"" name:"date" help:"The date, as 2026-03-01, or a range, as 2026-03-01..2026-03-31."`
	Erase bool       `help:"Erase metrics whose events no longer exist: those older than the retention, and in a range those of dates without any event."`
}

// Run rolls up dates in this process and shows the progress.
func (c *rollupCmd) Run(ctx context.Context, a *app) error {
	if err := c.check(); err != nil {
		return err
	}
	listeners, stopTracing, err := a.verbTelemetry(ctx)
	if err != nil {
		return err
	}
	defer stopTracing()
	conn, installation, err := a.openInstalled(ctx, "rollup")
	if err != nil {
		return err
	}
	defer conn.Close()
	today, err := schedule.Today(ctx, conn, a.clock())
	if err != nil {
		return err
	}
	if !c.Dates.Last.Before(today) {
		return usagef("%s is not over: today is %s in %s; today's figures so far are in analytics.daily_entity_metrics_live",
			c.Dates.Last, today, installation.TimeZone)
	}
	events, closeEvents, err := c.open(ctx, a, conn, "rollup")
	if err != nil {
		return err
	}
	defer closeEvents()
	speed, stop := c.govern(ctx, a, conn)
	defer stop()
	runner := c.runner(a, conn, events, installation, speed)
	runner.Listeners = listeners
	keptFrom, err := schema.KeptFrom(ctx, conn)
	if err != nil {
		return err
	}
	var protected, dropped int64
	for day := c.Dates.First; !day.After(c.Dates.Last); day = day.AddDays(1) {
		err := c.rollup(ctx, a, conn, runner, day)
		switch {
		case err == nil:
			continue
		case !errors.Is(err, run.ErrProtected):
			return fmt.Errorf("%s: %w", day, err)
		case day.Before(keptFrom):
			dropped++
		default:
			protected++
		}
		a.printf("%s: %s\n", day, err)
	}
	return notRolledUp(protected, dropped, keptFrom)
}

// notRolledUp returns an error that says why dates were not rolled up, and what to do; nil if all were.
func notRolledUp(protected, dropped int64, keptFrom date.Date) error {
	var reasons []string
	if dropped > 0 {
		reasons = append(reasons, fmt.Sprintf("%s not rolled up, because `daymill migrate retention` keeps metrics only from %s on: set it to more months "+
			"first, if the events of these dates are still there", plural(dropped, "date"), keptFrom))
	}
	if protected > 0 {
		reasons = append(reasons, fmt.Sprintf("%s not rolled up, because that would erase metrics whose events no longer exist: "+
			"give --erase if they were deleted on purpose", plural(protected, "date")))
	}
	if len(reasons) == 0 {
		return nil
	}
	return errors.New(strings.Join(reasons, "; "))
}

func (c *rollupCmd) rollup(ctx context.Context, a *app, conn *postgres.DB, runner *run.Runner, day date.Date) error {
	// With the request, a worker takes over if this process does not finish.
	mayLose := protection.LoseAll
	if c.Dates.Len() > 1 {
		mayLose = protection.LoseSome
	}
	err := db.New(conn).RequestAppend(ctx, db.RequestAppendParams{
		MetricDates: []date.Date{day}, RequestedVia: audit.ViaCLI, Priority: 1, MayLose: mayLose, Erase: c.Erase,
	})
	if err != nil {
		return fmt.Errorf("request the rollup: %w", err)
	}
	start := a.clock().Now()
	meter := a.meter(day.String(), 1000)
	figures, err := runner.Run(ctx, run.Order{Date: day, Progress: func(f run.Report) {
		// The scan is about half of the work if the date was never rolled up.
		part := f.Progress / 2
		if f.Phase != run.PhaseScan {
			part += 0.5
		}
		meter.set(int64(part*1000), f.Phase)
	}})
	meter.finish()
	switch {
	case errors.Is(err, run.ErrNothingToDo):
		reason, err := db.New(conn).ProtectionReason(ctx, day)
		if err != nil {
			return fmt.Errorf("look at what a worker did: %w", err)
		}
		if reason != "" {
			return workerError{reason}
		}
		a.printf("%s: a worker has just rolled it up\n", day)
		return nil
	case errors.Is(err, run.ErrBusy):
		a.printf("%s: a worker is rolling it up now: see `daymill status`\n", day)
		return nil
	case err != nil && ctx.Err() != nil:
		return errors.New("interrupted: a worker continues the date, or run the command again")
	case err != nil:
		return err
	}
	a.printf("%s: %s of %s in %s (%s inserted, %s updated, %s deleted; "+
		"%s, %s, longest statement %s)\n",
		day, plural(figures.Events, "event"), plural(figures.Entities, "entity"), a.clock().Now().Sub(start).Round(time.Millisecond),
		number(figures.Inserted), number(figures.Updated), number(figures.Deleted),
		plural(int64(figures.Slices), "slice"), plural(int64(figures.Batches), "batch"), figures.Longest.Round(time.Millisecond))
	return nil
}

// workerError is the error of a date that a worker's run has protected, as the ledger has it.
type workerError struct{ reason string }

func (e workerError) Error() string { return e.reason }

func (workerError) Unwrap() error { return run.ErrProtected }
