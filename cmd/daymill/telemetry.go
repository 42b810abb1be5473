package main

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	archive "github.com/daymill/daymill/internal/archive/signal"
	capture "github.com/daymill/daymill/internal/capture/signal"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/signal"
	"github.com/daymill/daymill/internal/schema"
	"github.com/daymill/daymill/internal/telemetry"
	"github.com/daymill/daymill/internal/telemetry/prom"
	"github.com/daymill/daymill/internal/telemetry/trace"
	view "github.com/daymill/daymill/internal/view/signal"
	"github.com/daymill/daymill/internal/worker"
)

// processTelemetry holds the listeners of a worker process.
type processTelemetry struct {
	*metrics

	app       *app
	name      string // of the process, in the ledger
	listeners telemetry.Listeners
}

// telemetry returns the listeners of a worker process: the log, Prometheus, and OpenTelemetry if a.trace turned it on.
func (a *app) telemetry(ctx context.Context, db *postgres.DB, installation schema.Installation, logger *slog.Logger) (*processTelemetry, error) {
	kept, err := a.archive(ctx)
	if err != nil {
		return nil, err
	}
	metrics, err := newMetrics(db, installation, logger, a.clock(), kept)
	if err != nil {
		return nil, err
	}
	listeners := telemetry.Listeners{telemetry.Log{Logger: logger}, prom.NewListener(metrics.registry, slices.Concat(signal.Metrics(), capture.Metrics(), view.Metrics(), archive.Metrics(), worker.Metrics()))}
	if a.tracer != nil {
		listeners = append(listeners, a.tracer)
	}
	return &processTelemetry{metrics: metrics, app: a, name: a.processName(), listeners: listeners}, nil
}

// flushTimeout is how long a stopping process waits to send its last traces. Together with the time that its runs and
// connections take to stop, this is less than ten seconds, the shortest time that a platform allows.
const flushTimeout = 3 * time.Second

// trace starts tracing if the OTEL_* variables ask for it. The function that it returns sends the last traces.
func (a *app) trace(ctx context.Context) (stop func(), err error) {
	logger := a.logger()
	a.tracer, err = trace.New(ctx, trace.Config{
		Getenv: os.Getenv, Logger: logger, Version: versionString(), Instance: a.processName(),
	})
	if err != nil {
		return nil, usageError{err}
	}
	if a.tracer == nil {
		return func() {}, nil
	}
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
		defer cancel()
		if err := a.tracer.Close(ctx); err != nil {
			logger.WarnContext(ctx, "some traces were not sent", slog.String("error", err.Error()))
		}
	}, nil
}

// verbTelemetry returns the listeners of a verb that does a worker's work: OpenTelemetry if the OTEL_* variables ask for
// it, and the log at level debug, because the verb prints the result. Call it before the database is opened, so that
// statements are traced. stop sends the last traces.
func (a *app) verbTelemetry(ctx context.Context) (listeners telemetry.Listeners, stop func(), err error) {
	stop, err = a.trace(ctx)
	if err != nil {
		return nil, nil, err
	}
	listeners = telemetry.Listeners{telemetry.Log{Logger: a.logger(), Quiet: true}}
	if a.tracer != nil {
		listeners = append(listeners, a.tracer)
	}
	return listeners, stop, nil
}

// processName returns the name of the process, the same at every call.
func (a *app) processName() string {
	if a.process == "" {
		a.process = processName()
	}
	return a.process
}

// queryTracer returns the tracer of statements, nil if nothing is traced.
func (a *app) queryTracer() pgx.QueryTracer {
	if a.tracer == nil {
		return nil
	}
	return a.tracer.Queries()
}

// beside does the process's work, and serves /metrics at the same time if an address is given.
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
