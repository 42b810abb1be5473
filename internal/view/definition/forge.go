package definition

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/daymill/daymill/internal/document"
)

// forged reads InsightForge's form.
type forged struct {
	reader

	d    *Definition
	main string // name of the root, if one is given
	// joins are in the order of the file.
	joins []forgedJoin
}

// forgedJoin is a join whose tables are not resolved yet.
type forgedJoin struct {
	left          bool
	first, second endpoint
	node          *yaml.Node
	used          bool
}

// endpoint is one side of a join. Source and schema may be empty.
type endpoint struct {
	source, schema, table string
	columns               []string
}

func (e endpoint) String() string {
	parts := slices.DeleteFunc([]string{e.source, e.schema, e.table}, func(part string) bool { return part == "" })
	return strings.Join(parts, ".")
}

func (r reader) forge(node *yaml.Node, d *Definition) {
	f := &forged{reader: r, d: d}
	var tables []Table
	if !r.Object(node, "a definition", r.common(d, document.Fields{
		"view_name":  r.into(&d.Name),
		"main_table": r.into(&f.main),
		"joins": func(node *yaml.Node) {
			for _, item := range r.List(node, "joins") {
				f.join(item)
			}
		},
		"sources": func(node *yaml.Node) {
			for _, source := range r.List(node, "sources") {
				tables = append(tables, f.source(source)...)
			}
		},
	})) {
		return
	}
	if child(node, "view_name") == nil {
		r.Wrongf(node, "the definition has no view_name: the name of the view's table")
	}
	if child(node, "sources") == nil {
		r.Wrongf(node, "the definition has no sources: databases with their schemas, tables and columns")
	}
	f.order(tables)
}

func (f *forged) source(node *yaml.Node) (tables []Table) {
	var name string
	f.Object(node, "a source", document.Fields{
		"name": f.into(&name),
		"schemas": func(node *yaml.Node) {
			for _, item := range f.List(node, "schemas") {
				var schema string
				var of []Table
				f.Object(item, "a schema", document.Fields{
					"name": f.into(&schema),
					"tables": func(node *yaml.Node) {
						for _, item := range f.List(node, "tables") {
							of = append(of, f.table(item))
						}
					},
				})
				for i := range of {
					of[i].Schema = schema
				}
				tables = append(tables, of...)
			}
		},
	})
	if name == "" {
		f.Wrongf(node, "the source has no name: write the database's name, as under databases in daymill.yaml")
	}
	for i := range tables {
		tables[i].Database = name
	}
	return tables
}

func (f *forged) table(node *yaml.Node) Table {
	t := Table{Place: at(f.File, node)}
	f.Object(node, "a table", document.Fields{
		"name": f.into(&t.Name), "alias": f.into(&t.As), "changed": f.into(&t.Changed),
		"columns": func(node *yaml.Node) {
			for _, item := range f.List(node, "columns") {
				t.Columns = append(t.Columns, f.column(item))
			}
		},
	})
	return t
}

func (f *forged) column(node *yaml.Node) Column {
	c := Column{Place: at(f.File, node)}
	var alias, viewKey, output, udt, length string
	var primary, update bool
	nullable := true
	f.Object(node, "a column", document.Fields{
		"name": f.into(&c.Name), "type": f.into(&c.Type), "alias": f.into(&alias), "view_key": f.into(&viewKey),
		"is_primary_key": f.flag(&primary), "is_update_key": f.flag(&update), "is_nullable": f.flag(&nullable), "is_deleted": f.flag(&c.Deleted),
		"udt_name": f.optional(&udt), "char_max_len": f.optional(&length),
		"transform": func(node *yaml.Node) { output = f.transform(node, &c) },
		// InsightForge's page writes these about a column, but the catalog has them as well.
		"data_type": ignore, "udt_schema": ignore, "num_precision": ignore, "num_scale": ignore, "reference": ignore, "default": ignore,
		"is_fk": ignore, "is_pk": ignore, "is_unique": ignore, "is_identity": ignore, "is_generated": ignore, "ordinal_position": ignore,
		"comment": ignore, "description": ignore, "collation": ignore,
	})
	for _, name := range []string{output, viewKey, alias} { // The last of these names counts.
		if name != "" {
			c.As = name
		}
	}
	c.Key, c.NotNull = primary || update, !nullable
	switch upper := strings.ToUpper(c.Type); {
	case upper == "ARRAY" || upper == "USER-DEFINED":
		c.Type = udt
	case length != "" && !strings.Contains(c.Type, "(") && slices.Contains([]string{"VARCHAR", "CHARACTER VARYING", "CHAR", "CHARACTER"}, upper):
		c.Type += "(" + length + ")"
	}
	if alias == "" && c.Key && c.Mapping == nil && c.Fields == nil {
		c.Hidden = true // Until it is known to be the root's key, or not to be compared by a join.
	}
	return c
}

