package inventory

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// sequence is a sequence that numbers the rows of a table.
type sequence struct {
	name, table, column string // quoted; name and table are qualified
}

// sequences returns the sequences of Daymill's and of River's tables whose next value a row already has. After an upgrade by logical
// replication these are all sequences, because it copies rows but not the positions of sequences.
func sequences(ctx context.Context, tx pgx.Tx, schemas []string, installed Installed) ([]Fault, error) {
	rows, err := tx.Query(ctx, `
		SELECT format('%I.%I', sn.nspname, s.relname), format('%I.%I', n.nspname, c.relname), quote_ident(a.attname)
		FROM pg_catalog.pg_depend AS d
		INNER JOIN pg_catalog.pg_class AS s ON s.oid = d.objid
		INNER JOIN pg_catalog.pg_namespace AS sn ON sn.oid = s.relnamespace
		INNER JOIN pg_catalog.pg_class AS c ON c.oid = d.refobjid
		INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
		INNER JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid
		WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.deptype IN ('a', 'i')
			AND (n.nspname = any($1) OR n.nspname = $2 AND c.relname LIKE 'river\_%')
			AND CASE s.relkind WHEN 'S' THEN has_sequence_privilege(s.oid, 'SELECT') AND has_table_privilege(c.oid, 'SELECT') END
		ORDER BY 1`, schemas, installed.RiverSchema)
	if err != nil {
		return nil, fmt.Errorf("list the sequences: %w", err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s sequence, err error) {
		err = row.Scan(&s.name, &s.table, &s.column)
		return s, err
	})
	if err != nil || len(all) == 0 {
		return nil, err
	}
	looks := make([]string, len(all))
	for i, s := range all {
		looks[i] = fmt.Sprintf("SELECT %d, last_value + is_called::integer <= (SELECT max(t.%s) FROM %s AS t) FROM %s",
			i, s.column, s.table, s.name)
	}
	if rows, err = tx.Query(ctx, strings.Join(looks, " UNION ALL ")+" ORDER BY 1"); err != nil {
		return nil, fmt.Errorf("look at the sequences: %w", err)
	}
	var i int
	var behind *bool // NULL if the table is empty
	var faults []Fault
	_, err = pgx.ForEachRow(rows, []any{&i, &behind}, func() error {
		if behind != nil && *behind {
			s := all[i]
			faults = append(faults, Fault{Kind: Sequence, Name: s.name, What: Behind, want: Object{Relation: s.table, Create: fmt.Sprintf(
				"SELECT setval(%s, (SELECT max(t.%s) FROM %s AS t))", literal(s.name), s.column, s.table)}})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look at the sequences: %w", err)
	}
	return faults, nil
}

// literal quotes a name for SQL. Daymill's connections have standard_conforming_strings on.
func literal(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }
