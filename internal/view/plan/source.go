package plan

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/table"
	"github.com/daymill/daymill/internal/postgres"
)

// Source is a table as the catalog of its database describes it.
type Source struct {
	// Stream is the name of the stream of its database: app for the target.
	Stream string `json:"stream"`
	OID    uint32 `json:"oid"`
	Schema string `json:"schema"`
	Name   string `json:"name"`
	// Key are the columns that identify a row in capture, in their order; empty if none do.
	Key     []string `json:"key"`
	Columns []Column `json:"columns"`
	// Mirror is the name of the copy in the target that the view reads; empty if the table is in the target itself.
	Mirror string `json:"mirror,omitempty"`
	// After is a position in the log: the copy has the changes up to it, and ignores them.
	After int64 `json:"after,omitempty"`
	// Scheduled says that the table is read on a schedule, because its changes are not captured.
	Scheduled bool `json:"scheduled,omitempty"`
	// Inherited says that other tables inherit from it, so that reading it also returns their rows.
	Inherited bool `json:"inherited,omitempty"`
	// Former are earlier names since the view was created, as schema and name, because earlier changes have them.
	Former [][2]string `json:"former,omitempty"`
	// Parts are the partitions that the view knows; nil if the table is not partitioned, or if the plan is older than this field.
	Parts []Part `json:"parts"`

	stands string // a name that stands in for the mirror while the SELECT is checked
}

// Named reports whether the table has or had a name.
func (s Source) Named(schema, name string) bool {
	return s.Schema == schema && s.Name == name || slices.Contains(s.Former, [2]string{schema, name})
}

// Column is a column of a source.
type Column struct {
	Name      string `json:"name"`
	Number    int    `json:"number"` // attnum, which a rename keeps
	Type      string `json:"type"`   // as format_type writes it
	Base      uint32 `json:"base"`   // OID of the type
	Category  string `json:"category"`
	Collation string `json:"collation,omitempty"` // quoted; empty if it is the type's default
	NotNull   bool   `json:"not_null,omitempty"`
	Equal     string `json:"equal,omitempty"` // operator for the type's equality; empty if it is =
	// Generated says that Postgres computes the column, and Folds that its collation takes some different texts for equal.
	Generated bool `json:"generated,omitempty"`
	Folds     bool `json:"folds,omitempty"`
	// Labels are those of an enum, each after its number, which a rename keeps; empty for other types, and if the plan is older than this field.
	Labels map[string]string `json:"labels,omitempty"`
}

// Relabeled reports whether a label of an enum has another name than before, which no change of a row shows.
func (c Column) Relabeled(before Column) bool {
	for number, label := range before.Labels {
		if now, has := c.Labels[number]; has && now != label {
			return true
		}
	}
	return false
}

// relation returns the name of the table or mirror that the view's SELECT reads.
func (s Source) relation() string {
	if s.stands != "" {
		return s.stands
	}
	if s.Mirror != "" {
		return pgx.Identifier{MirrorSchema, s.Mirror}.Sanitize()
	}
	return pgx.Identifier{s.Schema, s.Name}.Sanitize()
}

// collation returns the collation of a column that the view's SELECT reads. Columns of mirrors have the database's default: another database may have collations
// that this one does not have.
func (s Source) collation(c Column) string {
	if s.Mirror != "" {
		return ""
	}
	return c.Collation
}

// Column returns a column by its name.
func (s Source) Column(name string) (Column, bool) {
	at := slices.IndexFunc(s.Columns, func(c Column) bool { return c.Name == name })
	if at < 0 {
		return Column{}, false
	}
	return s.Columns[at], true
}

// ErrNoTable says that a database has no such table.
var ErrNoTable = errors.New("there is no such table")

