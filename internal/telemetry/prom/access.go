package prom

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/daymill/daymill/internal/telemetry"
)

// AccessListener counts requests with wrong credentials. Every process that serves HTTP has one, even if it has no other counters.
type AccessListener struct{ refused *prometheus.CounterVec }

// NewAccessListener returns a listener whose metric is in the registry.
func NewAccessListener(registry prometheus.Registerer) *AccessListener {
	listener := &AccessListener{refused: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "daymill_access_refused_total", Help: "Requests over HTTP with wrong credentials, or not heard after too many such.",
	}, []string{"credential"})}
	for _, credential := range []string{"password", "api_token", "cron_secret", "metrics_token"} {
		listener.refused.WithLabelValues(credential)
	}
	registry.MustRegister(listener.refused)
	return listener
}

// Listen counts an event, and returns ctx.
func (l *AccessListener) Listen(ctx context.Context, event telemetry.Event) context.Context {
	if refused, is := event.(telemetry.AccessRefuse); is {
		l.refused.WithLabelValues(refused.Credential).Inc()
	}
	return ctx
}
