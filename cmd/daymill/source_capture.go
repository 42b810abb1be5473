package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/consumer"
	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/capture/table"
	"github.com/daymill/daymill/internal/config"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/source"
	"github.com/daymill/daymill/internal/schema"
	"github.com/daymill/daymill/internal/worker"
)

// rollupConsumer returns the name of the consumer that notices the late events of a table.
func rollupConsumer(name string) string {
	safe := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_' {
			return r
		}
		return '-'
	}, strings.ToLower(name))
	return "rollup-" + safe[:min(len(safe), 50)]
}

// quotedPattern returns the pattern that matches exactly one table, whatever characters its name has.
func quotedPattern(schema, name string) string { return pgx.Identifier{schema, name}.Sanitize() }

// fromCapture creates the consumer that notices late events in the stream of changes.
func (c *sourceWatchCmd) fromCapture(ctx context.Context, a *app, db *postgres.DB, installation schema.Installation) error {
	late, err := source.LateOf(ctx, db, installation, source.WatchOptions{Table: c.Table, Time: c.Time, TimeZone: c.TimeZone})
	if err != nil {
		return refused(err)
	}
	pattern := quotedPattern(late.Schema, late.Table)
	if err := capturable(ctx, db, late, pattern); err != nil {
		return err
	}
	settings, err := json.Marshal(worker.LateSettings{
		Tables: []string{pattern}, Table: late.Schema + "." + late.Table, Time: late.Time, Zone: late.Zone, Counted: late.Counted,
	})
	if err != nil {
		return fmt.Errorf("write the consumer's settings: %w", err)
	}
	wanted := consumer.Consumer{
		Name: rollupConsumer(late.Schema + "." + late.Table), Stream: config.App, Kind: worker.KindRollup, Settings: settings, Shards: 1,
	}
	added := false
	err = db.Tx(ctx, func(tx pgx.Tx) error {
		there, err := stream.Get(ctx, tx, config.App)
		if err != nil {
			return err
		}
		captured, err := table.Find(ctx, tx, there.Tables)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(captured, func(t table.Table) bool { return t.Schema == late.Schema && t.Name == late.Table }) {
			added = true
			there.Tables, there.URL = append(there.Tables, pattern), "$DATABASE_URL"
			if err := stream.Configure(ctx, tx, there, whoOnCLI()); err != nil {
				return err
			}
		}
		one, err := consumer.Get(ctx, tx, wanted.Name)
		switch {
		case err == nil && one.Kind == worker.KindRollup:
			return consumer.Update(ctx, tx, wanted, whoOnCLI())
		case err == nil:
			return usagef("the sink %s has the name that the consumer of late events needs: remove the sink and add it under another name", wanted.Name)
		case !errors.Is(err, consumer.ErrNone):
			return err
		}
		head, err := captureLog{}.Head(ctx, tx, config.App)
		if err != nil {
			return err
		}
		return consumer.Create(ctx, tx, wanted, head, whoOnCLI())
	})
	if err != nil {
		return err
	}
	a.printf("late events of %s are noticed in the stream of changes, by %s: `daymill sink show %s`\n", pattern, late.Time, wanted.Name)
	if added {
		a.printf("a worker begins to capture the table within seconds: see `daymill capture status`. Request the dates of late events that arrive before that\n")
	}
	if watched, err := source.Watches(ctx, db); err != nil {
		return err
	} else if len(watched) > 0 {
		a.printf("the table still has triggers, which slow down the application's writes: `daymill source unwatch --triggers` removes them\n")
	}
	return nil
}

// capturable refuses a table whose changes do not say which dates they touch.
func capturable(ctx context.Context, db *postgres.DB, late source.Late, pattern string) error {
	found, err := table.Find(ctx, db, []string{pattern})
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return usagef("%s cannot be captured: it is not a table, or it is a partition; capture its partitioned table instead", pattern)
	}
	if found[0].Reason != "" {
		return usagef("%s cannot be captured: %s", pattern, found[0].Reason)
	}
	mode, _, err := stream.Choose(ctx, db, []string{pattern})
	if err != nil {
		return err
	}
	if mode == stream.ModeWAL && !found[0].Full() && !slices.Contains(found[0].Key, late.Time) {
		return usagef("the WAL does not contain the dates from which an update or a delete removes events: run ALTER TABLE %s REPLICA IDENTITY FULL", pattern)
	}
	return nil
}

// fromCapture removes the consumers that notice late events, and returns how many it removed.
func (c *sourceUnwatchCmd) fromCapture(ctx context.Context, a *app, db *postgres.DB) (int, error) {
	if c.Triggers {
		return 0, nil
	}
	all, err := consumer.List(ctx, db)
	if err != nil {
		return 0, err
	}
	count := 0
	for _, one := range all {
		if one.Kind != worker.KindRollup || c.Table != "" && one.Name != rollupConsumer(c.Table) {
			continue
		}
		if err := db.Tx(ctx, func(tx pgx.Tx) error { return consumer.Remove(ctx, tx, one.Name, whoOnCLI()) }); err != nil {
			return count, err
		}
		a.printf("no longer noticed in the stream of changes: %s\n", one.Name)
		count++
	}
	return count, nil
}
