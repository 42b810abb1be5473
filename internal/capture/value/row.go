package value

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// RowSQL returns the SQL that reads columns of an alias as one text, for the writer that [Types.Row] returns. It calls only the output
// functions of types, because to_jsonb and casts may call functions of the types' owners with the reader's rights.
func RowSQL(alias string, columns []string) string {
	values := make([]string, len(columns))
	for i, name := range columns {
		values[i] = alias + "." + pgx.Identifier{name}.Sanitize()
	}
	return "pg_catalog.format('%s', ROW(" + strings.Join(values, ", ") + "))"
}

// TextSQL returns the SQL that reads a column of an alias as text, as RowSQL does.
func TextSQL(alias, column string) string {
	return "pg_catalog.format('%s', " + alias + "." + pgx.Identifier{column}.Sanitize() + ")"
}

// Row returns a writer of a JSON object, for columns of a table that were read with [RowSQL].
func (t *Types) Row(ctx context.Context, relation uint32, columns []string) (Writer, error) {
	chosen, err := t.choose(ctx, relation, columns)
	if err != nil {
		return nil, err
	}
	return t.object(ctx, chosen)
}

// Parameters returns the SQL of parameters, numbered from 1, to compare columns of a table with. A comparison determines their types. For
// a domain, that is its base type, whose input does not call the domain's CHECK.
func (t *Types) Parameters(ctx context.Context, relation uint32, columns []string) ([]string, error) {
	chosen, err := t.choose(ctx, relation, columns)
	if err != nil {
		return nil, err
	}
	parameters := make([]string, len(chosen))
	for i, a := range chosen {
		parameters[i] = "$" + strconv.Itoa(i+1)
		if a.Composite != "" { // A comparison would accept any record.
			parameters[i] += "::" + a.Composite
		}
	}
	return parameters, nil
}

func (t *Types) choose(ctx context.Context, relation uint32, columns []string) ([]attribute, error) {
	all, err := t.attributes(ctx, relation)
	if err != nil {
		return nil, fmt.Errorf("look up the columns of table %d: %w", relation, err)
	}
	chosen := make([]attribute, len(columns))
	for i, name := range columns {
		at := slices.IndexFunc(all, func(a attribute) bool { return a.Name == name })
		if at < 0 {
			return nil, fmt.Errorf("table %d has no column %s any more", relation, name)
		}
		chosen[i] = all[at]
	}
	return chosen, nil
}
