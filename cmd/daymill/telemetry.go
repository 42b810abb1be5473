package main

import (
	"context"
	"log/slog"

	"golang.org/x/sync/errgroup"

	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/schema"
	"github.com/daymill/daymill/internal/telemetry"
	"github.com/daymill/daymill/internal/telemetry/prom"
)

// processTelemetry is who listens to what a worker process does.
type processTelemetry struct {
	*metrics

	app       *app
	listeners telemetry.Listeners
}

// telemetry returns the listeners of a worker process: the log and Prometheus.
func (a *app) telemetry(db *postgres.DB, installation schema.Installation, logger *slog.Logger) (*processTelemetry, error) {
	metrics, err := newMetrics(db, installation, logger, a.clock())
	if err != nil {
		return nil, err
	}
	return &processTelemetry{
		metrics: metrics, app: a,
		listeners: telemetry.Listeners{telemetry.Log{Logger: logger}, prom.NewListener(metrics.registry)},
	}, nil
}

// beside does the process's work, and serves /metrics meanwhile where an address is given.
func (t *processTelemetry) beside(ctx context.Context, address, token string, work func(context.Context) error) error {
	if address == "" {
		return work(ctx)
	}
	group, ctx := errgroup.WithContext(ctx)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	serve, err := t.listen(ctx, address, token, t.app.clock())
	if err != nil {
		return err
	}
	group.Go(serve)
	group.Go(func() error {
		defer cancel()
		return work(ctx)
	})
	return group.Wait()
}
