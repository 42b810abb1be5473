package telemetry

import (
	"context"
	"log/slog"
)

// Log is the listener that writes log lines, with the level and the message that each signal has.
type Log struct {
	Logger *slog.Logger
	// Quiet writes every line at debug, for commands that print the result themselves.
	Quiet bool
}

// Listen writes a line, and returns ctx.
func (l Log) Listen(ctx context.Context, signal Signal) context.Context {
	level, message := signal.Line()
	if l.Quiet {
		level = slog.LevelDebug
	}
	if !l.Logger.Enabled(ctx, level) {
		return ctx
	}
	attrs := signal.Attrs()
	kept := attrs[:0]
	for _, attr := range attrs {
		if attr.Value.Kind() != slog.KindString || attr.Value.String() != "" {
			kept = append(kept, attr)
		}
	}
	l.Logger.LogAttrs(ctx, level, message, kept...) //nolint:sloglint // The messages are constants of the signals.
	return ctx
}
