package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/filter"
	"github.com/daymill/daymill/internal/capture/sink/kind"
	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/capture/table"
	"github.com/daymill/daymill/internal/capture/trigger"
	"github.com/daymill/daymill/internal/config"
	"github.com/daymill/daymill/internal/postgres"
)

type captureTables struct {
	Tables   []string `arg:"" name:"table" help:"Tables, as public.orders, public.order_* or a schema; !public.secret leaves one out."`
	Database string   `default:"app" help:"The database that the tables are in."`
}

type (
	captureAddCmd struct {
		captureTables

		URL  string `name:"url" placeholder:"$$NAME" help:"The environment variable with the database's URL, as $$CRM_URL; needed once for each database but app."`
		Rows string `enum:",full,keys" default:"" placeholder:"full|keys" help:"What triggers write of these tables: whole rows, or only keys, which costs writers less; the row is then looked up when the change is read. Without it, this stays as it is."`
	}
	captureRemoveCmd struct{ captureTables }
)

// Run adds tables.
func (c *captureAddCmd) Run(ctx context.Context, a *app) error {
	if _, err := filter.ParseTables(c.Tables); err != nil {
		return usageError{err}
	}
	if _, is := kind.Variable(c.URL); c.URL != "" && !is {
		return usagef("--url is not the name of an environment variable: write it as $CRM_URL, because settings are stored and must not contain secrets")
	}
	return c.change(ctx, a, func(there *stream.Config) error {
		switch {
		case c.URL != "":
			there.URL = c.URL
		case there.URL == "" && c.Database == config.App:
			there.URL = "$DATABASE_URL"
		case there.URL == "":
			return usagef("database %s is unknown: give the environment variable with its URL, as --url '$NAME'", c.Database)
		}
		for _, pattern := range c.Tables {
			if !slices.Contains(there.Tables, pattern) {
				there.Tables = append(there.Tables, pattern)
			}
			if c.Rows != "" {
				there.KeysOnly = slices.DeleteFunc(there.KeysOnly, func(p string) bool { return p == pattern })
			}
			if c.Rows == "keys" {
				there.KeysOnly = append(there.KeysOnly, pattern)
			}
		}
		return nil
	})
}

// Run removes tables.
func (c *captureRemoveCmd) Run(ctx context.Context, a *app) error {
	return c.change(ctx, a, func(there *stream.Config) error {
		for _, pattern := range c.Tables {
			at := slices.Index(there.Tables, pattern)
			if at < 0 {
				return usagef("%s is not in the list of captured tables: give one of %q", pattern, there.Tables)
			}
			there.Tables = slices.Delete(there.Tables, at, at+1)
		}
		return nil
	})
}

func (c *captureTables) change(ctx context.Context, a *app, change func(there *stream.Config) error) error {
	db, _, err := a.openInstalled(ctx, "capture")
	if err != nil {
		return err
	}
	defer db.Close()
	var there stream.Config
	var before int
	err = db.Tx(ctx, func(tx pgx.Tx) error {
		if there, err = stream.Get(ctx, tx, c.Database); err != nil {
			return err
		}
		before = len(there.Tables)
		if err := change(&there); err != nil {
			return err
		}
		return stream.Configure(ctx, tx, there, whoOnCLI())
	})
	if err != nil {
		return err
	}
	if len(there.Tables) == 0 {
		a.printf("no table of %s is captured any more: a worker removes the slot and the publication, or the triggers\n", c.Database)
		return nil
	}
	// The notes come first, because they decide what is true of the list.
	left := a.noteCapture(ctx, db, there, len(there.Tables) > before)
	if left > 0 {
		a.printf("tables of %s to capture: %s; the notes say why %s not captured\n", c.Database, strings.Join(there.Tables, ", "),
			areNot(left))
		return nil
	}
	a.printf("captured tables of %s: %s\n", c.Database, strings.Join(there.Tables, ", "))
	return nil
}

