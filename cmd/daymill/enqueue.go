package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/schema"
)

type enqueueCmd struct {
	Dates  date.Range `arg:"" name:"date" help:"The date, as 2026-03-01, or a range, as 2026-03-01..2026-03-31."`
	Entity []string   `placeholder:"ID" sep:"none" help:"Count only this entity of the date again; may be repeated."`
	Erase  bool       `help:"Erase metrics whose events no longer exist: those older than the retention, and in a range those of dates without any event."`
}

// Run requests a rollup of dates from the workers.
func (c *enqueueCmd) Run(ctx context.Context, a *app) error {
	if len(c.Entity) > 0 && (c.Dates.Len() > 1 || c.Erase) {
		return usagef("--entity works only for one date and without --erase")
	}
	conn, installation, err := a.openInstalled(ctx, "enqueue")
	if err != nil {
		return err
	}
	defer conn.Close()
	dates, err := c.request(ctx, db.New(conn))
	var refused *pgconn.PgError
	if errors.As(err, &refused) && strings.HasPrefix(refused.Code, "22") {
		return usageError{errors.New(refused.Message + entityFix(refused.Code, installation.EntityType))}
	}
	if err != nil {
		return fmt.Errorf("enqueue: %w", err)
	}
	if len(c.Entity) > 0 {
		a.printf("%s of %s requested: the workers count %s again\n", plural(int64(dates), "entity"), c.Dates.First, pronoun(int64(dates)))
		return nil
	}
	keptFrom, err := schema.KeptFrom(ctx, conn)
	if err != nil {
		return err
	}
	if dropped := before(c.Dates, keptFrom); dropped > 0 {
		a.printf("%s requested; %s\n", plural(int64(dates), "date"), noLongerKept(dropped, keptFrom))
		return nil
	}
	a.printf("%s requested: the workers roll %s up\n", plural(int64(dates), "date"), pronoun(int64(dates)))
	return nil
}

// entityFix says how to write an entity that the server cannot read.
func entityFix(code string, of entity.Type) string {
	if code != pgerrcode.InvalidTextRepresentation {
		return ""
	}
	return ": write --entity as a " + string(of) + ", because entities are of that type in this database"
}

func (c *enqueueCmd) request(ctx context.Context, queries *db.Queries) (int32, error) {
	if len(c.Entity) > 0 {
		return queries.RequestEntities(ctx, db.RequestEntitiesParams{MetricDate: c.Dates.First, Entities: c.Entity, Via: audit.ViaCLI})
	}
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

// before counts the dates of a range that are before a date.
func before(dates date.Range, first date.Date) (n int64) {
	for day := dates.First; !day.After(dates.Last) && day.Before(first); day = day.AddDays(1) {
		n++
	}
	return n
}

// noLongerKept says what happens to dates whose metrics are no longer kept.
func noLongerKept(dates int64, keptFrom date.Date) string {
	return fmt.Sprintf("%s ended before %s, from which on `daymill migrate retention` keeps metrics, so no run changes %s", plural(dates, "date"), keptFrom, pronoun(dates))
}
