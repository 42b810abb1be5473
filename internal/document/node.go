package document

import (
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Fields read the values of an object, by name.
type Fields map[string]func(value *yaml.Node)

// Object reads a mapping, and reports whether it is one.
func (p *Parser) Object(node *yaml.Node, what string, known Fields) bool {
	if node.Kind != yaml.MappingNode {
		p.Wrongf(node, "%s must be a mapping with %s, not %s", what, list(known), called(node))
		return false
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		read, has := known[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode:
			p.Wrongf(key, "a name is missing here")
		case seen[key.Value] > 0:
			p.Wrongf(key, "%s appears twice: the first is on line %d", key.Value, seen[key.Value])
		case value.Kind == yaml.AliasNode:
			p.Wrongf(value, "references to anchors are not supported: write the value itself")
		case !has:
			p.Wrongf(key, "%s has no %q: %s", what, key.Value, suggest(key.Value, known))
		default:
			read(value)
		}
		if key.Kind == yaml.ScalarNode {
			seen[key.Value] = key.Line
		}
	}
	return true
}

// called describes the kind of a node in words.
func called(node *yaml.Node) string {
	switch node.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "a reference to an anchor"
	default:
		return "a single value"
	}
}

func list(known Fields) string { return strings.Join(slices.Sorted(maps.Keys(known)), ", ") }

// suggest names the field that was probably meant, or all fields.
func suggest(given string, known Fields) string {
	best, least := "", 3
	for _, field := range slices.Sorted(maps.Keys(known)) {
		if d := distance(given, field); d < least {
			best, least = field, d
		}
	}
	if best != "" {
		return "did you mean " + best + "?"
	}
	return "it has " + list(known)
}

// distance returns how many letters must be changed, added or removed to turn a into b, up to a small limit.
func distance(a, b string) int {
	const far = 99
	if len(a) > 64 {
		return far
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}

// Text reads a single value as text.
func (p *Parser) Text(node *yaml.Node) (string, bool) {
	if node.Kind != yaml.ScalarNode || node.Tag == "!!null" {
		said := called(node)
		if node.Tag == "!!null" {
			said = "nothing"
		}
		p.Wrongf(node, "expected text here, not %s: put it in quotes if it contains {, [, # or :", said)
		return "", false
	}
	if strings.ContainsRune(node.Value, 0) {
		p.Wrongf(node, "the text has a character with the code 0, which Postgres cannot store: leave it out")
		return "", false
	}
	return node.Value, true
}

// List reads the items of a list.
func (p *Parser) List(node *yaml.Node, what string) []*yaml.Node {
	if node.Kind != yaml.SequenceNode {
		p.Wrongf(node, "%s must be a list, not %s: begin each item with a dash", what, called(node))
		return nil
	}
	return node.Content
}

// Texts reads a list of texts, or a single one. check may be nil.
func (p *Parser) Texts(node *yaml.Node, check func(at *yaml.Node, text string)) []string {
	items := []*yaml.Node{node}
	if node.Kind != yaml.ScalarNode {
		items = p.List(node, "this")
	}
	read := make([]string, 0, len(items))
	for _, item := range items {
		text, ok := p.Text(item)
		if ok && check != nil {
			check(item, text)
		}
		read = append(read, text)
	}
	return read
}

// Mapping reads texts by name.
func (p *Parser) Mapping(node *yaml.Node, wrong string) map[string]string {
	if node.Kind != yaml.MappingNode {
		p.Wrongf(node, "%s", wrong)
		return nil
	}
	read := map[string]string{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if name, ok := p.Text(node.Content[i]); ok {
			read[name], _ = p.Text(node.Content[i+1])
		}
	}
	return read
}
