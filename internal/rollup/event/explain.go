package event

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// explain says what fixes an error of the server.
func (t Target) explain(err error) error {
	var server *pgconn.PgError
	if !errors.As(err, &server) {
		return err
	}
	table := t.Table.Sanitize()
	switch server.Code {
	case pgerrcode.UndefinedTable, pgerrcode.UndefinedColumn, pgerrcode.InvalidSchemaName:
		return fmt.Errorf("%s, though analytics.events was made of it: run `daymill source set` anew", server.Message)
	case pgerrcode.InsufficientPrivilege:
		return fmt.Errorf("%s: run GRANT SELECT, INSERT ON %s TO the user that imports", server.Message, table)
	case pgerrcode.NotNullViolation:
		if server.ColumnName != "" {
			column := pgx.Identifier{server.ColumnName}.Sanitize()
			return fmt.Errorf("%s.%s needs a value, and import has none for it: give the column a default, such as with "+
				"ALTER TABLE %s ALTER COLUMN %s SET DEFAULT …", table, column, table, column)
		}
	}
	return err
}

// copyLine is in the context that the server gives an error of COPY: "COPY raw_events, line 17, column created_at".
var copyLine = regexp.MustCompile(`^COPY .*, \pL+ (\d+)`)

// lineOf names the line of the file whose row the server refused, where the server says which it was.
func lineOf(err error, events []Event) (line int, has bool) {
	var server *pgconn.PgError
	if !errors.As(err, &server) {
		return 0, false
	}
	found := copyLine.FindStringSubmatch(server.Where)
	if found == nil {
		return 0, false
	}
	number, err := strconv.Atoi(found[1])
	if err != nil || number < 1 || number > len(events) {
		return 0, false
	}
	return events[number-1].Line, true
}
