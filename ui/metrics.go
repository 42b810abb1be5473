package ui

import (
	"log/slog"
	"net/http"

	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/telemetry"
	"github.com/daymill/daymill/ui/door"
	"github.com/daymill/daymill/ui/reply"
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
	// Listeners receive a signal for wrong tokens.
	Listeners telemetry.Listeners
}

// MetricsHandler returns a handler that serves only /metrics, for processes without pages.
func MetricsHandler(config MetricsConfig) http.Handler {
	access := door.Access{MetricsToken: config.Token}
	// Without a token, access is open, and requests to other names than this machine's are refused.
	entrance := door.New(door.Config{Access: access, Logger: config.Logger, Clock: config.Clock, Listeners: config.Listeners})
	serve := http.Handler(metrics(entrance, config.Handler))
	if config.Token == "" {
		serve = entrance.Hosted(config.Handler)
	}
	root := http.NewServeMux()
	root.Handle("GET /metrics", serve)
	return entrance.Recovered(door.Secured(entrance.Limited(root)))
}

// metrics answers requests that have the token. If no token is set, it answers no requests, because the pages' password belongs to a person.
func metrics(entrance *door.Door, serve http.Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if serve == nil || entrance.Access.MetricsToken == "" {
			reply.Text(w, http.StatusNotFound, "Set DAYMILL_METRICS_TOKEN for /metrics.\n")
			return
		}
		switch entrance.Token(r, door.MetricsCredential, entrance.Access.MetricsToken) {
		case door.Right:
			serve.ServeHTTP(w, r)
		case door.Throttled:
			w.Header().Set("Retry-After", door.RetryAfter)
			reply.Text(w, http.StatusTooManyRequests, "Too many wrong tokens: wait a few seconds and try again.\n")
		default:
			w.Header().Set("WWW-Authenticate", `Bearer realm="Daymill"`)
			reply.Text(w, http.StatusUnauthorized, "/metrics requires DAYMILL_METRICS_TOKEN as a bearer token.\n")
		}
	}
}
