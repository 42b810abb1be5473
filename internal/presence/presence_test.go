package presence_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/presence"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/internal/test/promtest"
)

func TestGauges(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	_, err := db.Exec(t.Context(), `
		INSERT INTO daymill.workers
		(name, last_seen_at, version, workers, pace, max_entities, daily_hour, lookback, retention_seconds, follower) VALUES
		('alive', now(), 'v1', 1, 1, 1, 1, 1, 1, false), ('dead', now() - interval '3 minutes', 'v1', 1, 1, 1, 1, 1, 1, false)`)
	require.NoError(t, err)
	require.Equal(t, map[string]float64{"daymill_workers_alive": 1}, promtest.Read(t, presence.Gauges(db.DB)))
}

// TestInspect: one worker at a time compares what is installed. If it dies, another one does so after the span of time.
func TestInspect(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	inspect := func(name string) bool {
		t.Helper()
		mine, err := presence.Inspect(t.Context(), db, name, time.Hour)
		require.NoError(t, err)
		return mine
	}
	for _, name := range []string{"a", "b"} {
		require.NoError(t, presence.See(t.Context(), db, presence.Worker{Name: name}))
	}
	require.True(t, inspect("a"))
	require.False(t, inspect("b"))
	require.True(t, inspect("a"), "its own does not keep it from the next one")
	_, err := db.Exec(t.Context(), "UPDATE daymill.workers SET inspected_at = inspected_at - interval '61 minutes'")
	require.NoError(t, err)
	require.True(t, inspect("b"))
	require.False(t, inspect("a"))
	require.NoError(t, presence.Forget(t.Context(), db, "b"))
	require.True(t, inspect("a"))
}
