package jobs

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// MigrateRiver brings River's tables up to date in a schema, which it creates where it is missing, and returns how
// many of River's migrations it applied.
func MigrateRiver(ctx context.Context, pool *pgxpool.Pool, riverSchema string) (int, error) {
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
