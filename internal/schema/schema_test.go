package schema_test

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/schema"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/internal/worker"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func options(conn *postgres.DB, entityType entity.Type, zone string) schema.Options {
	return schema.Options{
		EntityType: entityType, TimeZone: zone,
		River: worker.RiverMigrator(conn.Pool),
	}
}

// objects lists the objects of the schema and the triggers on River's jobs, to compare two states of a database.
func objects(t *testing.T, conn *postgres.DB) (all []string) {
	t.Helper()
	err := conn.QueryRow(t.Context(), `
		SELECT coalesce(array_agg(o ORDER BY o), '{}') FROM (
			SELECT 'relation ' || c.relkind::text || ' ' || c.relname FROM pg_class AS c
			WHERE c.relnamespace IN (to_regnamespace('analytics'), to_regnamespace('daymill'))
			UNION ALL
			SELECT 'function ' || p.oid::regprocedure::text || ' ' || md5(p.prosrc) FROM pg_proc AS p
			WHERE p.pronamespace IN (to_regnamespace('analytics'), to_regnamespace('daymill'))
			UNION ALL
			SELECT 'trigger ' || t.tgname FROM pg_trigger AS t WHERE t.tgname LIKE 'daymill%'
			UNION ALL
			SELECT 'column ' || a.attrelid::regclass || ' ' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
			FROM pg_attribute AS a INNER JOIN pg_class AS c ON c.oid = a.attrelid
			WHERE c.relnamespace IN (to_regnamespace('analytics'), to_regnamespace('daymill')) AND c.relkind IN ('r', 'v') AND a.attnum > 0 AND NOT a.attisdropped
		) AS s (o)`).Scan(&all)
	require.NoError(t, err)
	return all
}