// transform reads a transform, and returns the name of its column.
func (f *forged) transform(node *yaml.Node, c *Column) (output string) {
	var kind, alias, otherwise, onError string
	var hasElse, keep bool
	var mapping *yaml.Node
	f.Object(node, "a transform", document.Fields{
		"type": f.into(&kind), "mode": ignore, "output_column": f.into(&output), "expression": f.into(&c.Expression),
		"else": func(node *yaml.Node) { otherwise, hasElse = f.Text(node) }, "keep": f.flag(&keep), "on_error": f.into(&onError),
		"mapping": func(node *yaml.Node) { mapping = node },
	})
	f.onError(node, onError)
	switch kind {
	case "FieldTransform":
		c.Mapping = &Map{Keep: keep}
		if hasElse {
			c.Mapping.Else = &otherwise
		}
		if mapping == nil {
			f.Wrongf(node, `the transform has no mapping: "mapping": {"mapping": {"1": "new"}}`)
			return output
		}
		f.Object(mapping, "the mapping", document.Fields{
			"type_map": ignore, "alias_new_column_transform": f.into(&alias),
			"mapping": func(node *yaml.Node) { c.Mapping.Values = f.values(node) },
		})
		if output == "" {
			output = alias
		}
	case "JSON":
		if mapping != nil {
			f.Object(mapping, "the mapping", document.Fields{
				"type_map": ignore, "alias_new_column_transform": ignore,
				"mapping_json": func(node *yaml.Node) {
					for _, item := range f.List(node, "mapping_json") {
						c.Fields = append(c.Fields, f.fields(item, onError == "error")...)
					}
				},
			})
		}
		if len(c.Fields) == 0 {
			f.Wrongf(node, `the transform names no fields: "mapping": {"mapping_json": [{"type_field": "text", "mapping": {"city": "city"}}]}`)
			c.Fields = []Field{} // The mistake is reported; there are no columns.
		}
		output = ""
	case "Expression":
		if c.Expression == "" {
			f.Wrongf(node, `the transform has no expression: "expression": "lower(email)"`)
		}
	default:
		f.Wrongf(node, "there is no transform of type %q: use FieldTransform, JSON or Expression", kind)
	}
	return output
}

func (r reader) onError(node *yaml.Node, onError string) {
	if onError != "" && onError != "null" && onError != "error" {
		r.Wrongf(node, `on_error is %q, but must be "null" (a value that does not fit its type becomes NULL, and is counted) or "error"`, onError)
	}
}

func (f *forged) fields(node *yaml.Node, strict bool) (fields []Field) {
	var kind, onError string
	var path []string
	var mapping *yaml.Node
	f.Object(node, "an entry of mapping_json", document.Fields{
		"type_field": f.into(&kind), "on_error": f.into(&onError),
		"path":    func(node *yaml.Node) { path = f.Texts(node, nil) },
		"mapping": func(node *yaml.Node) { mapping = node },
	})
	f.onError(node, onError)
	if onError != "" {
		strict = onError == "error"
	}
	if mapping == nil {
		f.Wrongf(node, `the entry has no mapping: "mapping": {"field": "column"}`)
		return nil
	}
	for _, v := range f.values(mapping) {
		fields = append(fields, Field{Path: append(slices.Clone(path), v.From), As: v.To, Type: kind, Strict: strict})
	}
	return fields
}

func (f *forged) join(node *yaml.Node) {
	if node.Kind != yaml.MappingNode || len(node.Content) == 0 {
		f.Wrongf(node, `a join is {"inner": {…}} or {"left": {…}}`)
		return
	}
	read := func(left bool) func(*yaml.Node) {
		return func(node *yaml.Node) {
			j := forgedJoin{left: left, node: node}
			columns := func(to *[]string) func(*yaml.Node) {
				return func(node *yaml.Node) { *to = f.Texts(node, nil) }
			}
			side := func(e *endpoint) func(*yaml.Node) {
				return func(node *yaml.Node) {
					f.Object(node, "a side of a join", document.Fields{
						"source": f.into(&e.source), "schema": f.into(&e.schema), "table": f.into(&e.table), "column": columns(&e.columns), "columns": columns(&e.columns),
					})
				}
			}
			f.Object(node, "a join", document.Fields{
				"main_table": f.into(&j.first.table), "source": f.into(&j.second.source), "schema": f.into(&j.second.schema), "table": f.into(&j.second.table),
				"column_first": columns(&j.first.columns), "column_second": columns(&j.second.columns),
				"left": side(&j.first), "right": side(&j.second),
			})
			if len(j.first.columns) != len(j.second.columns) || len(j.first.columns) == 0 {
				f.Wrongf(node, "the join compares %d columns with %d: give both sides the same number, at least one", len(j.first.columns), len(j.second.columns))
				j.used = true
			}
			if f.main == "" && child(node, "main_table") != nil {
				f.main = j.first.table
			}
			f.joins = append(f.joins, j)
		}
	}
	f.Object(node, "an entry of joins", document.Fields{"inner": read(false), "left": read(true)})
}

