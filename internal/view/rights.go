package view

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/view/definition"
	"github.com/daymill/daymill/internal/view/plan"
)

// Lack is a right that a database's role lacks.
type Lack struct {
	Table    int    // index; -1 if it is about capturing changes
	Sentence string // with the GRANT that gives the right
}

// rightsSQL returns whether the role may use a table's schema, and whether it may read columns of the table.
const rightsSQL = `
SELECT pg_catalog.has_schema_privilege(c.relnamespace, 'USAGE'), (
    SELECT coalesce(pg_catalog.bool_and(coalesce(pg_catalog.has_column_privilege(c.oid, n.number, 'SELECT'), true)), true) FROM pg_catalog.unnest($2::smallint[]) AS n (number)
)
FROM pg_catalog.pg_class AS c WHERE c.oid = $1`

// Rights returns which rights the roles of a plan's databases lack to read its tables, and to capture their changes. It asks the databases whose names
// pass.
func (e *Engine) Rights(ctx context.Context, p *plan.Plan, pass func(database string) bool) (lacks []Lack, err error) {
	for i, source := range p.Sources {
		if slices.ContainsFunc(p.Sources[:i], func(s plan.Source) bool { return s.OID == source.OID && s.Stream == source.Stream }) {
			continue // It is joined twice.
		}
		name := p.Definition.Tables[i].Database
		if !pass(name) {
			continue
		}
		needed := p.Needed(i).Columns
		columns := make([]int, len(needed))
		for k, c := range needed {
			columns[k] = c.Number
		}
		on, _, err := e.Databases.Open(ctx, name)
		if err != nil {
			return nil, err
		}
		var uses, reads bool
		table := source.Schema + "." + source.Name + " of database " + name
		err = on.QueryRow(ctx, rightsSQL, source.OID, columns).Scan(&uses, &reads)
		if errors.Is(err, pgx.ErrNoRows) {
			lacks = append(lacks, Lack{i, "table " + table + " was dropped: create it again, or change the definition"})
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("find out whether %s can be read: %w", table, err)
		}
		if !uses {
			lacks = append(lacks, Lack{i, fmt.Sprintf("the role may not use the schema of %s: GRANT USAGE ON SCHEMA %s to it", table, pgx.Identifier{source.Schema}.Sanitize())})
		}
		if !reads {
			lacks = append(lacks, Lack{i, fmt.Sprintf("the role may not read %s: GRANT SELECT ON %s to it", table, pgx.Identifier{source.Schema, source.Name}.Sanitize())})
		}
	}
	for _, name := range p.Streams() {
		patterns, database := []string{}, definition.App
		for i, source := range p.Sources {
			if source.Stream == name && !source.Scheduled {
				patterns, database = append(patterns, pgx.Identifier{source.Schema, source.Name}.Sanitize()), p.Definition.Tables[i].Database
			}
		}
		if !pass(database) {
			continue
		}
		on, _, err := e.Databases.Open(ctx, database)
		if err != nil {
			return nil, err
		}
		if _, _, err = stream.Choose(ctx, on, patterns); errors.Is(err, stream.ErrNoMode) {
			lacks = append(lacks, Lack{-1, "changes of database " + database + " cannot be captured: " + strings.TrimPrefix(err.Error(), stream.ErrNoMode.Error()+": ")})
		} else if err != nil {
			return nil, fmt.Errorf("find out how changes of database %s can be captured: %w", database, err)
		}
	}
	return lacks, nil
}