// noteCapture prints how a worker will read a database, and which tables it cannot capture. If measure is true, it also prints what
// triggers cost. If noteCapture cannot find out, it
// prints only that: the worker, whose environment may differ, reports it. It returns how many tables cannot be captured.
func (a *app) noteCapture(ctx context.Context, db *postgres.DB, c stream.Config, measure bool) (left int64) {
	if len(c.Tables) == 0 {
		return 0
	}
	source, _, err := a.openSource(ctx, db, c.Name, c.URL)
	if err != nil {
		a.errorf("note: %s: %s\n", c.Name, err)
		return 0
	}
	if source != db {
		defer source.Close()
	}
	mode, reason, err := stream.Choose(ctx, source, c.Tables)
	switch {
	case err != nil:
		a.errorf("note: %s: %s\n", c.Name, err)
	case mode == stream.ModeTrigger:
		a.errorf("note: triggers capture the changes of %s, and make each write to a captured table slower: %s\n", c.Name, reason)
	}
	all, err := table.Find(ctx, source, []string{"*"})
	if err != nil {
		a.errorf("note: %s: %s\n", c.Name, err)
		return 0
	}
	meant, err := filter.ParseTables(c.Tables)
	if err != nil {
		a.errorf("note: %s: %s\n", c.Name, err)
		return 0
	}
	noted := a.notePatterns(ctx, source, "", c.Name, meant, all)
	found := slices.DeleteFunc(all, func(t table.Table) bool { return !meant.Match(t.Schema, t.Name) })
	if len(found) == 0 && !noted {
		a.errorf("note: no table of %s matches %q yet\n", c.Name, c.Tables)
	}
	if err := table.OnlyKeys(ctx, source, found, c.KeysOnly); err != nil {
		a.errorf("note: %s: %s\n", c.Name, err)
		return 0
	}
	for _, t := range found {
		if t.Reason != "" {
			left++
			a.errorf("note: %s of %s is not captured: %s\n", t, c.Name, t.Reason)
		}
	}
	if measure && mode == stream.ModeTrigger {
		a.noteCost(ctx, source, found)
	}
	return left
}

// areNot says of how many tables something is not true.
func areNot(tables int64) string {
	if tables == 1 {
		return "1 table is"
	}
	return plural(tables, "table") + " are"
}

// mostMeasured is for how many tables noteCost measures what triggers cost.
const mostMeasured = 5

// noteCost prints what triggers cost writes to tables, as measured on copies of them.
func (a *app) noteCost(ctx context.Context, source *postgres.DB, tables []table.Table) {
	tables = slices.DeleteFunc(slices.Clone(tables), func(t table.Table) bool { return t.Reason != "" })
	for _, t := range tables[:min(mostMeasured, len(tables))] {
		cost, err := trigger.Measure(ctx, source, t)
		switch {
		case errors.Is(err, trigger.ErrNoRows): // A table that cannot be copied has no figures.
		case err != nil:
			a.errorf("note: %s\n", err)
		default:
			a.errorf("note: measured on a copy, the triggers make an INSERT of one row into %s take %s µs instead of %s, and an INSERT of many rows %s µs per row instead of %s\n",
				t, micros(cost.SingleWith), micros(cost.Single), micros(cost.BulkWith), micros(cost.Bulk))
		}
	}
	if more := len(tables) - mostMeasured; more > 0 {
		a.errorf("note: %s more were not measured\n", plural(int64(more), "table"))
	}
}

// micros writes a duration in microseconds.
func micros(d time.Duration) string { return number(max(1, d.Microseconds())) }

// errNoVariable says that the URL of a database is not in the environment.
var errNoVariable = errors.New("the URL of the database is not in the environment")

// openSource opens the database of a stream. It returns db itself, or a connection to another database, which the caller closes.
func (a *app) openSource(ctx context.Context, db *postgres.DB, name, variable string) (source *postgres.DB, url string, err error) {
	if name == config.App {
		return db, a.DatabaseURL, nil
	}
	called, _ := kind.Variable(variable)
	url, has := os.LookupEnv(called)
	if !has {
		return nil, "", fmt.Errorf("%w: set %s", errNoVariable, called)
	}
	source, err = postgres.Open(ctx, postgres.Config{
		URL: url, ApplicationName: "daymill capture", PoolSize: sourceConnections, Pooler: a.Pooler, Tracer: a.queryTracer(),
	})
	if err != nil {
		return nil, "", fmt.Errorf("open database %s: %w", name, err)
	}
	return source, url, nil
}

// sourceConnections is how many connections a process opens to a captured database, in addition to the one that replicates.
const sourceConnections = 2
