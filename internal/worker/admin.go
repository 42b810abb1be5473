// Package worker is the worker process: River's client with a worker for each kind of job, and the reconciler. It also has
// the actions of an admin on jobs and queues. Package jobs has the arguments, which applications insert.
package worker

import (
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/schema"
)

// Admin changes jobs and queues on behalf of a person, through a client that works no jobs.
type Admin struct {
	db       *postgres.DB
	client   *river.Client[pgx.Tx]
	jobTable string // quoted, with its schema; so are leaders and queues
	leaders  string
	queues   string
}

// NewAdmin returns an Admin of a database.
func NewAdmin(conn *postgres.DB, installation schema.Installation) (*Admin, error) {
	client, err := river.NewClient(riverpgxv5.New(conn.Pool), &river.Config{Schema: installation.RiverSchema})
	if err != nil {
		return nil, fmt.Errorf("make River's client: %w", err)
	}
	return &Admin{
		db: conn, client: client, jobTable: pgx.Identifier{installation.RiverSchema, "river_job"}.Sanitize(),
		leaders: pgx.Identifier{installation.RiverSchema, "river_leader"}.Sanitize(),
		queues:  pgx.Identifier{installation.RiverSchema, "river_queue"}.Sanitize(),
	}, nil
}
