package alert

import (
	"log/slog"

	"github.com/daymill/daymill/internal/telemetry"
)

const messagesMetric = "daymill_alert_messages_total"

// Outcomes of attempts.
const (
	sent   = "sent"
	failed = "failed"
)

// Signals returns one signal of each type of this package.
func Signals() []telemetry.Signal { return []telemetry.Signal{Send{}, Error{}} }

// Metrics returns the metrics that these signals change.
func Metrics() []telemetry.Metric {
	return []telemetry.Metric{{
		Name: messagesMetric, Help: "Attempts to send a message of an alert, by outcome.", Labels: []string{"outcome"}, Values: [][]string{{sent, failed}},
	}}
}

// Send says that a message of an alert was sent, or that this failed and is tried again.
type Send struct {
	Channel string
	Event   string // open, close or test
	Finding string // the name of the health check; empty in a test
	Message string // its id
	Attempt int
	Err     error // nil if it was sent
}

// Name returns alert_send.
func (Send) Name() string { return "alert_send" }

// Attrs returns its fields.
func (s Send) Attrs() []slog.Attr {
	return []slog.Attr{
		slog.String("channel", s.Channel), slog.String("event", s.Event), slog.String("finding", s.Finding), slog.String("message", s.Message),
		slog.Int("attempt", s.Attempt), telemetry.Failure(s.Err),
	}
}

// Line is information, or an error if the message could not be sent.
func (s Send) Line() (slog.Level, string) {
	if s.Err != nil {
		return slog.LevelError, "a message of an alert could not be sent"
	}
	return slog.LevelInfo, "message of an alert sent"
}

// Samples counts the attempt.
func (s Send) Samples() []telemetry.Sample {
	outcome := sent
	if s.Err != nil {
		outcome = failed
	}
	return []telemetry.Sample{{Metric: messagesMetric, Labels: []string{outcome}, Value: 1}}
}

// Error says that the process could not look, or could not find out which messages are due. It tries again.
type Error struct{ Err error }

// Name returns alert_error.
func (Error) Name() string { return "alert_error" }

// Attrs returns its fields.
func (e Error) Attrs() []slog.Attr { return []slog.Attr{telemetry.Failure(e.Err)} }

// Line is a warning.
func (Error) Line() (slog.Level, string) { return slog.LevelWarn, "alerts could not be looked at" }
