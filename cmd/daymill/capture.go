package main

import (
	"context"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/consumer"
	"github.com/daymill/daymill/internal/capture/filter"
	"github.com/daymill/daymill/internal/capture/report"
	"github.com/daymill/daymill/internal/capture/sink"
	"github.com/daymill/daymill/internal/capture/snapshot"
	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/config"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/text"
)

type captureCmd struct {
	Add    captureAddCmd    `cmd:"" help:"Capture the changes of tables."`
	Remove captureRemoveCmd `cmd:"" help:"Stop capturing the changes of tables. Changes that are in the log are still delivered."`
	Status captureStatusCmd `cmd:"" help:"List the streams, how they are read, their positions, gaps, and snapshots in progress."`
	Tail   captureTailCmd   `cmd:"" help:"Print changes as they are written to the log, until Ctrl-C."`

	Snapshot captureSnapshotCmd `cmd:"" help:"List, pause, resume, restart and cancel snapshots of tables."`
}

type captureStatusCmd struct {
	JSON bool `name:"json" help:"Print JSON."`
}

// Run reports the streams.
func (c *captureStatusCmd) Run(ctx context.Context, a *app) error {
	database, _, err := a.openInstalled(ctx, "capture")
	if err != nil {
		return err
	}
	defer database.Close()
	reports := []report.Stream{}
	var all []snapshot.Snapshot
	err = database.Read(ctx, func(on postgres.DBTX) error {
		streams, err := stream.List(ctx, on, a.clock().Now())
		if err != nil {
			return err
		}
		for _, one := range streams {
			reading, err := unfinished(ctx, on, one.Name)
			if err != nil {
				return err
			}
			all = append(all, reading...)
			reports = append(reports, report.OfStream(one, reading))
		}
		return nil
	})
	if err != nil {
		return err
	}
	if c.JSON {
		return a.printJSON(reports)
	}
	if len(reports) == 0 {
		a.printf("nothing is captured: name tables in daymill.yaml and run `daymill apply`, or run `daymill capture add TABLE`\n")
		return nil
	}
	table := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	a.tablef(table, "DATABASE\tMODE\tSTATE\tPOSITION\tBEHIND\tWAL RETAINED\tWHY\n")
	for _, r := range reports {
		if r.Unread {
			r.State = "nobody reads it: start a worker"
		}
		a.tablef(table, "%s\t%s\t%s%s\t%d\t%s bytes\t%s bytes\t%s\n", r.Database, r.Mode, r.State, because(r.Reason), r.Position,
			number(r.Behind), number(r.Retained), r.Why)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, r := range reports {
		if r.DropAt > 0 {
			a.printf("%s: the worker warns at %s bytes of WAL retained, and drops the slot at %s\n", r.Database, number(r.WarnAt), number(r.DropAt))
		}
		for _, g := range r.Gaps {
			a.printf("gap in %s after position %d, not repaired: %s\n", r.Database, g.After, g.Reason)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return a.printSnapshots(all)
}

func unfinished(ctx context.Context, on postgres.DBTX, stream string) ([]snapshot.Snapshot, error) {
	list, err := snapshot.List(ctx, on, stream, "")
	return slices.DeleteFunc(list, func(s snapshot.Snapshot) bool { return s.FinishedAt != nil }), err
}

type captureTailCmd struct {
	Table    []string `placeholder:"TABLE" help:"Tables, as public.orders or public.order_*; all by default."`
	Database string   `default:"app" help:"The database whose changes are shown."`
	After    int64    `default:"-1" placeholder:"POSITION" help:"Begin after this position; at the end of the log by default."`
	Follow   bool     `negatable:"" default:"true" help:"Wait for further changes."`
	JSON     bool     `name:"json" help:"Print each change as JSON, one per line."`
}

// tailEvery is how often capture tail reads the log.
const tailEvery = 200 * time.Millisecond

// Run prints changes until ctx is done, or up to the end of the log without --follow.
func (c *captureTailCmd) Run(ctx context.Context, a *app) error {
	passes, err := filter.New(filter.Config{Tables: c.Table})
	if err != nil {
		return usageError{err}
	}
	if c.Database == "" {
		c.Database = config.App
	}
	database, _, err := a.openInstalled(ctx, "capture tail")
	if err != nil {
		return err
	}
	defer database.Close()
	stored, position, shown := captureLog{}, c.After, false
	for {
		var changes []change.Change
		err := database.Read(ctx, func(on postgres.DBTX) error {
			head, err := stored.Head(ctx, on, c.Database)
			if position < 0 {
				position = head
			}
			if err != nil || head <= position {
				return err
			}
			changes, position, err = stored.Read(ctx, on, consumer.Query{
				Stream: c.Database, After: position, Shards: 1, Limit: consumer.DefaultBatch,
			})
			return err
		})
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		for _, one := range changes {
			if !passes.Takes(one.Schema, one.Table) {
				continue
			}
			shown = true
			if err := c.print(a, one); err != nil {
				return err
			}
		}
		if len(changes) > 0 {
			continue
		}
		if !c.Follow {
			return nil
		}
		if !shown {
			shown = true
			if err := c.waiting(ctx, a, database, position); err != nil {
				return err
			}
		}
		if err := a.clock().Sleep(ctx, tailEvery); err != nil {
			return nil
		}
	}
}

// waiting says that nothing was printed yet, which is not a failure, and which patterns match no captured table.
func (c *captureTailCmd) waiting(ctx context.Context, a *app, database *postgres.DB, position int64) error {
	hint := ""
	if c.After < 0 && position > 0 {
		hint = ": --after 0 shows earlier ones"
	}
	a.errorf("waiting for changes after position %d%s\n", position, hint)
	if len(c.Table) == 0 {
		return nil
	}
	patterns, err := filter.ParseTables(c.Table)
	if err != nil {
		return err
	}
	var captured []stream.Captured
	err = database.Read(ctx, func(on postgres.DBTX) error {
		captured, err = stream.Tables(ctx, on, c.Database)
		return err
	})
	if err != nil {
		if ctx.Err() != nil {
			return nil //nolint:nilerr // The person has seen enough.
		}
		return err
	}
	for _, p := range patterns {
		if !p.Excludes() && !slices.ContainsFunc(captured, func(t stream.Captured) bool { return p.Covers(t.Schema, t.Table) }) {
			a.errorf("note: no captured table of %s matches %s yet\n", c.Database, p)
		}
	}
	return nil
}

func (c *captureTailCmd) print(a *app, one change.Change) error {
	if !c.JSON {
		shown := one.New
		if len(shown) == 0 {
			shown = one.Old
		}
		a.printf("%d %s %s %s.%s %s %s\n", one.Position, one.CommittedAt.Format(time.RFC3339Nano), one.Op, one.Schema, one.Table,
			keyText(one.Key), shown)
		return nil
	}
	document, err := sink.Document(one)
	if err != nil {
		return err
	}
	_, err = io.WriteString(a.stdout, text.JSON(strings.TrimSpace(string(document)))+"\n")
	return err
}

func keyText(key json.RawMessage) string {
	if len(key) == 0 {
		return "-"
	}
	return string(key)
}
