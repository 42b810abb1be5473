package view

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/table"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/schema"
	"github.com/daymill/daymill/internal/view/definition"
	"github.com/daymill/daymill/internal/view/plan"
)

const (
	// maxTables is how many tables of a database are listed.
	maxTables = 1000
	// sampleTimeout is how long the first rows of a view may take.
	sampleTimeout = 2 * time.Second
)

// TableName names a table of a database.
type TableName struct{ Database, Schema, Name string }

// tablesSQL lists tables with a primary key, without those of Postgres and Daymill.
const tablesSQL = `
SELECT n.nspname, c.relname
FROM pg_catalog.pg_class AS c INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname !~ '^(pg_|daymill)' AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
    AND n.nspname <> ALL ($2 || ARRAY['information_schema']) AND c.relname <> ALL ($3)
    AND EXISTS (SELECT FROM pg_catalog.pg_index AS i WHERE i.indrelid = c.oid AND i.indisprimary)
ORDER BY n.nspname, c.relname LIMIT $1`

// Tables returns the tables that a view can read: of DATABASE_URL, and of the other databases that can be
// reached. Problems are sentences about the databases that cannot be reached.
func (e *Engine) Tables(ctx context.Context) (tables []TableName, problems []string, err error) {
	names, err := e.Databases.Names(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		on, target, err := e.Databases.Open(ctx, name)
		if err != nil {
			problems = append(problems, err.Error())
			continue
		}
		if target && name != definition.App {
			continue // This is DATABASE_URL under another name.
		}
		rows, err := on.Query(ctx, tablesSQL, maxTables, schema.Reserved(), table.River)
		if err != nil {
			return nil, nil, fmt.Errorf("list the tables of %s: %w", name, err)
		}
		found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (TableName, error) {
			t := TableName{Database: name}
			err := row.Scan(&t.Schema, &t.Name)
			return t, err
		})
		if err != nil {
			return nil, nil, fmt.Errorf("list the tables of %s: %w", name, err)
		}
		tables = append(tables, found...)
	}
	return tables, problems, nil
}

// Source returns a table of a database. The error is plan.ErrNoTable if there is none.
func (e *Engine) Source(ctx context.Context, t TableName) (plan.Source, error) {
	on, _, err := e.Databases.Open(ctx, t.Database)
	if err != nil {
		return plan.Source{}, &RefusedError{text: err.Error()}
	}
	return plan.Find(ctx, on, t.Schema, t.Name)
}

// Suggest returns the columns by which a foreign key joins two tables of one database; none if there is no foreign key.
func (e *Engine) Suggest(ctx context.Context, database string, earlier, joined plan.Source) ([]definition.Pair, error) {
	on, _, err := e.Databases.Open(ctx, database)
	if err != nil {
		return nil, &RefusedError{text: err.Error()}
	}
	rows, err := on.Query(ctx, `
		SELECT a.attname, b.attname
		FROM (
			SELECT c.conrelid = $1 AS forward, c.conkey, c.confkey FROM pg_catalog.pg_constraint AS c
			WHERE c.contype = 'f' AND (c.conrelid = $1 AND c.confrelid = $2 OR c.conrelid = $2 AND c.confrelid = $1)
			ORDER BY c.conrelid = $1 DESC, c.oid LIMIT 1
		) AS f
		CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(f.conkey), pg_catalog.unnest(f.confkey)) WITH ORDINALITY AS k (own, other, place)
		INNER JOIN pg_catalog.pg_attribute AS a ON a.attrelid = $1 AND a.attnum = CASE WHEN f.forward THEN k.own ELSE k.other END
		INNER JOIN pg_catalog.pg_attribute AS b ON b.attrelid = $2 AND b.attnum = CASE WHEN f.forward THEN k.other ELSE k.own END
		ORDER BY k.place`, earlier.OID, joined.OID)
	if err != nil {
		return nil, fmt.Errorf("read the foreign keys: %w", err)
	}
	pairs, err := pgx.CollectRows(rows, pgx.RowToStructByPos[definition.Pair])
	if err != nil {
		return nil, fmt.Errorf("read the foreign keys: %w", err)
	}
	return pairs, nil
}

// Sample is the SQL of a view that is not applied yet, with its first rows.
type Sample struct {
	SQL     string
	Columns []string
	Rows    [][]string // in Postgres's text form; NULL is empty
	// Missing says why the rows could not be read; empty if they were.
	Missing string
}

// Sample returns the SQL and the first rows of what a step would build.
func (e *Engine) Sample(ctx context.Context, s Step, most int) (Sample, error) {
	sample := Sample{SQL: s.plan.Select()}
	if slices.ContainsFunc(s.plan.Sources, func(s plan.Source) bool { return s.Mirror != "" }) {
		sample.Missing = "tables of other databases, and those that are read on a schedule, are mirrored first, so their rows cannot be shown yet"
		return sample, nil
	}
	found, err := e.texts(ctx, sampleTimeout, fmt.Sprintf("SELECT * FROM (%s) AS s LIMIT %d", sample.SQL, most))
	sample.Rows, sample.Columns = found.Rows, found.Columns
	switch {
	case ctx.Err() != nil:
		return sample, ctx.Err()
	case postgres.Code(err) != "":
		sample.Rows, sample.Missing = nil, "the first rows cannot be read: "+postgres.Sentence(err)
		return sample, nil
	}
	return sample, err
}
