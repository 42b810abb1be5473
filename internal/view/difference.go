package view

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/view/definition"
	"github.com/daymill/daymill/internal/view/plan"
)

// difference says how the catalog differs from a plan, and what that means for the view.
type difference struct {
	entries []Drift
	// definition and sources are those of the plan, with the changes applied.
	definition definition.Definition
	sources    []plan.Source
	// adapt says that the table can continue with a changed plan, fill that its rows have to be read again,
	// compare that they have to be compared with the SELECT, columns that somebody requested more columns, and rebuild that a new table has to be built. stop says why
	// the view cannot continue until a person decides.
	adapt, fill, compare, columns, rebuild bool
	stop                                   string
	// columnNumbers are the numbers of the columns of the table that is compared, by the index in its definition, and joinNumbers those of the columns that
	// joins compare. A name may belong to another column by now.
	columnNumbers []int
	joinNumbers   map[*string]int
	// parts are the partitions of the tables. Those in sources stay as they are until the view follows them: see partitions.
	parts [][]plan.Part
}

// number finds the columns of a table that the definition names, before a name is changed.
func (d *difference) number(index int, of plan.Source) {
	number := func(name string) int {
		c, _ := of.Column(name)
		return c.Number
	}
	columns := d.definition.Tables[index].Columns
	d.columnNumbers, d.joinNumbers = make([]int, len(columns)), map[*string]int{}
	for k, c := range columns {
		if c.Expression == "" && !c.Deleted {
			d.columnNumbers[k] = number(c.Name)
		}
	}
	for k := range d.definition.Tables {
		join := d.definition.Tables[k].Join
		if join == nil {
			continue
		}
		for n := range join.On {
			if k == index {
				d.joinNumbers[&join.On[n].Second] = number(join.On[n].Second)
			}
			if join.To == index {
				d.joinNumbers[&join.On[n].First] = number(join.On[n].First)
			}
		}
	}
}

func (d *difference) addf(kind string, table, number int, format string, arguments ...any) {
	d.entries = append(d.entries, Drift{Kind: kind, Table: table, Number: number, Sentence: fmt.Sprintf(format, arguments...), State: Followed})
}

// halt reports whether a person must decide.
func (d *difference) halt() {
	last := &d.entries[len(d.entries)-1]
	last.State = Open
	d.stop = last.Sentence
}

// differ compares a version with the catalog.
func (e *Engine) differ(ctx context.Context, v Version) (*difference, error) {
	d := &difference{sources: slices.Clone(v.Plan.Sources), parts: make([][]plan.Part, len(v.Plan.Sources))}
	document, err := json.Marshal(v.Plan.Definition) // A deep copy.
	if err == nil {
		err = json.Unmarshal(document, &d.definition)
	}
	if err != nil {
		return nil, fmt.Errorf("copy a definition: %w", err)
	}
	for i, old := range v.Plan.Sources {
		from, _, err := e.Databases.Open(ctx, v.Plan.Definition.Tables[i].Database)
		if err != nil {
			return nil, err
		}
		now, err := plan.Get(ctx, from, old.OID)
		if errors.Is(err, plan.ErrNoTable) {
			d.addf(tableDropped, i, 0, "table %s.%s was dropped: create it again and accept, or change the definition", old.Schema, old.Name)
			d.halt()
			continue
		}
		if err != nil {
			return nil, err
		}
		d.parts[i] = now.Parts
		now.Stream, now.Mirror, now.After, now.Former, now.Scheduled, now.Parts = old.Stream, old.Mirror, old.After, old.Former, old.Scheduled, old.Parts
		swapped, err := d.swapped(ctx, from, i, old, now)
		if err != nil {
			return nil, err
		}
		if !swapped {
			d.table(v, i, old, now)
		}
	}
	return d, nil
}

