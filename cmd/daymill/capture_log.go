package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/consumer"
	"github.com/daymill/daymill/internal/capture/filter"
	"github.com/daymill/daymill/internal/capture/log"
	"github.com/daymill/daymill/internal/capture/sink"
	"github.com/daymill/daymill/internal/capture/sink/kind"
	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/view"
	"github.com/daymill/daymill/internal/worker"
)

// captureLog gives consumers access to the log.
type captureLog struct{ log.Log }

// Read returns changes of a shard.
func (l captureLog) Read(ctx context.Context, on postgres.DBTX, q consumer.Query) ([]change.Change, int64, error) {
	return l.Log.Read(ctx, on, log.Query(q))
}

// capture returns what the worker needs to deliver changes. It reads the sinks' URLs and secrets from the environment.
func (a *app) capture(database *postgres.DB, views *view.Engine) *worker.Capture {
	environment := kind.Environment{Lookup: os.LookupEnv, DB: database, URL: a.DatabaseURL}
	return &worker.Capture{
		Log: captureLog{},
		Source: func(ctx context.Context, place stream.Place) (*postgres.DB, string, error) {
			return a.openSource(ctx, database, place.Name, place.URL)
		},
		Judge: func(ctx context.Context, on postgres.DBTX, c consumer.Consumer, one change.Change, accepted int) (string, error) {
			if c.Kind == view.Kind {
				return "", nil // A view looks for changed columns itself.
			}
			var settings kind.Settings
			if err := json.Unmarshal(c.Settings, &settings); err != nil {
				return "", fmt.Errorf("read the settings of %s: %w", c.Name, err)
			}
			return kind.Judge(ctx, on, c.Name, c.Kind, settings, one, accepted)
		},
		Open: func(ctx context.Context, c consumer.Consumer) (sink.Sink, *filter.Filter, bool, error) {
			if c.Kind == view.Kind {
				return openView(ctx, views, c)
			}
			var settings kind.Settings
			if err := json.Unmarshal(c.Settings, &settings); err != nil {
				return nil, nil, false, fmt.Errorf("read the settings of %s: %w", c.Name, err)
			}
			passes, err := filter.New(settings.Config)
			if err != nil {
				return nil, nil, false, err
			}
			if c.Kind == worker.KindRollup {
				late, err := worker.OpenLate(c)
				return late, passes, true, err
			}
			opened, err := kind.Open(ctx, c.Kind, settings, environment)
			if err != nil {
				return nil, nil, false, err
			}
			return opened, passes, opened.Once, nil
		},
	}
}

// openView opens the sink of a view.
func openView(ctx context.Context, views *view.Engine, c consumer.Consumer) (sink.Sink, *filter.Filter, bool, error) {
	passes, err := filter.New(filter.Config{})
	if err != nil {
		return nil, nil, false, err
	}
	id, err := view.Of(c)
	if err != nil {
		return nil, nil, false, err
	}
	opened, err := views.Sink(ctx, id, c.Stream)
	if err != nil {
		return nil, nil, false, err
	}
	return opened, passes, true, nil
}

// databases opens the databases of views. Environment variables contain their URLs; variables maps a database to the name of
// its variable and may be nil.
func (a *app) databases(db *postgres.DB, variables map[string]string) *view.Databases {
	return &view.Databases{DB: db, URL: a.DatabaseURL, Lookup: os.LookupEnv, Variables: variables}
}
