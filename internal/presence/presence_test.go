package presence_test

import (
	"encoding/json"
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
	followers := func(all ...presence.Follower) string {
		text, err := json.Marshal(all)
		require.NoError(t, err)
		return string(text)
	}
	_, err := db.Exec(t.Context(), `
		INSERT INTO daymill.workers
		(name, last_seen_at, version, workers, pace, max_entities, daily_hour, lookback, retention_seconds, follower, followers) VALUES
		('alive', now(), 'v1', 1, 1, 1, 1, 1, 1, true, $1), ('another', now(), 'v1', 1, 1, 1, 1, 1, 1, true, $2),
		('dead', now() - interval '3 minutes', 'v1', 1, 1, 1, 1, 1, 1, true, $3)`,
		followers(presence.Follower{Number: 1, Late: true, Behind: 70, Delay: 2 * time.Second}, presence.Follower{Number: 2, Problem: "does not answer"},
			presence.Follower{Number: 3}, presence.Follower{Number: 4, Behind: 5}),
		followers(presence.Follower{Number: 1, Late: true, Behind: 60, Delay: 3 * time.Second}, presence.Follower{Number: 2},
			presence.Follower{Number: 3, Problem: "does not answer"}),
		followers(presence.Follower{Number: 1, Problem: "does not answer"}))
	require.NoError(t, err)
	require.Equal(t, map[string]float64{
		"daymill_workers_alive": 2, "daymill_worker_pace alive": 1, "daymill_worker_pace another": 1, "daymill_follower_up 1": 1, "daymill_follower_lag_seconds 1": 3, "daymill_follower_lag_bytes 1": 70,
		"daymill_follower_up 2": 0, "daymill_follower_up 3": 0,
		"daymill_follower_up 4": 1, "daymill_follower_lag_seconds 4": 0, "daymill_follower_lag_bytes 4": 0,
	}, promtest.Read(t, presence.Gauges(db.DB)))
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
