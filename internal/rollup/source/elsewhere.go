package source

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

// Elsewhere is a table behind analytics.events whose rows an extension keeps in other tables. It takes no triggers and cannot be captured.
type Elsewhere struct {
	Table     string // quoted, with its schema
	Extension string // [postgres.Citus] or [postgres.TimescaleDB]
	// Because says why it cannot be watched.
	Because string

	oid uint32
}

// AskSQL requests the dates of late events that nothing can notice.
const AskSQL = "SELECT analytics.enqueue_rollup('2026-03-01');"

// ListElsewhere returns the tables behind analytics.events whose rows an extension keeps in other tables.
func ListElsewhere(ctx context.Context, on postgres.DBTX) (all []Elsewhere, err error) {
	extensions, err := postgres.Elsewhere(ctx, on)
	if err != nil || len(extensions) == 0 {
		return nil, err
	}
	reads, err := db.New(on).SourceReads(ctx)
	if err != nil {
		return nil, fmt.Errorf("look behind analytics.events: %w", err)
	}
	for _, read := range reads {
		oid := uint32(read.RelationID) //nolint:gosec // An OID.
		if extension := extensions[oid]; extension != "" {
			all = append(all, Elsewhere{Table: read.Quoted, Extension: extension, Because: because(extension), oid: oid})
		}
	}
	return all, nil
}

// because says why the triggers of a watch are impossible.
func because(extension string) string {
	if extension == postgres.Citus {
		return "Citus distributes it, and distributed tables take no triggers that see a statement's rows"
	}
	return "it is a hypertable of TimescaleDB, whose chunks take no triggers that see a statement's rows"
}

// checkDistributed reports on the index of a table that Citus distributes. Its nodes plan their parts themselves, so the plan here does not show
// them. The table here has the indexes that its parts have.
func checkDistributed(ctx context.Context, tx pgx.Tx, tables []Elsewhere) (report Report, err error) {
	source, err := show(ctx, tx)
	if err != nil {
		return nil, err
	}
	if !source.HandWritten && source.TimeZone == "" {
		table, err := lookup(ctx, tx, source.Schema, source.Table)
		if err != nil {
			return nil, err
		}
		x := indexed{relation: table}
		for _, column := range table.columns {
			if column.Name == source.Time {
				x.expression = column.Quoted
			}
		}
		if x.indexes, err = db.New(tx).SourceIndexes(ctx, table.ID); err != nil {
			return nil, fmt.Errorf("look up the indexes of %s: %w", table.Quoted, err)
		}
		return report, report.instant(ctx, tx, []indexed{x})
	}
	for _, table := range tables {
		report.addf(Warning, "Citus distributes %s, and its nodes plan their parts themselves, so this check cannot see whether an index finds a slice's events",
			table.Table).fix("EXPLAIN SELECT count(*) FROM analytics.events WHERE created_at >= '2026-03-01' AND created_at < '2026-03-02'; -- each task should use an index")
	}
	return report, nil
}

// distributed returns the tables behind analytics.events that Citus distributes.
func distributed(ctx context.Context, tx pgx.Tx) (tables []Elsewhere, err error) {
	all, err := ListElsewhere(ctx, tx)
	for _, one := range all {
		if one.Extension == postgres.Citus {
			tables = append(tables, one)
		}
	}
	return tables, err
}
