// Package inventory compares what is installed with what should be: every schema, table, column, domain, constraint, index,
// function, view and trigger that the migrations make, and the position of every sequence.
//
// Any of them can be lost without an error. A restore leaves triggers out, DISABLE TRIGGER ALL turns them off, DROP … CASCADE
// takes a view along, an upgrade by logical replication leaves sequences behind. From then on late events are lost in silence.
//
// What should be is in manifest.json, which `make generate` derives from the migrations themselves: it applies them to an empty
// database and reads the catalog. [Compare] reads the catalog of a database in the same way, and [Repair] puts back what
// differs. River's schema and the type of entities differ from installation to installation; {river} and {entity} stand for them.
package inventory

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/migrations"
)

// Kinds of objects, in the order in which one needs another.
const (
	Schema     = "schema"
	Domain     = "domain"
	Table      = "table"
	Column     = "column"
	Constraint = "constraint"
	Index      = "index"
	Function   = "function"
	View       = "view"
	Trigger    = "trigger"
	Sequence   = "sequence"
)

// What can be wrong with an object.
const (
	Missing  = "missing"
	Disabled = "disabled"
	Changed  = "changed"
	Behind   = "behind" // a sequence, whose next value is in use
)

// Object is one thing that the migrations make.
type Object struct {
	Kind string `json:"kind"`
	Name string `json:"name"` // qualified, and quoted as SQL needs it
	// Definition is what has to be equal, as Postgres writes it.
	Definition string `json:"definition"`
	// Create makes the object, or replaces it.
	Create string `json:"create,omitempty"`
	// Disabled reports whether it is there and does nothing: a trigger that is off, an index that is not valid.
	Disabled bool `json:"disabled,omitempty"`
	// Relation is what it is a part of, where it is.
	Relation string `json:"relation,omitempty"`
}

// Manifest is what should be.
type Manifest struct {
	// Migrations is a digest of the migrations that it was derived from.
	Migrations string   `json:"migrations"`
	Schemas    []string `json:"schemas"`
	Objects    []Object `json:"objects"`
}

// Fault is an object that is not as it should be.
type Fault struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	What string `json:"what"` // missing, disabled, changed or behind
	// Error says why Repair could not put it right; empty elsewhere.
	Error string `json:"error,omitempty"`

	want, have Object
}

// String is the fault as a clause: "the trigger x on y is missing".
func (f Fault) String() string {
	text := "the " + f.Kind + " " + f.Name + " is " + f.What
	if f.Error != "" {
		text += ", and could not be put right: " + f.Error
	}
	return text
}

// List puts faults into one sentence, the first few by name.
func List(faults []Fault) string {
	const most = 3
	parts := make([]string, 0, most)
	for _, f := range faults[:min(most, len(faults))] {
		parts = append(parts, f.String())
	}
	text := strings.Join(parts, "; ")
	if n := len(faults) - most; n > 0 {
		text += fmt.Sprintf("; and %d more", n)
	}
	return text
}

// ErrStale says that the manifest was derived from other migrations than this binary has.
var ErrStale = errors.New("internal/schema/inventory/manifest.json is of other migrations: run `make generate`")

//go:embed manifest.json
var manifestJSON []byte

//nolint:gochecknoglobals // Read from the binary once.
var manifest = sync.OnceValues(func() (Manifest, error) {
	var m Manifest
	if err := json.Unmarshal(manifestJSON, &m); err != nil {
		return Manifest{}, fmt.Errorf("read the manifest: %w", err)
	}
	digest, err := migrations.Digest()
	if err == nil && digest != m.Migrations {
		err = ErrStale
	}
	return m, err
})

// Installed is what Compare has to know about an installation.
type Installed struct {
	RiverSchema string
	EntityType  string

	quoted string // River's schema, as SQL and the catalog write it
}

// quote has Postgres quote River's schema: only where that is needed, as in the catalog.
func (i *Installed) quote(ctx context.Context, tx pgx.Tx) error {
	if err := tx.QueryRow(ctx, "SELECT pg_catalog.quote_ident($1)", i.RiverSchema).Scan(&i.quoted); err != nil {
		return fmt.Errorf("quote River's schema: %w", err)
	}
	return nil
}

// Compare returns what is not as it should be, in the order in which it is to be put right. It reads the catalog, and of every
// table with a sequence the last row.
func Compare(ctx context.Context, tx pgx.Tx, installed Installed) ([]Fault, error) {
	should, err := manifest()
	if err != nil {
		return nil, err
	}
	if err := installed.quote(ctx, tx); err != nil {
		return nil, err
	}
	have, err := Read(ctx, tx, should.Schemas, installed)
	if err != nil {
		return nil, err
	}
	byName := make(map[string]Object, len(have))
	for _, object := range have {
		byName[object.Kind+" "+object.Name] = object
	}
	lost := lostIn(should, byName)
	var faults []Fault
	for _, want := range should.Objects {
		if lost.covers(want) {
			continue
		}
		object, is := byName[want.Kind+" "+want.Name]
		fault := Fault{Kind: want.Kind, Name: shown(want.Name, installed), want: want, have: object}
		switch {
		case !is, lost.schemas[want.Name] && want.Kind == Schema:
			fault.What = Missing
		case !same(want, object):
			equal := false
			if want.Kind == View {
				if equal, err = sameView(ctx, tx, want, object); err != nil {
					return nil, err
				}
			}
			if equal {
				continue
			}
			fault.What = Changed
		case object.Disabled:
			fault.What = Disabled
		default:
			continue
		}
		faults = append(faults, fault)
	}
	behind, err := sequences(ctx, tx, should.Schemas, installed)
	return append(faults, behind...), err
}

