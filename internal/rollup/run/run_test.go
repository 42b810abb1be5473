package run_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/lease"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/rollup/run"
	"github.com/daymill/daymill/internal/test/pgtest"
)

func TestMain(m *testing.M) {
	// Each check of a property is two runs on Postgres. `make chaos` runs more of them.
	if err := flag.Set("rapid.checks", "25"); err != nil {
		panic(err)
	}
	flag.Parse()
	pgtest.Main(m)
}

var day = date.MustParse("2026-03-01")

type testBundle struct {
	db     *pgtest.DB
	runner *run.Runner
}

func setup(t *testing.T, installed pgtest.Installed) *testBundle {
	t.Helper()
	conn := pgtest.Database(t, installed)
	conn.RawEvents(t)
	return &testBundle{db: conn, runner: newRunner(conn, "test")}
}

func newRunner(conn *pgtest.DB, worker string) *run.Runner {
	return &run.Runner{
		Primary: conn.DB, Source: conn.DB, Type: conn.Installation.EntityType, Clock: pace.SystemClock{},
		Options: run.Options{Worker: worker},
	}
}

func (b *testBundle) request(t *testing.T, d date.Date) {
	t.Helper()
	_, err := b.db.Exec(t.Context(), "SELECT analytics.enqueue_rollup($1)", d)
	require.NoError(t, err)
}

func (b *testBundle) openRequests(t *testing.T) (open int) {
	t.Helper()
	err := b.db.QueryRow(t.Context(), "SELECT count(*) FROM analytics.rollup_requests WHERE resolved_at IS NULL").Scan(&open)
	require.NoError(t, err)
	return open
}

func (b *testBundle) state(t *testing.T, d date.Date) (state string) {
	t.Helper()
	err := b.db.QueryRow(t.Context(), "SELECT state FROM analytics.date_states WHERE metric_date = $1", d).Scan(&state)
	require.NoError(t, err)
	return state
}

func (b *testBundle) rollup(t *testing.T, d date.Date) run.Report {
	t.Helper()
	b.request(t, d)
	figures, err := b.runner.Run(t.Context(), run.Order{Date: d})
	require.NoError(t, err)
	return figures
}

var installations = []pgtest.Installed{
	{EntityType: entity.Bigint, TimeZone: "UTC"},
	{EntityType: entity.Text, TimeZone: "America/Sao_Paulo"},
	{EntityType: entity.UUID, TimeZone: "Europe/London"},
}

func TestRun(t *testing.T) {
	t.Parallel()
	for _, installed := range installations {
		t.Run(string(installed.EntityType), func(t *testing.T) {
			t.Parallel()
			b := setup(t, installed)
			b.db.InsertDate(t, day, 20_000, 3_000)

			first := b.rollup(t, day)
			require.EqualValues(t, 20_000, first.Events)
			require.Equal(t, first.Entities, first.Inserted)
			recount := pgtest.RequireExact(t, b.db)
			require.EqualValues(t, 20_000, recount.Events)
			require.Equal(t, first.Entities, recount.Rows)
			require.Equal(t, "complete", b.state(t, day))
			require.Zero(t, b.openRequests(t))

			var before, after time.Time
			lastUpdate := "SELECT max(last_updated_at) FROM analytics.daily_entity_metrics"
			require.NoError(t, b.db.QueryRow(t.Context(), lastUpdate).Scan(&before))
			again := b.rollup(t, day)
			require.Zero(t, again.Inserted+again.Updated+again.Deleted)
			require.Zero(t, again.Batches)
			require.EqualValues(t, 20_000, again.Events)
			require.NoError(t, b.db.QueryRow(t.Context(), lastUpdate).Scan(&after))
			require.Equal(t, before, after, "a row that is right should not be touched")

			// A late event, one less, and an entity that vanishes.
			b.db.Insert(t, pgtest.Event{Entity: b.db.Entity(t, 7), Type: "a kind of its own", At: atNoon(t, b)})
			vanished := b.db.Entity(t, 11)
			_, err := b.db.Exec(t.Context(), "DELETE FROM public.raw_events WHERE entity_id::text = $1", vanished)
			require.NoError(t, err)
			late := b.rollup(t, day)
			require.EqualValues(t, 0, late.Inserted)
			require.EqualValues(t, 1, late.Updated)
			require.EqualValues(t, 1, late.Deleted)
			pgtest.RequireExact(t, b.db)
		})
	}
}

