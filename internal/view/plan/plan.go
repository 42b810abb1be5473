// Package plan turns a definition and the catalogs of its databases into SQL that a person can read: the table, the SELECT, and the
// statements that refresh the rows of some keys. Identifiers are quoted, values are parameters, and texts of a definition are quoted
// literals, so no text of a definition reaches SQL unquoted.
package plan

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	pgsink "github.com/daymill/daymill/internal/capture/sink/postgres"
	"github.com/daymill/daymill/internal/document"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/schema"
	"github.com/daymill/daymill/internal/view/definition"
)

// Schemas of the target.
const (
	// Schema is the schema of the views' tables.
	Schema = "views"
	// MirrorSchema is the schema of the mirrors of other databases' tables.
	MirrorSchema = schema.Mirrors
)

// maxColumns is the maximum number of columns of a table in Postgres.
const maxColumns = 1600

// Output is a column of the view's table.
type Output struct {
	Name      string `json:"name"`
	Type      string `json:"type"`
	Collation string `json:"collation,omitempty"`
	NotNull   bool   `json:"not_null,omitempty"`
	SQL       string `json:"sql"`
	// Misfit is the condition that a value does not fit the type, so that it is NULL in the view; empty if all values fit.
	Misfit string `json:"misfit,omitempty"`
	// Table and Number are the table and the column whose value it is, unchanged; Number is 0 if it is computed.
	Table  int    `json:"table"`
	Number int    `json:"number,omitempty"`
	Key    bool   `json:"key,omitempty"`
	Text   bool   `json:"text,omitempty"` // whether its type is a string type
	Hidden bool   `json:"hidden,omitempty"`
	Column string `json:"column,omitempty"` // of the source, for a person
}

// Plan describes a view in the target. It is stored, and all SQL of the view can be derived from it without the catalog.
type Plan struct {
	Definition definition.Definition `json:"definition"`
	Sources    []Source              `json:"sources"` // of the definition's tables, in their order
	Outputs    []Output              `json:"outputs"`
	// Keys are the columns of the view's table that hold the key of each table's row.
	Keys [][]string `json:"keys"`
	// Filling says that the table has no index yet, and that only its first build writes to it.
	Filling bool `json:"filling,omitempty"`
	// Expressions are compiled, by table and column; -1 is the condition on the root.
	Expressions map[string]compiled `json:"expressions,omitempty"`
}

// Databases opens databases by name. target is true for the database of the view.
type Databases interface {
	Open(ctx context.Context, name string) (db *postgres.DB, target bool, err error)
}

// maker makes a plan and collects mistakes.
type maker struct {
	ctx      context.Context //nolint:containedctx // A maker exists only during one call.
	target   *postgres.DB
	followed Followed
	mistakes document.Mistakes
	plan     *Plan
}

func (m *maker) wrongf(at definition.Place, format string, arguments ...any) {
	m.mistakes = append(m.mistakes, document.Mistake{File: at.File, Line: at.Line, Column: at.Column, Text: fmt.Sprintf(format, arguments...)})
}

// Make finds a definition's tables in the catalogs and checks the definition against them. If the definition has mistakes, the error is of
// type document.Mistakes.
func Make(ctx context.Context, target *postgres.DB, databases Databases, wanted definition.Definition) (*Plan, error) {
	return Followed{}.Make(ctx, target, databases, wanted)
}

// Make is like Make, and says in mistakes what the names are now.
func (f Followed) Make(ctx context.Context, target *postgres.DB, databases Databases, wanted definition.Definition) (*Plan, error) {
	sources := make([]Source, len(wanted.Tables))
	making := &maker{ctx: ctx, target: target, followed: f}
	for i, t := range wanted.Tables {
		db, local, err := databases.Open(ctx, t.Database)
		if err != nil {
			making.wrongf(t.Place, "%s", err)
			continue
		}
		source, err := Find(ctx, db, t.Schema, t.Name)
		if err == nil || errors.Is(err, ErrNoTable) {
			sentence, err := unreadable(ctx, db, t, wanted.Scheduled(t.Database))
			if err != nil {
				return nil, err
			}
			if sentence != "" {
				making.wrongf(t.Place, "%s", sentence)
				continue
			}
		}
		if errors.Is(err, ErrNoTable) {
			making.wrongf(t.Place, "database %s has no table %s.%s, or the role may not see it%s", t.Database, t.Schema, t.Name, f.table(wanted.Name, t))
			continue
		}
		if err != nil {
			return nil, err
		}
		source.Scheduled = wanted.Scheduled(t.Database)
		if source.Stream = definition.App; !local {
			source.Stream = t.Database
		}
		if !local || source.Scheduled {
			source.Mirror = Short(t.Database + "." + t.Schema + "." + t.Name)
		}
		sources[i] = source
	}
	if len(making.mistakes) > 0 {
		return nil, making.mistakes
	}
	return making.make(wanted, sources)
}

