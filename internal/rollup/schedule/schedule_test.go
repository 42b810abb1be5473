package schedule_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/schedule"
	"github.com/daymill/daymill/internal/test/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// stillClock always shows the same instant, and its pauses take no time.
type stillClock struct{ time.Time }

func (c stillClock) Now() time.Time { return c.Time }

func (stillClock) Sleep(context.Context, time.Duration) error { return nil }

var today = date.MustParse("2026-03-10")

type testBundle struct {
	db      *pgtest.DB
	planner *schedule.Planner
}

// setup returns a planner whose clock shows three o'clock, with a daily job that was due at two.
func setup(t *testing.T) *testBundle {
	t.Helper()
	db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "America/Sao_Paulo"})
	db.RawEvents(t)
	b := &testBundle{db: db, planner: &schedule.Planner{
		Primary: db.DB, Source: db.DB, Daily: schedule.Daily{Zone: db.Installation.Zone, Hour: 2},
	}}
	b.setNow(today, 3)
	return b
}

func (b *testBundle) setNow(d date.Date, hour int) {
	b.planner.Clock = stillClock{at(d, hour, b.db.Installation.Zone)}
}

func at(d date.Date, hour int, zone *time.Location) time.Time {
	year, month, day := d.Date()
	return time.Date(year, month, day, hour, 30, 0, 0, zone)
}

// insert adds an event to dates, in the first or the last hour.
func (b *testBundle) insert(t testing.TB, dates ...date.Date) {
	t.Helper()
	for i, d := range dates {
		b.db.Insert(t, pgtest.Event{Entity: "1", Type: "view", At: at(d, i%2*23, b.db.Installation.Zone)})
	}
}

func (b *testBundle) plan(t testing.TB) []date.Date {
	t.Helper()
	dates, err := b.planner.Plan(t.Context())
	require.NoError(t, err)
	return dates
}

// open returns the dates of open requests, once per request.
func (b *testBundle) open(t testing.TB) []date.Date {
	t.Helper()
	rows, err := b.db.Query(t.Context(), `SELECT metric_date FROM analytics.rollup_requests
		WHERE resolved_at IS NULL AND requested_via = 'schedule' AND priority = 2 ORDER BY 1`)
	require.NoError(t, err)
	dates, err := pgx.CollectRows(rows, pgx.RowTo[date.Date])
	require.NoError(t, err)
	return dates
}

// resolve sets the dates of all open requests to a state.
func (b *testBundle) resolve(t testing.TB, state string, dates ...date.Date) {
	t.Helper()
	b.db.Do(t, `INSERT INTO analytics.rollup_dates (metric_date, state, run_id, scan_run_id) SELECT unnest($1::date[]), $2, 1, 1
		ON CONFLICT (metric_date) DO UPDATE SET state = excluded.state`, dates, state)
	b.db.Do(t, `UPDATE analytics.rollup_requests SET resolved_at = now(), resolution = 'satisfied'
		WHERE metric_date = ANY($1) AND resolved_at IS NULL`, dates)
}

// wholeReads returns how often the whole table of events was read.
func (b *testBundle) wholeReads(t testing.TB) (reads int64) {
	t.Helper()
	err := b.db.QueryRow(t.Context(), "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'raw_events'").Scan(&reads)
	require.NoError(t, err)
	return reads
}

func parse(texts ...string) []date.Date {
	dates := make([]date.Date, len(texts))
	for i, text := range texts {
		dates[i] = date.MustParse(text)
	}
	return dates
}