// find returns the table that a side of a join refers to. If there is none, or more than one, it reports a mistake and returns -1.
func (f *forged) find(node *yaml.Node, tables []Table, e endpoint) int {
	found := -1
	for i, t := range tables {
		if e.table != t.Alias() && e.table != t.Name || e.schema != "" && e.schema != t.Schema || e.source != "" && e.source != t.Database {
			continue
		}
		if found >= 0 && tables[found].Alias() == e.table {
			continue // The text is an alias.
		}
		if found >= 0 && t.Alias() != e.table {
			f.Wrongf(node, "the join refers to %s, but there are two of these: give one an alias, or name source and schema", e)
			return -1
		}
		found = i
	}
	if found < 0 {
		names := make([]string, len(tables))
		for i, t := range tables {
			names[i] = fmt.Sprintf("%s.%s.%s", t.Database, t.Schema, t.Alias())
		}
		f.Wrongf(node, "the join refers to table %s, which is not under sources: these are %s", e, strings.Join(names, ", "))
	}
	return found
}

// order puts the tables into the order in which they are joined, the root first.
func (f *forged) order(tables []Table) {
	if len(tables) == 0 {
		return
	}
	root := 0
	if f.main != "" {
		if root = f.find(f.d.node(), tables, endpoint{table: f.main}); root < 0 {
			root = 0
		}
	}
	place := map[int]int{root: 0} // of a table in the definition
	f.d.Tables = append(f.d.Tables, tables[root])
	type sides struct{ first, second int }
	found := make([]sides, len(f.joins))
	for i, j := range f.joins {
		if !j.used {
			found[i] = sides{f.find(j.node, tables, j.first), f.find(j.node, tables, j.second)}
			f.joins[i].used = found[i].first < 0 || found[i].second < 0
		}
	}
	for again := true; again; {
		again = false
		for i := range f.joins {
			j := &f.joins[i]
			if j.used {
				continue
			}
			s := found[i]
			_, has := place[s.first]
			_, hasSecond := place[s.second]
			if !has && hasSecond && !j.left {
				s, j.first, j.second = sides{s.second, s.first}, j.second, j.first
				has, hasSecond = hasSecond, has
			}
			if !has {
				continue
			}
			j.used, again = true, true
			f.put(tables, place, s.first, s.second, *j, hasSecond)
		}
	}
	for _, j := range f.joins {
		if !j.used {
			f.Wrongf(j.node, "the join is not connected: %s is not joined to a table before it", j.first)
		}
	}
	for i, t := range tables {
		if _, has := place[i]; !has {
			f.d.Tables = append(f.d.Tables, t)
		}
	}
	f.hide()
}

// put adds a table, or adds another pair of columns to a table's join.
func (f *forged) put(tables []Table, place map[int]int, first, second int, j forgedJoin, there bool) {
	pairs := make([]Pair, len(j.first.columns))
	for i := range pairs {
		pairs[i] = Pair{First: j.first.columns[i], Second: j.second.columns[i]}
	}
	if !there {
		place[second] = len(f.d.Tables)
		t := tables[second]
		t.Join = &Join{To: place[first], Left: j.left, On: pairs, Place: at(f.File, j.node)}
		f.d.Tables = append(f.d.Tables, t)
		return
	}
	join := f.d.Tables[place[second]].Join
	if join == nil || join.To != place[first] || join.Left != j.left {
		f.Wrongf(j.node, "table %s is already joined: to join it twice, list it again under sources with an alias", j.second)
		return
	}
	join.On = append(join.On, pairs...)
}

// hide leaves a joined table's key out of the view if the join compares it, because the view already has the equal column.
func (f *forged) hide() {
	for i := range f.d.Tables {
		t := &f.d.Tables[i]
		for k := range t.Columns {
			c := &t.Columns[k]
			c.Hidden = c.Hidden && t.Join != nil && slices.ContainsFunc(t.Join.On, func(p Pair) bool { return p.Second == c.Name })
		}
	}
}
