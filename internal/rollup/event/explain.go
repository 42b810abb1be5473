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

// explain adds to an error of the server what fixes it.
func (t Target) explain(err error) error {
	var server *pgconn.PgError
	if !errors.As(err, &server) {
		return err
	}
	table := t.Table.Sanitize()
	switch server.Code {
	case pgerrcode.UndefinedTable, pgerrcode.UndefinedColumn, pgerrcode.InvalidSchemaName:
		return fmt.Errorf("%s, although analytics.events reads it: run `daymill source set` again", server.Message)
	case pgerrcode.InsufficientPrivilege:
		return fmt.Errorf("%s: run GRANT SELECT, INSERT ON %s TO the user that imports", server.Message, table)
	case pgerrcode.NotNullViolation:
		if server.ColumnName != "" {
			column := pgx.Identifier{server.ColumnName}.Sanitize()
			return fmt.Errorf("%s.%s needs a value, and an import has none for it: give the column a default, such as with "+
				"ALTER TABLE %s ALTER COLUMN %s SET DEFAULT …", table, column, table, column)
		}
	}
	return err
}

// copyLine matches the context of the server's errors of COPY: "COPY raw_events, line 17, column created_at".
var copyLine = regexp.MustCompile(`^COPY .*, \pL+ (\d+)`)

// lineOf returns the line of the row that the server refused, and false if the server did not say which row it was.
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
