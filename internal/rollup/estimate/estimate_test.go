package estimate_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/rollup/estimate"
	"github.com/daymill/daymill/internal/test/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var first = date.MustParse("2026-03-01")

// every returns n dates, each step days after the one before.
func every(step, n int) []date.Date {
	dates := make([]date.Date, n)
	for i := range dates {
		dates[i] = first.AddDays(i * step)
	}
	return dates
}

func TestDates(t *testing.T) {
	t.Parallel()

	// There are 500 events on each of the first 60 dates.
	setup := func(t *testing.T) *pgtest.DB {
		t.Helper()
		db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
		db.RawEvents(t)
		for i := range 60 {
			db.InsertDate(t, first.AddDays(i), 500, 50)
		}
		_, err := db.Exec(t.Context(), "ANALYZE public.raw_events")
		require.NoError(t, err)
		return db
	}
	dates := func(t *testing.T, db *pgtest.DB, dates []date.Date) estimate.Cost {
		t.Helper()
		cost, err := estimate.Dates(t.Context(), db.DB, pace.SystemClock{}, dates)
		require.NoError(t, err)
		return cost
	}

	t.Run("Locked", func(t *testing.T) {
		t.Parallel()
		db := setup(t)
		tx, err := db.Begin(t.Context())
		require.NoError(t, err)
		_, err = tx.Exec(t.Context(), "LOCK TABLE public.raw_events IN ACCESS EXCLUSIVE MODE")
		require.NoError(t, err)
		require.Equal(t, estimate.Cost{}, dates(t, db, every(1, 10)), "nothing is known, and nobody waited for long")
		require.NoError(t, tx.Rollback(t.Context()))
		require.True(t, dates(t, db, every(1, 10)).Known)
	})

	t.Run("NoDates", func(t *testing.T) {
		t.Parallel()
		require.Equal(t, estimate.Cost{Known: true}, dates(t, setup(t), nil))
	})

	t.Run("NoEvents", func(t *testing.T) {
		t.Parallel()
		cost := dates(t, setup(t), []date.Date{first.AddDays(-10), first.AddDays(-8)})
		require.True(t, cost.Known)
		require.Zero(t, cost.Events)
		require.Zero(t, cost.WithEvents)
		require.Equal(t, 2, cost.Looked)
	})

	// For dates that were complete, the ledger has the number of events, whatever the source has.
	t.Run("Ledger", func(t *testing.T) {
		t.Parallel()
		db := setup(t)
		_, err := db.Exec(t.Context(), `INSERT INTO analytics.rollup_dates
			(metric_date, state, run_id, scan_run_id, completed_at, complete_run_id, events, entities)
			SELECT $1::date + 1000 + i, 'complete', 1, 1, now(), 1, CASE WHEN i % 10 = 0 THEN 0 ELSE 7 END, 1 FROM generate_series(0, 999) AS i`, first)
		require.NoError(t, err)
		all := make([]date.Date, 1000)
		for i := range all {
			all[i] = first.AddDays(1000 + i)
		}
		require.Equal(t, estimate.Cost{Known: true, Events: 6300, WithEvents: 900, Looked: 1000, Time: 1000*50*time.Millisecond + 63*time.Millisecond}, dates(t, db, all))
		cost := dates(t, db, append([]date.Date{first}, all...))
		require.Equal(t, 901, cost.WithEvents)
		require.Equal(t, 1001, cost.Looked)
		require.InDelta(t, 6800, cost.Events, 200)
	})

	// The estimate is based on the speed of recent runs.
	t.Run("Runs", func(t *testing.T) {
		t.Parallel()
		db := setup(t)
		_, err := db.Exec(t.Context(), `INSERT INTO analytics.rollup_runs (metric_date, worker, state, events, started_at, finished_at)
			VALUES ($1, 'w', 'complete', 1000, now() - interval '10 s', now())`, first)
		require.NoError(t, err)
		cost := dates(t, db, every(1, 10))
		require.InDelta(t, 50*time.Second, cost.Time, float64(10*time.Second))
		require.Equal(t, (cost.Time+20*time.Second)/2, cost.Alongside(2, 2*time.Second, 10))
	})

	// The planner is asked only about the dates of the range, not about all dates in between.
	t.Run("Spans", func(t *testing.T) {
		t.Parallel()
		db := setup(t)
		for name, c := range map[string]struct {
			dates  []date.Date
			events int
			with   int
		}{
			"One":   {every(1, 1), 500, 1},
			"All":   {every(1, 60), 30_000, 60},
			"Apart": {[]date.Date{first, first.AddDays(1), first.AddDays(1000)}, 1000, 2},
			"Many":  {every(2, 30), 15_000, 30},
		} {
			cost := dates(t, db, c.dates)
			require.True(t, cost.Known, name)
			require.InEpsilon(t, c.events, cost.Events, 0.2, name)
			if cost.Looked == len(c.dates) { // There is always time for the first fifty.
				require.Equal(t, c.with, cost.WithEvents, name)
			}
			require.GreaterOrEqual(t, cost.Looked, min(50, len(c.dates)), name)
		}
	})
}
