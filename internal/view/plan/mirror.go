package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Mirror sets the names of the mirrors of other databases' tables. Each version of a view has its own mirrors.
func (p *Plan) Mirror(version int64) {
	for i := range p.Sources {
		if s := &p.Sources[i]; s.Mirror != "" {
			s.Mirror = Short(fmt.Sprintf("%d.%s.%s.%s", version, s.Stream, s.Schema, s.Name))
		}
	}
}

// Mirrored returns the indexes of the tables that have a mirror, each mirror once.
func (p *Plan) Mirrored() []int {
	var indexes []int
	for i, s := range p.Sources {
		if s.Mirror != "" && !slices.ContainsFunc(indexes, func(k int) bool { return p.Sources[k].Mirror == s.Mirror }) {
			indexes = append(indexes, i)
		}
	}
	return indexes
}

// Needed returns a source with only the columns that the view reads: its key, columns that joins compare, and columns that become the view's
// columns. If the table has an expression, it has all columns. If the table is joined twice, it has the columns of both joins.
func (p *Plan) Needed(i int) Source {
	s := p.Sources[i]
	names := slices.Clone(s.Key)
	for k, other := range p.Sources {
		if other.OID != s.OID || other.Stream != s.Stream {
			continue
		}
		if k == 0 && p.Definition.Where != "" {
			return s
		}
		names = append(names, p.Joined(k)...)
		for _, c := range p.Definition.Tables[k].Columns {
			if c.Expression != "" {
				return s
			}
			if !c.Deleted {
				names = append(names, c.Name)
			}
		}
	}
	columns := make([]Column, 0, len(names))
	for _, c := range s.Columns {
		if slices.Contains(names, c.Name) {
			columns = append(columns, c)
		}
	}
	s.Columns = columns
	return s
}

// Joined returns the columns of a table that joins compare, without duplicates.
func (p *Plan) Joined(i int) []string {
	var names []string
	add := func(name string) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for k, t := range p.Definition.Tables {
		if t.Join == nil {
			continue
		}
		for _, pair := range t.Join.On {
			if k == i {
				add(pair.Second)
			}
			if t.Join.To == i {
				add(pair.First)
			}
		}
	}
	return names
}

// selected returns the columns of a statement that reads rows: the key as texts, the key as JSON, and the row as JSON.
func (s Source) selected() string {
	key, row := make([]string, len(s.Key)), make([]string, len(s.Columns))
	for k, name := range s.Key {
		key[k] = "r." + quote(name)
	}
	for k, c := range s.Columns {
		row[k] = "r." + quote(c.Name)
	}
	return texts("r", s.Key) + ", (SELECT row_to_json(x.*)::text FROM (SELECT " + strings.Join(key, ", ") + ") AS x), (SELECT row_to_json(x.*)::text FROM (SELECT " + strings.Join(row, ", ") + ") AS x)"
}

// table returns the name of the table itself, in its own database.
func (s Source) table() string { return pgx.Identifier{s.Schema, s.Name}.Sanitize() }

// Chunk returns the statement that reads rows of the table in the order of its key: the key as texts, the key as JSON, the row as JSON. Its
// parameters are, if after is set, the key after which to begin, and then the number of rows.
func (s Source) Chunk(after bool) string { return s.chunk(s.table(), s.selected(), after) }

// MirrorChunk returns the statement that reads the keys of the mirror in order, as Chunk does: the key as texts, and as JSON.
func (s Source) MirrorChunk(after bool) string {
	key := make([]Column, len(s.Key))
	for k, name := range s.Key {
		key[k], _ = s.Column(name)
	}
	s.Columns = key
	return s.chunk(s.relation(), s.selected(), after)
}

func (s Source) chunk(relation, selected string, after bool) string {
	p := Plan{Sources: []Source{s}}
	columns := make([]string, len(s.Key))
	for k, name := range s.Key {
		columns[k] = "r." + quote(name)
	}
	limit := 1
	if after {
		limit += len(s.Key)
	}
	return "SELECT " + selected + " FROM " + relation + " AS r" + p.between("r", s.Key, 1, after, false) + " ORDER BY " + strings.Join(columns, ", ") + fmt.Sprintf(" LIMIT $%d::bigint", limit)
}

// Greatest returns the statement that reads the greatest value of a column, as text.
func (s Source) Greatest(column string) string {
	return "SELECT CAST(max(r." + quote(column) + ") AS text) FROM " + s.table() + " AS r"
}