// lost has the schemas and the tables that are missing.
type lost struct{ schemas, tables map[string]bool }

// lostIn finds what is missing. A schema is missing, too, if it is there and has none of its tables: a restore of some schemas
// may find it made by hand.
func lostIn(should Manifest, have map[string]Object) lost {
	l := lost{schemas: map[string]bool{}, tables: map[string]bool{}}
	whole := map[string]bool{}
	for _, want := range should.Objects {
		_, is := have[want.Kind+" "+want.Name]
		switch want.Kind {
		case Schema:
			l.schemas[want.Name] = !is
		case Table:
			l.tables[want.Name] = !is
			whole[want.Relation] = whole[want.Relation] || is
		}
	}
	for name, is := range whole {
		l.schemas[name] = l.schemas[name] || !is
	}
	return l
}

// covers reports whether an object is a part of something that is missing, which is then the only fault.
func (l lost) covers(object Object) bool {
	within := object.Relation
	switch object.Kind {
	case Schema:
		return false
	case Domain, Function, View:
		within = object.Name
	}
	name, _, _ := strings.Cut(within, ".")
	return l.schemas[name] || l.tables[object.Relation]
}

// same reports whether two definitions are equal, but for parentheses: what Postgres wrote, and was told again, as by a restore,
// it writes with fewer of them.
func same(want, have Object) bool {
	if want.Kind == Function {
		return want.Definition == have.Definition
	}
	plain := strings.NewReplacer("(", "", ")", "", " ", "", "\n", "")
	return plain.Replace(want.Definition) == plain.Replace(have.Definition)
}

// shown is a name with the installation's own schema in it.
func shown(name string, installed Installed) string {
	return strings.ReplaceAll(name, "{river}", installed.quoted)
}

// known has definitions of views that were found to be what they should be in the words of another version of Postgres.
//
//nolint:gochecknoglobals // Facts about texts, which hold for every database.
var known sync.Map

// sameView reports whether a view is what it should be. Versions of Postgres write the same view in different words (16
// stopped qualifying the columns of a single table), so the view that should be is made under another name and taken back.
func sameView(ctx context.Context, tx pgx.Tx, want, have Object) (bool, error) {
	key := want.Name + "\n" + want.Definition + "\n" + have.Definition
	if _, is := known.Load(key); is {
		return true, nil
	}
	nested, err := tx.Begin(ctx)
	if err != nil {
		return false, fmt.Errorf("set a savepoint: %w", err)
	}
	defer nested.Rollback(ctx) //nolint:errcheck // What was made is not to stay, and a lost connection shows at once.
	// What cannot be made today is another view: what it reads has changed.
	if _, err := nested.Exec(ctx, "SET LOCAL search_path = pg_catalog, pg_temp"); err != nil {
		return false, fmt.Errorf("make settings: %w", err)
	}
	if _, err := nested.Exec(ctx, "CREATE TEMPORARY VIEW daymill_inventory AS "+want.Definition); err != nil {
		return false, nil
	}
	var text string
	if err := nested.QueryRow(ctx, "SELECT pg_get_viewdef('pg_temp.daymill_inventory'::regclass)").Scan(&text); err != nil {
		return false, fmt.Errorf("read a view: %w", err)
	}
	if text != have.Definition {
		return false, nil
	}
	known.Store(key, true)
	return true, nil
}

// Read reads what there is in some schemas, and the triggers elsewhere that call functions in them.
func Read(ctx context.Context, tx pgx.Tx, schemas []string, installed Installed) ([]Object, error) {
	if _, err := tx.Exec(ctx, "SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL quote_all_identifiers = off"); err != nil {
		return nil, fmt.Errorf("make settings: %w", err)
	}
	rows, err := tx.Query(ctx, readSQL, schemas, installed.RiverSchema, installed.EntityType)
	if err != nil {
		return nil, fmt.Errorf("read the catalog: %w", err)
	}
	objects, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Object])
	if err != nil {
		return nil, fmt.Errorf("read the catalog: %w", err)
	}
	order := []string{Schema, Domain, Table, Column, Constraint, Index, Function, View, Trigger}
	slices.SortStableFunc(objects, func(a, b Object) int { return slices.Index(order, a.Kind) - slices.Index(order, b.Kind) })
	return objects, nil
}
