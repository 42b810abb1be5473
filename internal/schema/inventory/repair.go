package inventory

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/daymill/daymill/internal/postgres"
)

//go:embed read.sql
var readSQL string

// Repair restores what is missing, disabled, changed or behind, and returns the faults that it has found. If
// kinds are given, it only looks at objects of these kinds. A fault that it could not repair has an Error;
// the others are repaired. It runs in the caller's transaction.
//
// Repair creates a missing schema again with all its tables, which are then empty. It does not create a
// single table, column or domain: its data is lost although other tables refer to it, and only a backup has
// it.
func Repair(ctx context.Context, tx pgx.Tx, installed Installed, kinds ...string) ([]Fault, error) {
	owner, err := ledgerOwner(ctx, tx)
	if err == nil {
		err = installed.quote(ctx, tx)
	}
	if err != nil {
		return nil, err
	}
	// A round may succeed with what failed in the one before, such as an object in a schema that was missing,
	// a foreign key, or a view that reads another view.
	const rounds = 6
	var all []Fault
	made := lost{schemas: map[string]bool{}}
	for range rounds {
		faults, err := Compare(ctx, tx, installed)
		if err != nil {
			return all, err
		}
		if len(kinds) > 0 {
			faults = slices.DeleteFunc(faults, func(f Fault) bool { return !slices.Contains(kinds, f.Kind) })
		}
		if len(faults) == 0 {
			break
		}
		for _, fault := range faults {
			if err := fault.repair(ctx, tx, installed, owner); err != nil {
				fault.Error = sentence(err)
			} else if fault.Kind == Schema {
				made.schemas[fault.want.Name] = true
			}
			if made.covers(fault.want) && fault.Error == "" {
				all = slices.DeleteFunc(all, fault.is) // It was created together with its schema.
				continue
			}
			all = merge(all, fault)
		}
	}
	return all, nil
}

// ledgerOwner returns the role that owns Daymill's functions, quoted.
func ledgerOwner(ctx context.Context, tx pgx.Tx) (owner string, err error) {
	m, err := manifest()
	if err != nil {
		return "", err
	}
	err = tx.QueryRow(ctx, `
		SELECT quote_ident(pg_get_userbyid(c.relowner))
		FROM pg_catalog.pg_class AS c
		INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
		WHERE c.relname = 'schema_migrations' AND n.nspname = any($1)`, m.Schemas).Scan(&owner)
	if err != nil {
		return "", fmt.Errorf("look for the ledger's owner: %w", err)
	}
	return owner, nil
}

// merge adds a fault, and replaces an earlier fault of the same object.
func merge(all []Fault, fault Fault) []Fault {
	if i := slices.IndexFunc(all, fault.is); i >= 0 {
		all[i].Error = fault.Error
		return all
	}
	return append(all, fault)
}

// is reports whether another fault is about the same object.
func (f Fault) is(other Fault) bool { return f.Kind == other.Kind && f.Name == other.Name }

// sentence returns the server's message.
func sentence(err error) string {
	if server, ok := errors.AsType[*pgconn.PgError](err); ok {
		return server.Message
	}
	return err.Error()
}

// repair restores one object in a savepoint, so that an error does not affect the other repairs.
func (f Fault) repair(ctx context.Context, tx pgx.Tx, installed Installed, owner string) error {
	statements, err := f.statements(installed, owner)
	if err != nil {
		return err
	}
	nested, err := tx.Begin(ctx)
	if err != nil {
		return fmt.Errorf("set a savepoint: %w", err)
	}
	for _, statement := range statements {
		if _, err := nested.Exec(ctx, statement); err != nil {
			_ = nested.Rollback(ctx) // The error above is the cause.
			return err
		}
	}
	return nested.Commit(ctx)
}

