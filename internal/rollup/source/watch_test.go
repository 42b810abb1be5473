package source_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/rollup/source"
	"github.com/daymill/daymill/internal/schema"
)

func (db *testBundle) watch(t *testing.T, options source.WatchOptions) source.Watched {
	t.Helper()
	watched, err := source.Watch(t.Context(), db.DB.DB, db.Installation, options)
	require.NoError(t, err)
	return watched
}

// requests returns the dates that the triggers have requested since the last call, one word per request, in order.
func (db *testBundle) requests(t *testing.T) string {
	t.Helper()
	rows, err := db.Query(t.Context(), `
		DELETE FROM analytics.rollup_requests WHERE requested_via = 'watch' RETURNING metric_date::text`)
	require.NoError(t, err)
	dates, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	slices.Sort(dates)
	return strings.Join(dates, " ")
}

func (db *testBundle) triggers(t *testing.T) (count int) {
	t.Helper()
	err := db.QueryRow(t.Context(), "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'daymill_watch_%'").Scan(&count)
	require.NoError(t, err)
	return count
}

func (db *testBundle) copyIn(t *testing.T, statement, rows string) {
	t.Helper()
	conn, err := db.Acquire(t.Context())
	require.NoError(t, err)
	defer conn.Release()
	_, err = conn.Conn().PgConn().CopyFrom(t.Context(), strings.NewReader(rows), statement)
	require.NoError(t, err)
}