func TestPlan(t *testing.T) {
	t.Parallel()

	t.Run("Again", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.planner.Daily.Lookback = 2
		b.insert(t, parse("2026-03-01", "2026-03-08")...)
		want := parse("2026-03-01", "2026-03-07", "2026-03-08", "2026-03-09")
		require.Equal(t, want, b.plan(t))
		require.Equal(t, want, b.open(t))
		require.Empty(t, b.plan(t), "open requests are not repeated")
		b.resolve(t, "complete", want...)
		require.Empty(t, b.plan(t), "the lookback is requested once a day")

		b.setNow(today.AddDays(1), 1)
		require.Empty(t, b.plan(t), "the hour has not come")
		b.setNow(today.AddDays(1), 2)
		require.Equal(t, parse("2026-03-08", "2026-03-09", "2026-03-10"), b.plan(t))
	})

	// If two processes plan at the same time, only one finds work to do.
	t.Run("Concurrent", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		type result struct {
			dates []date.Date
			err   error
		}
		results := make(chan result, 5)
		for range cap(results) {
			go func() {
				dates, err := b.planner.Plan(t.Context())
				results <- result{dates, err}
			}()
		}
		var all []date.Date
		for range cap(results) {
			r := <-results
			require.NoError(t, r.err)
			all = append(all, r.dates...)
		}
		require.Equal(t, parse("2026-03-09"), all)
		require.Equal(t, all, b.open(t))
	})

	t.Run("Empty", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		require.Equal(t, parse("2026-03-09"), b.plan(t), "yesterday is requested even without events")
	})

	// Any kind of index finds the first event. With an index, the whole table is not read, although Postgres
	// would prefer that for a date without events.
	for name, index := range map[string]string{
		"IndexBRIN":  "CREATE INDEX ON public.raw_events USING brin (created_at)",
		"IndexBTree": "CREATE INDEX ON public.raw_events (created_at)",
		"IndexNone":  "",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.db.Do(t, "DROP INDEX public.raw_events_created_at; "+index)
			// Physical order and order in time differ.
			all := parse("2026-02-28", "1999-12-31", "2026-03-10", "2026-03-09", "2000-01-01", "2024-02-29", "2026-03-11")
			b.insert(t, all...)
			b.db.InsertDate(t, date.MustParse("2026-02-01"), 50_000, 500)
			b.db.Do(t, "ANALYZE public.raw_events")
			source, err := postgres.Open(t.Context(), postgres.Config{URL: b.db.URL, ApplicationName: "source"})
			require.NoError(t, err)
			b.planner.Source = source
			require.Equal(t, parse("1999-12-31", "2000-01-01", "2024-02-29", "2026-02-01", "2026-02-28", "2026-03-09"), b.plan(t))

			source.Close() // Postgres counts a session's reads when the session ends.
			require.Eventually(t, func() bool {
				var there bool
				err := b.db.QueryRow(t.Context(),
					"SELECT EXISTS(SELECT FROM pg_stat_activity WHERE datname = $1 AND application_name = 'source')", b.db.Name).Scan(&there)
				return err == nil && !there
			}, 10*time.Second, 10*time.Millisecond)
			if index != "" {
				require.Less(t, b.wholeReads(t), int64(10), "creating the index reads it, too")
			} else {
				require.Greater(t, b.wholeReads(t), int64(100))
			}
		})
	}

	// The states of a date that has events.
	t.Run("States", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		states := map[string]string{
			"cancelled": "2026-03-01", "complete": "2026-03-02", "failed": "2026-03-03", "interrupted": "2026-03-04", "running": "2026-03-05",
		}
		for state, text := range states {
			b.insert(t, date.MustParse(text))
			b.resolve(t, state, date.MustParse(text))
		}
		b.insert(t, date.MustParse("2026-03-06"))
		b.db.Do(t, "SELECT analytics.enqueue_rollup('2026-03-06')")
		require.Equal(t, parse("2026-03-01", "2026-03-03", "2026-03-04", "2026-03-09"), b.plan(t))
	})

	t.Run("WhateverDates", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		yesterday := today.AddDays(-1)
		rapid.Check(t, func(r *rapid.T) {
			b.db.Do(t, "TRUNCATE public.raw_events, analytics.rollup_requests, daymill.schedules")
			want := []date.Date{yesterday}
			for _, days := range rapid.SliceOfN(rapid.IntRange(-2, 400), 0, 6).Draw(r, "days before yesterday") {
				d := yesterday.AddDays(-days)
				b.insert(t, d)
				if days >= 0 {
					want = append(want, d)
				}
			}
			slices.SortFunc(want, date.Date.Compare)
			require.Equal(r, slices.Compact(want), b.plan(t))
		})
	})
}

func TestOverdue(t *testing.T) {
	t.Parallel()
	b := setup(t)
	overdue := func(grace time.Duration) bool {
		is, err := b.planner.Overdue(t.Context(), schedule.Name, grace)
		require.NoError(t, err)
		return is
	}
	require.True(t, overdue(time.Minute), "it has never run")
	b.plan(t)
	require.False(t, overdue(time.Minute))
	b.setNow(today.AddDays(1), 2)
	require.True(t, overdue(29*time.Minute))
	require.False(t, overdue(31*time.Minute), "it is half an hour late")
}

// TestVia: requests record how they were made.
func TestVia(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.insert(t, today.AddDays(-1))
	b.planner.Via = "cron"
	require.Len(t, b.plan(t), 1)
	var via string
	require.NoError(t, b.db.QueryRow(t.Context(), "SELECT requested_via FROM analytics.rollup_requests").Scan(&via))
	require.Equal(t, "cron", via)
}