func atNoon(t *testing.T, b *testBundle) time.Time {
	t.Helper()
	bounds, err := db.New(b.db).DateBounds(t.Context(), db.DateBoundsParams{MetricDate: day, NextDate: day.AddDays(1)})
	require.NoError(t, err)
	return bounds.FromInstant.Add(12 * time.Hour)
}

func TestRunAllVanished(t *testing.T) {
	t.Parallel()
	b := setup(t, installations[0])
	b.db.InsertDate(t, day, 5_000, 1_200)
	b.rollup(t, day)
	_, err := b.db.Exec(t.Context(), "TRUNCATE public.raw_events; SELECT analytics.enqueue_erase('2026-03-01', '2026-03-01')")
	require.NoError(t, err)
	figures := b.rollup(t, day)
	require.Zero(t, figures.Events)
	require.NotZero(t, figures.Deleted)
	require.Zero(t, pgtest.RequireExact(t, b.db, day).Rows)
}

func TestRunPasses(t *testing.T) {
	t.Parallel()
	for _, installed := range installations {
		t.Run(string(installed.EntityType), func(t *testing.T) {
			t.Parallel()
			b := setup(t, installed)
			b.db.InsertDate(t, day, 6_000, 2_000)
			b.runner.Options.MaxEntities = 300
			figures := b.rollup(t, day)
			require.Greater(t, figures.Passes, 4)
			require.EqualValues(t, 6_000, pgtest.RequireExact(t, b.db).Events)

			_, err := b.db.Exec(t.Context(), "DELETE FROM public.raw_events WHERE id % 3 = 0")
			require.NoError(t, err)
			b.rollup(t, day)
			require.EqualValues(t, 4_000, pgtest.RequireExact(t, b.db).Events)
		})
	}
}

func TestRunRefuses(t *testing.T) {
	t.Parallel()

	t.Run("Busy", func(t *testing.T) {
		t.Parallel()
		b := setup(t, installations[0])
		b.request(t, day)
		_, err := b.runner.Run(t.Context(), run.Order{Date: day})
		require.NoError(t, err)
		_, err = b.db.Exec(t.Context(), "UPDATE analytics.rollup_dates SET state = 'running', heartbeat_at = now()")
		require.NoError(t, err)
		b.request(t, day)
		_, err = b.runner.Run(t.Context(), run.Order{Date: day})
		require.ErrorIs(t, err, run.ErrBusy)
		require.Equal(t, 1, b.openRequests(t))

		// The same, once it has been silent for too long.
		_, err = b.db.Exec(t.Context(), "UPDATE analytics.rollup_dates SET heartbeat_at = now() - interval '31 seconds'")
		require.NoError(t, err)
		_, err = b.runner.Run(t.Context(), run.Order{Date: day})
		require.NoError(t, err)
		require.Zero(t, b.openRequests(t))
	})

	t.Run("NothingToDo", func(t *testing.T) {
		t.Parallel()
		b := setup(t, installations[0])
		_, err := b.runner.Run(t.Context(), run.Order{Date: day})
		require.ErrorIs(t, err, run.ErrNothingToDo)
	})

	t.Run("NotOver", func(t *testing.T) {
		t.Parallel()
		b := setup(t, installations[0])
		today := pgtest.Today(t, time.UTC)
		b.request(t, today)
		_, err := b.runner.Run(t.Context(), run.Order{Date: today})
		require.ErrorIs(t, err, run.ErrNotOver)
		require.Equal(t, 1, b.openRequests(t))
	})
}

// interruptAt runs the date and breaks off once progress says so.
func (b *testBundle) interruptAt(t *testing.T, when func(run.Report) bool) run.Report {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	errStop := errors.New("stop")
	figures, err := b.runner.Run(ctx, run.Order{Date: day, Progress: func(f run.Report) {
		if when(f) {
			cancel(errStop)
		}
	}})
	require.ErrorIs(t, err, errStop)
	return figures
}

