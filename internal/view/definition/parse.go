package definition

import (
	"bytes"
	_ "embed"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/daymill/daymill/internal/document"
)

// Schema is the JSON Schema of a file.
//
//go:embed schema.json
var Schema string

// MaxFile is the maximum size of a file, in bytes.
const MaxFile = 4 << 20

// Parse reads a file with one definition, or with a list of them under views. The file's name or first character shows whether it is JSON
// or YAML. The error is of type document.Mistakes.
func Parse(name string, content []byte) ([]Definition, error) {
	p := &document.Parser{File: name}
	var root *yaml.Node
	switch {
	case len(content) > MaxFile:
		p.Wrongf(&yaml.Node{}, "the file is larger than %d bytes", MaxFile)
	case filepath.Ext(name) == ".json" || bytes.HasPrefix(bytes.TrimSpace(content), []byte("{")):
		root = p.JSON(content)
	default:
		if root = p.YAML(content); root == nil && p.Err() == nil {
			p.Wrongf(&yaml.Node{}, "the file is empty: docs/views.md shows a definition")
		}
	}
	var definitions []Definition
	if root != nil {
		if list := child(root, "views"); list != nil && len(root.Content) == 2 {
			definitions = List(p, list)
		} else {
			definitions = []Definition{Read(p, root)}
		}
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	return definitions, nil
}

// List reads a list of definitions, as under views in daymill.yaml.
func List(p *document.Parser, node *yaml.Node) []Definition {
	items := p.List(node, "views")
	definitions := make([]Definition, 0, len(items))
	lines := map[string]int{}
	for _, item := range items {
		d := Read(p, item)
		if line, has := lines[d.Name]; has && d.Name != "" {
			p.Wrongf(item, "there is another view %q in line %d: give each a different name", d.Name, line)
		}
		lines[d.Name] = item.Line
		definitions = append(definitions, d)
	}
	return definitions
}

// Read reads one definition, in either form.
func Read(p *document.Parser, node *yaml.Node) Definition {
	r := reader{p}
	d := Definition{Place: at(p.File, node)}
	if child(node, "sources") != nil || child(node, "view_name") != nil {
		r.forge(node, &d)
	} else {
		r.short(node, &d)
	}
	if len(d.Tables) > 0 || d.Name != "" { // Otherwise it is not a definition, which was already reported.
		checker{p, &d}.check()
	}
	return d
}

// child returns the value of a name in a mapping; nil if there is none.
func child(node *yaml.Node, name string) *yaml.Node {
	if node.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == name {
			return node.Content[i+1]
		}
	}
	return nil
}

// reader reads values that both forms have.
type reader struct{ *document.Parser }

func (r reader) into(to *string) func(*yaml.Node) {
	return func(node *yaml.Node) { *to, _ = r.Text(node) }
}

// optional is like into, for values that may be null.
func (r reader) optional(to *string) func(*yaml.Node) {
	return func(node *yaml.Node) {
		if node.Tag != "!!null" {
			*to, _ = r.Text(node)
		}
	}
}

func (r reader) flag(to *bool) func(*yaml.Node) {
	return func(node *yaml.Node) {
		switch {
		case node.Kind == yaml.ScalarNode && node.Tag == "!!null":
		case node.Kind == yaml.ScalarNode && node.Tag == "!!bool":
			*to = node.Value == "true"
		default:
			r.Wrongf(node, "write true or false")
		}
	}
}

func ignore(*yaml.Node) {}

// common adds the fields that are the same in both forms.
func (r reader) common(d *Definition, known document.Fields) document.Fields {
	known["where"] = func(node *yaml.Node) {
		d.WherePlace = at(r.File, node)
		d.Where, _ = r.Text(node)
	}
	known["drift"] = func(node *yaml.Node) {
		if d.Drift, _ = r.Text(node); d.Drift != Follow && d.Drift != Ask {
			r.Wrongf(node, "write drift: follow (adapt the view if nothing is lost), or drift: ask (pause it until somebody decides)")
		}
	}
	known["schedule"] = func(node *yaml.Node) { d.Schedule = r.schedule(node) }
	known["indexes"] = func(node *yaml.Node) {
		for _, item := range r.List(node, "indexes") {
			if columns := r.Texts(item, nil); len(columns) > 0 {
				d.Indexes = append(d.Indexes, columns)
			}
		}
	}
	known["search"] = func(node *yaml.Node) {
		items := []*yaml.Node{node}
		if node.Kind == yaml.SequenceNode {
			items = node.Content
		}
		for _, item := range items {
			d.Search = append(d.Search, r.search(item))
		}
	}
	return known
}

func (r reader) search(node *yaml.Node) Search {
	s := Search{Name: "search", Place: at(r.File, node)}
	r.Object(node, "search", document.Fields{
		"name": r.into(&s.Name), "language": r.into(&s.Language),
		"columns": func(node *yaml.Node) { s.Columns = r.Texts(node, nil) },
	})
	if len(s.Columns) == 0 {
		r.Wrongf(node, "search needs columns of the view: search: {columns: [title, body]}")
	}
	return s
}

// values reads a mapping from values to texts, in its order.
func (r reader) values(node *yaml.Node) []Value {
	if node.Kind != yaml.MappingNode {
		r.Wrongf(node, `write the mapping as {"1": "new", "2": "paid"}`)
		return nil
	}
	var values []Value
	seen := map[string]bool{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		from, to := node.Content[i], node.Content[i+1]
		if seen[from.Value] {
			r.Wrongf(from, "%q occurs twice", from.Value)
		}
		seen[from.Value] = true
		if text, ok := r.Text(to); ok {
			if strings.ContainsRune(from.Value+text, 0) {
				r.Wrongf(to, "text in Postgres cannot have a zero byte")
			}
			values = append(values, Value{From: from.Value, To: text})
		}
	}
	if len(values) == 0 {
		r.Wrongf(node, "the mapping has no values")
	}
	return values
}
