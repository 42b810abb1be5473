package definition_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/document"
	"github.com/daymill/daymill/internal/view/definition"
)

func read(t *testing.T, name string) []definition.Definition {
	t.Helper()
	content, err := os.ReadFile("testdata/" + name)
	require.NoError(t, err)
	definitions, err := definition.Parse(name, content)
	require.NoError(t, err)
	return definitions
}

// columns returns the view's columns, by table.
func columns(d definition.Definition) []string {
	var names []string
	for _, table := range d.Tables {
		for _, column := range table.Columns {
			names = append(names, column.Outputs()...)
		}
	}
	return names
}

// TestParse_InsightForge: its definitions can be used unchanged, with both forms of a join.
func TestParse_InsightForge(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"user_basic_info", "user_basic_info_endpoints"} {
		d := read(t, name+".json")[0]
		require.Equal(t, name, d.Name)
		require.Equal(t, []string{"user_id", "email", "field1_view_column", "field2_view_column", "status_label", "age", "test"}, columns(d))
		require.Equal(t, []definition.Pair{{First: "id", Second: "user_id"}}, d.Tables[1].Join.On)
		require.False(t, d.Tables[1].Join.Left)
		require.Equal(t, "Завершен", d.Tables[0].Columns[3].Mapping.Values[2].To)
	}
	d := read(t, "order_report.json")[0]
	require.Equal(t, []string{
		"order_id", "customer_id", "total", "placed_at", "state_name", "note", "customer_key", "customer_name", "tags", "city", "odd_key",
		"credit_limit", "customer_since",
	}, columns(d))
	require.Equal(t, []string{"shop", "crm"}, d.Databases())
	note, tags := d.Tables[0].Columns[5], d.Tables[1].Columns[2]
	require.True(t, note.Deleted)
	require.Equal(t, "varchar(200)", note.Type)
	require.Equal(t, "_text", tags.Type)
	require.Equal(t, definition.Field{Path: []string{"o'clock"}, As: "odd_key", Type: "text"}, d.Tables[1].Columns[3].Fields[1])
}

// TestParse_Broken: a missing comma is a mistake with its place, and the rest of the file is read all the same.
func TestParse_Broken(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("testdata/user_basic_info_broken.json")
	require.NoError(t, err)
	_, err = definition.Parse("broken.json", content)
	require.EqualError(t, err, "broken.json:2:33: a comma is missing here, before the item on line 3")

	broken := strings.Replace(string(content), `"column_first": "id"`, `"column_frist": "id"`, 1)
	_, err = definition.Parse("broken.json", []byte(broken))
	require.EqualError(t, err, `broken.json:2:33: a comma is missing here, before the item on line 3
broken.json:5:16: the join compares 0 columns with 1: give both sides the same number, at least one
broken.json:10:9: a join has no "column_frist": did you mean column_first?
broken.json:85:13: nothing joins table profiles to the tables before it: add a join`)
}

const short = `
name: order_report
tables:
  - database: shop
    table: public.orders
    where_not: x
`

// TestParse_Short: the short form of the same definition.
func TestParse_Short(t *testing.T) {
	t.Parallel()
	definitions, err := definition.Parse("views.yaml", []byte(`
views:
  - name: order_report
    where: total > 0
    indexes: [[customer_id, placed_at], city]
    search: {columns: [customer_name], language: english}
    tables:
      - database: shop
        table: orders
        columns:
          - {column: id, as: order_id, key: true}
          - customer_id
          - total: amount
          - placed_at
          - {column: state, as: state_name, map: {0: new, 1: paid, 9: "it's \"lost\""}, else: other}
      - database: crm
        schema: sales
        table: Customer
        join: {customer_id: id}
        left: true
        columns:
          - Full Name: customer_name
          - {column: profile, json: {city: city, odd: ["o'clock"], limit: {path: [credit, limit], type: numeric}}, on_error: error}
          - {expression: "lower(\"Full Name\")", as: customer_lower}
      - {database: crm, table: sales.Customer, as: parent, to: Customer, join: {parent: id}, columns: [{column: id, as: parent_id}]}
`))
	require.NoError(t, err)
	d := definitions[0]
	require.Equal(t, []string{
		"order_id", "customer_id", "amount", "placed_at", "state_name", "customer_name", "city", "odd", "limit", "customer_lower", "parent_id",
	}, columns(d))
	require.Equal(t, "other", *d.Tables[0].Columns[4].Mapping.Else)
	require.Equal(t, "public", d.Tables[0].Schema)
	require.True(t, d.Tables[1].Join.Left)
	require.Equal(t, definition.Field{Path: []string{"credit", "limit"}, As: "limit", Type: "numeric", Strict: true}, d.Tables[1].Columns[1].Fields[2])
	require.Equal(t, 1, d.Tables[2].Join.To)
	require.Equal(t, [][]string{{"customer_id", "placed_at"}, {"city"}}, d.Indexes)
}