// Since returns the statement that reads rows in the order of a column and the key: the columns of Chunk, and the column's value as text.
// With since, it begins at the value in the first parameter; with after, after a value and a key. The last parameter is the number of rows.
func (s Source) Since(column Column, since, after bool) string {
	names, kinds := make([]string, 0, 1+len(s.Key)), make([]string, 0, 1+len(s.Key))
	names, kinds = append(names, column.Name), append(kinds, column.Type)
	for _, name := range s.Key {
		c, _ := s.Column(name)
		names, kinds = append(names, name), append(kinds, c.Type)
	}
	columns, values := make([]string, len(names)), make([]string, len(names))
	for k, name := range names {
		columns[k] = "r." + quote(name)
		values[k] = fmt.Sprintf("CAST($%d::text AS %s)", k+1, unbounded(kinds[k]))
	}
	var where string
	limit := 1
	switch {
	case after:
		where, limit = "("+strings.Join(columns, ", ")+") > ("+strings.Join(values, ", ")+")", len(names)+1
	case since:
		where, limit = columns[0]+" >= "+values[0], 2
	default:
		where = columns[0] + " IS NOT NULL"
	}
	return "SELECT " + s.selected() + ", CAST(" + columns[0] + " AS text) FROM " + s.table() + " AS r WHERE " + where +
		" ORDER BY " + strings.Join(columns, ", ") + fmt.Sprintf(" LIMIT $%d::bigint", limit)
}

// Present returns the statement that reads rows of the mirror with some keys, as Chunk does. Parameters are arrays of text, one for each column of the key.
func (s Source) Present() string {
	p := Plan{Sources: []Source{s}}
	return "SELECT " + s.selected() + " FROM " + s.relation() + " AS r INNER JOIN " + p.keyed(0) + " AS " + keysAlias + " ON " + matches(p.key(0), s.Key, "r")
}

// Rows returns the statement that reads rows of the table itself with some keys, as Chunk does. Parameters are those of Present.
func (s Source) Rows() string {
	p := Plan{Sources: []Source{s}}
	return "SELECT " + s.selected() + " FROM " + s.table() + " AS r INNER JOIN " + p.keyed(0) + " AS " + keysAlias + " ON " + matches(p.key(0), s.Key, "r")
}

// Absent returns the statement that returns those of the given keys that the table itself does not have. Parameters are those of Present.
func (s Source) Absent() string {
	p := Plan{Sources: []Source{s}}
	arrays, names, conditions := make([]string, len(s.Key)), make([]string, len(s.Key)), make([]string, len(s.Key))
	for k, c := range p.key(0) {
		arrays[k] = fmt.Sprintf("unnest($%d::text[])", k+1)
		names[k] = fmt.Sprintf("k%d", k+1)
		conditions[k] = "r." + quote(c.Name) + equal(c) + "CAST(u." + names[k] + " AS " + unbounded(c.Type) + ")"
	}
	return "SELECT ARRAY[" + strings.Join(names, ", ") + "] FROM ROWS FROM (" + strings.Join(arrays, ", ") + ") AS u (" + strings.Join(names, ", ") +
		") WHERE NOT EXISTS (SELECT FROM " + s.table() + " AS r WHERE " + strings.Join(conditions, " AND ") + ")"
}

// Parents returns the statement that reads the values by which a table is joined for some root keys, as arrays of text. Parameters are arrays
// of text, one for each column of the root's key.
func (p *Plan) Parents(i int) string {
	join := p.Definition.Tables[i].Join
	values, conditions := make([]string, len(join.On)), make([]string, len(join.On))
	to := quote(p.Definition.Tables[join.To].Alias())
	for k, pair := range join.On {
		values[k] = "CAST(" + to + "." + quote(pair.First) + " AS text)"
		conditions[k] = to + "." + quote(pair.First) + " IS NOT NULL"
	}
	chain := ""
	for at := join.To; at > 0; at = p.Definition.Tables[at].Join.To {
		chain = "\nINNER JOIN " + p.Sources[at].relation() + " AS " + quote(p.Definition.Tables[at].Alias()) + p.on(at) + chain
	}
	root := quote(p.Definition.Tables[0].Alias())
	return "SELECT DISTINCT ARRAY[" + strings.Join(values, ", ") + "] FROM " + p.keyed(0) + " AS " + keysAlias + "\nINNER JOIN " + p.Sources[0].relation() + " AS " + root +
		" ON " + matches(p.key(0), p.Sources[0].Key, root) + chain + "\nWHERE " + strings.Join(conditions, " AND ")
}

// Children returns the statement that reads the rows of a table that are joined by some values, as Chunk does: from the table itself, or from
// its mirror. Parameters are arrays of text, one for each column of the join.
func (p *Plan) Children(i int, mirror bool) string {
	source, join := p.Needed(i), p.Definition.Tables[i].Join
	arrays, names, conditions := make([]string, len(join.On)), make([]string, len(join.On)), make([]string, len(join.On))
	for k, pair := range join.On {
		first, _ := p.Sources[join.To].Column(pair.First)
		second, _ := source.Column(pair.Second)
		arrays[k] = fmt.Sprintf("unnest(CAST($%d::text[] AS %s[]))", k+1, unbounded(first.Type))
		names[k] = fmt.Sprintf("k%d", k+1)
		conditions[k] = keysAlias + "." + names[k] + equal(second) + "r." + quote(pair.Second)
	}
	relation := source.table()
	if mirror {
		relation = source.relation()
	}
	return "SELECT " + source.selected() + " FROM (SELECT DISTINCT " + strings.Join(names, ", ") + " FROM ROWS FROM (" + strings.Join(arrays, ", ") + ") AS u (" + strings.Join(names, ", ") + ")) AS " +
		keysAlias + " INNER JOIN " + relation + " AS r ON " + strings.Join(conditions, " AND ")
}
