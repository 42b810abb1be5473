package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/daymill/daymill/internal/alert"
	kept "github.com/daymill/daymill/internal/archive/standing"
	"github.com/daymill/daymill/internal/capture/standing"
	"github.com/daymill/daymill/internal/health"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/presence"
	"github.com/daymill/daymill/internal/rollup/ledger"
	"github.com/daymill/daymill/internal/schema"
	"github.com/daymill/daymill/internal/telemetry"
	"github.com/daymill/daymill/internal/telemetry/prom"
	views "github.com/daymill/daymill/internal/view/standing"
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
	if err := checkAddress("--metrics-listen", address); err != nil {
		return err
	}
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
	access   telemetry.Listeners // of the pages and of alerts
}

// newMetrics returns the metrics of a process that uses one database.
func newMetrics(db *postgres.DB, installation schema.Installation, logger *slog.Logger, clock pace.Clock, archive *kept.Source) (*metrics, error) {
	m := &metrics{registry: prom.NewRegistry(versionString()), logger: logger}
	m.access = telemetry.Listeners{telemetry.Log{Logger: logger}, prom.NewListener(m.registry, slices.Concat(door.Metrics(), alert.Metrics()))}
	gauges := prom.NewGauges(clock, allGauges(db, installation, clock, archive)...)
	gauges.Failed = func(err error) {
		logger.Warn("the gauges of /metrics could not be read", slog.String("error", err.Error())) //nolint:sloglint // A collector has no context.
	}
	err := m.registry.Register(gauges)
	if err != nil {
		return nil, fmt.Errorf("register the gauges: %w", err)
	}
	return m, nil
}

// allGauges returns the gauges of every capability.
func allGauges(db *postgres.DB, installation schema.Installation, clock pace.Clock, archive *kept.Source) []telemetry.Gauges {
	return []telemetry.Gauges{
		ledger.Gauges(db), standing.Gauges(db, clock), views.Gauges(db), kept.Gauges(archive, db, clock), presence.Gauges(db), worker.Gauges(db, installation.RiverSchema, clock),
		health.Gauges(func(ctx context.Context) ([]health.Finding, error) {
			return examineHealth(ctx, db, installation, clock, archive, nil)
		}),
	}
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
