// Package estimate estimates what a rollup would cost before it is started, without reading the events.
package estimate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/source"
)

// Cost is the cost of rolling up dates, one at a time. All of it is estimated except WithEvents, and the events of dates that were complete.
type Cost struct {
	// Known reports whether Postgres estimated the number of events in time. If not, Events and Time are 0.
	Known  bool
	Events int64
	Time   time.Duration
	// WithEvents is how many of Looked dates have events: of those that were complete, and of the first of
	// the others. If the time ran out, Looked is fewer than all dates.
	WithEvents, Looked int
}

const (
	// perEvent and perDate are used if the ledger has no runs yet. They were measured at the default pace.
	perEvent = 10 * time.Microsecond
	perDate  = 50 * time.Millisecond

	// statementLimit bounds a statement, and lookLimit all looks for events, each of which takes probe dates. They are short
	// because a page waits for the answer.
	statementLimit = time.Second
	lookLimit      = 30 * time.Millisecond
	probe          = 50
	// mostSpans is how many spans of dates the planner is asked about.
	mostSpans = 20
)

// Alongside returns the time if several dates are in flight and a pause follows each.
func (c *Cost) Alongside(inFlight int, pause time.Duration, dates int) time.Duration {
	return (c.Time + pause*time.Duration(dates)) / time.Duration(max(1, inFlight))
}

// Dates estimates the cost of dates, which must ascend: the events from the planner's statistics, and the time from how long
// recent runs took. It takes a second or two at most, and the cost says what it could not find out.
func Dates(ctx context.Context, conn *postgres.DB, clock pace.Clock, dates []date.Date) (Cost, error) {
	var cost Cost
	if len(dates) == 0 {
		return Cost{Known: true}, nil
	}
	session, err := conn.Session(ctx)
	if err != nil {
		return cost, err
	}
	defer session.Release(context.WithoutCancel(ctx))
	others, counted, err := cost.recall(ctx, session, dates)
	if err != nil {
		return Cost{}, err
	}
	if err := cost.look(ctx, session, clock, others); err != nil {
		return Cost{}, err
	}
	err = session.Read(ctx, statementLimit, func(ctx context.Context, on postgres.DBTX) error {
		return cost.add(ctx, on, others, counted, len(dates))
	})
	if tooLong(err) {
		return Cost{WithEvents: cost.WithEvents, Looked: cost.Looked}, nil
	}
	if err == nil && cost.Looked == len(dates) && cost.WithEvents == 0 {
		cost.Events = 0 // The planner never estimates less than one row.
	}
	return cost, err
}

// recall takes the events of dates that were ever complete from the ledger. It returns the sum of these
// events, and the dates that were never complete.
func (c *Cost) recall(ctx context.Context, session *postgres.Session, dates []date.Date) (others []date.Date, counted int64, err error) {
	known := make(map[date.Date]int64)
	err = session.Read(ctx, statementLimit, func(ctx context.Context, on postgres.DBTX) error {
		rows, err := db.New(on).DateEvents(ctx, db.DateEventsParams{FirstDate: dates[0], LastDate: dates[len(dates)-1]})
		for _, row := range rows {
			known[row.MetricDate] = row.Events
		}
		return err
	})
	if err != nil && !tooLong(err) {
		return nil, 0, fmt.Errorf("read the ledger: %w", err)
	}
	for _, d := range dates {
		events, is := known[d]
		if !is {
			others = append(others, d)
			continue
		}
		c.Looked++
		if events > 0 {
			c.WithEvents++
		}
		counted += events
	}
	return others, counted, nil
}

// add adds the planner's estimates for dates that were never complete, the known events of the other dates,
// and the time that recent runs suggest.
func (c *Cost) add(ctx context.Context, on postgres.DBTX, dates []date.Date, counted int64, all int) error {
	queries := db.New(on)
	expected := float64(counted)
	for _, span := range spans(dates) {
		bounds, err := queries.DateBounds(ctx, db.DateBoundsParams{MetricDate: span.First, NextDate: span.Last.AddDays(1)})
		if err != nil {
			return fmt.Errorf("find the range's bounds: %w", err)
		}
		events, err := planned(ctx, on, bounds.FromInstant, bounds.ToInstant)
		if err != nil {
			return err
		}
		expected += events * float64(span.dates) / float64(span.Len())
	}
	recent, err := queries.RunRecentCost(ctx)
	if err != nil {
		return fmt.Errorf("read recent runs: %w", err)
	}
	c.Known, c.Events = true, int64(expected)
	c.Time = time.Duration(c.Events) * perEvent
	if recent.Events > 0 {
		c.Time = time.Duration(float64(c.Events) * recent.Seconds / float64(recent.Events) * float64(time.Second))
	}
	c.Time += time.Duration(all) * perDate
	return nil
}

// span is a range of dates, some of which are to be rolled up.
type span struct {
	date.Range

	dates int
}

// spans joins consecutive dates into spans. If there would be too many, it returns a single span of all dates.
func spans(dates []date.Date) []span {
	var all []span
	for _, d := range dates {
		if n := len(all); n > 0 && all[n-1].Last.AddDays(1) == d {
			all[n-1].Last = d
			all[n-1].dates++
		} else {
			all = append(all, span{Range: date.Range{First: d, Last: d}, dates: 1})
		}
	}
	if len(all) > mostSpans {
		return []span{{Range: date.Range{First: dates[0], Last: dates[len(dates)-1]}, dates: len(dates)}}
	}
	return all
}

// look checks which dates have events, until the time runs out.
func (c *Cost) look(ctx context.Context, session *postgres.Session, clock pace.Clock, dates []date.Date) error {
	until := clock.Now().Add(lookLimit)
	for chunk := range slices.Chunk(dates, probe) {
		found, err := source.Dates(ctx, chunk, func(do func(*db.Queries) error) error {
			return session.Look(ctx, statementLimit, func(_ context.Context, on postgres.DBTX) error { return do(db.New(on)) })
		})
		if tooLong(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("look for events: %w", err)
		}
		c.Looked += len(chunk)
		c.WithEvents += len(found)
		if clock.Now().After(until) {
			return nil
		}
	}
	return nil
}

// tooLong reports whether Postgres did not answer in time, because the statement was slow or waited for a lock.
func tooLong(err error) bool { return postgres.IsTimeout(err) || postgres.IsLockTimeout(err) }

// planned returns how many events the planner expects between two instants.
func planned(ctx context.Context, on postgres.DBTX, from, to time.Time) (float64, error) {
	var text []byte
	err := on.QueryRow(ctx, `EXPLAIN (FORMAT JSON) SELECT 1 FROM analytics.events AS e
		WHERE e.created_at >= $1 AND e.created_at < $2`, pgx.QueryExecModeSimpleProtocol, from, to).Scan(&text)
	if err != nil {
		return 0, fmt.Errorf("estimate the events of a range: %w", err)
	}
	var plans []struct {
		Plan struct {
			Rows float64 `json:"Plan Rows"` //nolint:tagliatelle // Postgres's.
		} `json:"Plan"` //nolint:tagliatelle // Postgres's.
	}
	if err := json.Unmarshal(text, &plans); err != nil {
		return 0, fmt.Errorf("read the planner's answer: %w", err)
	}
	if len(plans) == 0 {
		return 0, errors.New("read the planner's answer: it has no plan")
	}
	return plans[0].Plan.Rows, nil
}
