package main

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// idleFor is how long the application is observed while nothing else runs.
const idleFor = 4 * time.Second

// Names of what runs beside the application.
const (
	besideNothing   = "nothing else"
	besidePaced     = "Daymill"
	besideUnpaced   = "Daymill --pace 0"
	besideStatement = "one statement"
)

// foreground measures an application while the day is rolled up the first time: at a fixed rate, for the latency that users feel, and then with
// as many requests as possible.
func foreground(ctx context.Context, b *bench) (Result, error) {
	db, err := b.large(ctx)
	if err != nil {
		return Result{}, err
	}
	b.meter.say("prepare")
	application, err := makeLoad(ctx, db, b.loadClients, b.loadRate)
	if err != nil {
		return Result{}, err
	}
	got := samples{}
	for round := range b.rounds {
		if err := b.besides(ctx, db, application, round, got, ""); err != nil {
			return Result{}, err
		}
	}
	application.rate = 0
	const closed = ", as fast as possible"
	if err := b.besides(ctx, db, application, 0, got, closed); err != nil {
		return Result{}, err
	}
	if err := db.exact(ctx, largeDate()); err != nil {
		return Result{}, err
	}
	if err := db.exec(ctx, "DROP TABLE public.accounts"); err != nil {
		return Result{}, err
	}
	names := []string{besideNothing, besidePaced, besideUnpaced, besideStatement}
	all := append([]string{}, names...)
	for _, name := range names {
		all = append(all, name+closed)
	}
	return Result{
		Notes: []string{
			fmt.Sprintf("%d connections, %d requests a second: reads and updates of single rows, four to one, in a table of 0.6 of shared_buffers. "+
				"A request's latency counts from the time at which it was due. The time is how long the other work took, which is how long the application was observed.",
				b.loadClients, b.loadRate),
			"As fast as possible: the same connections in a closed loop, one turn each, for the throughput.",
		},
		Rows: got.rows(all...),
		Ratios: []Ratio{
			{ID: "foreground.p99", What: "p99 beside a rollup at the default pace, against an idle database", Value: got.ratio(p99, besidePaced, besideNothing), Target: 1.15},
			{ID: "foreground.p99_unpaced", What: "p99 beside a rollup without pauses", Value: got.ratio(p99, besideUnpaced, besideNothing)},
			{ID: "foreground.p99_statement", What: "p99 beside the one statement", Value: got.ratio(p99, besideStatement, besideNothing)},
			{ID: "foreground.p50", What: "p50 beside a rollup at the default pace", Value: got.ratio(p50, besidePaced, besideNothing)},
			{ID: "foreground.throughput", What: "throughput beside a rollup, as fast as possible", Value: got.ratio(rate, besidePaced+closed, besideNothing+closed), AtLeast: true},
		},
	}, nil
}

// besides gives a turn to each kind of work that runs beside the application.
func (b *bench) besides(ctx context.Context, db *database, application *load, round int, got samples, suffix string) error {
	paced := func(pace float64) contender {
		return b.rolls(db, largeDate(), strconv.FormatFloat(pace, 'f', -1, 64), db.forget)
	}
	statement := runs("", statementSQL(largeDate(), within(largeDate())), oneTable(),
		func(ctx context.Context) error { return db.exec(ctx, "TRUNCATE public.one") })
	turns := []struct {
		contender

		beside string
	}{
		{contender{run: func(ctx context.Context, _ string) (sample, error) { return nil, sleep(ctx, idleFor) }}, besideNothing},
		{paced(0.2), besidePaced}, // The default.
		{paced(0), besideUnpaced},
		{statement, besideStatement},
	}
	for i := range turns {
		turn := turns[(i+round)%len(turns)]
		b.meter.step(turn.beside)
		if turn.prepare != nil {
			if err := turn.prepare(ctx); err != nil {
				return err
			}
		}
		if err := db.exec(ctx, "VACUUM ANALYZE public.accounts"); err != nil {
			return err
		}
		if err := db.exec(ctx, "CHECKPOINT -- before a turn"); err != nil {
			return err
		}
		one, err := application.during(ctx, func(ctx context.Context) error {
			_, err := turn.run(ctx, db.url)
			return err
		})
		if err != nil {
			return fmt.Errorf("%s: %w", turn.beside, err)
		}
		got[turn.beside+suffix] = append(got[turn.beside+suffix], one)
	}
	return nil
}
