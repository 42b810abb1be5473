package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Extensions that keep the rows of a table in other tables: Citus in shards, which may be on other servers, and TimescaleDB in chunks.
const (
	Citus       = "Citus"
	TimescaleDB = "TimescaleDB"
)

// Elsewhere returns the tables whose rows an extension keeps in other tables, by OID, with the name of the extension; none without such an
// extension. These tables take no triggers that see a statement's rows, and the stream of changes has nothing of them.
func Elsewhere(ctx context.Context, on DBTX) (map[uint32]string, error) {
	var citus, timescale bool
	err := on.QueryRow(ctx, `SELECT pg_catalog.to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL,
		pg_catalog.to_regclass('_timescaledb_catalog.hypertable') IS NOT NULL`).Scan(&citus, &timescale)
	if err != nil {
		return nil, fmt.Errorf("look for extensions that keep rows elsewhere: %w", err)
	}
	all := map[uint32]string{}
	for _, one := range []struct {
		has       bool
		name, sql string
	}{
		{citus, Citus, "SELECT d.logicalrelid::oid FROM pg_catalog.pg_dist_partition AS d"},
		{timescale, TimescaleDB, `
			SELECT c.oid FROM _timescaledb_catalog.hypertable AS h INNER JOIN pg_catalog.pg_namespace AS n ON n.nspname = h.schema_name
			INNER JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = h.table_name`},
	} {
		if !one.has {
			continue
		}
		rows, err := on.Query(ctx, one.sql)
		if err != nil {
			return nil, fmt.Errorf("list the tables of %s: %w", one.name, err)
		}
		oids, err := pgx.CollectRows(rows, pgx.RowTo[uint32])
		if err != nil {
			return nil, fmt.Errorf("list the tables of %s: %w", one.name, err)
		}
		for _, oid := range oids {
			all[oid] = one.name
		}
	}
	return all, nil
}
