package source

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/schema"
)

// Late says which column of which table has the instant, so that the dates of a changed row can be found.
type Late struct {
	Schema, Table string // exact, without quotes
	Time          string // the column with the instant
	Zone          string // of a timestamp without time zone; otherwise empty
	// Counted lists the columns of an event other than the instant. An update of other columns touches no date. Empty if the columns
	// are unknown.
	Counted []string
}

// LateOf returns what Watch would watch, for callers that notice late events in another way.
func LateOf(ctx context.Context, conn *postgres.DB, installation schema.Installation, options WatchOptions) (late Late, err error) {
	err = conn.Tx(ctx, func(tx pgx.Tx) error {
		source, err := show(ctx, tx)
		if err != nil {
			return err
		}
		wanted, err := options.choose(ctx, tx, source, installation.EntityType)
		if err != nil {
			return err
		}
		late = Late{Schema: wanted.table.schema, Table: wanted.table.name, Time: wanted.time.Name, Zone: wanted.zone}
		if len(wanted.counted) > 0 {
			late.Counted = []string{source.Entity, source.Type}
		}
		return nil
	})
	return late, err
}

// RequestLate requests the dates before today of some instants, as the triggers of Watch do, in the caller's transaction. Instants
// are texts as Postgres writes them in JSON. If zone is not empty, they are timestamps without time zone in that zone.
func RequestLate(ctx context.Context, tx pgx.Tx, instants []string, zone string) error {
	if len(instants) == 0 {
		return nil
	}
	if err := db.New(tx).LateRequest(ctx, db.LateRequestParams{Instants: instants, Zone: zone}); err != nil {
		return fmt.Errorf("request the dates of late events: %w", err)
	}
	return nil
}

// RequestEvery requests every date before today that was ever rolled up, in the caller's transaction. It is for changes whose dates
// are unknown.
func RequestEvery(ctx context.Context, tx pgx.Tx) error {
	if err := db.New(tx).LateRequestAll(ctx); err != nil {
		return fmt.Errorf("request all dates: %w", err)
	}
	return nil
}

// LateKind is the kind of the consumers of captured changes that request the dates of late events.
const LateKind = "rollup"

// LateConsumers returns the names of the consumers of kind LateKind.
func LateConsumers(ctx context.Context, conn *postgres.DB) (names []string, err error) {
	err = conn.Read(ctx, func(on postgres.DBTX) (err error) {
		names, err = db.New(on).ConsumerOfKind(ctx, LateKind)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look for consumers that notice late events: %w", err)
	}
	return names, nil
}
