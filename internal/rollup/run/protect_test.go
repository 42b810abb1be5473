package run_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/rollup/run"
	"github.com/daymill/daymill/internal/rollup/source"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// A date whose events no longer exist keeps its metrics, unless somebody requests otherwise.
func TestRunProtected(t *testing.T) {
	t.Parallel()

	type protectBundle struct{ *testBundle }
	setup := func(t *testing.T) *protectBundle {
		t.Helper()
		b := setup(t, installations[0])
		b.db.InsertDate(t, day, 5_000, 1_200)
		b.rollup(t, day)
		return &protectBundle{b}
	}
	exec := func(t *testing.T, b *testBundle, sql string) {
		t.Helper()
		_, err := b.db.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	rows := func(t *testing.T, b *testBundle) (n int) {
		t.Helper()
		require.NoError(t, b.db.QueryRow(t.Context(), "SELECT count(*) FROM analytics.daily_entity_metrics").Scan(&n))
		return n
	}
	// requireProtected runs the date, and checks that nothing was lost and that nothing is left to do.
	requireProtected := func(t *testing.T, b *testBundle, order run.Order) {
		t.Helper()
		before := rows(t, b)
		require.Positive(t, before)
		b.sweep(t, day)
		order.Date = day
		figures, err := b.runner.Run(t.Context(), order)
		require.ErrorIs(t, err, run.ErrProtected)
		require.Zero(t, figures.Deleted)
		require.Equal(t, order.Progress != nil, figures.Slices > 0, "what was gone before the run began need not be scanned")
		require.Equal(t, before, rows(t, b))
		require.Equal(t, "protected", b.state(t, day))
		require.Zero(t, b.openRequests(t))
		var state, reason, resolution string
		require.NoError(t, b.db.QueryRow(t.Context(), `SELECT r.state, r.error,
			(SELECT q.resolution FROM analytics.rollup_requests AS q ORDER BY q.id DESC LIMIT 1)
			FROM analytics.rollup_runs AS r ORDER BY r.id DESC LIMIT 1`).Scan(&state, &reason, &resolution))
		require.Equal(t, "protected", state)
		require.Equal(t, "protected", resolution)
		require.Contains(t, reason, "its metrics stay unchanged")
	}

	t.Run("ComeBack", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		exec(t, b.testBundle, "CREATE TABLE public.kept AS SELECT * FROM public.raw_events; TRUNCATE public.raw_events")
		requireProtected(t, b.testBundle, run.Order{})
		exec(t, b.testBundle, "INSERT INTO public.raw_events SELECT * FROM public.kept")
		figures := b.rollup(t, day)
		require.Zero(t, figures.Inserted+figures.Updated+figures.Deleted)
		require.Equal(t, "complete", b.state(t, day))
	})

	t.Run("DroppedBetweenPasses", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.runner.Options.MaxEntities = 200
		dropped := false
		requireProtected(t, b.testBundle, run.Order{Progress: func(f run.Report) {
			if f.Passes == 3 && f.Phase == run.PhaseScan && !dropped {
				dropped = true
				exec(t, b.testBundle, "TRUNCATE public.raw_events")
			}
		}})
	})

	t.Run("DroppedWhileScanned", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		statements := 0
		requireProtected(t, b.testBundle, run.Order{Progress: func(f run.Report) {
			if statements++; statements == 2 { // The first has counted them.
				require.Equal(t, run.PhaseScan, f.Phase)
				exec(t, b.testBundle, "TRUNCATE public.raw_events")
			}
		}})
	})

	t.Run("Erase", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		exec(t, b.testBundle, "TRUNCATE public.raw_events")
		requireProtected(t, b.testBundle, run.Order{})
		exec(t, b.testBundle, "SELECT analytics.enqueue_erase('2026-03-01', '2026-03-01')")
		figures := b.rollup(t, day)
		require.NotZero(t, figures.Deleted)
		require.Zero(t, pgtest.RequireExact(t, b.db, day).Rows)
		require.Equal(t, "complete", b.state(t, day))
		b.rollup(t, day) // There is nothing to protect any more.
	})

	// A request to erase that is due later does not allow a run now to erase.
	t.Run("EraseLater", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		exec(t, b.testBundle, "TRUNCATE public.raw_events")
		exec(t, b.testBundle, `INSERT INTO analytics.rollup_requests (metric_date, erase, due_at) VALUES ('2026-03-01', true, now() + interval '1 hour')`)
		exec(t, b.testBundle, "INSERT INTO analytics.rollup_requests (metric_date, may_lose) VALUES ('2026-03-01', 'none')")
		_, err := b.runner.Run(t.Context(), run.Order{Date: day})
		require.ErrorIs(t, err, run.ErrProtected)
		require.Equal(t, 1, b.openRequests(t))
	})

	// One date has only events without an entity, which a run does not count.
	t.Run("EventsWithoutEntity", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		exec(t, b.testBundle, `ALTER TABLE public.raw_events ALTER COLUMN entity_id DROP NOT NULL;
			UPDATE public.raw_events SET entity_id = NULL`)
		requireProtected(t, b.testBundle, run.Order{})
	})

	t.Run("ManyRequests", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		exec(t, b.testBundle, `TRUNCATE public.raw_events;
			INSERT INTO analytics.rollup_requests (metric_date, may_lose) SELECT '2026-03-01', 'none' FROM generate_series(1, 12000)`)
		requireProtected(t, b.testBundle, run.Order{})
	})

	t.Run("NeverCompleted", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		exec(t, b.testBundle, "TRUNCATE public.raw_events, analytics.rollup_dates")
		requireProtected(t, b.testBundle, run.Order{})
		exec(t, b.testBundle, "TRUNCATE analytics.daily_entity_metrics, analytics.rollup_dates")
		b.rollup(t, day)
		require.Equal(t, "complete", b.state(t, day), "a date without events and rows has nothing to lose")
	})

	t.Run("Resumed", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		exec(t, b.testBundle, "UPDATE analytics.daily_entity_metrics SET views_count = views_count + 1")
		b.runner.Options.MaxEntities = 200
		b.sweep(t, day)
		b.interruptAt(t, func(f run.Report) bool { return f.Entities > 400 })
		exec(t, b.testBundle, "TRUNCATE public.raw_events")
		before := rows(t, b.testBundle)
		_, err := b.runner.Run(t.Context(), run.Order{Date: day})
		require.ErrorIs(t, err, run.ErrProtected)
		require.Equal(t, before, rows(t, b.testBundle))
		require.Zero(t, b.openRequests(t))
	})

	t.Run("Retention", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		require.NoError(t, source.SetRetention(t.Context(), b.db.DB, 90*24*time.Hour, audit.Who{}))
		b.runner.Clock = &dateClock{now: day.AddDays(90).String()}
		b.rollup(t, day) // The date begins when the oldest events that are kept do.
		exec(t, b.testBundle, "DELETE FROM public.raw_events WHERE id % 2 = 0")
		b.runner.Clock = &dateClock{now: day.AddDays(90).String(), later: time.Second}
		requireProtected(t, b.testBundle, run.Order{})
		exec(t, b.testBundle, "SELECT analytics.enqueue_erase('2026-03-01', '2026-03-01')")
		b.rollup(t, day)
		require.EqualValues(t, 2_500, pgtest.RequireExact(t, b.db).Events)

		// A date that was never complete has nothing to protect: its events are counted.
		long := day.AddDays(-7)
		b.db.InsertDate(t, long, 100, 10)
		require.EqualValues(t, 100, b.rollup(t, long).Events)
	})
}