func TestWatch(t *testing.T) {
	t.Parallel()

	setup := func(t *testing.T) *testBundle {
		t.Helper()
		db, options := setupEvents(t)
		db.set(t, options)
		watched := db.watch(t, source.WatchOptions{})
		require.Equal(t, source.Watched{Table: "app.events", Time: "occurred_at", Tables: 1, Unwatched: []string{}}, watched)
		return db
	}
	const insert = "INSERT INTO app.events (product_id, kind, occurred_at) VALUES "

	t.Run("Audit", func(t *testing.T) {
		t.Parallel()
		db := setup(t)
		// The triggers have requested one date, and a person another one.
		db.Do(t, insert+"(1, 'view', '2026-03-05 00:00+00')")
		db.Do(t, "SELECT analytics.enqueue_rollup('2026-03-06'::date)")
		db.Do(t, "SELECT analytics.enqueue_rollup('2026-03-07', '2026-03-07', 'watch')") // bypasses the triggers
		require.Equal(t, "2026-03-05 2026-03-07", db.requests(t))
		var lines string
		err := db.QueryRow(t.Context(), "SELECT string_agg(via || ' ' || target, ',' ORDER BY id) FROM daymill.audit WHERE action = 'request dates'").Scan(&lines)
		require.NoError(t, err)
		require.Equal(t, "sql 2026-03-06,watch 2026-03-07", lines, "a line for each transaction with late events would never end")
	})
	t.Run("Columns", func(t *testing.T) {
		t.Parallel()
		// Names that the function itself uses, and one that has to be quoted.
		db, _ := setupEvents(t)
		db.Do(t, `CREATE TABLE app.odd (at bigint NOT NULL, zone text, "daymill "" zeit\é" timestamp, first_at text, r text)`)
		db.set(t, source.Options{Table: "app.odd", Entity: "at", Type: "zone", Time: `daymill " zeit\é`, TimeZone: "Asia/Tokyo"})
		require.Equal(t, `daymill " zeit\é`, db.watch(t, source.WatchOptions{}).Time)
		// Half past midnight in Tokyo is on the previous date in UTC, the reporting zone.
		db.Do(t, `INSERT INTO app.odd VALUES (1, 'a', '2026-03-02 00:30'), (1, 'a', '2026-03-02 09:30')`)
		require.Equal(t, "2026-03-01 2026-03-02", db.requests(t))
		db.Do(t, `UPDATE app.odd SET at = 2 WHERE "daymill "" zeit\é" < '2026-03-02 09:00'`)
		require.Equal(t, "2026-03-01", db.requests(t))
		db.Do(t, `TRUNCATE app.odd`)
	})
	t.Run("Copy", func(t *testing.T) {
		t.Parallel()
		db := setup(t)
		db.copyIn(t, "COPY app.events (product_id, kind, occurred_at) FROM STDIN (FORMAT csv)",
			strings.Repeat("1,view,2026-03-01 01:00+00\n2,view,2026-02-01 01:00+00\n", 500))
		require.Equal(t, "2026-02-01 2026-03-01", db.requests(t))
	})
	t.Run("Delete", func(t *testing.T) {
		t.Parallel()
		db := setup(t)
		db.Do(t, insert+"(1, 'view', '2026-03-05 00:00+00'), (1, 'view', now())")
		db.requests(t)
		db.Do(t, "DELETE FROM app.events WHERE occurred_at = '2026-03-05 00:00+00'")
		require.Equal(t, "2026-03-05", db.requests(t))
		db.Do(t, "DELETE FROM app.events WHERE occurred_at > '2026-03-05 00:00+00'")
		require.Empty(t, db.requests(t))
	})
	t.Run("Insert", func(t *testing.T) {
		t.Parallel()
		db := setup(t)
		db.Do(t, insert+"(1, 'view', now()), (1, 'view', date_trunc('day', now(), 'UTC')), (1, 'view', now() + interval '3 days')")
		require.Empty(t, db.requests(t), "rows of today and later")
		db.Do(t, "INSERT INTO app.events (product_id, kind, occurred_at) SELECT 1, 'view', now() WHERE false")
		require.Empty(t, db.requests(t), "no rows")
		db.Do(t, insert+"(1, 'view', date_trunc('day', now(), 'UTC') - interval '1 ms')")
		var yesterday string
		require.NoError(t, db.QueryRow(t.Context(), "SELECT ((now() AT TIME ZONE 'UTC')::date - 1)::text").Scan(&yesterday))
		require.Equal(t, yesterday, db.requests(t))
		db.Do(t, insert+"(1, 'view', '-infinity'), (1, 'view', '0044-03-15 BC'), (1, 'view', 'infinity'), (1, 'view', '2026-03-01 23:59:59.999+00')")
		require.Equal(t, "2026-03-01", db.requests(t))
		db.Do(t, "INSERT INTO app.events (id, product_id, kind, occurred_at) VALUES (1, 1, 'view', '2026-03-07 12:00+00') "+
			"ON CONFLICT (id) DO UPDATE SET occurred_at = excluded.occurred_at")
		require.Equal(t, "2026-03-01 2026-03-07", db.requests(t), "the row was of the former")
	})
	t.Run("Measure", func(t *testing.T) {
		t.Parallel()
		db := setup(t)
		db.Do(t, `ALTER TABLE app.events ADD "%detail" text, ADD "100% %s" integer`)
		db.Do(t, "ALTER TABLE app.events ADD payload json, ADD total integer GENERATED ALWAYS AS (product_id + 1) STORED")
		db.Do(t, "ALTER TABLE app.events ADD UNIQUE (product_id, occurred_at)")
		for _, prepare := range []string{insert + "(1, 'view', now())", "DELETE FROM app.events"} {
			db.Do(t, prepare)
			db.requests(t)
			cost, err := source.MeasureWatch(t.Context(), db.DB.DB, "app.events")
			require.NoError(t, err)
			for _, c := range []source.Cost{cost.Single, cost.Bulk, cost.Late} {
				require.Positive(t, c.Without)
				require.Positive(t, c.With)
			}
			require.Empty(t, db.requests(t))
		}
		require.Equal(t, 4, db.triggers(t))
		db.Do(t, "CREATE TABLE app.local (who bigint NOT NULL, what text, at timestamp)")
		db.watch(t, source.WatchOptions{Table: "app.local", Time: "at", TimeZone: "Pacific/Kiritimati"})
		_, err := source.MeasureWatch(t.Context(), db.DB.DB, "app.local")
		require.NoError(t, err)
		_, err = source.MeasureWatch(t.Context(), db.DB.DB, "analytics.installation")
		require.ErrorIs(t, err, source.ErrRefused)
	})
	t.Run("Partitions", func(t *testing.T) {
		t.Parallel()
		db, _ := setupEvents(t)
		db.Do(t, `
			CREATE TABLE app.parts (who bigint NOT NULL, what text, at timestamptz NOT NULL) PARTITION BY RANGE (at);
			CREATE TABLE app.parts_1 PARTITION OF app.parts FOR VALUES FROM ('2026-01-01 00:00+00') TO ('2026-02-01 00:00+00');
			CREATE TABLE app.parts_2 (gone text, at timestamptz NOT NULL, who bigint NOT NULL, what text) PARTITION BY LIST (who);
			ALTER TABLE app.parts_2 DROP COLUMN gone;
			CREATE TABLE app.parts_2_1 PARTITION OF app.parts_2 DEFAULT;
			ALTER TABLE app.parts ATTACH PARTITION app.parts_2 FOR VALUES FROM ('2026-02-01 00:00+00') TO ('2026-03-01 00:00+00');`)
		db.set(t, source.Options{Table: "app.parts", Entity: "who", Type: "what", Time: "at"})
		require.Equal(t, 4, db.watch(t, source.WatchOptions{}).Tables)

		db.Do(t, "INSERT INTO app.parts VALUES (1, 'view', '2026-01-05 12:00+00'), (1, 'view', '2026-02-05 12:00+00')")
		require.Equal(t, "2026-01-05 2026-02-05", db.requests(t))
		db.Do(t, "UPDATE app.parts SET at = '2026-02-06 12:00+00' WHERE at = '2026-01-05 12:00+00'")
		require.Equal(t, "2026-01-05 2026-02-06", db.requests(t), "it has moved to another partition")
		db.Do(t, "INSERT INTO app.parts_1 VALUES (1, 'view', '2026-01-07 12:00+00')")
		require.Equal(t, "2026-01-07", db.requests(t))
		db.Do(t, "INSERT INTO app.parts_2 (who, what, at) VALUES (1, 'view', '2026-02-07 12:00+00')")
		require.Equal(t, "2026-02-07", db.requests(t))
		db.Do(t, "DELETE FROM app.parts_2_1 WHERE at = '2026-02-07 12:00+00'")
		require.Equal(t, "2026-02-07", db.requests(t))

		// A partition that is added later is watched through its parent; statements that name it are seen
		// after the next watch.
		db.Do(t, "CREATE TABLE app.parts_3 PARTITION OF app.parts FOR VALUES FROM ('2026-03-01 00:00+00') TO ('2026-04-01 00:00+00')")
		db.Do(t, "INSERT INTO app.parts VALUES (1, 'view', '2026-03-05 12:00+00')")
		require.Equal(t, "2026-03-05", db.requests(t))
		require.Equal(t, []string{"app.parts_3"}, db.show(t).Watched[0].Unwatched)
		require.Empty(t, db.watch(t, source.WatchOptions{}).Unwatched)
		db.Do(t, "INSERT INTO app.parts_3 VALUES (1, 'view', '2026-03-06 12:00+00')")
		require.Equal(t, "2026-03-06", db.requests(t))

		// TRUNCATE of a partition requests only its dates, and that of the parent requests all.
		db.Do(t, `INSERT INTO analytics.rollup_dates (metric_date, state, run_id, scan_run_id)
			SELECT d, 'complete', 1, 1 FROM generate_series('2026-01-01'::timestamp, '2026-03-31', '1 day') AS d`)
		db.Do(t, "TRUNCATE app.parts_3")
		require.Equal(t, "2026-03-05 2026-03-06", db.requests(t))
		db.Do(t, "TRUNCATE app.parts")
		require.Equal(t, "2026-01-07 2026-02-05 2026-02-06", db.requests(t))

		_, err := source.Watch(t.Context(), db.DB.DB, db.Installation, source.WatchOptions{Table: "app.parts_1", Time: "at"})
		require.ErrorContains(t, err, "app.parts_1 is a part of app.parts")
		_, err = source.Unwatch(t.Context(), db.DB.DB, "", audit.Who{})
		require.NoError(t, err)
		require.Zero(t, db.triggers(t))
	})
	t.Run("Children", func(t *testing.T) {
		t.Parallel()
		db := setup(t)
		db.Do(t, "CREATE TABLE app.events_old () INHERITS (app.events)")
		require.Equal(t, 2, db.watch(t, source.WatchOptions{}).Tables)
		db.Do(t, "INSERT INTO app.events_old (product_id, kind, occurred_at) VALUES (1, 'view', '2026-01-05 12:00+00')")
		require.Equal(t, "2026-01-05", db.requests(t))
		db.Do(t, "UPDATE app.events SET occurred_at = '2026-01-06 12:00+00' WHERE occurred_at = '2026-01-05 12:00+00'")
		require.Equal(t, "2026-01-05 2026-01-06", db.requests(t))
	})
	t.Run("Renamed", func(t *testing.T) {
		t.Parallel()
		db := setup(t)
		db.Do(t, "ALTER TABLE app.events RENAME occurred_at TO happened_at; ALTER TABLE app.events RENAME TO facts")
		db.Do(t, "INSERT INTO app.facts (product_id, kind, happened_at) VALUES (1, 'view', '2026-03-09 00:00+00'), (1, 'view', now())")
		require.Equal(t, "2026-03-09", db.requests(t))
		db.Do(t, "UPDATE app.facts SET happened_at = '2026-03-10 00:00+00' WHERE happened_at = '2026-03-09 00:00+00'")
		require.Equal(t, "2026-03-09 2026-03-10", db.requests(t))
		db.Do(t, "DELETE FROM app.facts WHERE happened_at = '2026-03-10 00:00+00'")
		require.Equal(t, "2026-03-10", db.requests(t))
		db.Do(t, "INSERT INTO app.facts (product_id, kind, happened_at) VALUES (1, 'view', now())")
		require.Empty(t, db.requests(t))
		require.Equal(t, "occurred_at", db.show(t).Watched[0].Renamed)
		db.Do(t, "ALTER TABLE app.facts DROP happened_at CASCADE")
		db.Do(t, "INSERT INTO app.facts (product_id, kind) VALUES (1, 'view')")
		require.Empty(t, db.requests(t), "the application's insert has not failed")
	})
	t.Run("Set", func(t *testing.T) {
		t.Parallel()
		db := setup(t)
		db.Do(t, "ALTER TABLE app.events ADD note text; CREATE TABLE app.others (LIKE app.events)")
		options := source.Options{Table: "app.events", Entity: "product_id", Type: "kind", Time: "occurred_at"}
		other := options
		other.Table = "app.others"
		require.ErrorContains(t, source.Set(t.Context(), db.DB.DB, db.Installation, other), "app.events is watched for late events: run `daymill source unwatch` first")
		require.Equal(t, "app.events", db.show(t).Reads[0], "nothing has changed")

		db.Do(t, "UPDATE app.events SET note = 'x'")
		require.Empty(t, db.requests(t), "nothing that is counted has changed")
		options.Where = "note IS NULL"
		db.set(t, options)
		db.Do(t, "UPDATE app.events SET note = 'y'")
		require.Equal(t, "2026-03-01", db.requests(t), "the condition decides what is counted")

		// The same when SQL changes them directly.
		options.Where = ""
		db.set(t, options)
		db.Do(t, "UPDATE app.events SET note = NULL")
		require.Empty(t, db.requests(t))
		db.Do(t, `CREATE OR REPLACE VIEW analytics.events AS SELECT product_id::bigint::analytics.entity_id AS entity_id,
			kind::text AS event_type, occurred_at::timestamptz AS created_at FROM app.events WHERE note IS NULL`)
		db.Do(t, "UPDATE app.events SET note = 'z'")
		require.Equal(t, "2026-03-01", db.requests(t), "it decides again what is counted")
	})
	t.Run("Transactions", func(t *testing.T) {
		t.Parallel()
		db := setup(t)
		late := insert + "(1, 'view', '2026-03-01 12:00+00')"
		db.Do(t, "BEGIN; "+strings.Repeat(late+";", 5)+insert+"(1, 'view', '2026-03-02 12:00+00'); COMMIT")
		require.Equal(t, strings.Repeat("2026-03-01 ", 5)+"2026-03-02", db.requests(t), "one for a date and statement")
		db.Do(t, "BEGIN; "+strings.Repeat(late+";", 50)+"COMMIT")
		require.Equal(t, strings.Repeat("2026-03-01 ", 20)+"2026-03-01", db.requests(t), "a transaction that requests a date often requests the whole date once more")
		db.Do(t, late)
		db.Do(t, late)
		require.Equal(t, "2026-03-01 2026-03-01", db.requests(t), "another's may be claimed before this commits")
		db.Do(t, "BEGIN; SAVEPOINT s; "+late+"; ROLLBACK TO s; "+late+"; COMMIT")
		require.Equal(t, "2026-03-01", db.requests(t), "a request that was rolled back does not exist")
		db.Do(t, "BEGIN; "+late+"; SAVEPOINT s; "+late+"; ROLLBACK TO s; COMMIT")
		require.Equal(t, "2026-03-01", db.requests(t))
		db.Do(t, "BEGIN; "+late+"; ROLLBACK")
		require.Empty(t, db.requests(t))
		// Claimed by a run that may have passed the row already, or resolved since.
		db.Do(t, late+"; UPDATE analytics.rollup_requests SET run_id = 1")
		db.Do(t, late)
		require.Equal(t, "2026-03-01 2026-03-01", db.requests(t))
	})
	t.Run("Update", func(t *testing.T) {
		t.Parallel()
		db := setup(t)
		db.Do(t, "UPDATE app.events SET occurred_at = '2026-04-02 12:00+00'")
		require.Equal(t, "2026-03-01 2026-04-02", db.requests(t), "both dates")
		db.Do(t, "UPDATE app.events SET id = id + 1")
		require.Empty(t, db.requests(t), "nothing that is counted has changed")
		db.Do(t, "UPDATE app.events SET kind = 'click'")
		require.Equal(t, "2026-04-02", db.requests(t))
		db.Do(t, "UPDATE app.events SET product_id = 8")
		require.Equal(t, "2026-04-02", db.requests(t))
		db.Do(t, "UPDATE app.events SET occurred_at = now()")
		require.Equal(t, "2026-04-02", db.requests(t), "it has left that date")
	})
}

