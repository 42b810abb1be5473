package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/daymill/daymill/internal/rollup/source"
)

type sourceCmd struct {
	Set    sourceSetCmd    `cmd:"" help:"Make analytics.events read a table of the application."`
	Show   sourceShowCmd   `cmd:"" help:"Print which table analytics.events reads, and how."`
	Check  sourceCheckCmd  `cmd:"" help:"Check column types, rights, the index on the instant and the plan of a slice."`
	Create sourceCreateCmd `cmd:"" help:"Create the table public.raw_events, and make analytics.events read it."`

	Watch   sourceWatchCmd   `cmd:"" help:"Add triggers to the source's table that request the dates of late events, whichever program writes them."`
	Unwatch sourceUnwatchCmd `cmd:"" help:"Remove those triggers."`

	Retention sourceRetentionCmd `cmd:"" help:"Set or print how long the application keeps events; metrics of older dates stay unchanged."`
}

type sourceSetCmd struct {
	Table    string   `required:"" placeholder:"TABLE" help:"The table, as schema.table."`
	Entity   string   `required:"" placeholder:"COLUMN" help:"The column that names the entity."`
	Type     string   `required:"" placeholder:"COLUMN" help:"The column with the event type."`
	Time     string   `required:"" placeholder:"COLUMN" help:"The column with the instant: a timestamptz, or a timestamp."`
	TimeZone string   `placeholder:"ZONE" help:"The zone that a timestamp without time zone is in (UTC)."`
	Map      []string `placeholder:"FROM=TO" help:"Event types to rename, such as LIKE=click. The others keep their names."`
	Where    string   `placeholder:"CONDITION" help:"A condition in SQL; only rows that meet it are events."`

	Retention *days `placeholder:"DURATION" help:"How long the application keeps events, such as 90d: metrics of dates that begin earlier stay unchanged. 0 means forever; without the option, the earlier setting stays."`
}

// Run replaces the view analytics.events and checks it.
func (c *sourceSetCmd) Run(ctx context.Context, a *app) error {
	types, err := typeMap(c.Map)
	if err != nil {
		return err
	}
	options := source.Options{
		Table: c.Table, Entity: c.Entity, Type: c.Type, Time: c.Time, TimeZone: c.TimeZone, Where: c.Where, Map: types, Who: whoOnCLI(),
		Retention: (*time.Duration)(c.Retention),
	}
	db, installation, err := a.openInstalled(ctx, "source set")
	if err != nil {
		return err
	}
	defer db.Close()
	former, err := source.Show(ctx, db)
	if err != nil && !errors.Is(err, source.ErrNone) {
		return err
	}
	had := err == nil
	if err := source.Set(ctx, db, installation, options); err != nil {
		return refused(err)
	}
	current, err := source.Show(ctx, db)
	if err != nil {
		return err
	}
	if had && former.HandWritten {
		a.printf("analytics.events was written by hand; its definition was:\n%s\n", former.Definition)
	}
	a.printf("analytics.events now reads %s\n", strings.Join(current.Reads, ", "))
	if had && former.Definition != current.Definition {
		a.printf("complete dates keep their counts until they are rolled up again\n")
	}
	report, err := source.Check(ctx, db, installation)
	if err != nil {
		return err
	}
	a.printReport(report)
	return nil
}

type sourceShowCmd struct {
	JSON bool `help:"Print it as JSON."`
}

// Run prints the source.
func (c *sourceShowCmd) Run(ctx context.Context, a *app) error {
	db, _, err := a.openInstalled(ctx, "source show")
	if err != nil {
		return err
	}
	defer db.Close()
	shown, err := source.Show(ctx, db)
	if err != nil {
		return err
	}
	if c.JSON {
		return a.printJSON(shown)
	}

	retention, err := source.Retention(ctx, db)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	if shown.HandWritten {
		a.tablef(table, "analytics.events\twas written by hand, or changed after `daymill source set` created it\n")
	} else {
		a.tablef(table, "table\t%s.%s\n", shown.Schema, shown.Table)
		a.tablef(table, "entity\t%s\n", shown.Entity)
		a.tablef(table, "type\t%s\n", shown.Type)
		for _, from := range slices.Sorted(maps.Keys(shown.Map)) {
			a.tablef(table, "\t%s → %s\n", from, shown.Map[from])
		}
		a.tablef(table, "time\t%s\n", strings.TrimSuffix(shown.Time+", in "+shown.TimeZone, ", in "))
		if shown.Where != "" {
			a.tablef(table, "where\t%s\n", strings.Join(strings.Fields(shown.Where), " "))
		}
		a.tablef(table, "set\t%s\n", shown.SetAt.UTC().Format(time.DateTime)+" UTC")
	}
	a.tablef(table, "reads\t%s\n", strings.Join(shown.Reads, ", "))
	for _, watched := range shown.Watched {
		a.tablef(table, "watched\t%s\n", watchedText(watched))
	}
	if retention > 0 {
		a.tablef(table, "keeps\tevents for %s: metrics of dates that begin earlier stay unchanged\n", days(retention))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	a.printf("view\n%s\n", shown.Definition)
	return nil
}

type sourceCheckCmd struct{}

// Run prints the findings, and fails if one of them is a failure.
func (sourceCheckCmd) Run(ctx context.Context, a *app) error {
	db, installation, err := a.openInstalled(ctx, "source check")
	if err != nil {
		return err
	}
	defer db.Close()
	report, err := source.Check(ctx, db, installation)
	if err != nil {
		return err
	}
	a.printReport(report)
	if report.Failed() {
		return errors.New("analytics.events cannot be rolled up: see the failures above, and what fixes them")
	}
	return nil
}

type sourceCreateCmd struct{}

// Run creates the table public.raw_events and makes it the source.
func (sourceCreateCmd) Run(ctx context.Context, a *app) error {
	db, installation, err := a.openInstalled(ctx, "source create")
	if err != nil {
		return err
	}
	defer db.Close()
	if err := source.Create(ctx, db, installation, whoOnCLI()); err != nil {
		return err
	}
	a.printf("created public.raw_events (id, entity_id %s, event_type, created_at), which analytics.events now reads\n",
		installation.EntityType)
	return nil
}

// refused turns an error about the source's options into a usage error.
func refused(err error) error {
	if errors.Is(err, source.ErrRefused) {
		return usageError{err}
	}
	return err
}

// printReport prints one finding per line, with its fix indented below.
func (a *app) printReport(report source.Report) {
	for _, finding := range report {
		a.printf("%-8s %s\n", finding.Level, finding.Sentence)
		for _, line := range finding.Fix {
			a.printf("%s%s\n", strings.Repeat(" ", len(fmt.Sprintf("%-8s ", finding.Level))), line)
		}
	}
}
