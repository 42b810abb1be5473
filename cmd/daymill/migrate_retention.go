package main

import (
	"context"
	"errors"

	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/schema"
)

type migrateRetentionCmd struct {
	Months *int `arg:"" optional:"" name:"months" help:"How many whole months of metrics to keep besides the current one; 0 keeps all. Without it, the command prints the current setting."`
	Drop   bool `help:"Set it even if months that are there will be dropped."`
}

// Run sets how many months of metrics are kept, or prints it.
func (c *migrateRetentionCmd) Run(ctx context.Context, a *app) error {
	db, _, err := a.openInstalled(ctx, "migrate retention")
	if err != nil {
		return err
	}
	defer db.Close()
	if c.Months != nil {
		_, err := schema.SetRetention(ctx, db, *c.Months, c.Drop, whoOnCLI())
		switch {
		case errors.Is(err, schema.ErrMonths), errors.Is(err, schema.ErrNotPartitioned), errors.Is(err, schema.ErrDrops):
			return usageError{err}
		case err != nil:
			return err
		}
	}
	var retention schema.Retention
	err = db.Read(ctx, func(on postgres.DBTX) error {
		retention, err = schema.GetRetention(ctx, on)
		return err
	})
	if err != nil {
		return err
	}
	if retention.Months == 0 {
		a.printf("all metrics are kept\n")
		return nil
	}
	a.printf("%s\n", retentionText(retention))
	if len(retention.Old) > 0 {
		a.printf("the daily job drops %s\n", retention.OldText())
	}
	return nil
}

// retentionText says from which date on metrics are kept.
func retentionText(r schema.Retention) string {
	return "metrics are kept for " + plural(int64(r.Months), "month") + " besides the current one: from " + r.From.String() + " on"
}
