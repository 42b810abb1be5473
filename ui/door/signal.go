package door

import (
	"log/slog"

	"github.com/daymill/daymill/internal/telemetry"
)

// AccessRefuse says that an HTTP request had wrong credentials, or that it was refused unchecked because its client had sent wrong
// ones too often. No field has the credentials.
type AccessRefuse struct {
	Credential string // password, api_token, cron_secret or metrics_token
	Client     string // the address, and the one that a proxy names
	Throttled  bool   // the credentials were not checked
}

const refusedMetric = "daymill_access_refused_total"

// Signals returns one signal of each type of this package.
func Signals() []telemetry.Signal { return []telemetry.Signal{AccessRefuse{}} }

// Metrics returns the metrics that these signals change.
func Metrics() []telemetry.Metric {
	return []telemetry.Metric{{
		Name: refusedMetric, Help: "HTTP requests with wrong credentials, or refused unchecked after too many of those.", Labels: []string{"credential"},
		Values: [][]string{{passwordCredential, ApiCredential, CronCredential, MetricsCredential}},
	}}
}

// Name returns access_refuse.
func (AccessRefuse) Name() string { return "access_refuse" }

// Attrs returns its fields.
func (s AccessRefuse) Attrs() []slog.Attr {
	return []slog.Attr{
		slog.String("credential", s.Credential), slog.String("client", s.Client), slog.Bool("throttled", s.Throttled),
	}
}

// Line is a warning for wrong credentials, and a debug line while a client is throttled.
func (s AccessRefuse) Line() (slog.Level, string) {
	if s.Throttled {
		return slog.LevelDebug, "request refused after too many wrong credentials"
	}
	return slog.LevelWarn, "wrong credentials"
}

// Samples counts the refusal.
func (s AccessRefuse) Samples() []telemetry.Sample {
	return []telemetry.Sample{{Metric: refusedMetric, Labels: []string{s.Credential}, Value: 1}}
}
