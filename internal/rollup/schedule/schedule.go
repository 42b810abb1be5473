// Package schedule decides which dates the daily job requests: yesterday and the lookback days before it, because events may have
// arrived late, and every date since the first event that is not complete for any reason.
//
// River keeps periodic jobs in memory, so a process that was off at the daily hour does not know that it has missed the job. The
// ledger records the last day for which the work was done. So repeating the work does no harm, and the first process that starts
// again does what was missed.
package schedule

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/presence"
	"github.com/daymill/daymill/internal/rollup/protection"
	"github.com/daymill/daymill/internal/rollup/source"
	"github.com/daymill/daymill/internal/schema"
)

// Names of the periodic jobs in the ledger. Both are due at the same hour.
const (
	Name      = "daily_rollup"
	PruneName = "prune_ledger"
	// VerifyName is the name of the job that compares finished dates with their events.
	VerifyName = "verify_dates"
)

// Defaults of Daily.
const (
	DefaultHour     = 2
	DefaultLookback = 2
)

const (
	// probe is how many dates one statement looks for events in.
	probe = 50
	// readLimit is the time limit of a statement on the source.
	readLimit = 5 * time.Second
	via       = "schedule"
	priority  = 2
)

// earliest is where the search for the first event begins. The schedule does not find earlier events, but their dates can be
// requested.
//
//nolint:gochecknoglobals // Never changed; Go has no constants of this type.
var earliest = date.New(1970, time.January, 1)

// Daily is the schedule of the daily job.
type Daily struct {
	Zone *time.Location
	// Hour is the local hour of the job, from 0 to 23. If the clocks skip the hour, the job is due right after the change.
	Hour int
	// Lookback is how many days before yesterday are rolled up again every day.
	Lookback int
}

// DailyOf returns the schedule of a worker's daily job, in the reporting zone.
func DailyOf(worker presence.Worker, zone *time.Location) Daily {
	return Daily{Zone: zone, Hour: worker.DailyHour, Lookback: worker.Lookback}
}

// Next returns the first instant after t at which the job is due. River's periodic jobs call it.
func (d Daily) Next(t time.Time) time.Time {
	// Start with the day before, because clocks that go back across midnight show yesterday's date again.
	for day := date.Of(t, d.Zone).AddDays(-1); ; day = day.AddDays(1) {
		if due, is := d.due(day); is && due.After(t) {
			return due
		}
	}
}

// Last returns the latest instant, not after t, at which the job was due.
func (d Daily) Last(t time.Time) time.Time {
	for day := date.Of(t, d.Zone).AddDays(1); ; day = day.AddDays(-1) {
		if due, is := d.due(day); is && !due.After(t) {
			return due
		}
	}
}

// due returns the instant at which the job is due on a date, and false for a date that the zone skipped. If the clocks skip the
// hour, [time.Date] moves the time by the length of the change, possibly to another date.
func (d Daily) due(day date.Date) (time.Time, bool) {
	year, month, dayOfMonth := day.Date()
	due := time.Date(year, month, dayOfMonth, d.Hour, 0, 0, 0, d.Zone)
	if at := date.Of(due, d.Zone); at.Before(day) || at == day && due.Hour() < d.Hour {
		_, due = due.ZoneBounds()
	} else if at.After(day) || due.Hour() > d.Hour {
		due, _ = due.ZoneBounds()
	}
	return due, date.Of(due, d.Zone) == day
}

// Planner requests dates.
type Planner struct {
	Primary *postgres.DB
	Source  postgres.Source
	Daily   Daily
	Clock   pace.Clock
	Pace    pace.Speed // no pauses if nil
	// Via says how the requests were made; schedule if empty.
	Via string
}

// Plan requests the dates that are due, and returns them. It does not request a date twice if it is called again. While the daily
// job is paused, it requests nothing and returns ErrPaused.
func (p *Planner) Plan(ctx context.Context) ([]date.Date, error) { return p.plan(ctx, false) }

// PlanNow does what Plan does at the daily hour, at any time and even if the job is paused, because a person asked for it.
func (p *Planner) PlanNow(ctx context.Context) ([]date.Date, error) { return p.plan(ctx, true) }

