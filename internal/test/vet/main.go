// Command vet makes a real Postgres prepare every query of queries/. For each type of entity ids, it installs Daymill in a database of a
// temporary cluster, and runs `sqlc vet` there.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/pgserver"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "vet:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	binaries, err := pgserver.Find(ctx)
	if err != nil {
		return err
	}
	server, err := pgserver.Start(ctx, pgserver.Config{Binaries: binaries, Settings: pgserver.Throwaway(), InMemory: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }() //nolint:contextcheck // Close it also when ctx is done.
	for _, t := range []entity.Type{entity.Bigint, entity.Text, entity.UUID} {
		if err := vet(ctx, server, t); err != nil {
			return fmt.Errorf("with entities of type %s: %w", t, err)
		}
	}
	return nil
}

func vet(ctx context.Context, server *pgserver.Server, t entity.Type) error {
	name := "vet_" + string(t)
	conn, err := pgx.Connect(ctx, server.URL("postgres"))
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize())
	if err := errors.Join(err, conn.Close(ctx)); err != nil {
		return err
	}
	url := server.URL(name)
	if err := command(ctx, url, "go", "run", "./cmd/daymill", "migrate", "--entity-type", string(t)); err != nil {
		return err
	}
	return command(ctx, url, "go", "tool", "-modfile=internal/tools/go.mod", "sqlc", "vet")
}

// command runs a program in the repository's directory. Its output is shown if it fails.
func command(ctx context.Context, url, name string, arguments ...string) error {
	cmd := exec.CommandContext(ctx, name, arguments...)
	cmd.Env = append(os.Environ(), "DATABASE_URL="+url, "DAYMILL_VET_URL="+url)
	output, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, output)
	}
	return nil
}