// sweep requests a date as the daily job does.
func (b *testBundle) sweep(t *testing.T, d date.Date) {
	t.Helper()
	_, err := b.db.Exec(t.Context(), "INSERT INTO analytics.rollup_requests (metric_date, requested_via, may_lose) VALUES ($1, 'schedule', 'none')", d)
	require.NoError(t, err)
}

// What a request may lose decides the result for a date that has lost some of its events.
func TestRunLosesPart(t *testing.T) {
	t.Parallel()

	setup := func(t *testing.T) *testBundle {
		t.Helper()
		b := setup(t, installations[0])
		b.db.InsertDate(t, day, 5_000, 1_200)
		b.rollup(t, day)
		return b
	}
	exec := func(t *testing.T, b *testBundle, sql string) {
		t.Helper()
		_, err := b.db.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	text := func(t *testing.T, b *testBundle, sql string) (value string) {
		t.Helper()
		require.NoError(t, b.db.QueryRow(t.Context(), sql).Scan(&value))
		return value
	}
	const stored = "SELECT sum(views_count + clicks_count + saves_count + skips_count)::text FROM analytics.daily_entity_metrics"

	// Edited metrics are not a loss of events.
	t.Run("Edited", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		exec(t, b, "UPDATE analytics.daily_entity_metrics SET views_count = views_count + 7")
		b.sweep(t, day)
		_, err := b.runner.Run(t.Context(), run.Order{Date: day})
		require.NoError(t, err)
		require.EqualValues(t, 5_000, pgtest.RequireExact(t, b.db, day).Events)
	})

	t.Run("Erase", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		exec(t, b, "DELETE FROM public.raw_events WHERE id % 2 = 0")
		b.sweep(t, day)
		exec(t, b, "SELECT analytics.enqueue_erase('2026-03-01', '2026-03-01')")
		_, err := b.runner.Run(t.Context(), run.Order{Date: day})
		require.NoError(t, err)
		require.EqualValues(t, 2_500, pgtest.RequireExact(t, b.db, day).Events)
		require.Equal(t, "request erasing 2026-03-01, erase metrics 2026-03-01 5000 2500", text(t, b, `
			SELECT string_agg(concat_ws(' ', action, target, detail ->> 'events before', detail ->> 'events'), ', ' ORDER BY id)
			FROM daymill.audit WHERE action LIKE '%eras%'`))
	})

	t.Run("Explicit", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		exec(t, b, "DELETE FROM public.raw_events WHERE id % 2 = 0")
		b.sweep(t, day)
		require.EqualValues(t, 2_500, b.rollup(t, day).Events, "a request for this date decides for all requests")
		exec(t, b, "TRUNCATE public.raw_events")
		b.rollup(t, day)
		require.Zero(t, pgtest.RequireExact(t, b.db, day).Rows)
	})

	t.Run("Passes", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.runner.Options.MaxEntities = 200
		before := text(t, b, stored)
		exec(t, b, "DELETE FROM public.raw_events WHERE id = (SELECT max(id) FROM public.raw_events)")
		b.sweep(t, day)
		_, err := b.runner.Run(t.Context(), run.Order{Date: day})
		require.ErrorIs(t, err, run.ErrProtected)
		require.ErrorContains(t, err, "it has 4999 events and its last complete run counted 5000: the metrics of 1 would be erased")
		require.Equal(t, before, text(t, b, stored))
	})

	// A range follows the events as long as a date has any.
	t.Run("Range", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		exec(t, b, `DELETE FROM public.raw_events WHERE id % 2 = 0; SELECT analytics.enqueue_rollup('2026-02-28', '2026-03-01')`)
		_, err := b.runner.Run(t.Context(), run.Order{Date: day})
		require.NoError(t, err)
		require.EqualValues(t, 2_500, pgtest.RequireExact(t, b.db, day).Events)
		exec(t, b, `TRUNCATE public.raw_events; SELECT analytics.enqueue_rollup('2026-02-28', '2026-03-01')`)
		_, err = b.runner.Run(t.Context(), run.Order{Date: day})
		require.ErrorIs(t, err, run.ErrProtected)
	})

	t.Run("SweepSettingOfDatabase", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		exec(t, b, "ALTER DATABASE "+b.db.Name+" SET daymill.sweep = 'on'")
		conn, err := pgx.Connect(t.Context(), b.db.URL)
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
		var setting, mayLose string
		require.NoError(t, conn.QueryRow(t.Context(), `INSERT INTO analytics.rollup_requests (metric_date) VALUES ('2026-03-01')
			RETURNING current_setting('daymill.sweep'), may_lose`).Scan(&setting, &mayLose))
		require.Equal(t, []string{"on", "all"}, []string{setting, mayLose})
	})

	t.Run("Sweep", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		before := text(t, b, stored)
		exec(t, b, "DELETE FROM public.raw_events WHERE id % 2 = 0")
		b.sweep(t, day)
		_, err := b.runner.Run(t.Context(), run.Order{Date: day})
		require.ErrorIs(t, err, run.ErrProtected)
		require.ErrorContains(t, err, "the metrics of 2500 would be erased")
		require.Equal(t, before, text(t, b, stored))
		require.Equal(t, "protected", b.state(t, day))
		require.Zero(t, b.openRequests(t))
	})
}

