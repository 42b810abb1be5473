// Package definition reads definitions of views: tables, columns, joins, transforms and keys. It reads InsightForge's JSON and a shorter
// YAML form, and reports all mistakes at once, each with its place and how to fix it. Package plan checks whether the tables and columns
// exist.
package definition

import (
	"slices"
	"strings"
)

// Definition defines a view. The first table is the root: each row of the view derives from one of its rows.
type Definition struct {
	Place `json:"-"`

	Name   string  `json:"name"`
	Tables []Table `json:"tables"`
	// Where is a condition on the columns of the root; all of its rows if empty.
	Where      string `json:"where,omitempty"`
	WherePlace Place  `json:"-"`
	// Indexes are lists of the view's columns.
	Indexes [][]string `json:"indexes,omitempty"`
	Search  []Search   `json:"search,omitempty"`
	// Drift says what happens when a table's columns change: Follow, or Ask.
	Drift string `json:"drift,omitempty"`
	// Schedule is nil if changes are captured.
	Schedule *Schedule `json:"schedule,omitempty"`
}

// Policies of Definition.Drift. The empty one is Follow.
const (
	// Follow adapts the view if nothing is lost.
	Follow = "follow"
	// Ask pauses the view until somebody accepts or rejects what has changed.
	Ask = "ask"
)

// Place is a position in a file.
type Place struct {
	File         string
	Line, Column int
}

// Table is a table of the view.
type Table struct {
	Place `json:"-"`

	Database string `json:"database"` // a name of daymill.yaml's databases
	Schema   string `json:"schema"`
	Name     string `json:"table"`
	As       string `json:"as,omitempty"` // the name by which joins refer to it; Name if empty
	// Join says which rows belong to a row of an earlier table; nil for the root.
	Join    *Join    `json:"join,omitempty"`
	Columns []Column `json:"columns"`
	// Changed is a column whose value grows with each change of a row, such as updated_at. If it is empty, a table that is read on a
	// schedule is always read completely.
	Changed string `json:"changed,omitempty"`
}

// Alias returns the name by which joins refer to the table.
func (t Table) Alias() string {
	if t.As != "" {
		return t.As
	}
	return t.Name
}

// Join joins a table to an earlier table, by pairs of columns that are equal.
type Join struct {
	Place `json:"-"`

	To   int    `json:"to"` // index of the earlier table
	Left bool   `json:"left,omitempty"`
	On   []Pair `json:"on"`
}

// Pair are two columns that are equal.
type Pair struct {
	First  string `json:"first"`  // of the earlier table
	Second string `json:"second"` // of the joined table
}

// Column is a column of a table. With a transform it may become several columns of the view, or one of another type.
type Column struct {
	Place `json:"-"`

	Name string `json:"column"`
	As   string `json:"as,omitempty"` // in the view; Name if empty
	// Type is compared with the catalog; the catalog's type if empty. It is required for a deleted column.
	Type string `json:"type,omitempty"`
	// NotNull is written as NOT NULL in the view's table.
	NotNull bool `json:"not_null,omitempty"`
	// Key says that the column is part of the view's key, or identifies its rows as well as the key does.
	Key bool `json:"key,omitempty"`
	// Hidden says that the view has no column for it.
	Hidden bool `json:"hidden,omitempty"`
	// Deleted says that the source no longer has the column, which is NULL in the view.
	Deleted    bool    `json:"deleted,omitempty"`
	Mapping    *Map    `json:"map,omitempty"`
	Fields     []Field `json:"fields,omitempty"`
	Expression string  `json:"expression,omitempty"`
}

// Output returns the column's name in the view.
func (c Column) Output() string {
	if c.As != "" {
		return c.As
	}
	return c.Name
}

// Map turns values into text. NULL stays NULL. A value that is not in the map becomes Else, or stays unchanged with Keep, or otherwise
// becomes NULL.
type Map struct {
	Values []Value `json:"values"`
	Else   *string `json:"else,omitempty"`
	Keep   bool    `json:"keep,omitempty"`
}

// Value is one entry of a Map.
type Value struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// Field is a field of a JSON column that becomes a column.
type Field struct {
	Path []string `json:"path"`
	As   string   `json:"as"`
	Type string   `json:"type"` // text if empty
	// Strict makes a value that does not fit the type an error. Otherwise it is NULL, and counted.
	Strict bool `json:"strict,omitempty"`
}

// Search is a tsvector column with a GIN index: full-text search without a search server.
type Search struct {
	Place `json:"-"`

	Name     string   `json:"name"`
	Columns  []string `json:"columns"`            // of the view
	Language string   `json:"language,omitempty"` // simple if empty
}

// Databases returns the names of the databases of the view's tables, without duplicates.
func (d *Definition) Databases() []string {
	var names []string
	for _, t := range d.Tables {
		if !slices.Contains(names, t.Database) {
			names = append(names, t.Database)
		}
	}
	return names
}

// Outputs returns the names of the view's columns that a column becomes.
func (c Column) Outputs() []string {
	switch {
	case c.Hidden:
		return nil
	case len(c.Fields) > 0:
		names := make([]string, len(c.Fields))
		for i, f := range c.Fields {
			names[i] = f.As
		}
		return names
	default:
		return []string{c.Output()}
	}
}

// dotted splits schema.table. The schema is public if there is none.
func dotted(text string) (schema, table string) {
	if schema, table, has := strings.Cut(text, "."); has {
		return schema, table
	}
	return "public", text
}
