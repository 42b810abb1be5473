// Package table describes the application's tables for capture: which tables a pattern matches, what identifies their rows, and whether
// they can be captured without making the application's statements fail.
package table

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/filter"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/schema"
)

// Table is an ordinary table or the root of a partitioned one.
type Table struct {
	OID    uint32
	Schema string
	Name   string
	// Identity is the replica identity: d(efault), f(ull), i(ndex), n(othing).
	Identity string
	// Key has the columns of the replica identity's index or of the primary key, in their order; all columns if the identity
	// is full and there is no primary key.
	Key []string
	// Generated are columns that Postgres computes. No change has them, because logical replication does not send them.
	Generated []string
	Columns   []Column
	// Parts are the OIDs of the partitions on all levels; empty for an ordinary table.
	Parts []uint32
	// KeysOnly says that triggers write only the keys of changes.
	KeysOnly bool
	// Reason says why the table cannot be captured, and how to fix that; empty if it can.
	Reason string
}

// Column is one column.
type Column struct {
	Name   string `json:"name"`
	Type   string `json:"type"`
	Number int    `json:"number"` // attnum, which a rename keeps
}

// Full reports whether changes have the whole old row.
func (t Table) Full() bool { return t.Identity == "f" }

// String returns schema.name, as in patterns.
func (t Table) String() string { return t.Schema + "." + t.Name }

// Names returns the names of the columns.
func (t Table) Names() []string {
	names := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		names[i] = c.Name
	}
	return names
}

// SQL returns the quoted name.
func (t Table) SQL() string { return pgx.Identifier{t.Schema, t.Name}.Sanitize() }

// KeySQL selects the columns that identify a row of the table c (of pg_class), as key: those of the replica identity or of the primary
// key.
const KeySQL = `    coalesce((
        SELECT pg_catalog.array_agg(a.attname::text ORDER BY k.place)
        FROM pg_catalog.pg_index AS i
        CROSS JOIN LATERAL pg_catalog.unnest(i.indkey::smallint[]) WITH ORDINALITY AS k (attnum, place)
        INNER JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = k.attnum
        WHERE i.indrelid = c.oid AND i.indisvalid AND k.place <= i.indnkeyatts
            AND CASE WHEN c.relreplident = 'i' THEN i.indisreplident ELSE i.indisprimary AND i.indimmediate END
    ), '{}') AS key,
`

const findSQL = `
SELECT c.oid, n.nspname, c.relname, c.relreplident::text,
` + KeySQL + `    coalesce((
        SELECT pg_catalog.array_agg(a.attname::text ORDER BY a.attnum) FROM pg_catalog.pg_attribute AS a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated <> ''
    ), '{}') AS generated,
    coalesce((
        SELECT pg_catalog.json_agg(pg_catalog.json_build_object('name', a.attname, 'type', pg_catalog.format_type(a.atttypid, a.atttypmod), 'number', a.attnum)
            ORDER BY a.attnum)
        FROM pg_catalog.pg_attribute AS a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
    ), '[]') AS columns,
    coalesce((SELECT pg_catalog.array_agg(p.relid::oid ORDER BY p.relid) FROM pg_catalog.pg_partition_tree(c.oid) AS p WHERE p.relid <> c.oid), '{}') AS parts,
    c.relpersistence::text, pg_catalog.to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL, pg_catalog.to_regclass('_timescaledb_catalog.hypertable') IS NOT NULL
FROM pg_catalog.pg_class AS c
INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
    AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY n.nspname, c.relname`

// River are the names of River's tables, in any schema. Other tables may have the same prefix.
//
//nolint:gochecknoglobals // A constant.
var River = []string{
	"river_client", "river_client_queue", "river_job", "river_leader", "river_migration", "river_notification", "river_queue",
}

// Find returns the tables that patterns match, by name; none if there are no patterns. It leaves out Daymill's own tables and those of
// River.
func Find(ctx context.Context, on postgres.DBTX, patterns []string) ([]Table, error) {
	if len(patterns) == 0 {
		return nil, nil
	}
	meant, err := filter.ParseTables(patterns)
	if err != nil {
		return nil, err
	}
	rows, err := on.Query(ctx, findSQL)
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	var citus, timescale bool
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t Table, err error) {
		var persistence string
		err = row.Scan(&t.OID, &t.Schema, &t.Name, &t.Identity, &t.Key, &t.Generated, &t.Columns, &t.Parts, &persistence, &citus, &timescale)
		return judge(t, persistence), err
	})
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	if citus || timescale {
		if err := elsewhere(ctx, on, all); err != nil {
			return nil, err
		}
	}
	reserved := schema.Reserved()
	return slices.DeleteFunc(all, func(t Table) bool {
		return slices.Contains(reserved, t.Schema) || strings.HasPrefix(t.Schema, schema.Queue) || slices.Contains(River, t.Name) || !meant.Match(t.Schema, t.Name)
	}), nil
}

// elsewhere sets the reason of tables whose rows an extension keeps in others, which the stream of changes of this one does not have.
func elsewhere(ctx context.Context, on postgres.DBTX, all []Table) error {
	extensions, err := postgres.Elsewhere(ctx, on)
	if err != nil {
		return err
	}
	for i := range all {
		const missed = ", and Daymill would miss them: see docs/engines.md"
		switch extensions[all[i].OID] {
		case postgres.Citus:
			all[i].Reason = "Citus distributes it, so its changes are made in other servers" + missed
		case postgres.TimescaleDB:
			all[i].Reason = "it is a hypertable of TimescaleDB, so its changes are made in its chunks" + missed
		}
	}
	return nil
}

// judge sets the table's key, and the reason if it cannot be captured.
func judge(t Table, persistence string) Table {
	fix := ": ALTER TABLE " + t.SQL() + " ADD PRIMARY KEY (…), or ALTER TABLE " + t.SQL() + " REPLICA IDENTITY FULL"
	switch {
	case persistence == "u":
		t.Reason = "it is unlogged: ALTER TABLE " + t.SQL() + " SET LOGGED"
	case t.Identity == "n":
		t.Key, t.Reason = nil, "its replica identity is NOTHING, so a change does not say which row it is about: ALTER TABLE "+t.SQL()+" REPLICA IDENTITY DEFAULT"
	case t.Identity == "f" && len(t.Key) == 0:
		for _, c := range t.Columns {
			t.Key = append(t.Key, c.Name)
		}
	case len(t.Key) == 0:
		t.Reason = "it has no primary key, so a change does not say which row it is about" + fix
	}
	return t
}

// Get returns a table by its OID; false if there is none.
func Get(ctx context.Context, on postgres.DBTX, oid uint32) (Table, bool, error) {
	all, err := Find(ctx, on, []string{"*"})
	if err != nil {
		return Table{}, false, err
	}
	at := slices.IndexFunc(all, func(t Table) bool { return t.OID == oid })
	if at < 0 {
		return Table{}, false, nil
	}
	return all[at], true, nil
}