// swapped halts if a table was renamed and another one has its name. That one may be what the definition means from now on: people replace a table
// like this.
func (d *difference) swapped(ctx context.Context, from postgres.DBTX, index int, old, now plan.Source) (is bool, err error) {
	if now.Schema == old.Schema && now.Name == old.Name {
		return false, nil
	}
	if is, err = now.Taken(ctx, from, [2]string{old.Schema, old.Name}); err != nil || !is {
		return false, err
	}
	d.addf(tableRenamed, index, 0, "table %[1]s.%[2]s is now called %[3]s.%[4]s, and another table is called %[1]s.%[2]s: accept to read that one, or change the definition",
		old.Schema, old.Name, now.Schema, now.Name)
	d.halt()
	return true, nil
}

// table compares a table.
func (d *difference) table(v Version, index int, old, now plan.Source) {
	t := &d.definition.Tables[index]
	d.number(index, old)
	if now.Schema != old.Schema || now.Name != old.Name {
		d.addf(tableRenamed, index, 0, "table %s.%s is now called %s.%s", old.Schema, old.Name, now.Schema, now.Name)
		now.Former = append(slices.Clone(old.Former), [2]string{old.Schema, old.Name})
		t.As = t.Alias()
		t.Schema, t.Name = now.Schema, now.Name
		d.adapt = true
	}
	for _, before := range old.Columns {
		at := slices.IndexFunc(now.Columns, func(c plan.Column) bool { return c.Number == before.Number })
		if at < 0 {
			d.dropped(v, index, before)
			continue
		}
		after := now.Columns[at]
		d.compare = d.compare || after.Relabeled(before)
		if after.Name != before.Name {
			d.renamed(v, index, before, after)
		}
		if after.Type != before.Type {
			d.retyped(v, index, before, after)
		}
		if before.NotNull && !after.NotNull && slices.ContainsFunc(v.Plan.Outputs, func(o plan.Output) bool {
			return o.Table == index && o.Number == before.Number && o.NotNull
		}) {
			d.addf(nullable, index, before.Number, "column %s of %s may now be NULL", after.Name, t.Alias())
			for k := range t.Columns {
				if d.columnNumbers[k] == before.Number {
					t.Columns[k].NotNull = false
				}
			}
			d.rebuild = true
		}
	}
	for _, c := range now.Columns {
		if !slices.ContainsFunc(old.Columns, func(o plan.Column) bool { return o.Number == c.Number }) {
			d.addf(added, index, c.Number, "table %s has a new column %s of type %s", t.Alias(), c.Name, c.Type)
			d.entries[len(d.entries)-1].State = Open
			d.adapt = true // Add it to the sources, so that it is reported only once.
		}
	}
	if len(old.Key) > 0 && !slices.Equal(numbers(old, old.Key), numbers(now, now.Key)) {
		if len(now.Key) == 0 {
			d.addf(keyChanged, index, 0, "table %s no longer has a primary key, so a change does not say which row it is about: add one", t.Alias())
			d.halt()
		} else {
			d.addf(keyChanged, index, 0, "the key of table %s is now (%s), and was (%s)", t.Alias(), strings.Join(now.Key, ", "), strings.Join(old.Key, ", "))
			d.rebuild = true
		}
	}
	d.sources[index] = now
}

func numbers(s plan.Source, names []string) []int {
	list := make([]int, len(names))
	for k, name := range names {
		c, _ := s.Column(name)
		list[k] = c.Number
	}
	return list
}

// renamed replaces a column's name everywhere in the definition.
func (d *difference) renamed(v Version, index int, before, after plan.Column) {
	if v.Plan.Definition.Tables[index].Changed == before.Name {
		d.definition.Tables[index].Changed = after.Name
	}
	if !uses(v.Plan, index, before) {
		d.adapt = true
		return
	}
	d.addf(renamed, index, before.Number, "column %s of %s is now called %s", before.Name, d.definition.Tables[index].Alias(), after.Name)
	d.adapt = true
	// Changes in the log may have a name that another column of the key has now, and be taken for changes of another row.
	d.compare = d.compare || slices.Contains(v.Plan.Sources[index].Key, before.Name)
	// The log may have changes with both names, but a mirror has a column with only one of them, so a new
	// mirror is filled.
	d.rebuild = d.rebuild || v.Plan.Sources[index].Mirror != ""
	for k := range d.definition.Tables[index].Columns {
		c := &d.definition.Tables[index].Columns[k]
		if d.columnNumbers[k] == before.Number {
			c.As, c.Name = c.Output(), after.Name
		}
	}
	for name, number := range d.joinNumbers {
		if number == before.Number {
			*name = after.Name
		}
	}
}

