package plan

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/table"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/view/definition"
)

const kindSQL = `
SELECT c.relkind::text, c.relpersistence::text, coalesce((
    SELECT pn.nspname || '.' || p.relname FROM pg_catalog.pg_inherits AS i
    INNER JOIN pg_catalog.pg_class AS p ON p.oid = i.inhparent
    INNER JOIN pg_catalog.pg_namespace AS pn ON pn.oid = p.relnamespace
    WHERE i.inhrelid = c.oid AND c.relispartition
), '')
FROM pg_catalog.pg_class AS c INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2`

// unreadable returns why a view cannot read a relation, and how to fix that; empty if it can, or if there is no such relation.
func unreadable(ctx context.Context, on *postgres.DB, t definition.Table, scheduled bool) (sentence string, err error) {
	var kind, persistence, parent string
	err = on.QueryRow(ctx, kindSQL, t.Schema, t.Name).Scan(&kind, &persistence, &parent)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the catalog: %w", err)
	}
	name := t.Schema + "." + t.Name
	other := map[string]string{
		"v": "a view: name the tables that it reads",
		"m": "a materialized view: name the tables that it reads",
		"f": "a foreign table: add the database that has its rows to databases in daymill.yaml, and name the table there",
		"S": "a sequence: name a table",
		"i": "an index: name a table",
		"I": "an index: name a table",
		"c": "a composite type: name a table",
	}[kind]
	switch {
	case other != "":
		return name + " is " + other, nil
	case persistence == "t":
		return name + " is a temporary table, which only its own session can read: name another table", nil
	case scheduled:
		return "", nil
	case parent != "":
		return name + " is a partition of " + parent + ": name that table", nil
	}
	return uncaptured(ctx, on, t)
}

// uncaptured returns why changes of a table cannot be captured; empty if they can, or if only its key is missing.
func uncaptured(ctx context.Context, on *postgres.DB, t definition.Table) (sentence string, err error) {
	found, err := table.Find(ctx, on, []string{pgx.Identifier{t.Schema, t.Name}.Sanitize()})
	if err != nil {
		return "", err
	}
	name := t.Schema + "." + t.Name
	at := slices.IndexFunc(found, func(f table.Table) bool { return f.Schema == t.Schema && f.Name == t.Name })
	switch {
	case at < 0:
		return "changes of " + name + " are not captured, because it belongs to Daymill or River: name a table of your application", nil
	case found[at].Reason != "" && (len(found[at].Key) > 0 || found[at].Identity == "n"): // A table without a key has its own sentence.
		return "changes of " + name + " cannot be captured: " + found[at].Reason, nil
	}
	return "", nil
}