func (p *Planner) plan(ctx context.Context, asked bool) ([]date.Date, error) {
	if exists, err := source.Exists(ctx, p.Primary); err != nil || !exists {
		return nil, cmp.Or(err, source.ErrNone)
	}
	state, err := Read(ctx, p.Primary)
	if err != nil {
		return nil, err
	}
	if state.PausedAt != nil && !asked {
		return nil, ErrPaused
	}
	now := p.Clock.Now()
	missing, err := p.Missing(ctx)
	if err != nil {
		return nil, err
	}
	var dates []date.Date
	err = p.Primary.Tx(ctx, func(tx pgx.Tx) error {
		dates = missing
		queries := db.New(tx)
		due := p.Daily.Last(now)
		if err := queries.ScheduleEnsure(ctx, Name); err != nil {
			return fmt.Errorf("create the schedule's row: %w", err)
		}
		schedule, err := queries.ScheduleLock(ctx, db.ScheduleLockParams{Name: Name, DueAt: due, AtInstant: now})
		switch {
		case err != nil:
			return fmt.Errorf("lock the schedule: %w", err)
		case schedule.Paused && !asked:
			return ErrPaused
		}
		if schedule.Due || asked {
			today, err := queries.DateOf(ctx, now)
			if err != nil {
				return fmt.Errorf("read today's date: %w", err)
			}
			yesterday := today.AddDays(-1)
			for day := yesterday.AddDays(-p.Daily.Lookback); !day.After(yesterday); day = day.AddDays(1) {
				dates = append(dates, day)
			}
			slices.SortFunc(dates, date.Date.Compare)
			dates = slices.Compact(dates)
		}
		if len(dates) > 0 {
			err := queries.RequestAppend(ctx, db.RequestAppendParams{
				MetricDates: dates, RequestedVia: cmp.Or(p.Via, via), Priority: priority, MayLose: protection.LoseNone,
			})
			if err != nil {
				return fmt.Errorf("request dates: %w", err)
			}
		}
		return queries.ScheduleRecord(ctx, db.ScheduleRecordParams{Name: Name, DueAt: due, AtInstant: now})
	})
	if err != nil {
		return nil, err
	}
	if _, err := schema.Months(ctx, p.Primary); err != nil {
		return nil, err
	}
	return dates, nil
}

// Record records that a periodic job has done its work now. Plan calls it.
func (p *Planner) Record(ctx context.Context, name string) error {
	err := p.Primary.Tx(ctx, func(tx pgx.Tx) error {
		queries := db.New(tx)
		if err := queries.ScheduleEnsure(ctx, name); err != nil {
			return err
		}
		now := p.Clock.Now()
		return queries.ScheduleRecord(ctx, db.ScheduleRecordParams{Name: name, DueAt: p.Daily.Last(now), AtInstant: now})
	})
	if err != nil {
		return fmt.Errorf("record the schedule: %w", err)
	}
	return nil
}

// Overdue reports whether a periodic job is late by more than grace and is not paused.
func (p *Planner) Overdue(ctx context.Context, name string, grace time.Duration) (overdue bool, err error) {
	err = p.Primary.Read(ctx, func(on postgres.DBTX) error {
		now := p.Clock.Now()
		overdue, err = db.New(on).ScheduleOverdue(ctx, db.ScheduleOverdueParams{
			Name: name, DueAt: p.Daily.Last(now.Add(-grace)), AtInstant: now,
		})
		return err
	})
	if err != nil {
		return false, fmt.Errorf("read the schedule: %w", err)
	}
	return overdue, nil
}

// Missing returns the dates up to yesterday that have events and are neither complete nor requested.
func (p *Planner) Missing(ctx context.Context) ([]date.Date, error) {
	today, err := Today(ctx, p.Primary, p.Clock)
	if err != nil {
		return nil, err
	}
	last := today.AddDays(-1)
	source, err := postgres.SourceSession(ctx, p.Source)
	if err != nil {
		return nil, err
	}
	defer source.Release(context.WithoutCancel(ctx))
	pacer := &pace.Pacer{Clock: p.Clock, Pace: p.Pace}

	first, err := p.firstDate(ctx, source, pacer, last)
	if err != nil || first.After(last) {
		return nil, err
	}
	return p.missing(ctx, source, pacer, date.Range{First: first, Last: last})
}

// firstDate finds the date of the first event by bisection, with about fifteen lookups in an index of any kind. min(created_at)
// would read the whole table if it has only a BRIN index.
func (p *Planner) firstDate(ctx context.Context, source *postgres.Session, pacer *pace.Pacer, last date.Date) (date.Date, error) {
	// Invariant: there is no event before low begins. If there is any event, one is before high begins.
	low, high := earliest, last.AddDays(1)
	for low.Before(high) {
		middle := low.AddDays(high.Sub(low)/2 + 1)
		exists := false
		err := p.read(ctx, source, pacer, func(queries *db.Queries) error {
			bounds, err := queries.DateBounds(ctx, db.DateBoundsParams{MetricDate: middle, NextDate: middle})
			if err != nil {
				return err
			}
			exists, err = queries.EventExistsBefore(ctx, bounds.FromInstant)
			return err
		})
		if err != nil {
			return date.Date{}, fmt.Errorf("look for the first event: %w", err)
		}
		if exists {
			high = middle.AddDays(-1)
		} else {
			low = middle
		}
	}
	return low, nil
}

// read runs a query on the source.
func (p *Planner) read(ctx context.Context, source *postgres.Session, pacer *pace.Pacer, do func(*db.Queries) error) error {
	took, err := pacer.Do(source, func() error {
		return source.Look(ctx, readLimit, func(_ context.Context, on postgres.DBTX) error { return do(db.New(on)) })
	})
	if err != nil {
		return err
	}
	return pacer.Pause(ctx, took)
}
