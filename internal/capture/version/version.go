// Package version keeps the columns of captured tables over time. Each change names the schema version that it has; a new, dropped,
// renamed or retyped column makes a new version.
package version

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/table"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

// Columns returns the columns that a change's table had in a version; none if they are not known.
func Columns(ctx context.Context, on postgres.DBTX, c change.Change, version int) ([]table.Column, error) {
	document, err := db.New(on).SchemaVersionGet(ctx, db.SchemaVersionGetParams{
		Stream: c.Stream, SchemaName: c.Schema, TableName: c.Table, Version: int32(version), //nolint:gosec // Few.
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read schema version %d of %s.%s: %w", version, c.Schema, c.Table, err)
	}
	var columns []table.Column
	if err := json.Unmarshal([]byte(document), &columns); err != nil {
		return nil, fmt.Errorf("read schema version %d of %s.%s: %w", version, c.Schema, c.Table, err)
	}
	return columns, nil
}

// Difference is what happened to one column.
type Difference struct {
	What string // one of the constants below
	// Old and New are the column before and after; the zero value if there is none.
	Old, New table.Column
}

// What can happen to a column.
const (
	Added   = "added"
	Dropped = "dropped"
	Renamed = "renamed"
	Retyped = "retyped"
)

// Compare returns what happened between two versions. It recognizes renamed columns by their number.
func Compare(before, after []table.Column) []Difference {
	var differences []Difference
	byNumber := map[int]table.Column{}
	for _, c := range before {
		byNumber[c.Number] = c
	}
	for _, c := range after {
		old, had := byNumber[c.Number]
		delete(byNumber, c.Number)
		if !had {
			differences = append(differences, Difference{What: Added, New: c})
			continue
		}
		if old.Name != c.Name {
			differences = append(differences, Difference{What: Renamed, Old: old, New: c})
		}
		if old.Type != c.Type {
			differences = append(differences, Difference{What: Retyped, Old: old, New: c})
		}
	}
	for _, c := range before {
		if _, gone := byNumber[c.Number]; gone {
			differences = append(differences, Difference{What: Dropped, Old: c})
		}
	}
	return differences
}

// Breaking returns the differences for which it is not enough to add a column to a copy of the table.
func Breaking(differences []Difference) []Difference {
	var breaking []Difference
	for _, d := range differences {
		if d.What != Added {
			breaking = append(breaking, d)
		}
	}
	return breaking
}

// String returns the difference as a clause: column total is now text, and was numeric.
func (d Difference) String() string {
	switch d.What {
	case Added:
		return fmt.Sprintf("column %s is new", d.New.Name)
	case Dropped:
		return fmt.Sprintf("column %s is gone", d.Old.Name)
	case Renamed:
		return fmt.Sprintf("column %s is now called %s", d.Old.Name, d.New.Name)
	default:
		return fmt.Sprintf("column %s is now %s, and was %s", d.New.Name, d.New.Type, d.Old.Type)
	}
}

// Alter returns the statement that makes the same difference in a copy of the table, given the copy's quoted name; empty for an added
// column. The copy may need other types, if it does not have those of the source.
func (d Difference) Alter(quoted string) string {
	name := func(c table.Column) string { return pgx.Identifier{c.Name}.Sanitize() }
	switch d.What {
	case Dropped:
		return "ALTER TABLE " + quoted + " DROP COLUMN " + name(d.Old)
	case Renamed:
		return "ALTER TABLE " + quoted + " RENAME COLUMN " + name(d.Old) + " TO " + name(d.New)
	case Retyped:
		return "ALTER TABLE " + quoted + " ALTER COLUMN " + name(d.New) + " TYPE " + d.New.Type + " USING " + name(d.New) + "::" + d.New.Type
	default:
		return ""
	}
}

// List returns differences as text for people.
func List(differences []Difference) string {
	texts := make([]string, len(differences))
	for i, d := range differences {
		texts[i] = d.String()
	}
	return strings.Join(texts, "; ")
}
