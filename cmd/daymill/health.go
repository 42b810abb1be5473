package main

import (
	"context"

	kept "github.com/daymill/daymill/internal/archive/standing"
	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/health"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/source"
	"github.com/daymill/daymill/internal/rollup/standing"
	"github.com/daymill/daymill/internal/schema"
	"github.com/daymill/daymill/internal/worker/verdict"
)

// examineHealth collects the health checks of every capability. The caller looks for missing dates, which takes many
// statements, and passes nil if it does not look.
func examineHealth(
	ctx context.Context, db *postgres.DB, installation schema.Installation, clock pace.Clock, archive *kept.Source, missing []date.Date,
) ([]health.Finding, error) {
	read, err := verdict.Read(ctx, db, installation, clock.Now(), archive, func(facts *standing.Facts) (err error) {
		facts.Missing = missing
		if facts.Faults, err = source.Faults(ctx, db, installation); err != nil {
			return err
		}
		exists, err := source.Exists(ctx, db)
		facts.NoSource = !exists
		return err
	})
	return read.Findings, err
}

// findings returns a function that checks the health of a database, which may not be installed yet.
func (a *app) findings(db *postgres.DB) func(ctx context.Context) ([]health.Finding, error) {
	return func(ctx context.Context) ([]health.Finding, error) {
		installation, err := schema.Get(ctx, db)
		if err != nil {
			return nil, err
		}
		archive, err := a.archive(ctx)
		if err != nil {
			return nil, err
		}
		return examineHealth(ctx, db, installation, a.clock(), archive, nil)
	}
}