func TestRunResumes(t *testing.T) {
	t.Parallel()

	t.Run("AtItsCursor", func(t *testing.T) {
		t.Parallel()
		b := setup(t, installations[0])
		b.db.InsertDate(t, day, 9_000, 4_000)
		b.runner.Options.MaxEntities = 500
		b.request(t, day)
		broken := b.interruptAt(t, func(f run.Report) bool { return f.Entities > 1_000 })
		require.Positive(t, broken.Inserted)
		require.Less(t, broken.Inserted, int64(3_000))
		require.Equal(t, "retrying", b.state(t, day))
		require.Equal(t, 1, b.openRequests(t))

		rest, err := b.runner.Run(t.Context(), run.Order{Date: day})
		require.NoError(t, err)
		recount := pgtest.RequireExact(t, b.db)
		require.EqualValues(t, 9_000, recount.Events)
		require.Equal(t, recount.Rows, broken.Inserted+rest.Inserted, "nothing should be published twice")
		require.Equal(t, recount.Events, rest.Events)
		require.Equal(t, recount.Rows, rest.Entities)
		require.Zero(t, b.openRequests(t))
	})

	t.Run("FromTheStartForANewRequest", func(t *testing.T) {
		t.Parallel()
		b := setup(t, installations[0])
		b.db.InsertDate(t, day, 9_000, 4_000)
		b.runner.Options.MaxEntities = 500
		b.request(t, day)
		b.interruptAt(t, func(f run.Report) bool { return f.Entities > 1_000 })

		// The lowest of entities, below the cursor.
		b.db.Insert(t, pgtest.Event{Entity: "-9223372036854775808", Type: "view", At: atNoon(t, b)})
		b.request(t, day)
		_, err := b.runner.Run(t.Context(), run.Order{Date: day})
		require.NoError(t, err)
		require.EqualValues(t, 9_001, pgtest.RequireExact(t, b.db).Events)
		require.Zero(t, b.openRequests(t))
	})
}

func TestRunFenced(t *testing.T) {
	t.Parallel()
	b := setup(t, installations[0])
	b.db.InsertDate(t, day, 9_000, 4_000)
	b.runner.Options.MaxEntities = 500
	b.request(t, day)

	// The older run hangs in the middle of publishing and counts as dead, and another run takes over and completes.
	older := newRunner(b.db, "older")
	older.Options.MaxEntities = 500
	var tookOver bool
	figures, err := older.Run(t.Context(), run.Order{Date: day, Progress: func(f run.Report) {
		if tookOver || f.Entities < 1_000 {
			return
		}
		tookOver = true
		_, err := b.db.Exec(t.Context(), "UPDATE analytics.rollup_dates SET heartbeat_at = now() - interval '1 minute'")
		require.NoError(t, err)
		_, err = b.db.Exec(t.Context(), "DELETE FROM public.raw_events WHERE id % 2 = 0")
		require.NoError(t, err)
		b.request(t, day)
		_, err = b.runner.Run(t.Context(), run.Order{Date: day})
		require.NoError(t, err)
	}})
	require.True(t, tookOver)
	require.ErrorIs(t, err, lease.ErrFenced)
	require.EqualValues(t, 4_500, pgtest.RequireExact(t, b.db).Events)
	require.Equal(t, "complete", b.state(t, day))
	var state string
	err = b.db.QueryRow(t.Context(), "SELECT state FROM analytics.rollup_runs WHERE id = $1", figures.RunID).Scan(&state)
	require.NoError(t, err)
	require.Equal(t, "lost", state)
}

func TestRunRequestDuringRun(t *testing.T) {
	t.Parallel()
	b := setup(t, installations[0])
	b.db.InsertDate(t, day, 9_000, 4_000)
	b.runner.Options.MaxEntities = 500
	b.request(t, day)
	late := false
	_, err := b.runner.Run(t.Context(), run.Order{Date: day, Progress: func(f run.Report) {
		if f.Entities < 1_000 || late {
			return
		}
		late = true
		b.db.Insert(t, pgtest.Event{Entity: "-9223372036854775808", Type: "view", At: atNoon(t, b)})
		b.request(t, day)
	}})
	require.NoError(t, err)
	require.True(t, late)
	require.Equal(t, 1, b.openRequests(t), "a request that came after the scan began should stay open")
	_, err = b.runner.Run(t.Context(), run.Order{Date: day})
	require.NoError(t, err)
	require.EqualValues(t, 9_001, pgtest.RequireExact(t, b.db).Events)
	require.Zero(t, b.openRequests(t))
}

func TestRunManyRequests(t *testing.T) {
	t.Parallel()
	b := setup(t, installations[0])
	b.db.InsertDate(t, day, 100, 10)
	_, err := b.db.Exec(t.Context(),
		"INSERT INTO analytics.rollup_requests (metric_date) SELECT $1 FROM generate_series(1, 12000)", day)
	require.NoError(t, err)
	_, err = b.runner.Run(t.Context(), run.Order{Date: day})
	require.NoError(t, err)
	require.Zero(t, b.openRequests(t))
}

