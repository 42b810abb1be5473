package worker

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// RiverShared reports whether River's tables in a schema also have other jobs or queues: those of an application that uses
// River itself.
func RiverShared(ctx context.Context, pool *pgxpool.Pool, riverSchema string) (bool, error) {
	table := func(name string) string { return pgx.Identifier{riverSchema, name}.Sanitize() }
	var shared bool
	err := pool.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", table("river_job")).Scan(&shared)
	if err == nil && shared {
		err = pool.QueryRow(ctx, `SELECT
			EXISTS(SELECT FROM `+table("river_job")+` WHERE queue <> ALL ($1))
			OR EXISTS(SELECT FROM `+table("river_queue")+` WHERE name <> ALL ($1))`,
			queueNames()).Scan(&shared)
	}
	if err != nil {
		return false, fmt.Errorf("look at River's tables: %w", err)
	}
	return shared, nil
}

// ErrRiverSchema is returned for a name that River does not accept for its schema.
var ErrRiverSchema = errors.New("the schema of River's tables must have a name of at most 46 letters, digits and underscores, " +
	"which does not begin with a digit")

// riverSchemaName matches the names that River's clients accept. River's migrations put the name into SQL without quoting it.
var riverSchemaName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]{0,45}$`)

// CheckRiverSchema returns ErrRiverSchema for a name that River would reject when a worker starts, or would run as SQL.
func CheckRiverSchema(name string) error {
	if !riverSchemaName.MatchString(name) {
		return fmt.Errorf("%w, unlike %q", ErrRiverSchema, name)
	}
	return nil
}

// RiverMigrator returns a function that migrates River's tables, for schema.Options.
func RiverMigrator(pool *pgxpool.Pool) func(ctx context.Context, riverSchema string) error {
	return func(ctx context.Context, riverSchema string) error {
		_, err := MigrateRiver(ctx, pool, riverSchema)
		return err
	}
}

// MigrateRiver migrates River's tables in a schema, which it creates if necessary, and returns how many of River's migrations
// it applied. It returns ErrRiverSchema if River does not accept the name.
func MigrateRiver(ctx context.Context, pool *pgxpool.Pool, riverSchema string) (int, error) {
	if err := CheckRiverSchema(riverSchema); err != nil {
		return 0, err
	}
	var exists bool
	err := pool.QueryRow(ctx, "SELECT EXISTS(SELECT FROM pg_namespace WHERE nspname = $1)", riverSchema).Scan(&exists)
	if err == nil && !exists {
		_, err = pool.Exec(ctx, "CREATE SCHEMA "+pgx.Identifier{riverSchema}.Sanitize())
	}
	if err != nil {
		return 0, fmt.Errorf("create River's schema %q: %w", riverSchema, err)
	}
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Schema: riverSchema})
	if err != nil {
		return 0, fmt.Errorf("prepare River's migrations: %w", err)
	}
	result, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	if err != nil {
		return 0, fmt.Errorf("migrate River's tables in %q: %w", riverSchema, err)
	}
	return len(result.Versions), nil
}

// RiverVersions returns River's latest applied migration in a schema, 0 if there is none, and the latest one that this binary
// knows.
func RiverVersions(ctx context.Context, pool *pgxpool.Pool, riverSchema string) (applied, newest int, err error) {
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Schema: riverSchema})
	if err != nil {
		return 0, 0, fmt.Errorf("prepare River's migrations: %w", err)
	}
	for _, m := range migrator.AllVersions() {
		newest = max(newest, m.Version)
	}
	existing, err := migrator.ExistingVersions(ctx)
	if err != nil {
		return 0, newest, fmt.Errorf("read River's migrations: %w", err)
	}
	for _, m := range existing {
		applied = max(applied, m.Version)
	}
	return applied, newest, nil
}
