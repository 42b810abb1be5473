package plan

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/view/definition"
)

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

func collate(collation string) string {
	if collation == "" {
		return ""
	}
	return " COLLATE " + collation
}

// literal quotes a text as Postgres's quote_literal does.
func literal(text string) string {
	quoted := "'" + strings.ReplaceAll(text, "'", "''") + "'"
	if strings.Contains(text, `\`) {
		return "E" + strings.ReplaceAll(quoted, `\`, `\\`)
	}
	return quoted
}

// mapping returns the CASE expression of a mapping. NULL stays NULL.
func mapping(value string, mapped definition.Map) string {
	var b strings.Builder
	text := "CAST(" + value + " AS text)"
	b.WriteString("CASE " + text)
	for _, v := range mapped.Values {
		b.WriteString(" WHEN " + literal(v.From) + " THEN " + literal(v.To))
	}
	switch {
	case mapped.Else != nil:
		b.WriteString(" ELSE CASE WHEN " + value + " IS NOT NULL THEN " + literal(*mapped.Else) + " END")
	case mapped.Keep:
		b.WriteString(" ELSE " + text)
	}
	b.WriteString(" END")
	return b.String()
}

// expressionName returns the name of an expression in the FROM of the SELECT, which no column of its table has.
func (p *Plan) expressionName(i, column int) string {
	name := definition.Reserved + "expression_" + strconv.Itoa(column)
	for {
		if _, taken := p.Sources[i].Column(name); !taken {
			return name
		}
		name += "_"
	}
}

// from returns a table in the FROM of the SELECT, with its expressions.
func (p *Plan) from(i int) string {
	t, relation := p.Definition.Tables[i], p.Sources[i].relation()
	var expressions []string
	for k := range t.Columns {
		if c, has := p.Expressions[expressionKey(i, k)]; has {
			expressions = append(expressions, ", ("+c.SQL+") AS "+quote(p.expressionName(i, k)))
		}
	}
	condition, where := p.Expressions[expressionKey(-1, 0)]
	where = where && i == 0
	if len(expressions) == 0 && !where {
		return relation + " AS " + quote(t.Alias())
	}
	sql := "(SELECT *" + strings.Join(expressions, "") + " FROM " + relation
	if where {
		sql += " WHERE (" + condition.SQL + ")"
	}
	return sql + ") AS " + quote(t.Alias())
}

func (p *Plan) on(i int) string {
	t := p.Definition.Tables[i]
	conditions := make([]string, len(t.Join.On))
	for k, pair := range t.Join.On {
		second, _ := p.Sources[i].Column(pair.Second)
		conditions[k] = quote(p.Definition.Tables[t.Join.To].Alias()) + "." + quote(pair.First) + equal(second) + quote(t.Alias()) + "." + quote(pair.Second)
	}
	return " ON " + strings.Join(conditions, " AND ")
}

func equal(c Column) string {
	if c.Equal != "" {
		return " " + c.Equal + " "
	}
	return " = "
}

// Select returns the view's SELECT: the rows that its table must have.
func (p *Plan) Select() string {
	var b strings.Builder
	b.WriteString("SELECT\n")
	for i, o := range p.Outputs {
		b.WriteString("    " + o.SQL + " AS " + quote(o.Name))
		if i < len(p.Outputs)-1 {
			b.WriteString(",")
		}
		b.WriteString("\n")
	}
	b.WriteString(p.joined()[1:])
	return b.String()
}

// joined returns the FROM of the SELECT.
func (p *Plan) joined() string {
	var b strings.Builder
	b.WriteString("\nFROM " + p.from(0))
	for i := 1; i < len(p.Definition.Tables); i++ {
		kind := "\nINNER JOIN "
		if p.Definition.Tables[i].Join.Left {
			kind = "\nLEFT JOIN "
		}
		b.WriteString(kind + p.from(i) + p.on(i))
	}
	return b.String()
}

// Columns returns the quoted names of the table's columns.
func (p *Plan) Columns() string {
	names := make([]string, len(p.Outputs))
	for i, o := range p.Outputs {
		names[i] = quote(o.Name)
	}
	return strings.Join(names, ", ")
}

// Table returns the quoted name of a view's table.
func Table(name string) string { return pgx.Identifier{Schema, name}.Sanitize() }

// CreateTable returns the statement that creates the table under a name.
func (p *Plan) CreateTable(name string) string {
	lines := make([]string, 0, len(p.Outputs))
	for _, o := range p.Outputs {
		line := "    " + quote(o.Name) + " " + o.Type + collate(o.Collation)
		if o.NotNull {
			line += " NOT NULL"
		}
		lines = append(lines, line)
	}
	for _, s := range p.Definition.Search {
		texts := make([]string, len(s.Columns))
		for i, column := range s.Columns {
			texts[i] = "coalesce(" + quote(column) + ", '')"
		}
		lines = append(lines, "    "+quote(s.Name)+" tsvector GENERATED ALWAYS AS (to_tsvector("+literal("pg_catalog."+s.Language)+"::regconfig, "+
			strings.Join(texts, " || ' ' || ")+")) STORED")
	}
	return "CREATE TABLE " + Table(name) + " (\n" + strings.Join(lines, ",\n") + "\n)"
}

// Index is one index of the view's table.
type Index struct {
	Columns []string
	Method  string // gin, or btree if empty
}

// Indexes returns the indexes that refreshes need, that of the view's key, and those of the definition, without duplicates.
func (p *Plan) Indexes() []Index {
	var indexes []Index
	seen := map[string]bool{}
	add := func(index Index) {
		if name := strings.Join(index.Columns, "\x00"); len(index.Columns) > 0 && !seen[name] {
			seen[name] = true
			indexes = append(indexes, index)
		}
	}
	for _, key := range p.Keys {
		add(Index{Columns: key})
	}
	var key []string
	for _, o := range p.Outputs {
		if o.Key && o.Table == 0 {
			key = append(key, o.Name)
		}
	}
	add(Index{Columns: key})
	for _, columns := range p.Definition.Indexes {
		add(Index{Columns: columns})
	}
	for _, s := range p.Definition.Search {
		add(Index{Columns: []string{s.Name}, Method: "gin"})
	}
	return indexes
}

// CreateIndexes returns the statements that create the indexes of a table. Postgres chooses their names.
func (p *Plan) CreateIndexes(name string) []string {
	indexes := p.Indexes()
	statements := make([]string, 0, len(indexes))
	for _, index := range indexes {
		columns := make([]string, len(index.Columns))
		for i, c := range index.Columns {
			columns[i] = quote(c)
		}
		using := ""
		if index.Method != "" {
			using = " USING " + index.Method
		}
		statements = append(statements, "CREATE INDEX ON "+Table(name)+using+" ("+strings.Join(columns, ", ")+")")
	}
	return statements
}

// Key returns the columns of the root's key.
func (p *Plan) Key() []Column { return p.key(0) }

// key returns the columns of a table's key.
func (p *Plan) key(i int) []Column {
	columns := make([]Column, len(p.Sources[i].Key))
	for k, name := range p.Sources[i].Key {
		columns[k], _ = p.Sources[i].Column(name)
	}
	return columns
}

// keyed returns a relation of distinct keys of a table. Its parameters are arrays of text, one for each column.
func (p *Plan) keyed(i int) string {
	columns := p.key(i)
	arrays, names := make([]string, len(columns)), make([]string, len(columns))
	for k, c := range columns {
		arrays[k] = fmt.Sprintf("CAST($%d::text[] AS %s[])", k+1, unbounded(c.Type))
		names[k] = fmt.Sprintf("k%d", k+1)
	}
	return "(SELECT DISTINCT " + strings.Join(names, ", ") + " FROM ROWS FROM (unnest(" + strings.Join(arrays, "), unnest(") + ")) AS u (" + strings.Join(names, ", ") + "))"
}

// keysAlias is a name that no table of a view has.
const keysAlias = definition.Keys

// matches compares columns of a relation with those of a relation of keys.
func matches(columns []Column, names []string, relation string) string {
	conditions := make([]string, len(names))
	for k, name := range names {
		conditions[k] = relation + "." + quote(name) + equal(columns[k]) + fmt.Sprintf(keysAlias+".k%d", k+1)
	}
	return strings.Join(conditions, " AND ")
}

// RefreshKeys returns the statements that refresh the rows of some root keys. Parameters are arrays of text, one for each column of the
// root's key.
func (p *Plan) RefreshKeys(table string) (remove, insert string) {
	root := quote(p.Definition.Tables[0].Alias())
	remove = "DELETE FROM " + Table(table) + " AS v USING " + p.keyed(0) + " AS " + keysAlias + " WHERE " + matches(p.key(0), p.Keys[0], "v")
	insert = "INSERT INTO " + Table(table) + " (" + p.Columns() + ")\n" + p.Select() +
		"\nINNER JOIN " + p.keyed(0) + " AS " + keysAlias + " ON " + matches(p.key(0), p.Sources[0].Key, root)
	return remove, insert
}

// SelectKeys returns the SELECT for some root keys.
func (p *Plan) SelectKeys() string {
	return p.Select() + "\nINNER JOIN " + p.keyed(0) + " AS " + keysAlias + " ON " + matches(p.key(0), p.Sources[0].Key, quote(p.Definition.Tables[0].Alias()))
}

// RefreshRange returns the statements that refresh the rows of a range of root keys: after a key and up to another. Parameters are texts,
// first those of the lower bound, if there is one, then those of the upper bound, if there is one.
func (p *Plan) RefreshRange(table string, lower, upper bool) (remove, insert string) {
	remove = "DELETE FROM " + Table(table) + " AS v" + p.between("v", p.Keys[0], 1, lower, upper)
	insert = "INSERT INTO " + Table(table) + " (" + p.Columns() + ")\n" + p.SelectRange(lower, upper)
	return remove, insert
}

// SelectRange returns the SELECT for a range of root keys.
func (p *Plan) SelectRange(lower, upper bool) string {
	return p.Select() + p.between(quote(p.Definition.Tables[0].Alias()), p.Sources[0].Key, 1, lower, upper)
}

func (p *Plan) between(relation string, names []string, next int, lower, upper bool) string {
	columns := make([]string, len(names))
	for k, name := range names {
		columns[k] = relation + "." + quote(name)
	}
	row := "(" + strings.Join(columns, ", ") + ")"
	var conditions []string
	if lower {
		conditions = append(conditions, row+" > "+p.bound(next))
		next += len(names)
	}
	if upper {
		conditions = append(conditions, row+" <= "+p.bound(next))
	}
	if len(conditions) == 0 {
		return ""
	}
	return "\nWHERE " + strings.Join(conditions, " AND ")
}

// bound returns a root key made of parameters.
func (p *Plan) bound(next int) string {
	columns := p.key(0)
	values := make([]string, len(columns))
	for k, c := range columns {
		values[k] = fmt.Sprintf("CAST($%d::text AS %s)", next+k, unbounded(c.Type))
	}
	return "(" + strings.Join(values, ", ") + ")"
}

// Next returns the statement that reads the root key at the end of a chunk: the nth after a key, or from the beginning.
func (p *Plan) Next(lower bool) string {
	return "SELECT " + texts("r", p.Sources[0].Key) + " FROM (" + p.nth(p.Sources[0].relation(), p.Sources[0].Key, lower) + ") AS r"
}

// Reach is like Next, for the root and the view's table: it reads the lower of the two keys. If one of them has no such key, it reads that of the other.
func (p *Plan) Reach(table string, lower bool) string {
	return "SELECT " + texts("r", p.Sources[0].Key) + " FROM (\n(" + p.nth(p.Sources[0].relation(), p.Sources[0].Key, lower) + ")\nUNION ALL\n(" +
		p.nth(Table(table), p.Keys[0], lower) + ")\n) AS r ORDER BY " + strings.Join(columns("r", p.Sources[0].Key), ", ") + " LIMIT 1"
}

// Count returns the statement that counts the root keys of a range. Parameters are those of RefreshRange.
func (p *Plan) Count(lower, upper bool) string {
	return "SELECT count(*) FROM " + p.Sources[0].relation() + " AS r" + p.between("r", p.Sources[0].Key, 1, lower, upper)
}

// nth returns the statement that reads the nth key of a relation.
func (p *Plan) nth(relation string, names []string, lower bool) string {
	limit := 1
	if lower {
		limit += len(names)
	}
	columns := strings.Join(columns("r", names), ", ")
	return "SELECT " + columns + " FROM " + relation + " AS r" + p.between("r", names, 1, lower, false) + " ORDER BY " + columns + fmt.Sprintf(" OFFSET $%d::bigint LIMIT 1", limit)
}

// Compare returns the statement that reads the root keys of a range whose rows in the table differ from the SELECT's, as arrays of text,
// without duplicates. It compares rows as text, because not every type has an equality. Parameters are those of RefreshRange.
func (p *Plan) Compare(table string, lower, upper bool) string {
	return p.compare(p.SelectRange(lower, upper), p.between("v", p.Keys[0], 1, lower, upper), table)
}

// CompareKeys is like Compare, for some root keys. Parameters are those of RefreshKeys.
func (p *Plan) CompareKeys(table string) string {
	return p.compare(p.SelectKeys(), p.having(0), table)
}

func (p *Plan) compare(selected, bounds, table string) string {
	columns := make([]string, len(p.Outputs))
	for i, o := range p.Outputs {
		columns[i] = "v." + quote(o.Name)
	}
	row := "SELECT " + texts("v", p.Keys[0]) + " AS root, CAST(ROW(" + strings.Join(columns, ", ") + ") AS text) AS whole FROM "
	should := row + "(" + selected + ") AS v"
	is := row + Table(table) + " AS v" + bounds
	return "WITH should AS MATERIALIZED (\n" + should + "\n), present AS MATERIALIZED (\n" + is + "\n)\n" +
		"SELECT DISTINCT d.root FROM ((TABLE should EXCEPT ALL TABLE present) UNION ALL (TABLE present EXCEPT ALL TABLE should)) AS d"
}

func texts(relation string, names []string) string {
	return "ARRAY[" + strings.Join(casts(relation, names), ", ") + "]"
}

// columns returns columns of a relation.
func columns(relation string, names []string) []string {
	quoted := make([]string, len(names))
	for k, name := range names {
		quoted[k] = relation + "." + quote(name)
	}
	return quoted
}

// casts returns columns of a relation as texts.
func casts(relation string, names []string) []string {
	columns := make([]string, len(names))
	for k, name := range names {
		columns[k] = "CAST(" + relation + "." + quote(name) + " AS text)"
	}
	return columns
}

// Misfits returns the statement that counts the values of a range that do not fit their type, and so are NULL in the view; empty if all
// values fit. Parameters are those of RefreshRange.
func (p *Plan) Misfits(lower, upper bool) string {
	var counts []string
	for _, o := range p.Outputs {
		if o.Misfit != "" {
			counts = append(counts, "count(*) FILTER (WHERE "+o.Misfit+")")
		}
	}
	if len(counts) == 0 {
		return ""
	}
	return "SELECT " + strings.Join(counts, " + ") + p.joined() + p.between(quote(p.Definition.Tables[0].Alias()), p.Sources[0].Key, 1, lower, upper)
}
