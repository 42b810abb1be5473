package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Mirror names the copies of other databases' tables that the table of a version reads. Each version has its own.
func (p *Plan) Mirror(version int64) {
	for i := range p.Sources {
		if s := &p.Sources[i]; s.Mirror != "" {
			s.Mirror = Short(fmt.Sprintf("%d.%s.%s.%s", version, s.Stream, s.Schema, s.Name))
		}
	}
}

// Needed is a source with the columns that the view reads of it: its key, what joins compare, and what becomes columns. Where
// the table has an expression, it is all columns. A table that is joined twice has the columns of both.
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
			names = append(names, c.Name)
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

// Joined are the columns of a table that joins compare, each once.
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

// Chunk reads rows of the table in the order of its key: the key as texts, the key as JSON, the row as JSON. Parameters are
// those of the key after which to begin, where after is set, and how many rows.
func (s Source) Chunk(after bool) string {
	p := Plan{Sources: []Source{s}}
	key, row := make([]string, len(s.Key)), make([]string, len(s.Columns))
	columns := make([]string, len(s.Key))
	for k, name := range s.Key {
		columns[k] = "r." + quote(name)
		key[k] = columns[k]
	}
	for k, c := range s.Columns {
		row[k] = "r." + quote(c.Name)
	}
	limit := 1
	if after {
		limit += len(s.Key)
	}
	return "SELECT " + texts("r", s.Key) + ", (SELECT row_to_json(x)::text FROM (SELECT " + strings.Join(key, ", ") + ") AS x), (SELECT row_to_json(x)::text FROM (SELECT " + strings.Join(row, ", ") + ") AS x) FROM " +
		pgx.Identifier{s.Schema, s.Name}.Sanitize() + " AS r" + p.between("r", s.Key, 1, after, false) + " ORDER BY " + strings.Join(columns, ", ") + fmt.Sprintf(" LIMIT $%d::bigint", limit)
}
