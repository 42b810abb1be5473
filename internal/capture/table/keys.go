package table

import (
	"context"
	"fmt"

	"github.com/daymill/daymill/internal/capture/filter"
	"github.com/daymill/daymill/internal/postgres"
)

// plainSQL reports whether the values of a table's key have types whose text is in their JSON, so that a row can be found by it, and whether
// the table has other columns.
const plainSQL = `
SELECT coalesce(bool_and(t.typcategory IN ('B', 'D', 'E', 'I', 'N', 'S', 'T') OR t.typcategory = 'U' AND t.oid < 16384), false) AND count(*) < (
    SELECT count(*) FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
)
FROM pg_catalog.pg_attribute AS a INNER JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
WHERE a.attrelid = $1 AND a.attname = ANY ($2::text[])`

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
	for i, t := range tables {
		if !meant.Match(t.Schema, t.Name) || len(t.Key) == 0 {
			continue
		}
		if err := on.QueryRow(ctx, plainSQL, t.OID, t.Key).Scan(&tables[i].KeysOnly); err != nil {
			return fmt.Errorf("look at the key of %s: %w", t, err)
		}
	}
	return nil
}
