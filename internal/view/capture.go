package view

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/view/definition"
)

// capture tells streams which tables views need, in the caller's transaction. It does not change what else they capture.
func (e *Engine) capture(ctx context.Context, tx pgx.Tx) error {
	views, err := List(ctx, tx)
	if err != nil {
		return err
	}
	tables := map[string][]string{} // patterns by stream
	databases := map[string]string{}
	for _, v := range views {
		versions, err := Versions(ctx, tx, v.ID)
		if err != nil {
			return err
		}
		for _, version := range versions {
			for i, source := range version.Plan.Sources {
				if source.Scheduled {
					continue
				}
				pattern := pgx.Identifier{source.Schema, source.Name}.Sanitize()
				if !slices.Contains(tables[source.Stream], pattern) {
					tables[source.Stream] = append(tables[source.Stream], pattern)
				}
				databases[source.Stream] = version.Plan.Definition.Tables[i].Database
			}
		}
	}
	queries := db.New(tx)
	streams := slices.Sorted(maps.Keys(tables))
	for _, stream := range streams {
		url := "$DATABASE_URL"
		if stream != definition.App {
			if url, err = e.variable(ctx, tx, databases[stream]); err != nil {
				return err
			}
		}
		slices.Sort(tables[stream])
		err := queries.ViewStreamEnsure(ctx, db.ViewStreamEnsureParams{Name: stream, Url: url})
		if err == nil {
			err = queries.ViewStreamTables(ctx, db.ViewStreamTablesParams{Name: stream, Tables: tables[stream]})
		}
		if err != nil {
			return fmt.Errorf("set what stream %s captures for views: %w", stream, err)
		}
	}
	if streams == nil {
		streams = []string{}
	}
	if err := queries.ViewStreamNone(ctx, streams); err != nil {
		return fmt.Errorf("set what streams capture for views: %w", err)
	}
	return nil
}

// Captured reports whether changes are captured for a view, by triggers or with a slot.
func (e *Engine) Captured(ctx context.Context, name string) (bool, error) {
	v, err := Get(ctx, e.DB, name)
	if err != nil {
		return false, err
	}
	captured := false
	err = eachStream(ctx, e.DB, v, func(stream string) error {
		row, err := db.New(e.DB).StreamGet(ctx, stream)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return fmt.Errorf("read stream %s: %w", stream, err)
		}
		captured = captured || row.Mode != ""
		return nil
	})
	return captured, err
}

// variable returns the environment variable of a database. It is stored for other processes.
func (e *Engine) variable(ctx context.Context, tx pgx.Tx, name string) (string, error) {
	url, err := e.Databases.Variable(ctx, name)
	if err != nil {
		return "", err
	}
	if err := db.New(tx).ViewDatabaseUpsert(ctx, db.ViewDatabaseUpsertParams{Name: name, Variable: url}); err != nil {
		return "", fmt.Errorf("store the variable of database %s: %w", name, err)
	}
	return url, nil
}