// With makes a plan for tables that are already known.
func With(ctx context.Context, target *postgres.DB, d definition.Definition, sources []Source) (*Plan, error) {
	m := &maker{ctx: ctx, target: target}
	return m.make(d, sources)
}

func (m *maker) make(d definition.Definition, sources []Source) (*Plan, error) {
	m.plan = &Plan{Definition: d, Sources: sources, Keys: make([][]string, len(sources)), Expressions: map[string]compiled{}}
	for i, t := range d.Tables {
		if err := m.table(i, t); err != nil {
			return nil, err
		}
	}
	if d.Where != "" {
		if err := m.expression(-1, 0, d.WherePlace, "where", d.Where, "boolean"); err != nil {
			return nil, err
		}
	}
	for i, t := range d.Tables {
		for k, c := range t.Columns {
			if err := m.column(i, k, c); err != nil {
				return nil, err
			}
		}
	}
	for i := range d.Tables {
		m.keys(i)
	}
	if count := len(m.plan.Outputs) + len(d.Search); count > maxColumns {
		m.wrongf(d.Place, "the view would have %d columns with the keys of its tables, but a table in Postgres can have %d: leave some out", count, maxColumns)
	}
	if err := m.search(); err != nil {
		return nil, err
	}
	if len(m.mistakes) == 0 {
		if err := m.statement(); err != nil {
			return nil, err
		}
	}
	if len(m.mistakes) > 0 {
		m.mistakes.Sort()
		return nil, m.mistakes
	}
	return m.plan, nil
}

// table checks a table's key and its join.
func (m *maker) table(i int, t definition.Table) error {
	s := m.plan.Sources[i]
	if len(s.Key) == 0 {
		m.wrongf(t.Place, "table %s has no primary key, so a change does not say which row it is about: ALTER TABLE %s ADD PRIMARY KEY (…)", t.Alias(), pgx.Identifier{s.Schema, s.Name}.Sanitize())
	}
	if s.Inherited {
		m.wrongf(t.Place, "other tables inherit from %s, and their changes are not changes of %s: partition it instead, or choose another table", t.Alias(), t.Alias())
	}
	for _, name := range s.Key {
		switch c, _ := s.Column(name); {
		case i == 0 && c.Equal != "":
			m.wrongf(t.Place, "the key of %s has a column %s of type %s, which has no order: choose a root with another key", t.Alias(), name, c.Type)
		case strings.HasSuffix(c.Type, "[]"):
			m.wrongf(t.Place, "the key of %s has a column %s of type %s: a key cannot have an array", t.Alias(), name, c.Type)
		case c.Folds:
			m.wrongf(t.Place, "the key of %s has a column %s whose collation takes different texts for equal: a key needs a deterministic collation", t.Alias(), name)
		}
	}
	if s.Mirror != "" {
		for _, c := range m.plan.Needed(i).Columns {
			if c.Name == pgsink.PositionColumn {
				m.wrongf(t.Place, "the copy of %s has a column %s of its own: rename the column of the table, or leave it out", t.Alias(), c.Name)
			}
			if c.Generated && !s.Scheduled {
				m.wrongf(t.Place, "column %s of %s is generated, and changes do not have its value: write an expression of the columns that it is computed from, or read the database on a schedule", c.Name, t.Alias())
			}
			if m.regtype(typmod.ReplaceAllString(c.Type, "")) == "" {
				m.wrongf(t.Place, "column %s of %s is of type %s, which the database of the view does not have: create the type there, or leave the column out", c.Name, t.Alias(), c.Type)
			}
		}
	}
	if c, has := s.Column(t.Changed); t.Changed != "" && !has {
		m.missing(t.Place, s, t.Changed)
	} else if has && !ordered(c) {
		m.wrongf(t.Place, "column %s of %s is of type %s, which does not grow with each change: choose one with a time or a number", c.Name, t.Alias(), c.Type)
	}
	if t.Join == nil {
		return nil
	}
	for _, pair := range t.Join.On {
		before := m.plan.Sources[t.Join.To]
		first, has := before.Column(pair.First)
		if !has {
			m.missing(t.Join.Place, before, pair.First)
		}
		second, hasSecond := s.Column(pair.Second)
		if !hasSecond {
			m.missing(t.Join.Place, s, pair.Second)
		}
		if !has || !hasSecond {
			continue
		}
		fits, err := m.compares(before, s, first, second)
		if err != nil {
			return err
		}
		if !fits {
			m.wrongf(t.Join.Place, "the join compares %s (%s) with %s (%s), which Postgres cannot compare", pair.First, first.says(), pair.Second, second.says())
		}
	}
	return nil
}

