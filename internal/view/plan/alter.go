package plan

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	"github.com/daymill/daymill/internal/view/definition"
)

// Alteration adds and drops columns of a view's table in place. Added columns are filled in chunks.
type Alteration struct {
	Added   []Output
	Dropped []Output
	// Fill reports whether an added column has values to fill in.
	Fill bool
	// Mirrors are the changes of mirrors, by the index of a table.
	Mirrors map[int]Columns
}

// Columns are columns that a mirror gets or loses.
type Columns struct{ Added, Dropped []string }

// Alter returns the changes that make the table of an earlier plan match p, and gives p the names that the
// table has. It returns nil if a new table has to be built: if anything but columns differs, if a column has
// another value or type, or if a new column has an index or NOT NULL.
func (p *Plan) Alter(before *Plan) *Alteration {
	if before.Filling || !bytesEqual(bare(before.Definition), bare(p.Definition)) {
		return nil
	}
	p.Keep(before)
	for i := range p.Sources {
		now, old := &p.Sources[i], before.Sources[i]
		if now.OID != old.OID || !slices.Equal(now.Key, old.Key) || (now.Mirror == "") != (old.Mirror == "") {
			return nil
		}
		now.Mirror, now.After, now.Former, now.Parts = old.Mirror, old.After, old.Former, old.Parts
	}
	if !reflect.DeepEqual(p.Keys, before.Keys) || !reflect.DeepEqual(p.Indexes(), before.Indexes()) {
		return nil
	}
	a := &Alteration{Mirrors: map[int]Columns{}}
	for _, i := range p.Mirrored() {
		c, same := needs(before.Needed(i), p.Needed(i))
		if !same {
			return nil
		}
		if len(c.Added)+len(c.Dropped) > 0 {
			a.Mirrors[i] = c
		}
		a.Fill = a.Fill || len(c.Added) > 0
	}
	for _, o := range p.Outputs {
		at := slices.IndexFunc(before.Outputs, func(old Output) bool { return old.Name == o.Name })
		switch {
		case at >= 0 && p.value(o) != before.value(before.Outputs[at]):
			return nil
		case at >= 0:
		case o.NotNull || o.Hidden:
			return nil
		default:
			a.Added = append(a.Added, o)
			a.Fill = a.Fill || !strings.HasPrefix(o.SQL, "CAST(NULL AS ")
		}
	}
	for _, old := range before.Outputs {
		if slices.ContainsFunc(p.Outputs, func(o Output) bool { return o.Name == old.Name }) {
			continue
		}
		if old.Hidden {
			return nil
		}
		a.Dropped = append(a.Dropped, old)
	}
	return a
}

// bare returns a definition without columns and drift, which do not affect which rows the table has.
func bare(d definition.Definition) definition.Definition {
	d.Drift = ""
	d.Tables = slices.Clone(d.Tables)
	for i := range d.Tables {
		d.Tables[i].Columns = nil
	}
	return d
}

func bytesEqual(a, b definition.Definition) bool {
	first, err := json.Marshal(a)
	second, other := json.Marshal(b)
	return err == nil && other == nil && string(first) == string(second)
}

// needs returns the columns that only one of two versions of a source has. same is false if a column has another type.
func needs(before, after Source) (c Columns, same bool) {
	for _, column := range after.Columns {
		old, has := before.Column(column.Name)
		switch {
		case !has:
			c.Added = append(c.Added, column.Name)
		case old.Type != column.Type || old.Number != column.Number:
			return c, false
		}
	}
	for _, column := range before.Columns {
		if _, has := after.Column(column.Name); !has {
			c.Dropped = append(c.Dropped, column.Name)
		}
	}
	return c, true
}

// Copies reports whether a mirror gets columns, so that rows of another database have to be copied.
func (a *Alteration) Copies() bool {
	for _, c := range a.Mirrors {
		if len(c.Added) > 0 {
			return true
		}
	}
	return false
}

// content says which values a column of the view's table has.
type content struct {
	SQL, Type, Collation, Misfit string
	NotNull, Hidden              bool
	Table                        int
}

// value returns the content of an output. For an expression, that is the SQL of the expression itself,
// because its name depends on its place.
func (p *Plan) value(o Output) content {
	c := content{SQL: o.SQL, Type: o.Type, Collation: o.Collation, Misfit: o.Misfit, NotNull: o.NotNull, Hidden: o.Hidden, Table: o.Table}
	t := p.Definition.Tables[o.Table]
	for k := range t.Columns {
		if e, has := p.Expressions[expressionKey(o.Table, k)]; has && o.SQL == quote(t.Alias())+"."+quote(p.expressionName(o.Table, k)) {
			c.SQL = "expression " + e.SQL
		}
	}
	return c
}

// AlterTable returns the statement that changes a table; empty if its columns stay.
func (a *Alteration) AlterTable(table string) string {
	actions := make([]string, 0, len(a.Dropped)+len(a.Added))
	for _, o := range a.Dropped {
		actions = append(actions, "DROP COLUMN "+quote(o.Name))
	}
	for _, o := range a.Added {
		actions = append(actions, "ADD COLUMN "+quote(o.Name)+" "+o.Type+collate(o.Collation))
	}
	if len(actions) == 0 {
		return ""
	}
	return "ALTER TABLE " + Table(table) + " " + strings.Join(actions, ", ")
}

// Says describes an alteration.
func (a *Alteration) Says() string {
	var parts []string
	for _, part := range []struct {
		what    string
		outputs []Output
	}{{"adds", a.Added}, {"drops", a.Dropped}} {
		if len(part.outputs) == 0 {
			continue
		}
		all := make([]string, len(part.outputs))
		for i, o := range part.outputs {
			all[i] = o.Name
		}
		parts = append(parts, part.what+" "+strings.Join(all, ", "))
	}
	switch {
	case len(parts) == 0:
		return "the table stays as it is"
	case !a.Fill:
		return strings.Join(parts, "; ") + "; ALTER TABLE locks the table for a moment, and nothing is built"
	case a.Copies():
		return strings.Join(parts, "; ") + "; ALTER TABLE locks the table and its mirrors for a moment, and then new columns, which are NULL at first, are copied and filled in chunks"
	default:
		return strings.Join(parts, "; ") + "; ALTER TABLE locks the table for a moment, and then new columns, which are NULL at first, are filled in chunks"
	}
}