// statements returns the SQL that restores the object.
func (f Fault) statements(installed Installed, owner string) ([]string, error) {
	create := shown(f.want.Create, installed)
	relation := shown(f.want.Relation, installed)
	switch f.Kind {
	case Schema:
		return f.schema(create, owner)
	case Sequence:
		return []string{"LOCK TABLE " + f.want.Relation + " IN SHARE ROW EXCLUSIVE MODE", f.want.Create}, nil
	case Trigger, View:
		return []string{create}, nil
	case Function:
		return f.function(create, owner)
	case Index:
		if f.What == Missing {
			return []string{create}, nil
		}
		return []string{"DROP INDEX " + f.Name, create}, nil
	case Constraint:
		if f.What == Missing {
			return []string{create}, nil
		}
		name, _, _ := strings.Cut(f.Name, " on ")
		return []string{"ALTER TABLE " + relation + " DROP CONSTRAINT " + name, create}, nil
	case Column:
		return f.column(relation)
	case Rule:
		name, _, _ := strings.Cut(f.Name, " on ")
		return []string{"DROP RULE " + name + " ON " + relation}, nil
	case Table:
		var statements []string
		if strings.Contains(f.have.Definition, "unlogged") {
			statements = append(statements, "ALTER TABLE "+f.Name+" SET LOGGED")
		}
		if strings.Contains(f.have.Definition, "row security") {
			statements = append(statements, "ALTER TABLE "+f.Name+" NO FORCE ROW LEVEL SECURITY")
		}
		if len(statements) > 0 {
			return statements, nil
		}
		fallthrough
	default:
		return nil, fmt.Errorf("restore %s from a backup: Daymill cannot create its content again", f.Name)
	}
}

// schema returns the SQL that creates a schema and its tables. The next round creates what belongs to the tables.
func (f Fault) schema(create, owner string) ([]string, error) {
	should, err := manifest()
	if err != nil {
		return nil, err
	}
	statements := []string{create, "ALTER SCHEMA " + f.Name + " OWNER TO " + owner}
	for _, object := range should.Objects {
		if object.Kind == Table && object.Relation == f.Name {
			statements = append(statements, object.Create, "ALTER TABLE "+object.Name+" OWNER TO "+owner)
		}
	}
	return statements, nil
}

// function returns the SQL that creates a function and sets its owner and its grants.
func (f Fault) function(create, owner string) ([]string, error) {
	var want struct {
		Public bool `json:"public"`
	}
	if err := json.Unmarshal([]byte(f.want.Definition), &want); err != nil {
		return nil, fmt.Errorf("read the manifest: %w", err)
	}
	rights := "REVOKE ALL ON FUNCTION " + f.Name + " FROM PUBLIC"
	if want.Public {
		rights = "GRANT EXECUTE ON FUNCTION " + f.Name + " TO PUBLIC"
	}
	return []string{
		postgres.Local{"check_function_bodies": "off"}.SQL(), // The function may call another missing function.
		create,
		"ALTER FUNCTION " + f.Name + " OWNER TO " + owner,
		rights,
	}, nil
}

// column returns the SQL that restores a column's default, identity and NOT NULL. It cannot restore its type or its data.
func (f Fault) column(relation string) ([]string, error) {
	column := f.Name[strings.LastIndex(f.Name, ".")+1:]
	want, have := parts(f.want.Definition), parts(f.have.Definition)
	if f.What == Missing || want.kind != have.kind || want.generated != have.generated {
		return nil, fmt.Errorf("restore %s from a backup, or the whole database: Daymill cannot create its content again", f.Name)
	}
	alter := "ALTER TABLE " + relation + " ALTER COLUMN " + column
	var statements []string
	if want.required && !have.required {
		statements = append(statements, alter+" SET NOT NULL")
	}
	if !want.required && have.required {
		statements = append(statements, alter+" DROP NOT NULL")
	}
	switch {
	case want.identity == have.identity:
	case have.identity == "":
		statements = append(statements, alter+" ADD GENERATED "+want.identity+" AS IDENTITY")
	case want.identity == "":
		statements = append(statements, alter+" DROP IDENTITY")
	default:
		statements = append(statements, alter+" SET GENERATED "+want.identity)
	}
	switch want.byDefault {
	case have.byDefault:
	case "":
		statements = append(statements, alter+" DROP DEFAULT")
	default:
		statements = append(statements, alter+" SET DEFAULT "+want.byDefault)
	}
	return statements, nil
}

// columnParts are the parts of a column's definition.
type columnParts struct {
	kind, identity, byDefault, generated string
	required                             bool
}

func parts(definition string) (p columnParts) {
	for _, identity := range []string{"ALWAYS", "BY DEFAULT"} {
		before, found := strings.CutSuffix(definition, " GENERATED "+identity+" AS IDENTITY")
		if found {
			definition, p.identity = before, identity
		}
	}
	definition, p.byDefault, _ = strings.Cut(definition, " DEFAULT ")
	definition, p.generated, _ = strings.Cut(definition, " GENERATED ALWAYS AS ")
	p.kind, p.required = strings.CutSuffix(definition, " NOT NULL")
	return p
}
