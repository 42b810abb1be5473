package pgtest_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/schema"
	"github.com/daymill/daymill/internal/test/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestDatabase(t *testing.T) {
	t.Parallel()

	t.Run("EveryEntityType", func(t *testing.T) {
		t.Parallel()
		for _, entityType := range []entity.Type{entity.Bigint, entity.Text, entity.UUID} {
			db := pgtest.Database(t, pgtest.Installed{EntityType: entityType, TimeZone: "America/Sao_Paulo"})
			require.Equal(t, entityType, db.Installation.EntityType)
			require.Equal(t, "America/Sao_Paulo", db.Installation.TimeZone)

			db.RawEvents(t)
			d := date.MustParse("2016-10-16") // began at 01:00
			db.InsertDate(t, d, 500, 40)
			var events, entities int
			var first, last time.Time
			err := db.QueryRow(t.Context(), `
				SELECT count(*), count(DISTINCT entity_id), min(created_at), max(created_at)
				FROM analytics.events`).Scan(&events, &entities, &first, &last)
			require.NoError(t, err)
			require.Equal(t, 500, events)
			require.Greater(t, entities, 30)
			require.Equal(t, "2016-10-16T03:00:00Z", first.UTC().Format(time.RFC3339Nano))
			require.Equal(t, "2016-10-17T01:59:59.999999Z", last.UTC().Format(time.RFC3339Nano))
			_, err = entityType.Parse(db.Entity(t, 7))
			require.NoError(t, err)
		}
	})
	t.Run("HasItsOwnOfEverything", func(t *testing.T) {
		t.Parallel()
		one, other := pgtest.Database(t, pgtest.Installed{}), pgtest.Database(t, pgtest.Installed{})
		_, err := one.Exec(t.Context(), "INSERT INTO analytics.rollup_requests (metric_date) VALUES ('2026-03-01')")
		require.NoError(t, err)
		var count int
		require.NoError(t, other.QueryRow(t.Context(), "SELECT count(*) FROM analytics.rollup_requests").Scan(&count))
		require.Zero(t, count)
	})
	t.Run("IsDroppedAtTheEnd", func(t *testing.T) {
		t.Parallel()
		watcher := pgtest.Empty(t)
		var name string
		t.Run("Inner", func(t *testing.T) { //nolint:paralleltest // The outer test needs its end.
			db := pgtest.Empty(t)
			name = db.Name
			// A connection that a test leaves open does not prevent the drop.
			_, err := postgres.Open(context.WithoutCancel(t.Context()), postgres.Config{URL: db.URL})
			require.NoError(t, err)
		})
		var exists bool
		err := watcher.QueryRow(t.Context(), "SELECT EXISTS(SELECT FROM pg_database WHERE datname = $1)", name).Scan(&exists)
		require.NoError(t, err)
		require.False(t, exists)
	})
}

func TestEmpty(t *testing.T) {
	t.Parallel()

	t.Run("HasNoSchema", func(t *testing.T) {
		t.Parallel()
		_, err := schema.Get(t.Context(), pgtest.Empty(t).DB)
		require.ErrorIs(t, err, schema.ErrNotMigrated)
	})
	t.Run("OrdersTextAsPeopleDo", func(t *testing.T) {
		t.Parallel()
		db := pgtest.Empty(t)
		if db.Server.Binaries.Major < 15 {
			return // This version cannot use ICU as the default.
		}
		var ordered bool
		require.NoError(t, db.QueryRow(t.Context(), "SELECT 'a'::text < 'B'::text").Scan(&ordered))
		require.True(t, ordered)
	})
}

func TestOn(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t, map[string]string{"work_mem": "5MB"})
	db := pgtest.On(t, server, pgtest.Installed{EntityType: entity.Text})
	require.Equal(t, entity.Text, db.Installation.EntityType)
	var workMem string
	require.NoError(t, db.QueryRow(t.Context(), "SHOW work_mem").Scan(&workMem))
	require.Equal(t, "5MB", workMem)
}

func TestPgBouncer(t *testing.T) {
	t.Parallel()
	db := pgtest.Empty(t)
	require.False(t, db.Pooled())
	pooled, err := postgres.Open(t.Context(), postgres.Config{URL: pgtest.PgBouncer(t, db)})
	require.NoError(t, err)
	defer pooled.Close()
	require.True(t, pooled.Pooled())
	var name string
	require.NoError(t, pooled.QueryRow(t.Context(), "SELECT current_database()").Scan(&name))
	require.Equal(t, db.Name, name)
}

