package filter

import (
	"errors"
	"fmt"
	"strings"
)

// ErrPattern says that a pattern of tables cannot be read.
var ErrPattern = errors.New("the pattern of tables cannot be read")

// Pattern names tables: public.orders, public.order_*, all tables of a schema as public or public.*, all tables as *. A name with a
// dot, a star, or capitals that matter, can be in double quotes, as in SQL. A leading ! excludes tables.
type Pattern struct {
	not           bool
	whole         bool // has no period
	schema, table part
	source        string
}

// part matches a name. The parts of a name between stars are in texts.
type part struct {
	texts  []string
	quoted bool
}

// ParsePattern reads a pattern.
func ParsePattern(source string) (Pattern, error) {
	p := Pattern{source: source}
	rest := strings.TrimSpace(source)
	if rest, p.not = strings.CutPrefix(rest, "!"); rest == "" {
		return p, fmt.Errorf("%w: it is empty", ErrPattern)
	}
	schema, rest, err := parsePart(rest)
	if err != nil {
		return p, err
	}
	p.schema = schema
	if rest == "" {
		p.table, p.whole = part{texts: []string{"", ""}}, true
		return p, nil
	}
	if rest[0] != '.' {
		return p, fmt.Errorf("%w: %q continues after the name of a schema: write schema.table", ErrPattern, source)
	}
	if p.table, rest, err = parsePart(rest[1:]); err != nil {
		return p, err
	}
	if rest != "" {
		return p, fmt.Errorf("%w: %q has more than a schema and a table: put names with a dot into double quotes", ErrPattern, source)
	}
	return p, nil
}

// parsePart reads a name up to a dot or the end.
func parsePart(text string) (part, string, error) {
	if !strings.HasPrefix(text, `"`) {
		name, rest := text, ""
		if dot := strings.IndexByte(text, '.'); dot >= 0 {
			name, rest = text[:dot], text[dot:]
		}
		if name == "" || strings.ContainsAny(name, "\"' \t\r\n;") {
			return part{}, "", fmt.Errorf("%w: %q is not a name: write schema.table, and other characters in double quotes", ErrPattern, text)
		}
		return part{texts: strings.Split(name, "*")}, rest, nil
	}
	var name strings.Builder
	for i := 1; i < len(text); i++ {
		switch {
		case text[i] != '"':
			name.WriteByte(text[i])
		case i+1 < len(text) && text[i+1] == '"':
			name.WriteByte('"')
			i++
		case name.Len() == 0:
			return part{}, "", fmt.Errorf("%w: a name is empty", ErrPattern)
		default:
			return part{texts: []string{name.String()}, quoted: true}, text[i+1:], nil
		}
	}
	return part{}, "", fmt.Errorf("%w: %q has no closing double quote", ErrPattern, text)
}

// match reports whether a name matches the part. Each star, from left to right, matches as few characters as possible.
func (p part) match(name string) bool {
	first, last := p.texts[0], p.texts[len(p.texts)-1]
	if len(p.texts) == 1 {
		return name == first
	}
	if len(name) < len(first)+len(last) || !strings.HasPrefix(name, first) || !strings.HasSuffix(name, last) {
		return false
	}
	name = name[len(first) : len(name)-len(last)]
	for _, text := range p.texts[1 : len(p.texts)-1] {
		at := strings.Index(name, text)
		if at < 0 {
			return false
		}
		name = name[at+len(text):]
	}
	return true
}

// Excludes reports whether the pattern has a leading !.
func (p Pattern) Excludes() bool { return p.not }

// Covers reports whether a table is one of those that the pattern names, which it may exclude.
func (p Pattern) Covers(schema, table string) bool {
	return p.schema.match(schema) && p.table.match(table)
}

// Schema returns the name of the schema whose tables are all meant; "" if the pattern is not one name without stars.
func (p Pattern) Schema() string {
	if !p.whole || len(p.schema.texts) > 1 {
		return ""
	}
	return p.schema.texts[0]
}

// String is the pattern as it was written.
func (p Pattern) String() string { return p.source }

// Tables matches a table if one of its patterns does and no pattern with ! does. Without patterns, it matches every table.
type Tables []Pattern

// ParseTables reads patterns.
func ParseTables(sources []string) (Tables, error) {
	tables := make(Tables, len(sources))
	for i, source := range sources {
		var err error
		if tables[i], err = ParsePattern(source); err != nil {
			return nil, err
		}
	}
	return tables, nil
}

// Match reports whether a table matches.
func (t Tables) Match(schema, table string) bool {
	meant, positive := false, false
	for _, p := range t {
		positive = positive || !p.not
		if !p.Covers(schema, table) {
			continue
		}
		if p.not {
			return false
		}
		meant = true
	}
	return meant || !positive
}
