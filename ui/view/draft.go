package view

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/daymill/daymill/internal/document"
	"github.com/daymill/daymill/internal/view"
	"github.com/daymill/daymill/internal/view/definition"
	"github.com/daymill/daymill/internal/view/plan"
)

// draft is a view that a person is putting together. The form contains all of it, so the server stores nothing.
type draft struct {
	Name, Where, Search string
	Every, Full         string // of the schedule; both are empty if changes are captured
	Drift               string // definition.Ask, or empty
	Tables              []draftTable
}

// draftTable is a table of a draft.
type draftTable struct {
	view.TableName

	As      string // the alias by which other tables join it
	To      int    // index of the earlier table that it joins
	Left    bool
	Pairs   []definition.Pair
	Columns []draftColumn
	More    int // columns that the page does not show
	// Expressions are columns that are computed: one per line, as name = SQL.
	Expressions string
	Changed     string // the column that grows with each change, for a schedule
}

// draftColumn is a column of a table, chosen or not.
type draftColumn struct {
	plan.Column

	Chosen, Key  bool
	As           string
	Transform    string // a map of values, or fields of JSON, one per line
	Else, IsJSON bool   // Else: a value that is not in the map stays
}

// fields are the names of a form's fields. The form is parsed as a document in which each field has a line of
// its own, numbered from 1, so the line of a mistake tells which field it is in.
type fields []string

func (f *fields) line(name string) int {
	*f = append(*f, name)
	return len(*f)
}

// of returns the mistakes by field. A mistake outside of all fields goes to the name.
func (f *fields) of(mistakes document.Mistakes) map[string]string {
	wrong := map[string]string{}
	for _, one := range mistakes {
		name := "name"
		if one.Line >= 1 && one.Line <= len(*f) {
			name = (*f)[one.Line-1]
		}
		if wrong[name] != "" {
			wrong[name] += "; "
		}
		// The reader sees fields, and no lines of a definition.
		text, line, has := strings.Cut(one.Text, ", the first in line ")
		if _, advice, is := strings.Cut(line, ":"); has && is {
			text += ":" + advice
		}
		wrong[name] += text
	}
	return wrong
}

func scalar(line int, text string) *yaml.Node {
	node := &yaml.Node{}
	node.SetString(text)
	node.Line, node.Column = line, 1
	return node
}

func flag(line int) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: "true", Line: line, Column: 1}
}

// mapping returns a mapping of alternating names and values. It leaves out names whose value is not a node.
func mapping(line int, pairs ...any) *yaml.Node {
	node := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: line, Column: 1}
	for i := 0; i+1 < len(pairs); i += 2 {
		name, _ := pairs[i].(string)
		if value, _ := pairs[i+1].(*yaml.Node); value != nil {
			node.Content = append(node.Content, scalar(line, name), value)
		}
	}
	return node
}

func sequence(line int, items []*yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Line: line, Column: 1, Content: items}
}

// definition reads the draft as a document, and returns its mistakes by field.
func (d draft) definition() (definition.Definition, fields, error) {
	var form fields
	p := &document.Parser{File: "form"}
	name := form.line("name")
	root := mapping(name, "name", scalar(name, d.Name))
	if d.Where != "" {
		line := form.line("where")
		root.Content = append(root.Content, scalar(line, "where"), scalar(line, d.Where))
	}
	if columns := split(d.Search, ","); len(columns) > 0 {
		line := form.line("search")
		items := make([]*yaml.Node, len(columns))
		for i, column := range columns {
			items[i] = scalar(line, column)
		}
		root.Content = append(root.Content, scalar(line, "search"), mapping(line, "columns", sequence(line, items)))
	}
	if d.Drift != "" {
		line := form.line("drift")
		root.Content = append(root.Content, scalar(line, "drift"), scalar(line, d.Drift))
	}
	if d.scheduled() {
		every, full := form.line("every"), form.line("full")
		schedule := mapping(every)
		for _, one := range []struct {
			line       int
			name, text string
		}{{every, "every", d.Every}, {full, "full", d.Full}} {
			if one.text != "" {
				schedule.Content = append(schedule.Content, scalar(one.line, one.name), scalar(one.line, one.text))
			}
		}
		root.Content = append(root.Content, scalar(every, "schedule"), schedule)
	}
	tables := make([]*yaml.Node, len(d.Tables))
	for i := range d.Tables {
		tables[i] = d.table(p, &form, i)
	}
	root.Content = append(root.Content, scalar(name, "tables"), sequence(form.line("add"), tables))
	made := definition.Read(p, root)
	return made, form, p.Err()
}

func (d draft) scheduled() bool { return d.Every != "" || d.Full != "" }

