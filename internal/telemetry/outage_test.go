package telemetry_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/telemetry"
)

// TestOutage: an outage has a line at its begin and its end, and one a minute in between. Lines about anything else stay.
func TestOutage(t *testing.T) {
	t.Parallel()
	var written strings.Builder
	outage := telemetry.NewOutage(slog.New(slog.NewTextHandler(&written, nil)))
	logger := outage.Logger().With(slog.String("a", "b"))
	lines := func() (messages []string) {
		for line := range strings.Lines(written.String()) {
			_, rest, _ := strings.Cut(line, "msg=")
			messages = append(messages, strings.TrimSpace(rest))
		}
		written.Reset()
		return messages
	}
	down := fmt.Errorf("%w at 127.0.0.1:5432", postgres.ErrConnect)
	warn := func() {
		logger.WarnContext(t.Context(), "again", slog.String("error", down.Error()))
		logger.ErrorContext(t.Context(), "fetch", slog.Any("err", down))
		logger.ErrorContext(t.Context(), "fetch", slog.String("err", "failed to connect to `user=a database=b`: dial error: connect: connection refused"))
	}
	at := time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)
	report := func(after time.Duration, err error) { outage.Report(t.Context(), at.Add(after), err) }

	report(0, nil)
	report(0, errors.New("the table does not exist"))
	warn()
	require.Len(t, lines(), 3, "Postgres answers: all lines are written")
	report(time.Second, down)
	require.True(t, outage.Lasts())
	for i := range 59 {
		warn()
		report(time.Duration(i+1)*time.Second, down)
	}
	logger.WarnContext(t.Context(), "other", slog.String("error", "the disk is full"))
	logger.InfoContext(t.Context(), "fine", slog.String("error", down.Error()))
	require.Equal(t, []string{
		`"Postgres does not answer" error="the database cannot be reached at 127.0.0.1:5432"`, `other a=b error="the disk is full"`,
		`fine a=b error="the database cannot be reached at 127.0.0.1:5432"`,
	}, lines())
	report(61*time.Second, down)
	report(62*time.Second, down)
	require.Equal(t, []string{`"Postgres still does not answer" after=1m0s lines_left_out=177 error="the database cannot be reached at 127.0.0.1:5432"`}, lines())
	warn()
	report(90*time.Second, nil)
	report(91*time.Second, nil)
	warn()
	require.Equal(t, `"Postgres answers again" after=1m29s lines_left_out=180`, lines()[0])
	require.False(t, outage.Lasts())
	// Another outage: what belongs to the first is forgotten, a clock that goes back does not silence it, and a call that was given up says nothing.
	report(2*time.Minute, down)
	report(2*time.Minute, context.Canceled)
	report(0, down)
	report(2*time.Minute, nil)
	all := lines()
	require.Contains(t, all[1], `"Postgres still does not answer"`)
	require.Equal(t, `"Postgres answers again" after=0s lines_left_out=0`, all[2])
	report(2*time.Minute, context.Canceled)
	require.False(t, outage.Lasts())

	// Whatever way an error says it, also in a group.
	report(3*time.Minute, down)
	lines()
	logger.WithGroup("g").WarnContext(t.Context(), "again", slog.Any("error", quiet{down}))
	for _, text := range []string{
		"the database cannot be reached", "failed to connect to x", "connection refused", "connection reset by peer", "write: broken pipe", "conn closed", "unexpected EOF",
		"context deadline exceeded", "(SQLSTATE 57P01)", "(SQLSTATE 08006)",
	} {
		logger.WarnContext(t.Context(), "again", slog.String("error", text))
		require.Empty(t, lines(), text)
	}

	var none *telemetry.Outage
	none.Report(t.Context(), at, down)
	require.False(t, none.Lasts())
}

// quiet is an error whose text says nothing.
type quiet struct{ error }

func (quiet) Error() string   { return "no" }
func (q quiet) Unwrap() error { return q.error }
