package plan

import (
	"fmt"
	"strconv"
	"strings"
)

// Range says which root keys [Plan.Touched] looks at: after a key if Lower is set, and up to one if Upper is set. If Walk is set, it reads all
// root keys of the range, and then looks which of them are affected. Otherwise it reads all that are affected, and then looks which of them are in the
// range, which is faster unless they are many.
type Range struct{ Lower, Upper, Walk bool }

// Touched returns the statement that reads the root keys that rows of a table affect, given the keys of these
// rows. It looks in the view's table for root keys whose rows contain them now, and in the sources for root
// keys whose rows should contain them. The root keys are arrays of text, in order. If keyed is false, it
// reads all root keys that have any row of the table, for a TRUNCATE. Parameters are the keys, as arrays of
// text, one for each column; the lower and the upper bound, if they are set; and the maximum number of
// root keys.
func (p *Plan) Touched(i int, table string, keyed bool, within Range) string {
	next := 1
	if keyed {
		next += len(p.Sources[i].Key)
	}
	limit := next
	for _, bounded := range []bool{within.Lower, within.Upper} {
		if bounded {
			limit += len(p.Sources[0].Key)
		}
	}
	between := func(relation string, names []string) string {
		return p.between(relation, names, next, within.Lower, within.Upper)
	}
	// An OFFSET keeps the planner from reading all rows of a key first: it does not know which keys have many.
	walked := func(relation string, names []string) string {
		return "(SELECT * FROM " + relation + " AS r" + between("r", names) + " OFFSET 0)"
	}
	root, of, after := p.Sources[0].relation(), Table(table), between
	if within.Walk {
		root, of = walked(root, p.Sources[0].Key), walked(of, p.Keys[0])
		after = func(string, []string) string { return "" }
	}
	from := "FROM " + of + " AS v"
	var side string
	if keyed {
		from += p.having(i) + after("v", p.Keys[0])
		alias := quote(p.Definition.Tables[0].Alias())
		side = "\nUNION\n" + p.side(alias, p.Sources[0].Key, p.path(i, root)+after(alias, p.Sources[0].Key), limit)
	} else {
		from += and(after("v", p.Keys[0]), "v."+quote(p.Keys[i][0])+" IS NOT NULL")
	}
	columns := numbered("t.r", len(p.Keys[0]))
	asText := make([]string, len(columns))
	for k, column := range columns {
		asText[k] = "CAST(" + column + " AS text)"
	}
	return "SELECT ARRAY[" + strings.Join(asText, ", ") + "] FROM (\n" + p.side("v", p.Keys[0], from, limit) + side + "\n) AS t ORDER BY " +
		strings.Join(columns, ", ") + fmt.Sprintf(" LIMIT $%d::bigint", limit)
}

// having returns the join of the view's table with keys of a table.
func (p *Plan) having(i int) string {
	return " INNER JOIN " + p.keyed(i) + " AS " + keysAlias + " ON " + matches(p.key(i), p.Keys[i], "v")
}

// and adds a condition to a WHERE, which may be empty.
func and(where, condition string) string {
	if where == "" {
		return "\nWHERE " + condition
	}
	return where + " AND " + condition
}

// Sides of [Plan.Some].
const (
	SideView   = "view"
	SideSource = "source"
)

// Some returns the statement that reads root keys as Touched does, but at most some of each side: those of the view's table, and those of the
// sources. It reads no more rows than it returns, however many depend on a row, so they are in no order and have duplicates. The root keys are
// arrays of text, after the side. Parameters are the keys, if keyed is set, and the maximum number for a side.
func (p *Plan) Some(i int, table string, keyed bool) string {
	limit := 1
	from := "FROM " + Table(table) + " AS v"
	if keyed {
		limit += len(p.Sources[i].Key)
		from += p.having(i)
	} else {
		from += " WHERE v." + quote(p.Keys[i][0]) + " IS NOT NULL"
	}
	some := func(side, relation string, names []string, from string) string {
		return "(SELECT ARRAY[" + literal(side) + ", " + strings.Join(casts(relation, names), ", ") + "] " + from + fmt.Sprintf("\nLIMIT $%d::bigint)", limit)
	}
	sql := some(SideView, "v", p.Keys[0], from)
	if keyed {
		sql += "\nUNION ALL\n" + some(SideSource, quote(p.Definition.Tables[0].Alias()), p.Sources[0].Key, p.path(i, p.Sources[0].relation()))
	}
	return sql
}

func numbered(prefix string, count int) []string {
	names := make([]string, count)
	for k := range names {
		names[k] = prefix + strconv.Itoa(k+1)
	}
	return names
}

// side selects root keys.
func (*Plan) side(relation string, names []string, from string, limit int) string {
	columns := make([]string, len(names))
	for k, name := range names {
		columns[k] = relation + "." + quote(name) + " AS r" + strconv.Itoa(k+1)
	}
	return "(SELECT DISTINCT " + strings.Join(columns, ", ") + " " + from + "\nORDER BY " + strings.Join(numbered("r", len(names)), ", ") +
		fmt.Sprintf(" LIMIT $%d::bigint)", limit)
}

// path returns the joins from rows of a table with some keys to their root, which is read from a relation.
func (p *Plan) path(i int, root string) string {
	relation := func(at int) string {
		if at == 0 {
			return root
		}
		return p.Sources[at].relation()
	}
	alias := quote(p.Definition.Tables[i].Alias())
	var sql strings.Builder
	sql.WriteString("FROM " + p.keyed(i) + " AS " + keysAlias + "\nINNER JOIN " + relation(i) + " AS " + alias + " ON " + matches(p.key(i), p.Sources[i].Key, alias))
	for at := i; at > 0; at = p.Definition.Tables[at].Join.To {
		to := p.Definition.Tables[at].Join.To
		sql.WriteString("\nINNER JOIN " + relation(to) + " AS " + quote(p.Definition.Tables[to].Alias()) + p.on(at))
	}
	return sql.String()
}
