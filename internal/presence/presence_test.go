package presence_test

import (
	"testing"

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