func TestRunOneInstant(t *testing.T) {
	t.Parallel()
	b := setup(t, installations[0])
	_, err := b.db.Exec(t.Context(), `INSERT INTO public.raw_events (entity_id, event_type, created_at)
		SELECT i % 50000, 'view', '2026-03-01 00:00+00' FROM generate_series(1, 400000) AS i`)
	require.NoError(t, err)
	_, err = b.db.Exec(t.Context(), "ANALYZE public.raw_events")
	require.NoError(t, err)
	b.rollup(t, day)
	require.EqualValues(t, 400_000, pgtest.RequireExact(t, b.db).Events)
}

func TestRunZoneDays(t *testing.T) {
	t.Parallel()
	for zone, days := range map[string][]string{
		"America/Sao_Paulo": {"2016-10-15", "2016-10-16", "2017-02-18", "2017-02-19"},
		"America/St_Johns":  {"2010-11-06", "2010-11-07", "2010-11-08"},
		"Pacific/Apia":      {"2011-12-29", "2011-12-30", "2011-12-31"},
	} {
		t.Run(zone, func(t *testing.T) {
			t.Parallel()
			b := setup(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: zone})
			from, to := date.MustParse(days[0]), date.MustParse(days[len(days)-1])
			_, err := b.db.Exec(t.Context(), fmt.Sprintf(`INSERT INTO public.raw_events (entity_id, event_type, created_at)
				SELECT 1, 'view', at FROM generate_series(
					analytics.date_start('%s'), analytics.date_start('%s') - interval '1 second', '30 seconds') AS at`,
				from, to.AddDays(1)))
			require.NoError(t, err)
			for d := from; !d.After(to); d = d.AddDays(1) {
				b.rollup(t, d)
			}
			require.Positive(t, pgtest.RequireExact(t, b.db).Events)
		})
	}
}

// A cursor is useless if rows below it may have changed unnoticed: after a while, and after a restore of the database, which may lack what the run
// has counted.
func TestRunOldCursor(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]string{"AnotherLife": "life = 'another'", "TooOld": "heartbeat_at = now() - interval '11 minutes'"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, installations[0])
			b.db.InsertDate(t, day, 9_000, 4_000)
			b.runner.Options.MaxEntities = 500
			b.request(t, day)
			b.interruptAt(t, func(f run.Report) bool { return f.Entities > 1_000 })
			b.db.Insert(t, pgtest.Event{Entity: "-9223372036854775808", Type: "view", At: atNoon(t, b)})
			_, err := b.db.Exec(t.Context(), "UPDATE analytics.rollup_dates SET "+change)
			require.NoError(t, err)
			_, err = b.runner.Run(t.Context(), run.Order{Date: day})
			require.NoError(t, err)
			require.EqualValues(t, 9_001, pgtest.RequireExact(t, b.db).Events)
		})
	}
}

// A run that waits for the date's lock while the run that holds it settles has nothing to do.
func TestRunSettledMeanwhile(t *testing.T) {
	t.Parallel()
	b := setup(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	b.db.InsertDate(t, day, 10, 5)
	b.request(t, day)
	_, err := b.runner.Run(t.Context(), run.Order{Date: day})
	require.NoError(t, err)
	b.request(t, day)

	tx, err := b.db.Begin(t.Context())
	require.NoError(t, err)
	defer tx.Rollback(context.WithoutCancel(t.Context())) //nolint:errcheck // It is committed, or the test has failed.
	_, err = tx.Exec(t.Context(), "SELECT FROM analytics.rollup_dates FOR UPDATE")
	require.NoError(t, err)
	late := make(chan error, 1)
	go func() {
		_, err := b.runner.Run(t.Context(), run.Order{Date: day})
		late <- err
	}()
	require.Eventually(t, func() bool {
		var waiting bool
		err := b.db.QueryRow(t.Context(), `SELECT EXISTS(SELECT FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%name: DateTake %')`).Scan(&waiting)
		return err == nil && waiting
	}, 30*time.Second, 5*time.Millisecond)
	_, err = tx.Exec(t.Context(), "UPDATE analytics.rollup_requests SET resolved_at = now(), resolution = 'satisfied' WHERE resolved_at IS NULL")
	require.NoError(t, err)
	require.NoError(t, tx.Commit(t.Context()))
	require.ErrorIs(t, <-late, run.ErrNothingToDo)
	require.Equal(t, "complete", b.state(t, day))
}
