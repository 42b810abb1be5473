// Package inventory compares what is installed with what should be: every schema, table, column, domain,
// constraint, index, function, view and trigger that the migrations create, and the position of every
// sequence.
//
// Any of them can be lost without an error. A restore leaves triggers out, DISABLE TRIGGER ALL turns them
// off, DROP … CASCADE drops a view too, and an upgrade by logical replication leaves sequences behind. From
// then on, late events are lost without a sign.
//
// What should be installed is in manifest.json, which `make generate` derives from the migrations: it applies
// them to an empty database and reads the catalog. [Compare] reads the catalog of a database in the same way,
// and [Repair] restores what differs. River's schema and the type of entities differ between installations,
// so {river} and {entity} stand for them.
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

	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/migrations"
)

// Kinds of objects. An object depends only on objects of earlier kinds.
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
	Rule       = "rule"
	Sequence   = "sequence"
)

// What can be wrong with an object.
const (
	Missing  = "missing"
	Disabled = "disabled"
	Changed  = "changed"
	Behind   = "behind"        // a sequence whose next value is already in use
	Foreign  = "not Daymill's" // a rule that changes what a write does
)

// Object is an object that the migrations create.
type Object struct {
	Kind string `json:"kind"`
	Name string `json:"name"` // qualified, and quoted as SQL needs it
	// Definition is compared with the installed object's definition. Postgres prints both.
	Definition string `json:"definition"`
	// Create is the SQL that creates or replaces the object.
	Create string `json:"create,omitempty"`
	// Disabled reports that the object exists but has no effect: a disabled trigger, or an invalid index.
	Disabled bool `json:"disabled,omitempty"`
	// Relation is the table or view that the object belongs to, if any.
	Relation string `json:"relation,omitempty"`
}

// Manifest lists what should be installed.
type Manifest struct {
	// Migrations is a digest of the migrations that it was derived from.
	Migrations string   `json:"migrations"`
	Schemas    []string `json:"schemas"`
	Objects    []Object `json:"objects"`
}

// Fault is an object that is missing or differs from what the migrations create.
type Fault struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	// What is missing, disabled, changed, behind or not Daymill's. Of a table, it may be unlogged, or under row security that applies to
	// the role that compares.
	What string `json:"what"`
	// Error says why Repair could not restore the object; otherwise empty.
	Error string `json:"error,omitempty"`

	want, have Object
}

// String returns the fault as a clause: "the trigger x on y is missing".
func (f Fault) String() string {
	text := "the " + f.Kind + " " + f.Name + " is " + f.What
	if f.Error != "" {
		text += ", and could not be restored: " + f.Error
	}
	return text
}

// List returns one sentence about faults. It names the first few.
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

// ErrStale says that the manifest was not derived from the migrations of this binary.
var ErrStale = errors.New("internal/schema/inventory/manifest.json does not match the migrations: run `make generate`")

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

// Installed is what Compare needs to know about an installation.
type Installed struct {
	RiverSchema string
	EntityType  string

	quoted string // River's schema, as SQL and the catalog write it
}

// quote sets quoted. Postgres quotes the name only if that is necessary, as in the catalog.
func (i *Installed) quote(ctx context.Context, tx pgx.Tx) error {
	if err := tx.QueryRow(ctx, "SELECT pg_catalog.quote_ident($1)", i.RiverSchema).Scan(&i.quoted); err != nil {
		return fmt.Errorf("quote River's schema: %w", err)
	}
	return nil
}

// Compare returns the faults, in the order in which to repair them. It reads the catalog, and the last row of every table with a
// sequence.
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
			if want.Kind == Table {
				fault.What = object.Definition
			}
		case object.Disabled:
			fault.What = Disabled
		default:
			continue
		}
		faults = append(faults, fault)
	}
	for _, object := range have {
		if object.Kind == Rule && !object.Disabled {
			faults = append(faults, Fault{Kind: Rule, Name: shown(object.Name, installed), What: Foreign, want: object, have: object})
		}
	}
	behind, err := sequences(ctx, tx, should.Schemas, installed)
	return append(faults, behind...), err
}

// lost holds the missing schemas and tables.
type lost struct{ schemas, tables map[string]bool }

// lostIn finds the missing schemas and tables. A schema that exists but has none of its tables is missing,
// too: somebody may have created it by hand before restoring other schemas.
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

// covers reports whether an object is part of a missing schema or table. Only that schema or table is then
// reported.
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

// same reports whether two definitions are equal, except for parentheses. After a restore, Postgres prints a definition with fewer
// parentheses.
func same(want, have Object) bool {
	if want.Kind == Function {
		return want.Definition == have.Definition
	}
	plain := strings.NewReplacer("(", "", ")", "", " ", "", "\n", "")
	return plain.Replace(want.Definition) == plain.Replace(have.Definition)
}

// shown replaces {river} in a name by the installation's schema.
func shown(name string, installed Installed) string {
	return strings.ReplaceAll(name, "{river}", installed.quoted)
}

// known caches definitions of views that sameView found to be right although another version of Postgres prints them differently.
//
//nolint:gochecknoglobals // Facts about texts, which hold for every database.
var known sync.Map

// sameView reports whether a view has the right definition. Versions of Postgres print the same view differently (16 stopped qualifying
// the columns of a single table). So sameView creates the right view under another name, compares, and rolls back.
func sameView(ctx context.Context, tx pgx.Tx, want, have Object) (bool, error) {
	key := want.Name + "\n" + want.Definition + "\n" + have.Definition
	if _, is := known.Load(key); is {
		return true, nil
	}
	nested, err := tx.Begin(ctx)
	if err != nil {
		return false, fmt.Errorf("set a savepoint: %w", err)
	}
	defer nested.Rollback(ctx) //nolint:errcheck // The temporary view must not stay; if the connection is lost, the next statement fails.
	// If the view cannot be created, the tables that it reads have changed, so the views differ.
	if err := postgres.SetLocal(ctx, nested, postgres.Local{"search_path": "pg_catalog, pg_temp"}); err != nil {
		return false, err
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

// Read returns the objects of some schemas, and triggers in other schemas that call their functions.
func Read(ctx context.Context, tx pgx.Tx, schemas []string, installed Installed) ([]Object, error) {
	err := postgres.SetLocal(ctx, tx, postgres.Local{"search_path": "pg_catalog, pg_temp", "quote_all_identifiers": "off"})
	if err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, readSQL, schemas, installed.RiverSchema, installed.EntityType)
	if err != nil {
		return nil, fmt.Errorf("read the catalog: %w", err)
	}
	objects, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Object])
	if err != nil {
		return nil, fmt.Errorf("read the catalog: %w", err)
	}
	order := []string{Schema, Domain, Table, Column, Constraint, Index, Function, View, Trigger, Rule}
	slices.SortStableFunc(objects, func(a, b Object) int { return slices.Index(order, a.Kind) - slices.Index(order, b.Kind) })
	return objects, nil
}
