package protection_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/rollup/protection"
	"github.com/daymill/daymill/internal/test/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// Only open requests that the run has claimed decide what may be erased.
func TestCheck(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	db.RawEvents(t)
	_, err := db.Exec(t.Context(), `
		INSERT INTO analytics.rollup_dates (metric_date, state, run_id, scan_run_id, completed_at, events, entities)
		VALUES ('2026-03-01', 'complete', 1, 1, now(), 5, 2);
		INSERT INTO analytics.rollup_requests (metric_date, run_id, may_lose, erase, resolved_at, resolution) VALUES
			('2026-03-01', 7, 'none', false, NULL, NULL),
			('2026-03-01', 7, 'all', true, now(), 'satisfied'),
			('2026-03-01', 8, 'all', true, NULL, NULL),
			('2026-03-01', NULL, 'all', true, NULL, NULL),
			('2026-03-02', 7, 'all', true, NULL, NULL)`)
	require.NoError(t, err)
	session, err := db.Session(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { session.Release(context.WithoutCancel(t.Context())) })
	at := time.Date(2026, time.March, 1, 0, 0, 0, 0, time.UTC)
	check := func(run int64) (protection.Known, error) {
		return protection.Date{
			Primary: session, Source: session, Date: date.MustParse("2026-03-01"),
			Bounds: date.Bounds{From: at, To: at.Add(24 * time.Hour)}, RunID: run,
		}.Check(t.Context(), time.Now())
	}
	_, err = check(7)
	require.ErrorIs(t, err, protection.ErrProtected)
	known, err := check(8)
	require.NoError(t, err)
	require.True(t, known.Erase)

	db.Insert(t, pgtest.Event{Entity: "1", Type: "view", At: at})
	known, err = check(7)
	require.NoError(t, err)
	require.Equal(t, protection.Known{Recorded: 5, Strict: true}, known)
	require.ErrorIs(t, known.Check(4), protection.ErrProtected)
	require.NoError(t, known.Check(5))
}
