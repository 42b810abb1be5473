package definition

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/daymill/daymill/internal/document"
)

const (
	maxIdentifier = 63 // maximum length of a name in Postgres, in bytes
	maxColumns    = 1600
	maxTables     = 64
	// Reserved is the prefix of the columns that hold the keys of joined rows.
	Reserved = "_daymill_"
	// Keys is the alias of keys in statements, which no table of a view has.
	Keys = Reserved + "keys"
)

// checker finds mistakes of a definition as a whole.
type checker struct {
	*document.Parser

	d *Definition
}

func (p Place) node() *yaml.Node { return &yaml.Node{Line: p.Line, Column: p.Column} }

func at(file string, node *yaml.Node) Place {
	return Place{File: file, Line: max(1, node.Line), Column: max(1, node.Column)}
}

// check finds mistakes that involve more than one value.
func (c checker) check() {
	d := c.d
	c.identifier(d.Place, d.Name, "view")
	if strings.HasPrefix(d.Name, Reserved) {
		c.Wrongf(d.node(), "names that begin with %s are reserved: give the view another name", Reserved)
	}
	if len(d.Tables) == 0 {
		c.Wrongf(d.node(), "the view has no tables: add at least one; the view's rows derive from the rows of the first")
		return
	}
	if len(d.Tables) > maxTables {
		c.Wrongf(d.Tables[maxTables].node(), "a view has at most %d tables", maxTables)
	}
	aliases := map[string]bool{}
	for i, t := range d.Tables {
		c.identifier(t.Place, t.Schema, "schema")
		c.identifier(t.Place, t.Name, "table")
		if t.As != "" {
			c.identifier(t.Place, t.As, "table")
		}
		if t.Alias() == Keys {
			c.Wrongf(t.node(), "Daymill uses the name %q itself: give the table another name in the view with \"as\"", Keys)
		}
		if aliases[t.Alias()] {
			c.Wrongf(t.node(), "there are two tables %q: give one of them another name in the view with \"as\"", t.Alias())
		}
		aliases[t.Alias()] = true
		switch {
		case i > 0 && t.Join == nil:
			c.Wrongf(t.node(), "nothing joins table %s to the tables before it: add a join", t.Alias())
		case i > 0 && len(t.Join.On) == 0:
			c.Wrongf(t.node(), "the join of table %s has no columns", t.Alias())
		case i == 0 && t.Join != nil:
			c.Wrongf(t.Join.node(), "%s is the root: other tables are joined to it, but it is not joined to any", t.Alias())
		}
	}
	c.schedule()
	c.outputs()
}

func (c checker) identifier(place Place, name, what string) {
	switch {
	case name == "":
		c.Wrongf(place.node(), "the %s has no name", what)
	case len(name) > maxIdentifier:
		c.Wrongf(place.node(), "%q is longer than the %d bytes that Postgres keeps of a name", name, maxIdentifier)
	case strings.ContainsRune(name, 0):
		c.Wrongf(place.node(), "a name cannot have a zero byte")
	}
}

// outputs checks the names of the view's columns, and the references to them.
func (c checker) outputs() {
	seen := map[string]Place{}
	count := 0
	add := func(place Place, name string) {
		c.identifier(place, name, "column")
		count++
		if before, has := seen[name]; has {
			c.Wrongf(place.node(), "the view would have two columns %q, the first in line %d: give one of them another name", name, before.Line)
		}
		if strings.HasPrefix(name, Reserved) {
			c.Wrongf(place.node(), "names that begin with %s are reserved: give column %q another name", Reserved, name)
		}
		if slices.Contains([]string{"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"}, name) {
			c.Wrongf(place.node(), "every table has a system column %q: give this column another name", name)
		}
		seen[name] = place
		if count == maxColumns+1 {
			c.Wrongf(place.node(), "the view would have more than %d columns, which is the limit of a Postgres table", maxColumns)
		}
	}
	for _, t := range c.d.Tables {
		for _, column := range t.Columns {
			if column.Name == "" {
				if column.Expression == "" {
					c.Wrongf(column.node(), "the column has no name")
				}
				if column.As == "" {
					continue
				}
			}
			for _, name := range column.Outputs() {
				add(column.Place, name)
			}
		}
	}
	if count == 0 {
		c.Wrongf(c.d.node(), "the view has no columns")
	}
	for _, s := range c.d.Search {
		for _, name := range s.Columns {
			if _, has := seen[name]; !has {
				c.Wrongf(s.node(), "search has column %q, which the view does not have", name)
			}
		}
		add(s.Place, s.Name)
	}
	for _, index := range c.d.Indexes {
		for _, name := range index {
			if _, has := seen[name]; !has {
				c.Wrongf(c.d.node(), "an index has column %q, which the view does not have", name)
			}
		}
	}
}