// TestParse_Schedule: durations have units, and the requirements of a schedule are checked.
func TestParse_Schedule(t *testing.T) {
	t.Parallel()
	parse := func(text string) (definition.Definition, error) {
		definitions, err := definition.Parse("v.yaml", []byte(text))
		if err != nil {
			return definition.Definition{}, err
		}
		return definitions[0], nil
	}
	d, err := parse("name: a\nschedule: {full: 7d, overlap: 0s, databases: [crm]}\ntables: [{table: t, columns: [id]}, {database: crm, table: u, changed: at, join: {id: id}, columns: [x]}]")
	require.NoError(t, err)
	require.Equal(t, definition.Schedule{Every: time.Minute, Full: 7 * 24 * time.Hour, Databases: []string{"crm"}}, *d.Schedule)
	require.True(t, d.Scheduled("crm"))
	require.False(t, d.Scheduled("app"))
	written, err := definition.YAML(d)
	require.NoError(t, err)
	again, err := parse(written)
	require.NoError(t, err, written)
	require.Equal(t, asJSON(t, d), asJSON(t, again), written)
	_, err = parse(`name: a
schedule: {every: 10, full: 2y, overlap: 400d, databases: crm, at: x}
tables: [{table: t, changed: at, columns: [id]}]`)
	require.EqualError(t, err, `v.yaml:1:1: the schedule has database "crm", but the view has only tables of app
v.yaml:2:19: "10" is not a duration: write 30s, 5m, 12h or 1d
v.yaml:2:29: "2y" is not a duration: write 30s, 5m, 12h or 1d
v.yaml:2:42: 400d is too short or too long: write a duration from 0s to 366d
v.yaml:2:64: a schedule has no "at": it has databases, every, full, overlap
v.yaml:3:10: "changed" is for tables that are read on a schedule: add schedule: {every: 1m, full: 1d} to the view, or leave it out`)
}

// TestParse_Mistakes: all mistakes are reported at once, each with its place and how to fix it.
func TestParse_Mistakes(t *testing.T) {
	t.Parallel()
	_, err := definition.Parse("v.yaml", []byte(`views:
  - name: a
    drift: maybe
    search: {columns: [nothing]}
    tables:
      - {table: t, columns: [id, id, {column: s, map: {}}], join: {a: b}}
      - {table: u, colums: [x]}
      - {table: w, to: nowhere, join: {a: b}, columns: [{column: s, as: _daymill_x}, {expression: "1"}, {column: q, else: x}]}
  - {name: a, tables: []}
`))
	mistakes, ok := err.(document.Mistakes) //nolint:errorlint // Its exact type.
	require.True(t, ok)
	for _, want := range []string{
		`v.yaml:4:13: search has column "nothing", which the view does not have`,
		`v.yaml:3:12: write drift: follow (adapt the view if nothing is lost), or drift: ask (pause it until somebody decides)`,
		`v.yaml:6:34: the view would have two columns "id", the first in line 6: give one of them another name`,
		`v.yaml:6:55: the mapping has no values`,
		`v.yaml:6:67: t is the root: other tables are joined to it, but it is not joined to any`,
		`v.yaml:7:9: nothing joins table u to the tables before it: add a join`,
		`v.yaml:7:20: a table has no "colums": did you mean columns?`,
		`v.yaml:8:24: no table before this one is called "nowhere"`,
		`v.yaml:8:57: names that begin with _daymill_ are reserved: give column "_daymill_x" another name`,
		`v.yaml:8:86: an expression needs a name in the view: {expression: lower(email), as: email}`,
		`v.yaml:8:105: else and keep are for a map, such as {map: {1: new, 2: paid}}`,
		`v.yaml:9:5: the view has no tables: add at least one; the view's rows derive from the rows of the first`,
		`v.yaml:9:5: there is another view "a" in line 2: give each a different name`,
	} {
		require.Contains(t, err.Error(), want)
	}
	require.Len(t, mistakes, 13, err.Error())
	_, err = definition.Parse("v.yaml", []byte(short))
	require.ErrorContains(t, err, `v.yaml:6:5: a table has no "where_not": it has `)
}

// TestParse_Hostile: no file makes Parse crash or run for a long time.
func TestParse_Hostile(t *testing.T) {
	t.Parallel()
	for _, content := range []string{
		"", "#", "- a", "a", "{", "}", "[", `{"a"`, `{"a":`, `{"a":1,}`, `{"a" 1 "b" 2}`, `{"view_name": [1]}`, `{"view_name": "a", "sources": {}}`,
		`{"view_name": "a\u0000", "sources": [{"name": "x", "schemas": [{"name": "s", "tables": [{"name": "t"}]}]}]}`, `{"view_name": "a`, `{"a": tru}`,
		strings.Repeat("[", 20000), strings.Repeat(`{"a":`, 20000), "views: {a: b}", "views: [null]", `{"sources": [null], "joins": [[], {"inner": 1}]}`,
		"name: a\ntables: [{table: a.b.c, columns: [[]]}]", "\xff\xfe", `{"view_name":"` + strings.Repeat("x", 64) + `","sources":[]}`,
	} {
		_, err := definition.Parse("f", []byte(content))
		require.Error(t, err, content[:min(len(content), 50)])
		for _, mistake := range err.(document.Mistakes) { //nolint:errorlint // See above.
			require.GreaterOrEqual(t, mistake.Line, 1)
			require.GreaterOrEqual(t, mistake.Column, 1)
		}
	}
}

// TestYAML: a definition that is written and read again is the same.
func TestYAML(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"user_basic_info.json", "order_report.json"} {
		d := read(t, name)[0]
		written, err := definition.YAML(d)
		require.NoError(t, err)
		again, err := definition.Parse("again.yaml", []byte(written))
		require.NoError(t, err, written)
		require.Equal(t, asJSON(t, d), asJSON(t, again[0]), written)
	}
}

func asJSON(t *testing.T, d definition.Definition) string {
	t.Helper()
	document, err := json.Marshal(d)
	require.NoError(t, err)
	return string(document)
}
