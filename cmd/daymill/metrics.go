package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	kept "github.com/daymill/daymill/internal/archive/standing"
	"github.com/daymill/daymill/internal/capture/standing"
	"github.com/daymill/daymill/internal/health"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/ledger"
	"github.com/daymill/daymill/internal/schema"
	"github.com/daymill/daymill/internal/telemetry"
	"github.com/daymill/daymill/internal/telemetry/prom"
	"github.com/daymill/daymill/internal/worker"
	"github.com/daymill/daymill/ui"
	"github.com/daymill/daymill/ui/door"
)

// metricsOptions holds the options of processes that serve /metrics.
type metricsOptions struct {
	MetricsToken string `env:"DAYMILL_METRICS_TOKEN" placeholder:"SECRET" help:"The bearer token that /metrics requires."`
}

// checkToken refuses a token that is easy to guess.
func (o metricsOptions) checkToken() error {
	if _, err := (door.Access{MetricsToken: o.MetricsToken}).Check(); err != nil {
		return usageError{err}
	}
	return nil
}

// checkListen refuses to serve /metrics to other machines without a token.
func (o metricsOptions) checkListen(address string) error {
	if address != "" && o.MetricsToken == "" && !loopback(address) {
		return usagef("without a token only this machine may read /metrics, but other machines can reach %s: "+
			"set DAYMILL_METRICS_TOKEN, or listen on 127.0.0.1", address)
	}
	return nil
}

// metrics holds the counters of a process and the gauges of its database.
type metrics struct {
	registry *prometheus.Registry
	logger   *slog.Logger
	access   telemetry.Listeners // learn of wrong credentials
}

// newMetrics returns the metrics of a process that uses one database.
func newMetrics(db *postgres.DB, installation schema.Installation, logger *slog.Logger, clock pace.Clock, archive *kept.Source) (*metrics, error) {
	m := &metrics{registry: prom.NewRegistry(versionString()), logger: logger}
	m.access = telemetry.Listeners{telemetry.Log{Logger: logger}, prom.NewListener(m.registry, door.Metrics())}
	err := m.registry.Register(&prom.Gauges{
		Clock: clock,
		Read:  func(ctx context.Context) (prom.Snapshot, error) { return gauges(ctx, db, installation, clock, archive) },
		Failed: func(err error) {
			logger.Warn("the gauges of /metrics could not be read", slog.String("error", err.Error())) //nolint:sloglint // A collector has no context.
		},
	})
	if err != nil {
		return nil, fmt.Errorf("register the gauges: %w", err)
	}
	return m, nil
}

// gauges reads the gauges of a database with a few short statements. The pool's limit bounds each, and ctx bounds all.
func gauges(ctx context.Context, db *postgres.DB, installation schema.Installation, clock pace.Clock, archive *kept.Source) (prom.Snapshot, error) {
	findings, err := examineHealth(ctx, db, installation, clock, archive, nil)
	if err != nil {
		return prom.Snapshot{}, err
	}
	levels := make(map[string]int64)
	for _, level := range []health.Level{health.Bad, health.Wait} {
		levels[string(level)] = int64(health.Count(findings, level))
	}
	gauges, err := ledger.ReadGauges(ctx, db)
	if err != nil {
		return prom.Snapshot{}, err
	}
	depth, err := worker.QueueDepth(ctx, db, installation.RiverSchema)
	if err != nil {
		return prom.Snapshot{}, err
	}
	captured, err := captureGauges(ctx, db, clock)
	if err != nil {
		return prom.Snapshot{}, err
	}
	queue := map[string]int64{"available": 0, "pending": 0, "retryable": 0, "running": 0, "scheduled": 0}
	maps.Copy(queue, depth.ByState)
	return prom.Snapshot{
		Dates: gauges.Dates, OpenRequests: gauges.OpenRequests, OldestDue: gauges.OldestDue,
		Queue: queue, OldestAvailable: depth.OldestWaiting,
		Backfills: gauges.Backfills, BackfillDatesLeft: gauges.BackfillDatesLeft, Workers: gauges.Workers,
		LastSchedule: gauges.LastSchedule, SchedulePaused: gauges.SchedulePaused, Findings: levels,
		Streams: captured.Streams, Consumers: captured.Consumers,
	}, nil
}

// captureGauges reads the gauges of streams and consumers.
func captureGauges(ctx context.Context, db *postgres.DB, clock pace.Clock) (s prom.Snapshot, err error) {
	captured, err := standing.ReadGauges(ctx, db, clock.Now())
	if err != nil {
		return prom.Snapshot{}, err
	}
	for _, one := range captured.Streams {
		stream := prom.Stream{
			Name: one.Name, Read: one.State == "running" && !one.IsUnowned, Lag: time.Duration(one.LagSeconds * float64(time.Second)),
			Behind: one.Behind, Retained: one.Retained, Gaps: one.Gaps,
		}
		for _, open := range captured.Snapshots {
			if open.Name == one.Name {
				stream.Snapshots, stream.SnapshotRows, stream.SnapshotEstimate = open.Tables, open.Rows, open.Estimate
			}
		}
		s.Streams = append(s.Streams, stream)
	}
	for _, one := range captured.Consumers {
		s.Consumers = append(s.Consumers, prom.Consumer{
			Name: one.Name, Paused: one.PausedAt != nil, Lag: one.Lag, Behind: one.Behind, Failures: int64(one.Failures), Letters: one.Letters,
		})
	}
	return s, nil
}

// handler serves the metrics, to at most four requests at a time. It returns nil if there are no metrics.
func (m *metrics) handler() http.Handler {
	if m == nil {
		return nil
	}
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(m.logger.Handler(), slog.LevelWarn), MaxRequestsInFlight: 4,
		ErrorHandling: promhttp.ContinueOnError,
	})
}

// listen serves /metrics alone on an address until ctx is done.
func (m *metrics) listen(ctx context.Context, address, token string, clock pace.Clock) (func() error, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, usagef("cannot listen on %s: %w; give another --metrics-listen", address, err)
	}
	m.logger.InfoContext(ctx, "metrics served", slog.String("address", "http://"+listener.Addr().String()+"/metrics"))
	handler := ui.MetricsHandler(ui.MetricsConfig{Handler: m.handler(), Token: token, Logger: m.logger, Clock: clock, Listeners: m.access})
	return func() error { return serve(ctx, listener, handler, serverLimits()) }, nil
}
