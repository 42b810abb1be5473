package telemetry

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/daymill/daymill/internal/postgres"
)

// outageEvery is how often a lasting outage is logged.
const outageEvery = time.Minute

// Outage keeps the log short while Postgres does not answer: it logs the begin and the end of the outage, and a line a minute in between. Nil
// logs nothing.
type Outage struct {
	logger *slog.Logger

	mu      sync.Mutex
	since   time.Time // zero if Postgres answers
	told    time.Time
	leftOut int
}

// NewOutage returns an Outage that writes to a logger.
func NewOutage(logger *slog.Logger) *Outage { return &Outage{logger: logger} }

// Lasts reports whether Postgres did not answer the last query that was reported.
func (o *Outage) Lasts() bool {
	if o == nil {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.since.IsZero()
}

// Report records the outcome of a query: an outage begins or lasts if the error says that Postgres did not answer, and is over otherwise.
func (o *Outage) Report(ctx context.Context, now time.Time, err error) {
	if o == nil || errors.Is(err, context.Canceled) {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	answered := err == nil || !postgres.IsUnreachable(err)
	switch after := now.Sub(o.since).Round(time.Second); {
	case answered && o.since.IsZero():
	case answered:
		o.logger.InfoContext(ctx, "Postgres answers again", slog.Duration("after", after), slog.Int("lines_left_out", o.leftOut))
		o.since, o.leftOut = time.Time{}, 0
	case o.since.IsZero():
		o.since, o.told = now, now
		o.logger.WarnContext(ctx, "Postgres does not answer", slog.String("error", err.Error()))
	case now.Sub(o.told) >= outageEvery || now.Before(o.told):
		o.told = now
		o.logger.WarnContext(ctx, "Postgres still does not answer", slog.Duration("after", after), slog.Int("lines_left_out", o.leftOut),
			slog.String("error", err.Error()))
	}
}

// leaveOut reports whether a line only repeats that Postgres does not answer, and counts it.
func (o *Outage) leaveOut(line slog.Record) bool {
	if line.Level < slog.LevelWarn {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.since.IsZero() {
		return false
	}
	repeats := false
	line.Attrs(func(attr slog.Attr) bool {
		repeats = unanswered(attr)
		return !repeats
	})
	if repeats {
		o.leftOut++
	}
	return repeats
}

// unanswered reports whether an attribute is an error that a server without an answer causes. Many libraries log only an error's text.
func unanswered(attr slog.Attr) bool {
	if attr.Key != "error" && attr.Key != "err" {
		return false
	}
	if err, is := attr.Value.Any().(error); is && postgres.IsUnreachable(err) {
		return true
	}
	text := attr.Value.String()
	for _, part := range []string{
		postgres.ErrConnect.Error(), "failed to connect to", "connection refused", "connection reset", "broken pipe", "conn closed", "unexpected EOF",
		"deadline exceeded", "SQLSTATE 57P", "SQLSTATE 08",
	} {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}

// Logger returns a logger that leaves out what only repeats that Postgres does not answer.
func (o *Outage) Logger() *slog.Logger { return slog.New(&outageHandler{o.logger.Handler(), o}) }

type outageHandler struct {
	slog.Handler

	outage *Outage
}

func (h *outageHandler) Handle(ctx context.Context, line slog.Record) error {
	if h.outage.leaveOut(line) {
		return nil
	}
	return h.Handler.Handle(ctx, line)
}

func (h *outageHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &outageHandler{h.Handler.WithAttrs(attrs), h.outage}
}

func (h *outageHandler) WithGroup(name string) slog.Handler {
	return &outageHandler{h.Handler.WithGroup(name), h.outage}
}