func TestWatchRefused(t *testing.T) {
	t.Parallel()

	for engine, code := range map[string]string{"TimescaleDB": pgerrcode.FeatureNotSupported, "Citus": pgerrcode.InternalError} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			db, options := setupEvents(t)
			db.set(t, options)
			db.Do(t, `CREATE FUNCTION public.as_engine() RETURNS event_trigger LANGUAGE plpgsql AS $$
				BEGIN RAISE 'triggers are not supported on distributed tables' USING ERRCODE = '`+code+`'; END $$`)
			db.Do(t, "CREATE EVENT TRIGGER as_engine ON ddl_command_start WHEN TAG IN ('CREATE TRIGGER') EXECUTE FUNCTION public.as_engine()")
			_, err := source.Watch(t.Context(), db.DB.DB, db.Installation, source.WatchOptions{})
			require.ErrorIs(t, err, source.ErrRefused)
			require.ErrorContains(t, err, "(it says: triggers are not supported on distributed tables): notice late events with `daymill source watch --from capture`")
			require.Zero(t, db.triggers(t))
		})
	}
	t.Run("HandWritten", func(t *testing.T) {
		t.Parallel()
		db := setup(t, entity.Bigint)
		db.RawEvents(t)
		_, err := source.Watch(t.Context(), db.DB.DB, db.Installation, source.WatchOptions{})
		require.ErrorIs(t, err, source.ErrRefused)
		require.ErrorContains(t, err, "reads public.raw_events: say which of these tables has the events, and which column has the instant, with "+
			"`daymill source watch --table … --time …`")
		db.watch(t, source.WatchOptions{Table: "raw_events", Time: "created_at"})
		db.Do(t, "INSERT INTO public.raw_events (entity_id, event_type, created_at) VALUES (1, 'view', '2026-03-01 12:00+00')")
		require.Equal(t, "2026-03-01", db.requests(t))
		db.Do(t, "UPDATE public.raw_events SET id = 7")
		require.Equal(t, "2026-03-01", db.requests(t), "it is unknown what the view makes of the change")
	})
	t.Run("Locked", func(t *testing.T) {
		t.Parallel()
		db, options := setupEvents(t)
		db.set(t, options)
		tx, err := db.Begin(t.Context())
		require.NoError(t, err)
		defer tx.Rollback(context.WithoutCancel(t.Context())) //nolint:errcheck // There is nothing to lose.
		_, err = tx.Exec(t.Context(), "LOCK TABLE app.events IN ROW EXCLUSIVE MODE")
		require.NoError(t, err)
		_, err = source.Watch(t.Context(), db.DB.DB, db.Installation, source.WatchOptions{})
		require.ErrorContains(t, err, "locked by another transaction: run it again in a moment")
		require.Zero(t, db.triggers(t))
	})
	t.Run("Rights", func(t *testing.T) {
		t.Parallel()
		db, options := setupEvents(t)
		conn, role := db.as(t, append(ownership(), "ALTER TABLE analytics.rollup_requests OWNER TO ROLE", "GRANT USAGE ON SCHEMA app TO ROLE", "GRANT SELECT ON app.events TO ROLE")...)
		require.NoError(t, source.Set(t.Context(), conn, db.Installation, options))
		_, err := source.Watch(t.Context(), conn, db.Installation, source.WatchOptions{})
		require.ErrorIs(t, err, source.ErrRefused)
		require.ErrorContains(t, err, "run this as postgres: GRANT TRIGGER ON app.events TO "+role+";")

		// This right is enough to create and remove the triggers, and a role that inserts events needs no
		// rights on the ledger.
		db.Do(t, "GRANT TRIGGER ON app.events TO "+role)
		_, err = source.Watch(t.Context(), conn, db.Installation, source.WatchOptions{})
		require.NoError(t, err)
		writer := "writer_" + db.Name
		db.Do(t, "CREATE ROLE "+writer+"; GRANT USAGE ON SCHEMA app TO "+writer+"; GRANT INSERT ON app.events TO "+writer+
			"; GRANT USAGE ON ALL SEQUENCES IN SCHEMA app TO "+writer)
		t.Cleanup(func() {
			_, err := db.Exec(context.WithoutCancel(t.Context()), "DROP OWNED BY "+writer+" CASCADE; DROP ROLE "+writer)
			require.NoError(t, err)
		})
		db.Do(t, "BEGIN; SET LOCAL ROLE "+writer+"; INSERT INTO app.events (product_id, kind, occurred_at) VALUES (1, 'view', '2026-03-01 12:00+00'); COMMIT")
		require.Equal(t, "2026-03-01", db.requests(t))
		var callable bool
		require.NoError(t, db.QueryRow(t.Context(), "SELECT has_function_privilege($1, 'analytics.watch_1()', 'EXECUTE')", writer).Scan(&callable))
		require.False(t, callable)
		removed, err := source.Unwatch(t.Context(), conn, "app.events", audit.Who{})
		require.NoError(t, err)
		require.Len(t, removed, 1)
		require.Zero(t, db.triggers(t))
	})
	t.Run("SuperuserLeavesNoSuperuser", func(t *testing.T) {
		t.Parallel()
		db, options := setupEvents(t)
		conn, role := db.as(t, append(ownership(), "ALTER TABLE analytics.rollup_requests OWNER TO ROLE", "GRANT USAGE ON SCHEMA app TO ROLE", "GRANT SELECT ON app.events TO ROLE")...)
		require.NoError(t, source.Set(t.Context(), conn, db.Installation, options))
		db.watch(t, source.WatchOptions{})
		var owner string
		require.NoError(t, db.QueryRow(t.Context(), "SELECT proowner::regrole::text FROM pg_proc WHERE proname = 'watch_1'").Scan(&owner))
		require.Equal(t, role, owner)
	})
	t.Run("Tables", func(t *testing.T) {
		t.Parallel()
		db, options := setupEvents(t)
		_, err := source.Watch(t.Context(), db.DB.DB, db.Installation, source.WatchOptions{})
		require.ErrorIs(t, err, source.ErrNone)
		db.set(t, options)
		db.Do(t, `CREATE VIEW app.shown AS SELECT * FROM app.events; CREATE EXTENSION postgres_fdw;
			CREATE SERVER other FOREIGN DATA WRAPPER postgres_fdw; CREATE FOREIGN TABLE app.far (at timestamptz) SERVER other`)
		for says, o := range map[string]source.WatchOptions{
			"app.shown is a view":                       {Table: "app.shown", Time: "occurred_at"},
			"app.far is a foreign table":                {Table: "app.far", Time: "at"},
			"analytics.source belongs to Daymill":       {Table: "analytics.source", Time: "set_at"},
			"column id of app.events is not an instant": {Table: "app.events", Time: "id"},
			"has no column \"never\" for --time":        {Table: "app.events", Time: "never"},
			"--table needs --time":                      {Table: "app.events"},
			"--time and --time-zone need --table":       {Time: "occurred_at"},
		} {
			_, err := source.Watch(t.Context(), db.DB.DB, db.Installation, o)
			require.ErrorIs(t, err, source.ErrRefused, says)
			require.ErrorContains(t, err, says)
		}
		require.Zero(t, db.triggers(t))
	})
}