// ordered reports whether the values of a column can grow with each change: times and numbers.
func ordered(c Column) bool { return c.Category == "D" || c.Category == "N" }

func (m *maker) missing(at definition.Place, s Source, column string) {
	names := make([]string, len(s.Columns))
	for i, c := range s.Columns {
		names[i] = c.Name
	}
	m.wrongf(at, "table %s.%s has no column %q: it has %s%s", s.Schema, s.Name, column, strings.Join(names, ", "), m.followed.column(m.plan.Definition.Name, s, column))
}

// Short shortens a name that is too long for Postgres.
func Short(name string) string {
	const most = 63
	if len(name) <= most {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:16])
}

func expressionKey(table, column int) string { return fmt.Sprintf("%d.%d", table, column) }

// expression compiles an expression of a table, if it is not compiled yet.
func (m *maker) expression(table, column int, at definition.Place, what, sql, kind string) error {
	i := max(table, 0)
	c, err := compile(m.ctx, m.target, m.plan.Sources[i], sql, kind) // The mirror exists, too.
	if postgres.IsCut(err) {
		return err
	}
	if err != nil {
		m.wrongf(at, "the %s of %s cannot be used: %s; write an SQL expression whose value depends only on the table's own columns%s", what, m.plan.Definition.Tables[i].Alias(), err,
			m.followed.unknown(m.plan.Definition.Name, m.plan.Sources[i], err))
		return nil
	}
	m.plan.Expressions[expressionKey(table, column)] = c
	return nil
}

// column makes the outputs of a column.
func (m *maker) column(table, place int, c definition.Column) error {
	t := m.plan.Definition.Tables[table]
	out := Output{Name: c.Output(), Table: table, Key: c.Key, Hidden: c.Hidden, Column: c.Name}
	value := quote(t.Alias()) + "." + quote(c.Name)
	if c.Expression != "" {
		if err := m.expression(table, place, c.Place, "expression", c.Expression, m.typeOf(c.Place, c.Type)); err != nil {
			return err
		}
		out.Type = m.plan.Expressions[expressionKey(table, place)].Type
		out.SQL = quote(t.Alias()) + "." + quote(m.plan.expressionName(table, place))
		out.Text = out.Type == "text" || strings.HasPrefix(out.Type, "character")
		m.add(out)
		return nil
	}
	if c.Deleted {
		return m.deleted(c, out)
	}
	source, has := m.plan.Sources[table].Column(c.Name)
	if !has {
		m.missing(c.Place, m.plan.Sources[table], c.Name)
		return nil
	}
	if err := m.checkType(c, source); err != nil {
		return err
	}
	switch {
	case c.Mapping != nil:
		out.Type, out.SQL, out.Text = "text", mapping(value, *c.Mapping), true
		m.add(out)
	case c.Fields != nil:
		if source.Type != "json" && source.Type != "jsonb" {
			m.wrongf(c.Place, "column %s is of type %s: fields are taken from json and jsonb", c.Name, source.Type)
			return nil
		}
		for _, f := range c.Fields {
			m.field(c, table, value, f)
		}
	default:
		out.Type, out.Collation, out.SQL, out.Number, out.Text = source.Type, m.plan.Sources[table].collation(source), value, source.Number, source.Category == "S"
		if c.NotNull {
			switch {
			case !source.NotNull:
				m.wrongf(c.Place, "is_nullable is false, but column %s of %s may be NULL: ALTER TABLE … ALTER COLUMN … SET NOT NULL, or leave it out", c.Name, t.Alias())
			case m.optional(table):
				m.wrongf(c.Place, "is_nullable is false, but %s is joined by a left join, so its columns may be NULL in the view", t.Alias())
			default:
				out.NotNull = true
			}
		}
		m.add(out)
	}
	return nil
}

// optional reports whether a row of the view may lack a row of a table.
func (m *maker) optional(i int) bool {
	for i > 0 {
		join := m.plan.Definition.Tables[i].Join
		if join.Left {
			return true
		}
		i = join.To
	}
	return false
}

// add adds an output, unless it is only a key.
func (m *maker) add(out Output) {
	if !out.Hidden {
		m.plan.Outputs = append(m.plan.Outputs, out)
	}
}