// A stored row that the run has not seen prevents the date from being complete.
func TestRunStored(t *testing.T) {
	t.Parallel()
	b := setup(t, installations[0])
	b.db.InsertDate(t, day, 5_000, 1_200)
	b.request(t, day)
	inserted := false
	_, err := b.runner.Run(t.Context(), run.Order{Date: day, Progress: func(f run.Report) {
		if f.Phase != run.PhaseSettle && f.Entities > 0 && !inserted { // Below the cursor by now.
			inserted = true
			_, err := b.db.Exec(t.Context(), `INSERT INTO analytics.daily_entity_metrics (entity_id, metric_date, other_counts)
				VALUES (-9000000000000000000, '2026-03-01', '{"odd": 3.5, "text": "7", "big": 9e18, "bigger": 9e18}')`)
			require.NoError(t, err)
		}
	}})
	require.True(t, inserted)
	require.ErrorIs(t, err, run.ErrInexact)
	require.Equal(t, "retrying", b.state(t, day))
	require.EqualValues(t, 1, b.rollup(t, day).Deleted)
	pgtest.RequireExact(t, b.db, day)
}

// dateClock is at the beginning of a date in UTC, or somewhat later.
type dateClock struct {
	pace.SystemClock

	now   string
	later time.Duration
}

func (c *dateClock) Now() time.Time {
	at, err := time.Parse(time.DateOnly, c.now)
	if err != nil {
		panic(err)
	}
	return at.Add(c.later)
}
