package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// brokenWriter simulates a bug in a verb.
type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { panic("a bug\x1b[31m") }

// TestPanic: a verb that panics fails with a message.
func TestPanic(t *testing.T) {
	t.Parallel()
	var stderr bytes.Buffer
	code := execute(t.Context(), &app{stdin: strings.NewReader(""), stdout: brokenWriter{}, stderr: &stderr}, []string{"version"})
	require.Equal(t, exitFailed, code)
	require.Contains(t, stderr.String(), "daymill: this is a bug in daymill, please report it: a bug\uFFFD[31m")
	require.Contains(t, stderr.String(), "app_test.go")
}

// TestTerminalEscapes: control characters in data are shown, and never sent to a terminal, whichever verb prints them.
func TestTerminalEscapes(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Text, TimeZone: "UTC"})
	db.RawEvents(t)
	db.InsertDate(t, date.MustParse("2026-03-01"), 30, 4)
	db.Do(t, "UPDATE public.raw_events SET event_type = E'<b>\u009b2J\u202e' WHERE event_type = 'view'")
	requireOK(t, db.URL, "rollup", "2026-03-01", "--pace", "0")
	db.Do(t, `UPDATE analytics.daily_entity_metrics SET clicks_count = clicks_count + 1, last_updated_at = now()`)
	db.Do(t, `UPDATE analytics.rollup_runs SET worker = E'w\u009b31m\x1b[31m'`)
	db.Do(t, `UPDATE analytics.rollup_runs SET error = E'\x1b]0;title\x07', state = 'failed'`)
	db.Do(t, `UPDATE analytics.rollup_dates SET state = 'failed'`)
	for _, args := range [][]string{
		{"status"},
		{"status", "--json"},
		{"verify", "2026-03-01"},
		{"verify", "2026-03-01", "--json"},
		{"enqueue", "2026\x1b[31m"},
		{"status", "--\u009b31m"},
	} {
		_, stdout, stderr := command(t.Context(), db.URL, args...)
		for _, obeyed := range []string{"\x1b", "\x07", "\u009b", "\u202e"} {
			require.NotContains(t, stdout+stderr, obeyed, "%q", args)
		}
	}
	db.Do(t, `UPDATE analytics.rollup_dates SET state = 'complete'`)
	// Equal counts are written in the same way, whatever wrote them.
	_, stdout, _ := command(t.Context(), db.URL, "verify", "2026-03-01", "--show", "1")
	rows := strings.Split(stdout, "\n")
	require.NotContains(t, stdout, "u003c")
	_, document, _ := command(t.Context(), db.URL, "verify", "2026-03-01", "--json")
	require.NotContains(t, document, "u003c")
	others := func(line string) (all []string) {
		for _, part := range strings.Split(line, "{")[1:] {
			other, _, _ := strings.Cut(part, "}")
			all = append(all, other)
		}
		return all
	}
	for _, row := range rows {
		if strings.Contains(row, "{") {
			require.Len(t, others(row), 2, row)
			require.Equal(t, others(row)[0], others(row)[1])
			return
		}
	}
	t.Fatal("no entity is listed: ", stdout)
}
