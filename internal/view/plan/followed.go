package plan

import (
	"fmt"
	"regexp"

	"github.com/daymill/daymill/internal/view/definition"
)

// Followed knows which tables and columns a view has followed when they were renamed. A person's file may still have the names from before.
type Followed struct {
	// Table and Column return the present name; empty if it is not known. They may be nil.
	Table  func(database, schema, name string) string
	Column func(s Source, name string) string
}

// table says what a table is called now; empty if that is not known.
func (f Followed) table(view string, t definition.Table) string {
	if f.Table == nil {
		return ""
	}
	return renamed("table", view, f.Table(t.Database, t.Schema, t.Name))
}

// column says what a column is called now; empty if that is not known.
func (f Followed) column(view string, s Source, name string) string {
	if f.Column == nil {
		return ""
	}
	return renamed("column", view, f.Column(s, name))
}

var noColumn = regexp.MustCompile(`column "([^"]+)" does not exist`)

// unknown says what the column is called now that Postgres does not find in an expression.
func (f Followed) unknown(view string, s Source, err error) string {
	found := noColumn.FindStringSubmatch(err.Error())
	if found == nil {
		return ""
	}
	return f.column(view, s, found[1])
}

func renamed(what, view, now string) string {
	if now == "" {
		return ""
	}
	return fmt.Sprintf("; the %s was renamed to %s, and `daymill view show %s --yaml` prints the definition that Daymill uses", what, now, view)
}