func (d draft) table(p *document.Parser, form *fields, i int) *yaml.Node {
	t, number := d.Tables[i], strconv.Itoa(i)
	line := form.line("as." + number)
	node := mapping(line, "database", scalar(line, t.Database), "schema", scalar(line, t.Schema), "table", scalar(line, t.Name))
	add := func(name string, value *yaml.Node) { node.Content = append(node.Content, scalar(line, name), value) }
	if t.As != "" && t.As != t.Name {
		add("as", scalar(line, t.As))
	}
	if i > 0 {
		to := d.Tables[max(0, min(t.To, i-1))]
		add("to", scalar(form.line("to."+number), to.alias()))
		at := form.line("f." + number + ".0")
		join := mapping(at)
		for _, pair := range t.Pairs {
			join.Content = append(join.Content, scalar(at, pair.First), scalar(at, pair.Second))
		}
		if len(join.Content) == 0 {
			p.Wrongf(join, "choose the columns to join on")
			join.Content = []*yaml.Node{scalar(at, "?"), scalar(at, "?")}
		}
		add("join", join)
		if t.Left {
			add("left", flag(line))
		}
	}
	var columns []*yaml.Node
	for k := range t.Columns {
		if c := t.Columns[k]; c.Chosen {
			columns = append(columns, c.node(p, form, number+"."+strconv.Itoa(k)))
		}
	}
	columns = append(columns, t.expressions(p, form, number)...)
	add("columns", sequence(line, columns))
	if t.Changed != "" {
		at := form.line("changed." + number)
		if changed := scalar(at, t.Changed); d.scheduled() {
			add("changed", changed)
		} else {
			p.Wrongf(changed, "this is for tables that are read on a schedule: say how often under Details, or choose none")
		}
	}
	return node
}

// expressions returns the columns that are computed.
func (t *draftTable) expressions(p *document.Parser, form *fields, number string) (columns []*yaml.Node) {
	if strings.TrimSpace(t.Expressions) == "" {
		return nil
	}
	at := form.line("q." + number)
	for _, text := range split(t.Expressions, "\n") {
		name, expression, has := strings.Cut(text, "=")
		name, expression = strings.TrimSpace(name), strings.TrimSpace(expression)
		if !has || name == "" || expression == "" {
			p.Wrongf(mapping(at), "%q has no =: write one expression a line, as loud = upper(name)", text)
			continue
		}
		columns = append(columns, mapping(at, "expression", scalar(at, expression), "as", scalar(at, name)))
	}
	return columns
}

func (t *draftTable) alias() string {
	if t.As != "" {
		return t.As
	}
	return t.Name
}

func (c draftColumn) node(p *document.Parser, form *fields, number string) *yaml.Node {
	named := "n."
	if c.IsJSON && strings.TrimSpace(c.Transform) != "" {
		named = "x." // The fields of the JSON have names, and the column has none.
	}
	line := form.line(named + number)
	node := mapping(line, "column", scalar(line, c.Name))
	add := func(name string, value *yaml.Node) { node.Content = append(node.Content, scalar(line, name), value) }
	if c.As != "" && c.As != c.Name {
		add("as", scalar(line, c.As))
	}
	if c.Key {
		add("key", flag(line))
	}
	if strings.TrimSpace(c.Transform) == "" {
		return node
	}
	at := form.line("x." + number)
	transform := mapping(at)
	for _, text := range split(c.Transform, "\n") {
		from, to, has := strings.Cut(text, "=")
		from, to = strings.TrimSpace(from), strings.TrimSpace(to)
		switch {
		case !has || from == "" || to == "" && c.IsJSON:
			p.Wrongf(transform, "%q has no =: write one %s a line", text, map[bool]string{true: "field, as city = address.city", false: "value, as 1 = paid"}[c.IsJSON])
		case c.IsJSON:
			transform.Content = append(transform.Content, scalar(at, from), field(at, to))
		default:
			transform.Content = append(transform.Content, scalar(at, from), scalar(at, to))
		}
	}
	switch {
	case c.IsJSON && len(transform.Content) > 0:
		add("json", transform)
	case len(transform.Content) > 0:
		add("map", transform)
		if c.Else {
			add("keep", flag(line))
		}
	}
	return node
}

// field reads the path of a JSON field, with its type if that is not text: address.zip integer.
func field(line int, text string) *yaml.Node {
	path, kind, _ := strings.Cut(text, " ")
	steps := strings.Split(path, ".")
	items := make([]*yaml.Node, len(steps))
	for i, step := range steps {
		items[i] = scalar(line, step)
	}
	node := mapping(line, "path", sequence(line, items))
	if kind = strings.TrimSpace(kind); kind != "" {
		node.Content = append(node.Content, scalar(line, "type"), scalar(line, kind))
	}
	return node
}

// split returns the parts of a text, trimmed and without empty ones.
func split(text, by string) (parts []string) {
	for part := range strings.SplitSeq(text, by) {
		if part = strings.TrimSpace(part); part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}
