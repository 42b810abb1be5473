package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/source"
)

type sourceWatchCmd struct {
	Table    string `placeholder:"TABLE" help:"The table, as schema.table, if the view was written by hand (the source's table by default)."`
	Time     string `placeholder:"COLUMN" help:"With --table: the column with the instant."`
	TimeZone string `placeholder:"ZONE" help:"With --table: the zone that a timestamp without time zone is in (UTC)."`
	From     string `enum:"triggers,capture" default:"triggers" help:"How late events are noticed: by triggers on the table, or in the stream of captured changes, which does not slow down the application's writes further (${enum})."`
	Measure  bool   `negatable:"" default:"true" help:"Measure on a temporary copy what the triggers cost."`
}

// Run creates or recreates the triggers, and measures their cost.
func (c *sourceWatchCmd) Run(ctx context.Context, a *app) error {
	db, installation, err := a.openInstalled(ctx, "source watch")
	if err != nil {
		return err
	}
	defer db.Close()
	if c.From == "capture" {
		return c.fromCapture(ctx, a, db, installation)
	}
	watched, err := source.Watch(ctx, db, installation, source.WatchOptions{Table: c.Table, Time: c.Time, TimeZone: c.TimeZone, Who: whoOnCLI()})
	if err != nil {
		return refused(err)
	}
	a.printf("watched: %s\n", watchedText(watched))
	if c.Measure {
		return a.printWatchCost(ctx, db, watched)
	}
	return nil
}

func (a *app) printWatchCost(ctx context.Context, db *postgres.DB, watched source.Watched) error {
	cost, err := source.MeasureWatch(ctx, db, watched.Table)
	if errors.Is(err, source.ErrNotMeasured) {
		a.printf("the cost was not measured, because this role may not create temporary tables\n")
		return nil
	}
	if err != nil {
		return err
	}
	for _, line := range []struct {
		what string
		cost source.Cost
	}{
		{"a statement that inserts one row of today", cost.Single},
		{"a row of 10,000 of today in one statement", cost.Bulk},
		{"a statement that inserts one late row", cost.Late},
	} {
		a.printf("%-42s %7.1f µs without, %7.1f µs with the triggers: %.2f times\n",
			line.what, line.cost.Without, line.cost.With, line.cost.Ratio())
	}
	a.printf("(the lowest of three rounds on a temporary copy, without the network and the commit)\n")
	return nil
}

type sourceUnwatchCmd struct {
	Table    string `placeholder:"TABLE" help:"The table, as schema.table (all watched tables by default)."`
	Triggers bool   `help:"Remove only the triggers, and continue to notice late events in the stream of changes."`
}

// Run removes the triggers.
func (c *sourceUnwatchCmd) Run(ctx context.Context, a *app) error {
	db, _, err := a.openInstalled(ctx, "source unwatch")
	if err != nil {
		return err
	}
	defer db.Close()
	removed, err := source.Unwatch(ctx, db, c.Table, whoOnCLI())
	if err != nil {
		return refused(err)
	}
	for _, watched := range removed {
		a.printf("no longer watched: %s\n", watched.Table)
	}
	noticed, err := c.fromCapture(ctx, a, db)
	if err != nil {
		return err
	}
	if len(removed)+noticed == 0 {
		a.printf("nothing to do: no table is watched\n")
	}
	return nil
}

// watchedText returns a line that says what is watched and what is not.
func watchedText(watched source.Watched) string {
	text := watched.Table + " by " + watched.Time
	if watched.Renamed != "" {
		text += fmt.Sprintf(" (which was %s: run `daymill source watch` again)", watched.Renamed)
	}
	if watched.Tables > 1 {
		text += ", with " + plural(int64(watched.Tables-1), "partition")
	}
	if n := len(watched.Unwatched); n > 0 {
		text += fmt.Sprintf("; missing on %s: run `daymill source watch` again", strings.Join(watched.Unwatched[:min(n, 3)], ", "))
		if n > 3 {
			text += fmt.Sprintf(" and %d more", n-3)
		}
	}
	return text
}