func TestUnwatch(t *testing.T) {
	t.Parallel()

	t.Run("Idempotent", func(t *testing.T) {
		t.Parallel()
		db, options := setupEvents(t)
		db.set(t, options)
		first := db.watch(t, source.WatchOptions{})
		db.Do(t, "ALTER TABLE app.events DISABLE TRIGGER daymill_watch_update")
		require.Equal(t, []string{"app.events"}, db.show(t).Watched[0].Unwatched)
		require.Equal(t, first, db.watch(t, source.WatchOptions{}), "it is enabled again")
		db.Do(t, "CREATE TABLE app.others (LIKE app.events)")
		db.watch(t, source.WatchOptions{Table: "app.others", Time: "occurred_at"})
		removed, err := source.Unwatch(t.Context(), db.DB.DB, "app.events", audit.Who{})
		require.NoError(t, err)
		require.Equal(t, []source.Watched{first}, removed)
		require.Equal(t, 4, db.triggers(t), "the other's")
		removed, err = source.Unwatch(t.Context(), db.DB.DB, "app.events", audit.Who{})
		require.NoError(t, err)
		require.Empty(t, removed)
		// A dropped table leaves its function behind, and another watch may use that name.
		db.Do(t, "DROP TABLE app.others")
		db.watch(t, source.WatchOptions{})
		require.Empty(t, db.functionsBeside(t, "watch_1"))
	})
	t.Run("MigrateDown", func(t *testing.T) {
		t.Parallel()
		db, options := setupEvents(t)
		db.set(t, options)
		db.watch(t, source.WatchOptions{})
		_, err := schema.Down(t.Context(), db.DB.DB, 0, true, false, audit.Who{})
		require.NoError(t, err)
		require.Zero(t, db.triggers(t))
		db.Do(t, "INSERT INTO app.events (product_id, kind, occurred_at) VALUES (1, 'view', '2026-03-01 12:00+00')")
	})
}

// functionsBeside lists the functions of triggers except one.
func (db *testBundle) functionsBeside(t *testing.T, one string) []string {
	t.Helper()
	rows, err := db.Query(t.Context(), "SELECT proname FROM pg_proc WHERE proname ~ '^watch_[0-9]+$' AND proname <> $1", one)
	require.NoError(t, err)
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return all
}