func TestUp(t *testing.T) {
	t.Parallel()

	t.Run("AtOnce", func(t *testing.T) {
		t.Parallel()
		db := pgtest.Empty(t)
		var group errgroup.Group
		applied := make([]int, 4)
		for i := range applied {
			group.Go(func() error {
				migrations, err := schema.Up(t.Context(), db.DB, options(db.DB, entity.Bigint, "UTC"))
				applied[i] = len(migrations)
				return err
			})
		}
		require.NoError(t, group.Wait())
		all, err := schema.All()
		require.NoError(t, err)
		require.ElementsMatch(t, []int{len(all), 0, 0, 0}, applied)
	})

	t.Run("DownUp", func(t *testing.T) {
		t.Parallel()
		db := pgtest.Empty(t)
		require.Empty(t, objects(t, db.DB))
		_, err := schema.Up(t.Context(), db.DB, options(db.DB, entity.Text, "Europe/London"))
		require.NoError(t, err)
		before := objects(t, db.DB)
		require.NotEmpty(t, before)

		// One step at a time; each can be reverted.
		all, err := schema.All()
		require.NoError(t, err)
		for range all {
			_, err := schema.Down(t.Context(), db.DB, 1, false, false, audit.Who{})
			require.NoError(t, err)
		}
		require.Empty(t, objects(t, db.DB))
		_, err = schema.Get(t.Context(), db.DB)
		require.ErrorIs(t, err, schema.ErrNotMigrated)

		_, err = schema.Up(t.Context(), db.DB, options(db.DB, entity.Text, "Europe/London"))
		require.NoError(t, err)
		require.Equal(t, before, objects(t, db.DB))
		_, err = schema.Down(t.Context(), db.DB, 2, false, false, audit.Who{})
		require.NoError(t, err)
		_, err = schema.Up(t.Context(), db.DB, options(db.DB, "", ""))
		require.NoError(t, err)
		require.Equal(t, before, objects(t, db.DB))
	})

	// Down maps states that the older schema does not have to the closest ones that it has.
	t.Run("GrantsOfReads", func(t *testing.T) {
		t.Parallel()
		db := pgtest.Database(t, pgtest.Installed{EntityType: entity.UUID, TimeZone: "UTC"})
		all, err := schema.All()
		require.NoError(t, err)
		const before0039 = 38
		_, err = schema.Down(t.Context(), db.DB, len(all)-before0039, true, false, audit.Who{})
		require.NoError(t, err)
		reader, worker := "looks_"+db.Name, "works_"+db.Name
		db.Do(t, "CREATE ROLE "+reader+"; CREATE ROLE "+worker+"; GRANT SELECT ON analytics.source TO "+reader+"; GRANT UPDATE ON analytics.rollup_dates TO "+worker)
		t.Cleanup(func() {
			_, err := db.Exec(context.WithoutCancel(t.Context()), "DROP OWNED BY "+reader+", "+worker+"; DROP ROLE "+reader+", "+worker)
			require.NoError(t, err)
		})
		_, err = schema.Up(t.Context(), db.DB, options(db.DB, entity.UUID, "UTC"))
		require.NoError(t, err)
		var granted string
		require.NoError(t, db.QueryRow(t.Context(), `SELECT concat_ws(' ', has_table_privilege($1, t, 'SELECT'), has_table_privilege($1, t, 'INSERT'),
			has_table_privilege($2, t, 'SELECT'), has_table_privilege($2, t, 'INSERT'), has_table_privilege($2, t, 'UPDATE'), has_table_privilege($2, t, 'DELETE'))
			FROM (VALUES ('analytics.source_reads')) AS v (t)`, reader, worker).Scan(&granted))
		require.Equal(t, "t f t t t t", granted)
	})

	t.Run("DownTellsStates", func(t *testing.T) {
		t.Parallel()
		db := pgtest.Database(t, pgtest.Installed{EntityType: entity.UUID, TimeZone: "UTC"})
		_, err := db.Exec(t.Context(), `
			INSERT INTO analytics.rollup_dates (metric_date, state, run_id, scan_run_id)
			VALUES ('2026-03-01', 'stale', 1, 1), ('2026-03-02', 'protected', 2, 2), ('2026-03-03', 'failed', 3, 3);
			INSERT INTO analytics.rollup_runs (metric_date, state, worker) VALUES ('2026-03-02', 'protected', 'w');
			INSERT INTO analytics.rollup_requests (metric_date, resolved_at, resolution, erase)
			VALUES ('2026-03-02', now(), 'protected', true);
			INSERT INTO analytics.backfills (first_date, last_date) VALUES ('2026-03-02', '2026-03-02');
			INSERT INTO analytics.backfill_dates (backfill_id, metric_date, state) VALUES (1, '2026-03-02', 'protected')`)
		require.NoError(t, err)
		all, err := schema.All()
		require.NoError(t, err)
		at := slices.IndexFunc(all, func(m schema.Migration) bool { return m.Name == "verification" })
		_, err = schema.Down(t.Context(), db.DB, len(all)-at, true, false, audit.Who{})
		require.NoError(t, err)
		var told string
		err = db.QueryRow(t.Context(), `SELECT concat_ws(' ',
			(SELECT string_agg(state, ' ' ORDER BY metric_date) FROM analytics.rollup_dates),
			(SELECT state FROM analytics.rollup_runs), (SELECT resolution FROM analytics.rollup_requests),
			(SELECT state FROM analytics.backfill_dates), (SELECT analytics.enqueue_rollup('2026-03-01', '2026-03-02', 'x')))`).Scan(&told)
		require.NoError(t, err)
		require.Equal(t, "complete complete failed failed failed failed 2", told)
	})

	// Every role that may use the schema can request dates, but not erase metrics, and only the owner can make requests in Daymill's name.
	t.Run("Rights", func(t *testing.T) {
		t.Parallel()
		db := pgtest.Database(t, pgtest.Installed{EntityType: entity.UUID, TimeZone: "UTC"})
		role := pgx.Identifier{"erase_" + db.Name}.Sanitize()
		as := func(sql string) error {
			return pgx.BeginFunc(t.Context(), db.Pool, func(tx pgx.Tx) error {
				_, err := tx.Exec(t.Context(), "SET LOCAL SESSION AUTHORIZATION "+role+"; "+sql)
				return err
			})
		}
		_, err := db.Exec(t.Context(), "CREATE ROLE "+role+"; GRANT USAGE ON SCHEMA analytics TO "+role)
		require.NoError(t, err)
		t.Cleanup(func() {
			_, err := db.Exec(context.WithoutCancel(t.Context()), "DROP OWNED BY "+role+"; DROP ROLE "+role)
			require.NoError(t, err)
		})
		require.NoError(t, as("SELECT analytics.enqueue_rollup('2026-03-01'), analytics.enqueue_rollup('2026-03-01', '2026-03-02', 'my program')"))
		require.ErrorContains(t, as("SELECT analytics.enqueue_erase('2026-03-01', '2026-03-01')"), "permission denied for function enqueue_erase")
		for _, via := range []string{audit.ViaAPI, audit.ViaCLI, audit.ViaCron, audit.ViaWeb, audit.ViaWorker, "watch", "river", " Web"} {
			require.ErrorContains(t, as("SELECT analytics.enqueue_rollup('2026-03-01', '2026-03-01', '"+via+"')"), "is how Daymill names a way of its own")
		}
		require.NoError(t, as("SELECT analytics.enqueue_rollup('2026-03-01', '2026-03-01', repeat('x', 100))"))
		require.ErrorContains(t, as("SELECT analytics.enqueue_rollup('2026-03-01', '2026-03-01', repeat('x', 101))"), "via has 101 characters, and may have 100")
		_, err = db.Exec(t.Context(), "GRANT EXECUTE ON FUNCTION analytics.enqueue_erase(date, date, text) TO "+role)
		require.NoError(t, err)
		require.NoError(t, as("SELECT analytics.enqueue_erase('2026-03-01', '2026-03-01')"))
		var audited int
		require.NoError(t, db.QueryRow(t.Context(), "SELECT count(*) FROM daymill.audit WHERE action = 'request erasing' AND actor = $1",
			"erase_"+db.Name).Scan(&audited))
		require.Equal(t, 1, audited)
	})

	t.Run("MissingRights", func(t *testing.T) {
		t.Parallel()
		db := pgtest.Database(t, pgtest.Installed{EntityType: entity.UUID, TimeZone: "UTC"})
		for _, granted := range []string{"", "; GRANT USAGE ON SCHEMA analytics TO "} {
			role := fmt.Sprintf("reads_%d_%s", len(granted), db.Name)
			sql := "CREATE ROLE " + role + " LOGIN"
			if granted != "" {
				sql += granted + role
			}
			db.Do(t, sql)
			t.Cleanup(func() {
				_, err := db.Exec(context.WithoutCancel(t.Context()), "DROP OWNED BY "+role+"; DROP ROLE "+role+"; DROP ROLE IF EXISTS acts_"+role)
				require.NoError(t, err)
			})
			at, err := url.Parse(db.URL)
			require.NoError(t, err)
			at.User = url.User(role)
			conn, err := postgres.Open(t.Context(), postgres.Config{URL: at.String()})
			require.NoError(t, err)
			t.Cleanup(conn.Close)
			_, err = schema.Status(t.Context(), conn)
			require.ErrorContains(t, err, "connect as the role that ran `daymill migrate`, or grant this role that one")

			// Another role logs in, but acts as this one.
			db.Do(t, "CREATE ROLE acts_"+role+" LOGIN IN ROLE "+role+"; ALTER ROLE acts_"+role+" IN DATABASE "+db.Name+" SET role = '"+role+"'")
			at.User = url.User("acts_" + role)
			acting, err := postgres.Open(t.Context(), postgres.Config{URL: at.String()})
			require.NoError(t, err)
			t.Cleanup(acting.Close)
			_, err = schema.Status(t.Context(), acting)
			require.ErrorContains(t, err, `the setting role makes this session act as "`+role+`": remove it with ALTER DATABASE`)
		}
	})

	t.Run("DryRun", func(t *testing.T) {
		t.Parallel()
		db := pgtest.Empty(t)
		dry := options(db.DB, entity.Text, "UTC")
		dry.DryRun = true
		pending, err := schema.Up(t.Context(), db.DB, dry)
		require.NoError(t, err)
		require.NotEmpty(t, pending)
		require.Empty(t, objects(t, db.DB))
	})

	t.Run("EntityType", func(t *testing.T) {
		t.Parallel()
		db := pgtest.Database(t, pgtest.Installed{EntityType: entity.UUID, TimeZone: "UTC"})
		_, err := schema.Up(t.Context(), db.DB, options(db.DB, entity.Bigint, ""))
		require.ErrorIs(t, err, schema.ErrEntityType)
		require.ErrorContains(t, err, "installed for uuid")
		_, err = schema.Up(t.Context(), db.DB, options(db.DB, entity.UUID, "UTC"))
		require.NoError(t, err)
	})

	t.Run("OwnerOfTheSchemaAlone", func(t *testing.T) {
		t.Parallel()
		db := pgtest.Empty(t)
		_, err := db.Exec(t.Context(), `
			CREATE ROLE owner_alone LOGIN;
			CREATE SCHEMA analytics AUTHORIZATION owner_alone;
			CREATE SCHEMA capture AUTHORIZATION owner_alone;
			CREATE SCHEMA daymill AUTHORIZATION owner_alone;
			CREATE SCHEMA view AUTHORIZATION owner_alone;
			CREATE SCHEMA views AUTHORIZATION owner_alone;
			CREATE SCHEMA river AUTHORIZATION owner_alone;`)
		require.NoError(t, err)
		t.Cleanup(func() {
			_, err := db.Exec(context.WithoutCancel(t.Context()), "DROP OWNED BY owner_alone CASCADE; DROP ROLE owner_alone")
			require.NoError(t, err)
		})
		_, err = db.Exec(t.Context(), "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
		require.NoError(t, err)
		config := db.Config().ConnConfig
		conn, err := postgres.Open(t.Context(), postgres.Config{
			URL: "postgres://owner_alone@" + postgres.Host(db.URL) + "/" + config.Database + "?sslmode=disable",
		})
		require.NoError(t, err)
		defer conn.Close()
		up := options(conn, entity.Bigint, "UTC")
		up.RiverSchema = "river"
		_, err = schema.Up(t.Context(), conn, up)
		require.NoError(t, err)
		installation, err := schema.Get(t.Context(), conn)
		require.NoError(t, err)
		require.Equal(t, "river", installation.RiverSchema)
	})

	t.Run("RiverSchema", func(t *testing.T) {
		t.Parallel()
		db := pgtest.Empty(t)
		up := options(db.DB, entity.Bigint, "UTC")
		// River would insert such a name into the SQL of its migrations without quoting it.
		for _, name := range []string{`hostile "schema"; DROP`, "a'b", "a.b", "a b", "1a", "a-b", "é", "a\x00", strings.Repeat("a", 47)} {
			up.RiverSchema = name
			_, err := schema.Up(t.Context(), db.DB, up)
			require.ErrorIs(t, err, worker.ErrRiverSchema, name)
		}
		require.Empty(t, objects(t, db.DB))
		up.RiverSchema = "Select"
		_, err := schema.Up(t.Context(), db.DB, up)
		require.NoError(t, err)
		var triggers int
		err = db.QueryRow(t.Context(), `SELECT count(*) FROM pg_trigger AS t INNER JOIN pg_class AS c ON c.oid = t.tgrelid
			INNER JOIN pg_namespace AS n ON n.oid = c.relnamespace
			WHERE n.nspname = $1 AND t.tgname LIKE 'daymill%'`, up.RiverSchema).Scan(&triggers)
		require.NoError(t, err)
		require.Equal(t, 6, triggers)
		up.RiverSchema = "public"
		_, err = schema.Up(t.Context(), db.DB, up)
		require.ErrorIs(t, err, schema.ErrRiverSchema)
	})

	t.Run("TimeZone", func(t *testing.T) {
		t.Parallel()
		db := pgtest.Database(t, pgtest.Installed{EntityType: entity.UUID, TimeZone: "UTC"})
		_, err := schema.Up(t.Context(), db.DB, options(db.DB, "", "Mars/Olympus"))
		require.ErrorIs(t, err, schema.ErrNoTimeZone)

		_, err = schema.Up(t.Context(), db.DB, options(db.DB, "", "europe/london"))
		require.NoError(t, err)
		installation, err := schema.Get(t.Context(), db.DB)
		require.NoError(t, err)
		require.Equal(t, "Europe/London", installation.TimeZone)

		_, err = db.Exec(t.Context(), `INSERT INTO analytics.rollup_dates (metric_date, state, run_id, scan_run_id)
			VALUES ('2026-03-01', 'complete', 1, 1)`)
		require.NoError(t, err)
		_, err = schema.Up(t.Context(), db.DB, options(db.DB, "", "UTC"))
		require.ErrorIs(t, err, schema.ErrTimeZone)
		require.ErrorContains(t, err, "TRUNCATE analytics.daily_entity_metrics, analytics.rollup_dates")

		// The fix that the error suggests works.
		_, err = db.Exec(t.Context(), "TRUNCATE analytics.daily_entity_metrics, analytics.rollup_dates")
		require.NoError(t, err)
		_, err = schema.Up(t.Context(), db.DB, options(db.DB, "", "UTC"))
		require.NoError(t, err)
	})
}

func TestDownKeepsMetrics(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	_, err := db.Exec(t.Context(), "INSERT INTO analytics.daily_entity_metrics (entity_id, metric_date) VALUES (1, '2026-03-01')")
	require.NoError(t, err)
	before := objects(t, db.DB)
	_, err = schema.Down(t.Context(), db.DB, 0, false, false, audit.Who{})
	require.ErrorIs(t, err, schema.ErrLoss)
	require.Equal(t, before, objects(t, db.DB))
	_, err = schema.Down(t.Context(), db.DB, 0, true, false, audit.Who{})
	require.NoError(t, err)
	require.Empty(t, objects(t, db.DB))
}

// Dates follow each other without gaps or overlaps: date_start and date_of agree at the beginning of every
// date, in zones whose clocks skip midnight, go back across it, or skip a whole date.
func TestDates(t *testing.T) {
	t.Parallel()
	for _, zone := range []string{"America/Sao_Paulo", "America/St_Johns", "Asia/Kathmandu", "Europe/London", "Pacific/Apia", "UTC"} {
		t.Run(zone, func(t *testing.T) {
			t.Parallel()
			db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: zone})
			var wrong []string
			err := db.QueryRow(t.Context(), `
				SELECT coalesce(array_agg(d::text ORDER BY d), '{}')
				FROM (
					SELECT d::date AS d, analytics.date_start(d::date) AS s, analytics.date_start(d::date + 1) AS e
					FROM generate_series('2009-01-01'::date, '2017-12-31', '1 day') AS d
				) AS b
				WHERE b.e < b.s OR b.e > b.s AND (
					analytics.date_of(b.s) <> b.d OR analytics.date_of(b.e - interval '1 microsecond') <> b.d
					OR analytics.date_of(b.s + (b.e - b.s) / 2) <> b.d
				)`).Scan(&wrong)
			require.NoError(t, err)
			require.Empty(t, wrong)
		})
	}
}
