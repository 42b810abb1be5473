package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/capture/report"
	"github.com/daymill/daymill/internal/capture/snapshot"
)

type captureSnapshotCmd struct {
	List    snapshotListCmd    `cmd:"" help:"List snapshots and their progress."`
	Pause   snapshotPauseCmd   `cmd:"" help:"Pause a snapshot."`
	Resume  snapshotResumeCmd  `cmd:"" help:"Resume a paused snapshot where it stopped."`
	Restart snapshotRestartCmd `cmd:"" help:"Begin a snapshot of a table again."`
	Cancel  snapshotCancelCmd  `cmd:"" help:"Cancel a snapshot. Rows that it has already read are still delivered."`
}

type snapshotListCmd struct {
	JSON bool `name:"json" help:"Print JSON."`
}

// Run lists snapshots.
func (c *snapshotListCmd) Run(ctx context.Context, a *app) error {
	db, _, err := a.openInstalled(ctx, "capture")
	if err != nil {
		return err
	}
	defer db.Close()
	list, err := snapshot.List(ctx, db, "", "")
	if err != nil {
		return err
	}
	if c.JSON {
		reports := make([]report.Snapshot, len(list))
		for i, s := range list {
			reports[i] = report.OfSnapshot(s)
		}
		return a.printJSON(reports)
	}
	if len(list) == 0 {
		a.printf("there are no snapshots: set `from: snapshot` for a sink, or run `daymill sink snapshot NAME`\n")
		return nil
	}
	return a.printSnapshots(list)
}

func (a *app) printSnapshots(list []snapshot.Snapshot) error {
	table := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	a.tablef(table, "SNAPSHOT\tDATABASE\tTABLE\tFOR\tSTATE\tROWS\tLEFT\n")
	for _, s := range list {
		one := report.OfSnapshot(s)
		whom := one.Sink
		if whom == "" {
			whom = "all"
		}
		rows := number(one.Rows)
		if one.Estimate > one.Rows {
			rows += " of about " + number(one.Estimate)
		}
		a.tablef(table, "%d\t%s\t%s\t%s\t%s%s\t%s\t%s\n", one.ID, one.Database, one.Table, whom, one.State, because(one.Reason), rows, one.Left)
	}
	return table.Flush()
}

type snapshotID struct {
	ID int64 `arg:"" help:"The snapshot's number."`
}

type (
	snapshotPauseCmd   struct{ snapshotID }
	snapshotResumeCmd  struct{ snapshotID }
	snapshotRestartCmd struct{ snapshotID }
	snapshotCancelCmd  struct{ snapshotID }
)

// Run pauses a snapshot.
func (c *snapshotPauseCmd) Run(ctx context.Context, a *app) error {
	return c.change(ctx, a, "is paused", snapshot.Pause)
}

// Run resumes a snapshot.
func (c *snapshotResumeCmd) Run(ctx context.Context, a *app) error {
	return c.change(ctx, a, "continues", snapshot.Resume)
}

// Run restarts a snapshot.
func (c *snapshotRestartCmd) Run(ctx context.Context, a *app) error {
	return c.change(ctx, a, "begins again", snapshot.Restart)
}

// Run cancels a snapshot.
func (c *snapshotCancelCmd) Run(ctx context.Context, a *app) error {
	return c.change(ctx, a, "is cancelled", snapshot.Cancel)
}

func (c snapshotID) change(
	ctx context.Context, a *app, done string, change func(ctx context.Context, tx pgx.Tx, id int64, who audit.Who) error,
) error {
	db, _, err := a.openInstalled(ctx, "capture")
	if err != nil {
		return err
	}
	defer db.Close()
	err = db.Tx(ctx, func(tx pgx.Tx) error { return change(ctx, tx, c.ID, whoOnCLI()) })
	if errors.Is(err, snapshot.ErrNone) {
		return usageError{fmt.Errorf("%d: %w", c.ID, err)}
	}
	if err != nil {
		return err
	}
	a.printf("snapshot %d %s\n", c.ID, done)
	return nil
}

type sinkSnapshotCmd struct {
	sinkName

	Table []string `placeholder:"TABLE" help:"Tables, as public.orders; all that the sink receives by default."`
}

// Run requests a snapshot for one sink.
func (c *sinkSnapshotCmd) Run(ctx context.Context, a *app) error {
	return c.change(ctx, a, "gets the existing rows in addition to changes: `daymill capture status` shows the progress", func(tx pgx.Tx) error {
		return snapshot.RequestFor(ctx, tx, c.Name, c.Table, whoOnCLI())
	})
}
