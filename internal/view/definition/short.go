package definition

import (
	"go.yaml.in/yaml/v4"

	"github.com/daymill/daymill/internal/document"
)

// App is the default database of a table: DATABASE_URL.
const App = "app"

// short reads Daymill's own form.
func (r reader) short(node *yaml.Node, d *Definition) {
	if !r.Object(node, "a view", r.common(d, document.Fields{
		"name": r.into(&d.Name),
		"tables": func(node *yaml.Node) {
			for _, item := range r.List(node, "tables") {
				d.Tables = append(d.Tables, r.table(item, d.Tables))
			}
		},
	})) {
		return
	}
	for _, needed := range []string{"name", "tables"} {
		if child(node, needed) == nil {
			r.Wrongf(node, "the view has no %s: it needs name and tables", needed)
		}
	}
}

func (r reader) table(node *yaml.Node, before []Table) Table {
	t := Table{Database: App, Place: at(r.File, node)}
	var schema, target string
	var left bool
	var join, toNode *yaml.Node
	r.Object(node, "a table", document.Fields{
		"database": r.into(&t.Database), "schema": r.into(&schema), "table": r.into(&t.Name), "as": r.into(&t.As), "changed": r.into(&t.Changed),
		"join": func(node *yaml.Node) { join = node }, "left": r.flag(&left),
		"to": func(node *yaml.Node) { toNode = node; target, _ = r.Text(node) },
		"columns": func(node *yaml.Node) {
			for _, item := range r.List(node, "columns") {
				t.Columns = append(t.Columns, r.column(item))
			}
		},
	})
	if t.Schema = schema; schema == "" {
		t.Schema, t.Name = dotted(t.Name)
	}
	if join == nil {
		return t
	}
	t.Join = &Join{Left: left, Place: at(r.File, join)}
	for _, v := range r.values(join) {
		t.Join.On = append(t.Join.On, Pair{First: v.From, Second: v.To})
	}
	if target == "" {
		return t
	}
	for i, b := range before {
		if b.Alias() == target {
			t.Join.To = i
			return t
		}
	}
	r.Wrongf(toNode, "no table before this one is called %q", target)
	return t
}

// column reads a name, {name: column of the view}, or a mapping with more details.
func (r reader) column(node *yaml.Node) Column {
	c := Column{Place: at(r.File, node)}
	if node.Kind == yaml.ScalarNode {
		c.Name, _ = r.Text(node)
		return c
	}
	if node.Kind == yaml.MappingNode && len(node.Content) == 2 && child(node, "column") == nil && child(node, "expression") == nil {
		c.Name = node.Content[0].Value
		c.As, _ = r.Text(node.Content[1])
		return c
	}
	var otherwise, onError string
	var hasElse, keep bool
	nullable := true
	r.Object(node, "a column", document.Fields{
		"column": r.into(&c.Name), "as": r.into(&c.As), "type": r.into(&c.Type), "nullable": r.flag(&nullable), "key": r.flag(&c.Key),
		"hidden": r.flag(&c.Hidden), "deleted": r.flag(&c.Deleted), "expression": r.into(&c.Expression),
		"map":  func(node *yaml.Node) { c.Mapping = &Map{Values: r.values(node)} },
		"else": func(node *yaml.Node) { otherwise, hasElse = r.Text(node) }, "keep": r.flag(&keep), "on_error": r.into(&onError),
		"json": func(node *yaml.Node) { c.Fields = r.jsonFields(node) },
	})
	r.onError(node, onError)
	c.NotNull = !nullable
	for i := range c.Fields {
		c.Fields[i].Strict = c.Fields[i].Strict || onError == "error"
	}
	switch {
	case c.Mapping != nil:
		c.Mapping.Keep = keep
		if hasElse {
			c.Mapping.Else = &otherwise
		}
	case hasElse || keep:
		r.Wrongf(node, "else and keep are for a map, such as {map: {1: new, 2: paid}}")
	}
	if c.Expression != "" && c.As == "" {
		r.Wrongf(node, "an expression needs a name in the view: {expression: lower(email), as: email}")
	}
	return c
}

// jsonFields reads {view's column: field}, {column: [path, to, field]} or {column: {path: …, type: …}}.
func (r reader) jsonFields(node *yaml.Node) []Field {
	if node.Kind != yaml.MappingNode || len(node.Content) == 0 {
		r.Wrongf(node, "write json as a mapping from columns of the view to fields: {city: city, age: {path: [person, age], type: int}}")
		return nil
	}
	var fields []Field
	for i := 0; i+1 < len(node.Content); i += 2 {
		f := Field{As: node.Content[i].Value, Type: "text"}
		if value := node.Content[i+1]; value.Kind == yaml.MappingNode {
			r.Object(value, "a field", document.Fields{
				"path": func(node *yaml.Node) { f.Path = r.Texts(node, nil) }, "type": r.into(&f.Type),
				"on_error": func(node *yaml.Node) {
					onError, _ := r.Text(node)
					r.onError(node, onError)
					f.Strict = onError == "error"
				},
			})
		} else {
			f.Path = r.Texts(value, nil)
		}
		if len(f.Path) == 0 {
			r.Wrongf(node.Content[i+1], "the field has no path: {path: [person, age], type: int}")
		}
		fields = append(fields, f)
	}
	return fields
}