// recorder is a test that may fail without failing this one.
type recorder struct {
	testing.TB

	failure string
}

func (*recorder) Helper() {}

func (r *recorder) Errorf(format string, arguments ...any) {
	r.failure += fmt.Sprintf(format, arguments...)
}

func (*recorder) FailNow() { runtime.Goexit() }

// failure returns the failure of a test that requires the dates to be exact.
func failure(t *testing.T, db *pgtest.DB, dates ...date.Date) string {
	t.Helper()
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		pgtest.RequireExact(r, db, dates...)
	}()
	<-done
	return r.failure
}

func TestRequireExact(t *testing.T) {
	t.Parallel()

	march1, march2 := date.MustParse("2026-03-01"), date.MustParse("2026-03-02")

	// setup counts by hand the events of two dates in Kolkata, whose midnights are at 18:30 UTC.
	setup := func(t *testing.T) *pgtest.DB {
		t.Helper()
		db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "Asia/Kolkata"})
		db.RawEvents(t)
		at := func(text string) time.Time {
			instant, err := time.Parse(time.RFC3339, text)
			require.NoError(t, err)
			return instant
		}
		db.Insert(t,
			pgtest.Event{Entity: "-7", Type: "view", At: at("2026-02-28T18:30:00Z")},
			pgtest.Event{Entity: "-7", Type: "view", At: at("2026-03-01T18:29:59Z")},
			pgtest.Event{Entity: "-7", Type: "share", At: at("2026-03-01T12:00:00Z")},
			pgtest.Event{Entity: "8", Type: "click", At: at("2026-03-01T12:00:00Z")},
			pgtest.Event{Entity: "-7", Type: "save", At: at("2026-03-01T18:30:00Z")},
		)
		_, err := db.Exec(t.Context(), `
			INSERT INTO analytics.daily_entity_metrics
				(metric_date, entity_id, views_count, clicks_count, saves_count, other_counts)
			VALUES
				('2026-03-01', -7, 2, 0, 0, '{"share": 1}'),
				('2026-03-01', 8, 0, 1, 0, '{}'),
				('2026-03-02', -7, 0, 0, 1, '{}')`)
		require.NoError(t, err)
		return db
	}
	change := func(t *testing.T, db *pgtest.DB, sql string) {
		t.Helper()
		tag, err := db.Exec(t.Context(), sql)
		require.NoError(t, err)
		require.EqualValues(t, 1, tag.RowsAffected())
	}

	t.Run("Exact", func(t *testing.T) {
		t.Parallel()
		db := setup(t)
		require.Equal(t, pgtest.Recount{Dates: 2, Rows: 3, Events: 5}, pgtest.RequireExact(t, db))
		require.Equal(t, pgtest.Recount{Dates: 1, Rows: 2, Events: 4}, pgtest.RequireExact(t, db, march1))
	})
	t.Run("MissingEvent", func(t *testing.T) {
		t.Parallel()
		db := setup(t)
		change(t, db, "UPDATE analytics.daily_entity_metrics SET views_count = 1 WHERE views_count = 2")
		message := failure(t, db)
		require.Contains(t, message, "missing: (2026-03-01,-7,2,0,0,0,")
		require.Contains(t, message, "too many: (2026-03-01,-7,1,0,0,0,")
		pgtest.RequireExact(t, db, march2)
	})
	t.Run("OtherCounts", func(t *testing.T) {
		t.Parallel()
		db := setup(t)
		change(t, db, `UPDATE analytics.daily_entity_metrics SET other_counts = '{"like": 1}' WHERE views_count = 2`)
		require.Contains(t, failure(t, db, march1), "too many")
	})
	t.Run("RowOfADateWithoutEvents", func(t *testing.T) {
		t.Parallel()
		db := setup(t)
		change(t, db, "INSERT INTO analytics.daily_entity_metrics (metric_date, entity_id) VALUES ('2020-01-01', 1)")
		require.Contains(t, failure(t, db), "too many: (2020-01-01,1,0,0,0,0,{})")
	})
	t.Run("RowOfAVanishedEntity", func(t *testing.T) {
		t.Parallel()
		db := setup(t)
		change(t, db, "DELETE FROM public.raw_events WHERE entity_id = 8")
		require.Contains(t, failure(t, db, march1), "too many: (2026-03-01,8,")
	})
}
