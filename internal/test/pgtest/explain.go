package pgtest

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/postgres"
)

// Explainer records the plan of every query before it runs it, for tests that require an index, on tables that are large enough for the planner
// to choose one.
type Explainer struct {
	postgres.DBTX

	// Analyze also runs the query to find how many rows each node of the plan reads.
	Analyze bool
	// Plans are the plans of the queries so far, as EXPLAIN prints them.
	Plans []string
}

// Query records the plan, and runs the query.
func (e *Explainer) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if err := e.note(ctx, sql, args); err != nil {
		return nil, err
	}
	return e.DBTX.Query(ctx, sql, args...)
}

// QueryRow records the plan, and runs the query.
func (e *Explainer) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	if err := e.note(ctx, sql, args); err != nil {
		return failedRow{err}
	}
	return e.DBTX.QueryRow(ctx, sql, args...)
}

func (e *Explainer) note(ctx context.Context, sql string, args []any) error {
	explain := "EXPLAIN "
	if e.Analyze {
		explain = "EXPLAIN (ANALYZE, TIMING off) "
	}
	rows, err := e.DBTX.Query(ctx, explain+sql, args...)
	if err != nil {
		return err
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	e.Plans = append(e.Plans, strings.Join(lines, "\n"))
	return err
}

type failedRow struct{ err error }

func (r failedRow) Scan(...any) error { return r.err }
