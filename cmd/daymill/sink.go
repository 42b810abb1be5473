package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/consumer"
	"github.com/daymill/daymill/internal/capture/report"
	"github.com/daymill/daymill/internal/capture/snapshot"
)

type sinkCmd struct {
	Add      sinkAddCmd      `cmd:"" help:"Add a sink without a file."`
	List     sinkListCmd     `cmd:"" help:"List the sinks and their states."`
	Show     sinkShowCmd     `cmd:"" help:"Show one sink: its settings and its shards."`
	Pause    sinkPauseCmd    `cmd:"" help:"Pause a sink: its changes wait in the log until it is resumed."`
	Resume   sinkResumeCmd   `cmd:"" help:"Resume a paused sink where it stopped."`
	Rewind   sinkRewindCmd   `cmd:"" help:"Move a sink to another position of the log: deliver again from an earlier one, or skip to a later one."`
	Snapshot sinkSnapshotCmd `cmd:"" help:"Deliver the rows that a sink's tables already have, in addition to changes. Other sinks do not receive them."`
	Remove   sinkRemoveCmd   `cmd:"" help:"Remove a sink, with its position and its dead letters."`
	Verify   sinkVerifyCmd   `cmd:"" help:"Compare the rows of a Postgres sink with those of its source, and repair what differs."`
}

type sinkListCmd struct {
	JSON bool `name:"json" help:"Print JSON."`
}

// Run lists the sinks.
func (c *sinkListCmd) Run(ctx context.Context, a *app) error {
	db, _, err := a.openInstalled(ctx, "sink")
	if err != nil {
		return err
	}
	defer db.Close()
	all, err := consumer.List(ctx, db)
	if err != nil {
		return err
	}
	if c.JSON {
		reports := make([]report.Sink, len(all))
		for i, p := range all {
			reports[i] = report.OfSink(p)
		}
		return a.printJSON(reports)
	}
	if len(all) == 0 {
		a.printf("there are no sinks: write them into daymill.yaml and run `daymill apply`, or run `daymill sink add`\n")
		return nil
	}
	table := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	a.tablef(table, "NAME\tKIND\tDATABASE\tSTATE\tPOSITION\tDELIVERED\tDEAD LETTERS\tERROR\n")
	for _, p := range all {
		a.tablef(table, "%s\t%s\t%s\t%s\t%d\t%s\t%d\t%s\n", p.Name, p.Kind, p.Stream, report.State(p), p.Position, number(p.Delivered), p.Letters, p.Error)
	}
	return table.Flush()
}

type sinkName struct {
	Name string `arg:"" help:"The sink's name."`
}

type sinkShowCmd struct {
	sinkName

	JSON bool `name:"json" help:"Print JSON."`
}

// Run shows one sink.
func (c *sinkShowCmd) Run(ctx context.Context, a *app) error {
	db, installation, err := a.openInstalled(ctx, "sink")
	if err != nil {
		return err
	}
	defer db.Close()
	all, err := consumer.List(ctx, db)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(all, func(p consumer.Progress) bool { return p.Name == c.Name })
	if at < 0 {
		return usageError{fmt.Errorf("%s: %w", c.Name, consumer.ErrNone)}
	}
	p := all[at]
	shards, err := consumer.Shards(ctx, db, c.Name)
	if err != nil {
		return err
	}
	if c.JSON {
		return a.printJSON(struct {
			report.Sink
			report.Details
		}{report.OfSink(p), report.OfDetails(p.Consumer, shards)})
	}
	when := func(at time.Time) string { return at.In(installation.Zone).Format("2006-01-02 15:04:05 MST") }
	table := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	a.tablef(table, "sink\t%s\nkind\t%s\ndatabase\t%s\nstate\t%s\n", p.Name, p.Kind, p.Stream, report.State(p))
	if p.PausedAt != nil {
		a.tablef(table, "paused\t%s%s\n", when(*p.PausedAt), because(p.PausedBecause))
	}
	a.tablef(table, "made\t%s\ndelivered\t%s\ndead letters\t%d\nsettings\t%s\n", when(p.CreatedAt), number(p.Delivered), p.Letters, p.Settings)
	for _, s := range shards {
		a.tablef(table, "shard %d\tposition %d, %s delivered", s.Number, s.Position, number(s.Delivered))
		if s.Failures > 0 {
			a.tablef(table, ", failed %d times: %s", s.Failures, s.Error)
		}
		a.tablef(table, "\n")
	}
	return table.Flush()
}

type (
	sinkPauseCmd struct {
		sinkName

		Because string `placeholder:"TEXT" help:"The reason, for people who see the sink paused."`
	}
	sinkResumeCmd struct{ sinkName }
	sinkRewindCmd struct {
		sinkName

		To int64 `required:"" placeholder:"POSITION" help:"The position to continue after; 0 is the beginning of the log."`
	}
	sinkRemoveCmd struct{ sinkName }
)

// Run pauses a sink.
func (c *sinkPauseCmd) Run(ctx context.Context, a *app) error {
	return c.change(ctx, a, "is paused", func(tx pgx.Tx) error { return consumer.Pause(ctx, tx, c.Name, c.Because, whoOnCLI()) })
}

// Run resumes a sink.
func (c *sinkResumeCmd) Run(ctx context.Context, a *app) error {
	left := false
	err := c.change(ctx, a, "continues", func(tx pgx.Tx) (err error) {
		if left, err = consumer.Left(ctx, tx, c.Name); err != nil {
			return err
		}
		return consumer.Resume(ctx, tx, c.Name, whoOnCLI())
	})
	if err == nil && left {
		a.printf("the log no longer has all changes that it has not received, so a snapshot of its tables follows\n")
	}
	return err
}

// Run moves a sink to another position.
func (c *sinkRewindCmd) Run(ctx context.Context, a *app) error {
	if c.To < 0 {
		return usagef("--to is %d: give a position of the log, or 0 for its beginning", c.To)
	}
	return c.change(ctx, a, fmt.Sprintf("continues after position %d", c.To), func(tx pgx.Tx) error {
		return consumer.Rewind(ctx, tx, c.Name, c.To, whoOnCLI())
	})
}

// Run removes a sink.
func (c *sinkRemoveCmd) Run(ctx context.Context, a *app) error {
	return c.change(ctx, a, "is removed", func(tx pgx.Tx) error { return consumer.Remove(ctx, tx, c.Name, whoOnCLI()) })
}

func (c sinkName) change(ctx context.Context, a *app, done string, change func(tx pgx.Tx) error) error {
	db, _, err := a.openInstalled(ctx, "sink")
	if err != nil {
		return err
	}
	defer db.Close()
	if err := db.Tx(ctx, change); errors.Is(err, consumer.ErrNone) || errors.Is(err, consumer.ErrPosition) {
		return usageError{fmt.Errorf("%s: %w", c.Name, err)}
	} else if errors.Is(err, snapshot.ErrTable) {
		return usageError{err}
	} else if err != nil {
		return err
	}
	a.printf("sink %s %s\n", c.Name, done)
	return nil
}
