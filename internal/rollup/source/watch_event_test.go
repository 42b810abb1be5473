package source_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/rollup/source"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestWatchDates compares the requested dates with those of analytics.date_of, around every change of the clock that makes a date an hour longer or
// shorter, or begin twice.
func TestWatchDates(t *testing.T) {
	t.Parallel()
	for _, zone := range []string{"America/St_Johns", "Pacific/Apia", "America/Sao_Paulo", "Europe/London"} {
		t.Run(strings.ReplaceAll(zone, "/", ""), func(t *testing.T) {
			t.Parallel()
			db := &testBundle{pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: zone})}
			db.RawEvents(t)
			db.watch(t, source.WatchOptions{Table: "raw_events", Time: "created_at"})
			const offset = "(%[1]s AT TIME ZONE analytics.time_zone()) - (%[1]s AT TIME ZONE 'UTC')"
			changes := fmt.Sprintf(offset, "(i - interval '36 hours')") + " <> " + fmt.Sprintf(offset, "(i + interval '36 hours')")
			for step, where := range map[string]string{"1 hour": "true", "20 minutes": changes} {
				db.Do(t, `TRUNCATE public.raw_events; INSERT INTO public.raw_events (entity_id, event_type, created_at)
					SELECT 1, 'view', i FROM generate_series('2010-10-01 00:01+00'::timestamptz, '2012-03-31', '`+step+`') AS i WHERE `+where)
				var expected string
				require.NoError(t, db.QueryRow(t.Context(), `SELECT string_agg(d::text, ' ' ORDER BY d)
					FROM (SELECT DISTINCT analytics.date_of(created_at) AS d FROM public.raw_events) AS e`).Scan(&expected))
				require.Equal(t, expected, db.requests(t))
			}
			// In a statement of its own: in St. John's, this minute already has the local date of the next
			// day, which begins an hour later.
			db.Do(t, "INSERT INTO public.raw_events (entity_id, event_type, created_at) VALUES (1, 'view', '2010-11-07 02:30:30+00')")
			var expected string
			require.NoError(t, db.QueryRow(t.Context(), "SELECT analytics.date_of('2010-11-07 02:30:30+00')::text").Scan(&expected))
			require.Equal(t, expected, db.requests(t))
		})
	}
}

// A watch never makes the application's statement fail because of Daymill. It requests the dates later if it
// could not request them.
func TestWatchFaults(t *testing.T) {
	t.Parallel()
	const late = "INSERT INTO app.events (product_id, kind, occurred_at) VALUES (1, 'view', '2026-03-05 12:00+00')"
	for name, c := range map[string]struct {
		damage, fix string
		settled     string // dates that are requested once the cause is fixed
		left        bool   // whether a fault remains that only a person can fix
	}{
		"Constraint":        {damage: "ALTER TABLE analytics.rollup_requests ADD CONSTRAINT never CHECK (false) NOT VALID", fix: "ALTER TABLE analytics.rollup_requests DROP CONSTRAINT never", settled: "2026-03-05"},
		"Duplicate":         {damage: "INSERT INTO analytics.rollup_requests (metric_date) VALUES ('2026-03-01'); SELECT setval(pg_get_serial_sequence('analytics.rollup_requests', 'id'), 1, false)", fix: "SELECT setval(pg_get_serial_sequence('analytics.rollup_requests', 'id'), 100)", settled: "2026-03-05"},
		"FunctionMissing":   {damage: "ALTER FUNCTION analytics.request_late(timestamptz[], timestamptz[], text, jsonb[]) RENAME TO gone", fix: "ALTER FUNCTION analytics.gone(timestamptz[], timestamptz[], text, jsonb[]) RENAME TO request_late", settled: "2026-03-05"},
		"InstallationEmpty": {damage: "CREATE TABLE public.kept AS SELECT * FROM analytics.installation; DELETE FROM analytics.installation", fix: "INSERT INTO analytics.installation SELECT * FROM public.kept", left: true},
		"SchemaRenamed":     {damage: "ALTER SCHEMA analytics RENAME TO away", fix: "ALTER SCHEMA away RENAME TO analytics"},
		"TableMissing":      {damage: "ALTER TABLE analytics.rollup_requests RENAME TO away", fix: "ALTER TABLE analytics.away RENAME TO rollup_requests", settled: "2026-03-05"},
		"TriggerFails":      {damage: "CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''no''; END'; CREATE TRIGGER fails AFTER INSERT ON analytics.rollup_requests EXECUTE FUNCTION public.fail()", fix: "DROP TRIGGER fails ON analytics.rollup_requests", settled: "2026-03-05"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, options := setupEvents(t)
			db.set(t, options)
			db.watch(t, source.WatchOptions{})
			db.Do(t, c.damage)
			db.Do(t, late)
			db.Do(t, c.fix)
			db.Do(t, "DELETE FROM analytics.rollup_requests")
			db.Do(t, "SELECT analytics.settle_faults()")
			require.Equal(t, c.settled, db.requests(t))
			var left bool
			require.NoError(t, db.QueryRow(t.Context(), "SELECT EXISTS(SELECT FROM analytics.watch_faults)").Scan(&left))
			require.Equal(t, c.left, left)
			if c.left {
				faults, err := source.Faults(t.Context(), db.DB.DB, db.Installation)
				require.NoError(t, err)
				require.Contains(t, strings.Join(faults, " "), "late events of app.events have not been noticed since")
				db.watch(t, source.WatchOptions{})
				faults, err = source.Faults(t.Context(), db.DB.DB, db.Installation)
				require.NoError(t, err)
				require.Empty(t, faults)
			}
			db.Do(t, late)
			require.Equal(t, "2026-03-05", db.requests(t))
		})
	}
}

