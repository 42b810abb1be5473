// Command app is an application that imports package jobs: it copies orders into a table of its own. A test kills it.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/daymill/daymill/jobs"
)

func main() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{})
	if err != nil {
		log.Fatal(err)
	}
	copied := jobs.OnChange("copy", []string{"public.orders"}, func(ctx context.Context, tx pgx.Tx, changes []jobs.Change) error {
		for _, c := range changes {
			_, err := tx.Exec(ctx, "INSERT INTO public.copied (position, key) VALUES ($1, $2)", c.Position, string(c.Key))
			if err != nil {
				return fmt.Errorf("copy order %s: %w", c.Key, err)
			}
		}
		return nil
	})
	copied.Batch = 5
	log.Fatal(copied.Run(ctx, client))
}
