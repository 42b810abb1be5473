package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
)

type enqueueCmd struct {
	Dates date.Range `arg:"" name:"date" help:"The date, as 2026-03-01, or a range, as 2026-03-01..2026-03-31."`
	Erase bool       `help:"Erase metrics whose events no longer exist: those older than the retention, and in a range those of dates without any event."`
}

// Run requests a rollup of dates from the workers.
func (c *enqueueCmd) Run(ctx context.Context, a *app) error {
	conn, _, err := a.openInstalled(ctx, "enqueue")
	if err != nil {
		return err
	}
	defer conn.Close()
	dates, err := c.request(ctx, db.New(conn))
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == "22023" {
		return usageError{errors.New(refused.Message)}
	}
	if err != nil {
		return fmt.Errorf("enqueue: %w", err)
	}
	a.printf("%s requested: the workers roll %s up\n", plural(int64(dates), "date"), pronoun(int64(dates)))
	return nil
}

func (c *enqueueCmd) request(ctx context.Context, queries *db.Queries) (int32, error) {
	if c.Erase {
		return queries.RequestErase(ctx, db.RequestEraseParams{FirstDate: c.Dates.First, LastDate: c.Dates.Last, Via: audit.ViaCLI})
	}
	return queries.RequestEnqueue(ctx, db.RequestEnqueueParams{FirstDate: c.Dates.First, LastDate: c.Dates.Last, Via: audit.ViaCLI})
}

func pronoun(n int64) string {
	if n == 1 {
		return "it"
	}
	return "them"
}
