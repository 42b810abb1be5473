package source

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/schema"
)

// relation is a table, a view or another relation that can be a source.
type relation struct {
	db.SourceRelationRow

	schema, name string // exact, without quotes
	columns      []db.SourceColumnsRow
}

// Values of pg_class.relkind for relations that have rows.
const (
	kindTable       = "r"
	kindPartitioned = "p"
	kindView        = "v"
	kindMatview     = "m"
	kindForeign     = "f"
)

const publicSchema = "public"

// parseName returns the parts of a name as SQL reads it, or nil if the text is not a name.
func parseName(ctx context.Context, tx pgx.Tx, name string) ([]string, error) {
	var parts []string
	err := inSavepoint(ctx, tx, func(tx pgx.Tx) (err error) {
		parts, err = db.New(tx).SourceParseName(ctx, name)
		return err
	})
	switch {
	case err == nil:
		return parts, nil
	case postgres.Code(err) == pgerrcode.InvalidParameterValue:
		return nil, nil
	default:
		return nil, fmt.Errorf("read the name %q: %w", name, err)
	}
}

// find looks up a table as SQL would. If that finds none, it looks for the exact name: app.Events then finds the table "Events",
// which some tools create and which needs quotes in SQL.
func find(ctx context.Context, tx pgx.Tx, name string) (relation, error) {
	parts, err := parseName(ctx, tx, name)
	if err != nil {
		return relation{}, err
	}
	verbatim := strings.SplitN(name, ".", 2)
	for _, candidate := range [][]string{parts, verbatim} {
		if len(candidate) == 1 {
			candidate = []string{publicSchema, candidate[0]}
		}
		if len(candidate) != 2 {
			continue
		}
		found, err := lookup(ctx, tx, candidate[0], candidate[1])
		if err != nil || found.name != "" {
			return found, err
		}
	}
	if len(parts) > 2 {
		return relation{}, refusef("%q has too many parts: write a table as schema.table", name)
	}
	return relation{}, refusef("there is no table %q: write it as schema.table, or as schema.\"Table\" "+
		"if the name has capitals, blanks or dots", name)
}

// lookup returns a relation by its exact name, or the zero value if there is none.
func lookup(ctx context.Context, tx pgx.Tx, schema, name string) (relation, error) {
	queries := db.New(tx)
	row, err := queries.SourceRelation(ctx, db.SourceRelationParams{TableSchema: schema, TableName: name})
	if errors.Is(err, pgx.ErrNoRows) {
		return relation{}, nil
	}
	if err != nil {
		return relation{}, fmt.Errorf("look up %s: %w", name, err)
	}
	columns, err := queries.SourceColumns(ctx, row.ID)
	if err != nil {
		return relation{}, fmt.Errorf("look up the columns of %s: %w", row.Quoted, err)
	}
	return relation{schema: schema, name: name, SourceRelationRow: row, columns: columns}, nil
}

// usable refuses relations without rows, and Daymill's own relations.
func (r relation) usable() error {
	switch {
	case slices.Contains(schema.Reserved(), r.schema):
		return refusef("%s belongs to Daymill: give a table of the application", r.Quoted)
	case !slices.Contains([]string{kindTable, kindPartitioned, kindView, kindMatview, kindForeign}, r.Kind):
		return refusef("%s is neither a table nor a view", r.Quoted)
	case !r.SchemaUsable:
		return refusef("the role %s may not use the schema of %s: run GRANT USAGE ON SCHEMA %s TO %s;",
			r.RoleQuoted, r.Quoted, r.SchemaQuoted, r.RoleQuoted)
	default:
		return nil
	}
}

// column looks up a column in the same way as find looks up a table.
func (r relation) column(ctx context.Context, tx pgx.Tx, flag, name string) (db.SourceColumnsRow, error) {
	parts, err := parseName(ctx, tx, name)
	if err != nil {
		return db.SourceColumnsRow{}, err
	}
	candidates := []string{name}
	if len(parts) == 1 {
		candidates = []string{parts[0], name}
	}
	known := make([]string, len(r.columns))
	for _, candidate := range candidates {
		for i, column := range r.columns {
			if column.Name == candidate {
				return column, nil
			}
			known[i] = column.Quoted
		}
	}
	return db.SourceColumnsRow{}, refusef("%s has no column %q for --%s: its columns are %s",
		r.Quoted, name, flag, strings.Join(known, ", "))
}
