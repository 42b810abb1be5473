package ui

import (
	"log/slog"
	"net/http"

	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/telemetry"
)

// MetricsConfig configures /metrics.
type MetricsConfig struct {
	// Handler writes the metrics.
	Handler http.Handler
	// Token is the bearer token that a request needs. If empty, only requests to this machine's own names are answered; the caller must make sure
	// that no other machine can send any.
	Token  string
	Logger *slog.Logger
	Clock  pace.Clock
	// Listeners receive wrong tokens.
	Listeners telemetry.Listeners
}

// MetricsHandler returns a handler that serves only /metrics, for processes without pages.
func MetricsHandler(config MetricsConfig) http.Handler {
	// Without a token, access is open, and requests to other names than this machine's are refused.
	s := &site{
		Config: Config{Logger: config.Logger, Metrics: config.Handler, Access: Access{MetricsToken: config.Token}},
		guard:  newGuard(Access{}, config.Clock, config.Listeners),
	}
	serve := http.Handler(http.HandlerFunc(s.metrics))
	if config.Token == "" {
		serve = s.hosted(config.Handler)
	}
	root := http.NewServeMux()
	root.Handle("GET /metrics", serve)
	return s.recovered(secured(s.limited(root)))
}

// metrics answers requests that have the token. If no token is set, it answers none: the pages' password belongs to a person.
func (s *site) metrics(w http.ResponseWriter, r *http.Request) {
	if s.Metrics == nil || s.Access.MetricsToken == "" {
		text(w, http.StatusNotFound, "Set DAYMILL_METRICS_TOKEN for /metrics.\n")
		return
	}
	switch s.guard.token(r, metricsCredential, s.Access.MetricsToken) {
	case right:
		s.Metrics.ServeHTTP(w, r)
	case throttled:
		w.Header().Set("Retry-After", retryAfter)
		text(w, http.StatusTooManyRequests, "Too many wrong tokens: wait a few seconds and try again.\n")
	default:
		w.Header().Set("WWW-Authenticate", `Bearer realm="Daymill"`)
		text(w, http.StatusUnauthorized, "/metrics requires DAYMILL_METRICS_TOKEN as a bearer token.\n")
	}
}
