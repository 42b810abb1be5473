package schema_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/schema"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// before0018 is the last migration with the tables of all capabilities in the schema analytics.
const before0018 = 17

// TestHouse migrates an installation with rows and grants from before migration 0018 to the newest version,
// and back.
func TestHouse(t *testing.T) {
	t.Parallel()

	type testBundle struct {
		db   *pgtest.DB
		role string
		up   schema.Options
	}

	// setup returns an installation at migration 17 in which a role may read the history of jobs and call what it needs for that.
	setup := func(t *testing.T) *testBundle {
		t.Helper()
		db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint})
		b := &testBundle{db: db, role: "reader_" + db.Name, up: options(db.DB, entity.Bigint, "")}
		down(t, db.DB)
		execute(t, db, "CREATE ROLE "+b.role+" LOGIN")
		t.Cleanup(func() {
			_, err := db.Exec(context.WithoutCancel(t.Context()), "DROP OWNED BY "+b.role+" CASCADE; DROP ROLE "+b.role)
			require.NoError(t, err)
		})
		execute(t, db, "GRANT USAGE ON SCHEMA analytics TO "+b.role+`;
			GRANT SELECT ON analytics.jobs, analytics.workers TO `+b.role+`;
			GRANT EXECUTE ON FUNCTION analytics.job_words(text) TO `+b.role+`;
			INSERT INTO public.river_job (kind, queue, args, max_attempts) VALUES ('rollup_day', 'daymill', '{"date": "2026-03-01"}', 5);
			INSERT INTO analytics.audit (actor, via, action, target) VALUES ('anna', 'web', 'retry jobs', '1');
			INSERT INTO analytics.schedules (name, last_due_at, paused_at) VALUES ('daily_rollup', '2026-03-01', '2026-03-02');
			INSERT INTO analytics.workers (name, version, workers, pace, max_entities, daily_hour, lookback, retention_seconds, follower)
			VALUES ('one', 'v1', 2, 1, 1000, 3, 2, 86400, false)`)
		return b
	}

	// stored returns the rows of a table as JSON, without the columns that later migrations add.
	stored := func(t *testing.T, db *pgtest.DB, name string) (rows []string) {
		t.Helper()
		err := db.QueryRow(t.Context(), "SELECT array_agg((to_jsonb(r) - 'inspected_at' - 'followers' - 'current_pace' - 'pace_reason')::text ORDER BY to_jsonb(r)::text) FROM "+name+" AS r").Scan(&rows)
		require.NoError(t, err)
		return rows
	}

	tables := []string{"audit", "jobs", "schedules", "workers"}

	t.Run("KeepsGrants", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		read := func(place string) {
			tx, err := b.db.Begin(t.Context())
			require.NoError(t, err)
			defer tx.Rollback(t.Context()) //nolint:errcheck // It only reads.
			var found int
			_, err = tx.Exec(t.Context(), "SET LOCAL ROLE "+b.role)
			require.NoError(t, err)
			err = tx.QueryRow(t.Context(), "SELECT count(*) FROM "+place+".jobs AS j, "+place+".workers WHERE j.words @@ "+place+".job_words('2026-03-01')").Scan(&found)
			require.NoError(t, err)
			require.Equal(t, 1, found)
			_, err = tx.Exec(t.Context(), "SELECT FROM "+place+".audit")
			require.Equal(t, "42501", postgres.Code(err), "what it could not read before, it cannot read now")
		}
		read("analytics")
		_, err := schema.Up(t.Context(), b.db.DB, b.up)
		require.NoError(t, err)
		read("daymill")
		down(t, b.db.DB)
		read("analytics")
	})

	t.Run("KeepsRows", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		had, before := map[string][]string{}, objects(t, b.db.DB)
		for _, name := range tables {
			had[name] = stored(t, b.db, "analytics."+name)
			require.NotEmpty(t, had[name])
		}
		_, err := schema.Up(t.Context(), b.db.DB, b.up)
		require.NoError(t, err)
		for _, name := range tables {
			require.Equal(t, had[name], stored(t, b.db, "daymill."+name))
		}
		faults, err := schema.Faults(t.Context(), b.db.DB, b.db.Installation)
		require.NoError(t, err)
		require.Empty(t, faults, "an upgrade makes what a first installation makes")

		// Writers of these tables still work, and their ids continue.
		execute(t, b.db, `INSERT INTO public.river_job (kind, queue, args, max_attempts) VALUES ('rollup_day', 'daymill', '{"date": "2026-03-02"}', 5)`)
		var jobs, entries int
		require.NoError(t, b.db.QueryRow(t.Context(), "SELECT (SELECT count(*) FROM daymill.jobs), (SELECT count(DISTINCT id) FROM daymill.audit)").Scan(&jobs, &entries))
		require.Equal(t, len(had["jobs"])+1, jobs)
		require.Equal(t, len(had["audit"])+1, entries)
		execute(t, b.db, "DELETE FROM public.river_job WHERE args ->> 'date' = '2026-03-02'; DELETE FROM daymill.jobs WHERE metric_date = '2026-03-02'")
		execute(t, b.db, "DELETE FROM daymill.audit WHERE target = '2026-03-02'")

		down(t, b.db.DB)
		for _, name := range tables {
			require.Equal(t, had[name], stored(t, b.db, "analytics."+name))
		}
		require.Equal(t, before, objects(t, b.db.DB))
		var exists bool
		require.NoError(t, b.db.QueryRow(t.Context(), "SELECT to_regnamespace('daymill') IS NOT NULL").Scan(&exists))
		require.False(t, exists)
	})

	t.Run("LeavesWhatIsSomebodyElses", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		execute(t, b.db, "CREATE SCHEMA daymill; CREATE TABLE daymill.mine ()")
		_, err := schema.Up(t.Context(), b.db.DB, b.up)
		require.NoError(t, err)
		_, err = schema.Down(t.Context(), b.db.DB, 0, true, false, audit.Who{})
		require.NoError(t, err)
		execute(t, b.db, "SELECT FROM daymill.mine")
	})

	t.Run("SaysWhatARoleNeeds", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		execute(t, b.db, "ALTER SCHEMA analytics OWNER TO "+b.role)
		execute(t, b.db, `DO $$ DECLARE r record; BEGIN
			FOR r IN SELECT c.oid::regclass AS name FROM pg_class AS c WHERE c.relnamespace = 'analytics'::regnamespace AND c.relkind = 'r' LOOP
				EXECUTE format('ALTER TABLE %s OWNER TO `+b.role+`', r.name);
			END LOOP;
		END $$`)
		conn, err := postgres.Open(t.Context(), postgres.Config{
			URL: "postgres://" + b.role + "@" + postgres.Host(b.db.URL) + "/" + b.db.Name + "?sslmode=disable",
		})
		require.NoError(t, err)
		defer conn.Close()
		up := b.up
		up.River = nil
		_, err = schema.Up(t.Context(), conn, up)
		require.ErrorContains(t, err, "may not create the schema daymill: run GRANT CREATE ON DATABASE "+b.db.Name+" TO "+b.role+
			"; or CREATE SCHEMA daymill AUTHORIZATION "+b.role+";")
	})
}

// down reverts all migrations after 17.
func down(t *testing.T, conn *postgres.DB) {
	t.Helper()
	all, err := schema.All()
	require.NoError(t, err)
	_, err = schema.Down(t.Context(), conn, len(all)-before0018, true, false, audit.Who{})
	require.NoError(t, err)
}

func execute(t *testing.T, db *pgtest.DB, sql string) {
	t.Helper()
	_, err := db.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err, sql)
}
