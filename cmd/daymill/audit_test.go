package main

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestAudit: commands that change something record it in the audit.
func TestAudit(t *testing.T) {
	t.Parallel()
	db := pgtest.Empty(t)
	for _, args := range [][]string{
		{"migrate"},
		{"source", "create"},
		{"source", "set", "--table", "public.raw_events", "--entity", "entity_id", "--type", "event_type", "--time", "created_at"},
		{"source", "watch", "--no-measure"},
		{"source", "unwatch"},
		{"source", "unwatch"}, // Nothing to do, and nothing to record.
		{"source", "retention", "90d"},
		{"source", "retention"},
		{"enqueue", "2026-03-01"},
		{"backfill", "start", "2026-03-01..2026-03-02"},
		{"backfill", "pause", "1"},
		{"backfill", "resume", "1"},
		{"backfill", "cancel", "1"},
	} {
		code, _, stderr := command(t.Context(), db.URL, args...)
		require.Equal(t, exitOK, code, "%v: %s", args, stderr)
	}
	rows, err := db.Query(t.Context(), "SELECT concat_ws(' ', via, action, target) FROM daymill.audit ORDER BY id")
	require.NoError(t, err)
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.Regexp(t, `^cli migrate schema 0001\.\.\d{4}$`, all[0])
	require.Equal(t, []string{
		"cli create source public.raw_events", "cli set source public.raw_events",
		"cli watch source public.raw_events", "cli unwatch source public.raw_events", "cli set retention 90d", "cli request dates 2026-03-01",
		"cli start backfill 1", "cli pause backfill 1", "cli resume backfill 1", "cli cancel backfill 1",
	}, all[1:])
}