// uses reports whether a view needs a column.
func uses(p *plan.Plan, i int, c plan.Column) bool {
	_, needed := p.Needed(i).Column(c.Name)
	return needed
}

// dropped keeps a column in the view, as NULL.
func (d *difference) dropped(version Version, index int, c plan.Column) {
	d.adapt = true
	if version.Plan.Definition.Tables[index].Changed == c.Name {
		d.definition.Tables[index].Changed = ""
		d.addf(dropped, index, c.Number, "column %s of %s was dropped, which showed changed rows: from now on, changes are found only when all rows are compared", c.Name, d.definition.Tables[index].Alias())
	}
	if !uses(version.Plan, index, c) {
		return
	}
	alias := d.definition.Tables[index].Alias()
	d.addf(dropped, index, c.Number, "column %s of %s was dropped", c.Name, alias)
	if slices.Contains(version.Plan.Joined(index), c.Name) || slices.Contains(version.Plan.Sources[index].Key, c.Name) {
		d.entries[len(d.entries)-1].Sentence += ", and the view cannot be computed without it: change the definition"
		d.halt()
		return
	}
	for k := range d.definition.Tables[index].Columns {
		column := &d.definition.Tables[index].Columns[k]
		if d.columnNumbers[k] != c.Number {
			continue
		}
		d.fill = true
		if len(column.Fields) > 0 || column.Mapping != nil {
			d.entries[len(d.entries)-1].Sentence += ", from which other columns are computed: change the definition"
			d.halt()
			return
		}
		column.As, column.Type, column.Deleted, column.NotNull = column.Output(), c.Type, true, false
		d.rebuild = d.rebuild || c.NotNull && slices.ContainsFunc(version.Plan.Outputs, func(o plan.Output) bool { return o.Table == index && o.Number == c.Number && o.NotNull })
	}
}

// retyped builds a new table if the new type holds every value of the old one. Otherwise a person must decide.
func (d *difference) retyped(v Version, i int, before, after plan.Column) {
	if !uses(v.Plan, i, before) {
		d.adapt = true
		return
	}
	alias := d.definition.Tables[i].Alias()
	for k := range d.definition.Tables[i].Columns {
		if c := &d.definition.Tables[i].Columns[k]; d.columnNumbers[k] == after.Number && c.Type != "" {
			c.Type = after.Type
		}
	}
	d.addf(retyped, i, before.Number, "column %s of %s now has type %s, and had %s", after.Name, alias, after.Type, before.Type)
	d.rebuild = true
	if !wider(before.Type, after.Type) {
		d.entries[len(d.entries)-1].Sentence += ": accept to build a table with the new type"
		d.halt()
	}
}

// wider reports whether a type holds every value of another type unchanged.
func wider(from, to string) bool {
	order := []string{"smallint", "integer", "bigint", "numeric"}
	if a, b := slices.Index(order, from), slices.Index(order, to); a >= 0 && b > a {
		return true
	}
	text := func(t string) bool { return t == "text" || t == "character varying" }
	var n, m int
	var p, q int
	switch {
	case from == "real" && to == "double precision", from == "date" && to == "timestamp without time zone":
		return true
	case strings.HasPrefix(from, "character varying") && text(to):
		return true
	case scan(from, "character varying(%d)", &n) && scan(to, "character varying(%d)", &m):
		return m >= n
	case strings.HasPrefix(from, "numeric(") && to == "numeric":
		return true
	case scan(from, "numeric(%d,%d)", &n, &p) && scan(to, "numeric(%d,%d)", &m, &q):
		return q >= p && m-q >= n-p
	}
	return false
}

func scan(text, format string, to ...any) bool {
	count, err := fmt.Sscanf(text, format, to...)
	return err == nil && count == len(to)
}
