package plan

import (
	"regexp"
	"strings"

	"github.com/daymill/daymill/internal/view/definition"
)

var typmod = regexp.MustCompile(`\(\s*\d+\s*(,\s*-?\d+\s*)?\)`)

// unbounded returns a type without a length or precision, for a CAST that changes no value of it. SQL's character and bit without a length have the
// length 1, and other names of these types do not.
func unbounded(name string) string {
	name = typmod.ReplaceAllString(name, "")
	for short, other := range map[string]string{"character": "bpchar", "bit": `"bit"`} {
		if dimensions, is := strings.CutPrefix(name, short); is && (dimensions == "" || strings.HasPrefix(dimensions, "[")) {
			return other + dimensions
		}
	}
	return name
}

// typeOf returns a type as Postgres writes it. If there is none, it reports a mistake and returns "". Only text that Postgres wrote, and
// digits, reach SQL.
func (m *maker) typeOf(at definition.Place, name string) string {
	if name == "" {
		return ""
	}
	modifier := strings.ReplaceAll(typmod.FindString(name), " ", "")
	canonical := m.regtype(name)
	if canonical == "" {
		m.wrongf(at, "there is no type %q: write it as Postgres does, such as bigint, numeric(12,2), timestamptz or text[]", name)
		return ""
	}
	if modifier == "" {
		return canonical
	}
	for _, prefix := range []string{"timestamp", "time", "interval"} {
		if rest, is := strings.CutPrefix(canonical, prefix); is {
			return prefix + modifier + rest
		}
	}
	if element, is := strings.CutSuffix(canonical, "[]"); is {
		return element + modifier + "[]"
	}
	return canonical + modifier
}

// regtype returns the name of a type without its modifier; empty if there is no such type, or if no column can have it.
func (m *maker) regtype(name string) (canonical string) {
	// An invalid name is an error in some versions of Postgres, and NULL in others.
	_ = m.target.QueryRow(m.ctx, "SELECT pg_catalog.format_type(t.oid, NULL) FROM pg_catalog.pg_type AS t WHERE t.oid = pg_catalog.to_regtype($1) AND t.typtype <> 'p'", name).Scan(&canonical)
	return canonical
}

// checkType compares the type in a definition with the catalog's.
func (m *maker) checkType(c definition.Column, source Column) error {
	if c.Type == "" {
		return nil
	}
	want := m.typeOf(c.Place, c.Type)
	if want == "" {
		return nil
	}
	bare := typmod.ReplaceAllString(source.Type, "")
	if typmod.MatchString(want) {
		bare = source.Type
	}
	if want != bare {
		m.wrongf(c.Place, "column %s is of type %s, not %s", c.Name, source.Type, c.Type)
	}
	return nil
}

// says returns the column's type and, if it is not the type's default, its collation.
func (c Column) says() string {
	if c.Collation == "" {
		return c.Type
	}
	return c.Type + " COLLATE " + c.Collation
}
