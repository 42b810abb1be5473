package plan

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/daymill/daymill/internal/postgres"
)

// compiled is an expression as Postgres prints it after parsing.
type compiled struct {
	SQL  string `json:"sql"`
	Type string `json:"type"`
}

var errRolledBack = errors.New("rolled back")

// compile makes Postgres parse an expression as that of a generated column of an empty copy of the table, which is rolled back. So an
// expression can use only the table's own columns and immutable functions: no subquery, no other table, no function whose result changes.
// Later statements use the expression as Postgres prints it.
func compile(ctx context.Context, db *postgres.DB, s Source, expression, wantType string) (c compiled, err error) {
	if err := closed(expression); err != nil {
		return c, err
	}
	columns := make([]string, len(s.Columns))
	for i, column := range s.Columns {
		columns[i] = quote(column.Name) + " " + column.Type + collate(column.Collation)
	}
	const check = `pg_temp."daymill view check"`
	err = db.Tx(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "CREATE TEMPORARY TABLE "+check+" ("+strings.Join(columns, ", ")+")"); err != nil {
			return fmt.Errorf("create a table to check expressions with: %w", err)
		}
		described, err := tx.Prepare(ctx, "", "SELECT ("+expression+"\n) FROM "+check)
		if err != nil {
			return refused(err)
		}
		if len(described.Fields) != 1 {
			return errors.New("it has more than one value")
		}
		if err := tx.QueryRow(ctx, "SELECT pg_catalog.format_type(nullif($1::oid, 705), $2)", described.Fields[0].DataTypeOID, described.Fields[0].TypeModifier).Scan(&c.Type); err != nil || c.Type == "-" {
			c.Type = "text"
		}
		if wantType != "" {
			c.Type = wantType
		}
		if _, err := tx.Exec(ctx, `ALTER TABLE `+check+` ADD COLUMN "daymill value" `+c.Type+` GENERATED ALWAYS AS (`+expression+"\n) STORED"); err != nil {
			return refused(err)
		}
		err = tx.QueryRow(ctx, `
			SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid) FROM pg_catalog.pg_attrdef AS d
			WHERE d.adrelid = $1::regclass`, check).Scan(&c.SQL)
		if err != nil {
			return fmt.Errorf("read an expression: %w", err)
		}
		return errRolledBack
	})
	if errors.Is(err, errRolledBack) {
		err = nil
	}
	return c, err
}

// refused returns Postgres's message about an expression, without the error code.
func refused(err error) error {
	if server := (*pgconn.PgError)(nil); errors.As(err, &server) {
		return errors.New(strings.ReplaceAll(server.Message, "generation expression", "the expression"))
	}
	return err
}

// closed checks that an expression cannot end the parentheses that enclose it.
func closed(expression string) error {
	depth := 0
	for i := 0; i < len(expression); i++ {
		switch c := expression[i]; c {
		case '(', '[':
			depth++
		case ')', ']':
			if depth--; depth < 0 {
				return errors.New("it closes a parenthesis that it does not open")
			}
		case '\'', '"':
			escapes := c == '\'' && i > 0 && (expression[i-1] == 'e' || expression[i-1] == 'E')
			end := i + 1
			for end < len(expression) && expression[end] != c {
				if escapes && expression[end] == '\\' {
					end++
				}
				end++
			}
			if end >= len(expression) {
				return fmt.Errorf("%c is not closed", c)
			}
			i = end
		case ';', '$', 0:
			return fmt.Errorf("%q is not allowed outside of quotes", c)
		case '-', '/':
			if i+1 < len(expression) && (expression[i:i+2] == "--" || expression[i:i+2] == "/*") {
				return errors.New("comments are not allowed")
			}
		}
	}
	if depth != 0 {
		return errors.New("a parenthesis is not closed")
	}
	return nil
}