const sourceSQL = `
SELECT c.oid, n.nspname, c.relname, c.relkind::text,
    c.relkind = 'r' AND EXISTS (SELECT FROM pg_catalog.pg_inherits AS i WHERE i.inhparent = c.oid),
` + table.KeySQL + `    coalesce((
        SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
            'name', a.attname, 'number', a.attnum, 'type', pg_catalog.format_type(a.atttypid, a.atttypmod), 'base', a.atttypid::bigint,
            'labels', (
                SELECT pg_catalog.json_object_agg(e.oid, e.enumlabel) FROM pg_catalog.pg_enum AS e WHERE e.enumtypid IN (t.oid, t.typbasetype, t.typelem)
            ),
            'category', t.typcategory, 'not_null', a.attnotnull, 'generated', a.attgenerated <> '',
            'folds', EXISTS (SELECT FROM pg_catalog.pg_collation AS co WHERE co.oid = a.attcollation AND NOT co.collisdeterministic),
            'collation', CASE WHEN a.attcollation <> t.typcollation THEN (
                SELECT pg_catalog.format('%I.%I', cn.nspname, co.collname) FROM pg_catalog.pg_collation AS co
                INNER JOIN pg_catalog.pg_namespace AS cn ON cn.oid = co.collnamespace WHERE co.oid = a.attcollation
            ) END,
            'equal', (
                SELECT pg_catalog.format('OPERATOR(%I.%s)', opn.nspname, op.oprname)
                FROM pg_catalog.pg_opclass AS oc
                INNER JOIN pg_catalog.pg_am AS am ON am.oid = oc.opcmethod AND am.amname = 'btree'
                INNER JOIN pg_catalog.pg_amop AS ao ON ao.amopfamily = oc.opcfamily AND ao.amoplefttype = oc.opcintype AND ao.amoprighttype = oc.opcintype AND ao.amopstrategy = 3
                INNER JOIN pg_catalog.pg_operator AS op ON op.oid = ao.amopopr
                INNER JOIN pg_catalog.pg_namespace AS opn ON opn.oid = op.oprnamespace
                WHERE oc.opcdefault AND oc.opcintype = a.atttypid AND opn.nspname <> 'pg_catalog'
            )
        ) ORDER BY a.attnum)
        FROM pg_catalog.pg_attribute AS a INNER JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    ), '[]') AS columns
FROM pg_catalog.pg_class AS c
INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')`

// Find reads a table by its name. It returns ErrNoTable if there is none.
func Find(ctx context.Context, on postgres.DBTX, schema, name string) (Source, error) {
	return one(ctx, on, sourceSQL+` AND n.nspname = $1 AND c.relname = $2`, schema, name)
}

// Get reads a table by its OID, which a rename keeps.
func Get(ctx context.Context, on postgres.DBTX, oid uint32) (Source, error) {
	return one(ctx, on, sourceSQL+` AND c.oid = $1`, oid)
}

// Taken reports whether another table has a name.
func (s Source) Taken(ctx context.Context, on postgres.DBTX, name [2]string) (is bool, err error) {
	err = on.QueryRow(ctx, `
		SELECT EXISTS (
			SELECT FROM pg_catalog.pg_class AS c INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
			WHERE n.nspname = $1 AND c.relname = $2 AND c.oid <> $3
		)`, name[0], name[1], s.OID).Scan(&is)
	if err != nil {
		err = fmt.Errorf("read the catalog: %w", err)
	}
	return is, err
}

func one(ctx context.Context, on postgres.DBTX, sql string, args ...any) (s Source, err error) {
	var kind string
	err = on.QueryRow(ctx, sql, args...).Scan(&s.OID, &s.Schema, &s.Name, &kind, &s.Inherited, &s.Key, &s.Columns)
	if errors.Is(err, pgx.ErrNoRows) {
		return s, ErrNoTable
	}
	if err != nil {
		return s, fmt.Errorf("read the catalog: %w", err)
	}
	if kind != "r" && kind != "p" {
		s.Key = nil // Some of its changes cannot be captured.
	}
	if kind == "p" {
		s.Parts, err = parts(ctx, on, s.OID)
	}
	return s, err
}