// Instants such as infinity make no statement fail, and do not hide other late events of the statement.
func TestWatchEnds(t *testing.T) {
	t.Parallel()
	db, _ := setupEvents(t)
	db.Do(t, "CREATE TABLE app.local (who bigint NOT NULL, what text, at timestamp)")
	db.set(t, source.Options{Table: "app.local", Entity: "who", Type: "what", Time: "at", TimeZone: "America/New_York"})
	db.watch(t, source.WatchOptions{})
	for _, at := range []string{"294276-12-31 23:00", "infinity", "-infinity", "4713-01-01 BC", "0001-01-01", "9999-12-31"} {
		db.Do(t, "INSERT INTO app.local VALUES (1, 'view', '"+at+"'), (1, 'view', '2026-03-05 12:00')")
		require.Equal(t, "2026-03-05", db.requests(t), at)
		db.Do(t, "UPDATE app.local SET what = 'click'")
		require.NotEmpty(t, db.requests(t), at)
		db.Do(t, "DELETE FROM app.local")
		db.requests(t)
	}
	var faults int
	require.NoError(t, db.QueryRow(t.Context(), "SELECT count(*) FROM analytics.watch_faults").Scan(&faults))
	require.Zero(t, faults)
}

// Two serializable transactions that insert events of one late date do not conflict over Daymill's tables, and both request the date.
func TestWatchSerializable(t *testing.T) {
	t.Parallel()
	db, options := setupEvents(t)
	db.set(t, options)
	db.watch(t, source.WatchOptions{})
	var open [2]pgx.Tx
	for i := range open {
		tx, err := db.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.Serializable})
		require.NoError(t, err)
		defer tx.Rollback(context.WithoutCancel(t.Context())) //nolint:errcheck // If the test has failed.
		open[i] = tx
	}
	for range 2 {
		for _, tx := range open {
			_, err := tx.Exec(t.Context(), "INSERT INTO app.events (product_id, kind, occurred_at) VALUES (1, 'view', '2026-03-05 12:00+00')")
			require.NoError(t, err)
		}
	}
	for _, tx := range open {
		require.NoError(t, tx.Commit(t.Context()))
	}
	require.Equal(t, "2026-03-05 2026-03-05 2026-03-05 2026-03-05", db.requests(t), "one for a statement")
}

// Rolling back a savepoint also rolls back the request of the date.
func TestWatchSavepoint(t *testing.T) {
	t.Parallel()
	db, options := setupEvents(t)
	db.set(t, options)
	db.watch(t, source.WatchOptions{})
	const late = "INSERT INTO app.events (product_id, kind, occurred_at) VALUES (1, 'view', '2026-03-05 12:00+00');"
	db.Do(t, "BEGIN; SAVEPOINT a; "+late+"ROLLBACK TO a; "+late+late+"COMMIT")
	require.Equal(t, "2026-03-05 2026-03-05", db.requests(t))
	// Nor does a job that withdraws the date's requests prevent the request for a later event of the transaction.
	db.Do(t, "BEGIN;"+late+`INSERT INTO river_job (kind, args, max_attempts) VALUES ('rollup_day', '{"date": "2026-03-05"}', 5);
		DELETE FROM river_job; `+late+"COMMIT")
	var open int
	require.NoError(t, db.QueryRow(t.Context(), "SELECT count(*) FROM analytics.rollup_requests WHERE resolved_at IS NULL").Scan(&open))
	require.Equal(t, 1, open)
}

// TestWatchWakes: a late event wakes a worker if nobody has requested its date yet, and no other does.
func TestWatchWakes(t *testing.T) {
	t.Parallel()
	db, options := setupEvents(t)
	db.set(t, options)
	db.watch(t, source.WatchOptions{})
	listener, err := pgx.Connect(t.Context(), db.URL)
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close(context.WithoutCancel(t.Context())) })
	_, err = listener.Exec(t.Context(), "LISTEN daymill_request")
	require.NoError(t, err)
	// woken returns how many notifications a statement has sent. They arrive in the order of the commits.
	woken := func(statement string) (count int) {
		t.Helper()
		db.Do(t, statement)
		db.Do(t, "SELECT pg_notify('daymill_request', 'end')")
		for {
			notification, err := listener.WaitForNotification(t.Context())
			require.NoError(t, err)
			if notification.Payload == "end" {
				return count
			}
			count++
		}
	}
	late := func(dates ...string) string {
		return "INSERT INTO app.events (product_id, kind, occurred_at) SELECT 7, 'LIKE', unnest(ARRAY['" + strings.Join(dates, "', '") + "']::timestamptz[])"
	}
	require.Equal(t, 1, woken(late("2026-03-02 12:00Z", "2026-03-02 13:00Z")))
	require.Zero(t, woken(late("2026-03-02 14:00Z")), "its date is requested")
	require.Equal(t, 1, woken(late("2026-03-02 15:00Z", "2026-03-03 12:00Z", "2026-03-04 12:00Z")))
	require.Zero(t, woken("BEGIN; SET LOCAL daymill.notify = off; "+late("2026-03-05 12:00Z")+"; COMMIT"))
	db.Do(t, "UPDATE analytics.rollup_requests SET resolved_at = now(), resolution = 'satisfied'")
	require.Equal(t, 1, woken(late("2026-03-02 16:00Z")), "its date is quiet again")
}
