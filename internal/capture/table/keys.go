package table

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/filter"
	"github.com/daymill/daymill/internal/postgres"
)

// plainSQL returns the tables, of the columns of their keys, in which the values of the key have types whose text is in their JSON, so that a
// row can be found by it, and which have other columns.
const plainSQL = `
SELECT k.oid
FROM unnest($1::oid[], $2::text[]) AS k (oid, name)
INNER JOIN pg_catalog.pg_attribute AS a ON a.attrelid = k.oid AND a.attname = k.name
INNER JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
GROUP BY k.oid
HAVING bool_and(t.typcategory IN ('B', 'D', 'E', 'I', 'N', 'S', 'T') OR t.typcategory = 'U' AND t.oid < 16384) AND count(*) < (
    SELECT count(*) FROM pg_catalog.pg_attribute AS o WHERE o.attrelid = k.oid AND o.attnum > 0 AND NOT o.attisdropped AND o.attgenerated = ''
)`

// OnlyKeys sets KeysOnly of the tables that patterns match. A table whose rows cannot be found by their keys, or that has nothing else than
// its key, keeps whole rows.
func OnlyKeys(ctx context.Context, on postgres.DBTX, tables []Table, patterns []string) error {
	if len(patterns) == 0 {
		return nil
	}
	meant, err := filter.ParseTables(patterns)
	if err != nil {
		return err
	}
	var oids []uint32
	var names []string
	for _, t := range tables {
		if meant.Match(t.Schema, t.Name) {
			for _, name := range t.Key {
				oids, names = append(oids, t.OID), append(names, name)
			}
		}
	}
	if len(oids) == 0 {
		return nil
	}
	rows, err := on.Query(ctx, plainSQL, oids, names)
	if err != nil {
		return fmt.Errorf("look at the keys of tables: %w", err)
	}
	plain, err := pgx.CollectRows(rows, pgx.RowTo[uint32])
	if err != nil {
		return fmt.Errorf("look at the keys of tables: %w", err)
	}
	for i, t := range tables {
		tables[i].KeysOnly = slices.Contains(plain, t.OID)
	}
	return nil
}
