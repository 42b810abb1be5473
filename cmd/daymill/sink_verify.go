package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"text/tabwriter"

	"github.com/daymill/daymill/internal/capture/comparison"
	"github.com/daymill/daymill/internal/capture/consumer"
	"github.com/daymill/daymill/internal/capture/filter"
	"github.com/daymill/daymill/internal/capture/sink/kind"
	sinkpostgres "github.com/daymill/daymill/internal/capture/sink/postgres"
	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/capture/table"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
)

type sinkVerifyCmd struct {
	sinkName

	Table  []string `placeholder:"TABLE" help:"Tables, as public.orders or public.order_*; all that the sink receives by default."`
	Repair bool     `help:"Write the rows that differ or are missing, and delete those that should not exist."`
	Pace   float64  `default:"1.0" help:"How long to pause after each chunk of rows, as a multiple of how long it took; 0 means no pauses."`
	JSON   bool     `name:"json" help:"Print JSON."`
}

// errRows says that rows of a sink differ from those of its source.
var errRows = errors.New("rows of the sink differ from those of the source")

// Run compares a sink's rows with those of its source.
func (c *sinkVerifyCmd) Run(ctx context.Context, a *app) error {
	if c.Pace < 0 || c.Pace > 1000 {
		return usagef("--pace is %g: give a number from 0 (no pauses) to 1000", c.Pace)
	}
	wanted, err := filter.ParseTables(c.Table)
	if err != nil {
		return usageError{err}
	}
	db, _, err := a.openInstalled(ctx, "sink verify")
	if err != nil {
		return err
	}
	defer db.Close()
	v, err := c.open(ctx, a, db)
	if err != nil {
		return err
	}
	defer v.close()
	results := []comparison.Result{}
	var wrong int64
	for _, t := range v.tables {
		if t.Reason != "" || !v.passes.Takes(t.Schema, t.Name) || !wanted.Match(t.Schema, t.Name) {
			continue
		}
		result, err := comparison.Run(ctx, v.config, t)
		if err != nil {
			return err
		}
		results = append(results, result)
		wrong += result.Wrong()
	}
	if err := c.print(a, results); err != nil {
		return err
	}
	if wrong > 0 {
		return fmt.Errorf("%w: --repair repairs them", errRows)
	}
	return nil
}

func (c *sinkVerifyCmd) print(a *app, results []comparison.Result) error {
	if c.JSON {
		return a.printJSON(results)
	}
	if len(results) == 0 {
		a.printf("the sink receives no captured table\n")
		return nil
	}
	out := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	a.tablef(out, "TABLE\tROWS\tMISSING\tEXTRA\tDIFFERENT\tMOVING\tREPAIRED\n")
	for _, r := range results {
		a.tablef(out, "%s\t%s\t%d\t%d\t%d\t%d\t%d\n", r.Table, number(r.Rows), r.Missing, r.Extra, r.Different, r.Moving, r.Repaired)
	}
	if err := out.Flush(); err != nil {
		return err
	}
	for _, r := range results {
		for _, key := range r.Examples {
			a.printf("%s %s\n", r.Table, key)
		}
	}
	return nil
}

// verifying holds what a comparison needs.
type verifying struct {
	config comparison.Config
	tables []table.Table // of the source
	passes *filter.Filter
	closes []func()
}

func (v *verifying) close() {
	for _, do := range slices.Backward(v.closes) {
		do()
	}
}

func (c *sinkVerifyCmd) open(ctx context.Context, a *app, db *postgres.DB) (v *verifying, err error) {
	one, err := consumer.Get(ctx, db, c.Name)
	if errors.Is(err, consumer.ErrNone) {
		return nil, usageError{fmt.Errorf("%s: %w", c.Name, err)}
	}
	if err != nil {
		return nil, err
	}
	var settings kind.Settings
	if err := json.Unmarshal(one.Settings, &settings); err != nil {
		return nil, fmt.Errorf("read the settings of %s: %w", c.Name, err)
	}
	switch {
	case one.Kind != kind.Postgres:
		return nil, usagef("sink %s is of kind %s: only the rows of Postgres sinks can be compared", c.Name, one.Kind)
	case settings.Condition != "" || len(settings.Ops) > 0:
		return nil, usagef("sink %s has a condition or ops, so it is not a copy of its source: its rows cannot be compared", c.Name)
	}
	v = &verifying{}
	defer func() {
		if err != nil {
			v.close()
		}
	}()
	if v.passes, err = filter.New(settings.Config); err != nil {
		return nil, err
	}
	there, err := stream.Get(ctx, db, one.Stream)
	if err != nil {
		return nil, err
	}
	source, _, err := a.openSource(ctx, db, one.Stream, there.URL)
	if err != nil {
		return nil, err
	}
	if source != db {
		v.closes = append(v.closes, source.Close)
	}
	if v.tables, err = table.Find(ctx, source, there.Tables); err != nil {
		return nil, err
	}
	target, err := openTarget(ctx, a, settings)
	if err != nil {
		return nil, err
	}
	v.closes = append(v.closes, target.Close)
	v.config = comparison.Config{
		Log: db, Source: source, Target: target, Consumer: one, Schema: settings.Schema, Column: settings.Column, Clock: a.machineClock(), Pace: pace.Fixed(c.Pace),
	}
	if c.Repair {
		v.config.Repair = comparison.Repairer(one.Stream, settings.Column, sinkpostgres.Config{DB: target, Schema: settings.Schema})
	}
	return v, nil
}

// openTarget opens the database of a Postgres sink.
func openTarget(ctx context.Context, a *app, settings kind.Settings) (*postgres.DB, error) {
	name, _ := kind.Variable(settings.URL)
	url, has := os.LookupEnv(name)
	if !has {
		return nil, usagef("the environment variable %s is not set: set it to the URL of the sink", name)
	}
	target, err := postgres.Open(ctx, postgres.Config{
		URL: url, ApplicationName: "daymill sink verify", PoolSize: 2, Pooler: a.Pooler, Tracer: a.queryTracer(),
	})
	if err != nil {
		return nil, fmt.Errorf("open the sink's database: %w", err)
	}
	return target, nil
}