func (m *maker) deleted(c definition.Column, out Output) error {
	kind := c.Type
	if kind == "" {
		kind = "text"
	}
	if out.Type = m.typeOf(c.Place, kind); out.Type != "" {
		out.SQL = "CAST(NULL AS " + out.Type + ")"
		m.add(out)
	}
	return nil
}

func (m *maker) field(c definition.Column, i int, value string, f definition.Field) {
	kind := f.Type
	if kind == "" {
		kind = "text"
	}
	canonical := m.typeOf(c.Place, kind)
	if canonical == "" {
		return
	}
	path := make([]string, len(f.Path))
	for i, step := range f.Path {
		path[i] = literal(step)
	}
	text := value + " #>> ARRAY[" + strings.Join(path, ", ") + "]"
	out := Output{Name: f.As, Type: canonical, Table: i, SQL: text, Text: canonical == "text", Column: c.Name + "." + strings.Join(f.Path, ".")}
	if canonical != "text" {
		out.SQL = "CAST(" + text + " AS " + canonical + ")"
	}
	if canonical != "text" && !f.Strict {
		fits := "view.fits(" + text + ", " + literal(canonical) + ")"
		out.Misfit = "(" + text + ") IS NOT NULL AND NOT " + fits
		out.SQL = "CASE WHEN " + fits + " THEN " + out.SQL + " END"
	}
	m.add(out)
}

// keys finds or adds the columns of the view's table that have a table's key.
func (m *maker) keys(i int) {
	alias := m.plan.Definition.Tables[i].Alias()
	for _, name := range m.plan.Sources[i].Key {
		source, _ := m.plan.Sources[i].Column(name)
		at := slices.IndexFunc(m.plan.Outputs, func(o Output) bool { return o.Table == i && o.Number == source.Number })
		if at >= 0 {
			m.plan.Keys[i] = append(m.plan.Keys[i], m.plan.Outputs[at].Name)
			continue
		}
		hidden := definition.Reserved + alias + "_" + name
		taken := func(o Output) bool { return o.Name == hidden }
		for n := 1; len(hidden) > 63 || slices.ContainsFunc(m.plan.Outputs, taken); n++ { //nolint:mnd // The length of names in Postgres.
			hidden = fmt.Sprintf("%skey_%d_%d", definition.Reserved, i, n)
		}
		m.plan.Outputs = append(m.plan.Outputs, Output{
			Name: hidden, Type: source.Type, Collation: m.plan.Sources[i].collation(source), SQL: quote(alias) + "." + quote(name), Table: i, Number: source.Number, Hidden: true, Column: name,
		})
		m.plan.Keys[i] = append(m.plan.Keys[i], hidden)
	}
}

// search checks the columns of full-text search and their language.
func (m *maker) search() error {
	for i := range m.plan.Definition.Search {
		s := &m.plan.Definition.Search[i]
		for _, name := range s.Columns {
			if at := slices.IndexFunc(m.plan.Outputs, func(o Output) bool { return o.Name == name }); at >= 0 && !m.plan.Outputs[at].Text {
				m.wrongf(s.Place, "search has column %q of type %s: only text can be searched", name, m.plan.Outputs[at].Type)
			}
		}
		if s.Language == "" {
			s.Language = "simple"
		}
		var has bool
		err := m.target.QueryRow(m.ctx, "SELECT EXISTS (SELECT FROM pg_catalog.pg_ts_config WHERE cfgname = $1 AND cfgnamespace = 'pg_catalog'::regnamespace)", s.Language).Scan(&has)
		if err != nil {
			return fmt.Errorf("look up the language of a search: %w", err)
		}
		if !has {
			m.wrongf(s.Place, "there is no search language %q: use simple, english, german or another of pg_ts_config", s.Language)
		}
	}
	return nil
}

// Keep gives hidden columns the names that they have in an earlier plan of the same view.
func (p *Plan) Keep(before *Plan) {
	for _, old := range before.Outputs {
		if !old.Hidden {
			continue
		}
		for i := range p.Outputs {
			o := &p.Outputs[i]
			if !o.Hidden || o.Table != old.Table || o.Number != old.Number {
				continue
			}
			for k, name := range p.Keys[o.Table] {
				if name == o.Name {
					p.Keys[o.Table][k] = old.Name
				}
			}
			o.Name = old.Name
		}
	}
}

// Streams returns the names of the streams of the view's tables, without duplicates. Tables that are read on a schedule have none.
func (p *Plan) Streams() []string {
	var streams []string
	for _, s := range p.Sources {
		if !s.Scheduled && !slices.Contains(streams, s.Stream) {
			streams = append(streams, s.Stream)
		}
	}
	return streams
}
