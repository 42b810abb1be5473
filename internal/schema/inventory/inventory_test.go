package inventory_test

import (
	"context"
	"fmt"
	"math"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/rollup/source"
	"github.com/daymill/daymill/internal/schema"
	"github.com/daymill/daymill/internal/schema/inventory"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/internal/worker"
)

// faults returns all faults of the installation, as sentences.
func faults(t *testing.T, db *pgtest.DB) []string {
	t.Helper()
	found, err := source.Faults(t.Context(), db.DB, db.Installation)
	require.NoError(t, err)
	return found
}

// migrate does what `daymill migrate` does, and returns what it repaired.
func migrate(t *testing.T, db *pgtest.DB) (repaired []inventory.Fault, said []string) {
	t.Helper()
	_, err := schema.Up(t.Context(), db.DB, schema.Options{
		Who:      audit.Who{Via: "cli"},
		River:    worker.RiverMigrator(db.Pool),
		Repaired: func(found []inventory.Fault) { repaired = found },
	})
	require.NoError(t, err)
	said, err = source.Repair(t.Context(), db.DB, db.Installation, audit.Who{Via: "cli"})
	require.NoError(t, err)
	return repaired, said
}

func execute(t *testing.T, db *pgtest.DB, sql string) {
	t.Helper()
	_, err := db.Exec(t.Context(), sql)
	require.NoError(t, err, sql)
}

// setup returns a database with a watched source, a complete date, and some rows in each table that has a sequence.
func setup(t *testing.T) *pgtest.DB {
	t.Helper()
	db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint})
	execute(t, db, `CREATE SCHEMA app; CREATE TABLE app.events (id bigserial PRIMARY KEY, who bigint NOT NULL, what text, at timestamptz NOT NULL);
		CREATE INDEX ON app.events (at)`)
	require.NoError(t, source.Set(t.Context(), db.DB, db.Installation, source.Options{Table: "app.events", Entity: "who", Type: "what", Time: "at"}))
	_, err := source.Watch(t.Context(), db.DB, db.Installation, source.WatchOptions{})
	require.NoError(t, err)
	execute(t, db, "INSERT INTO app.events (who, what, at) VALUES (1, 'view', '2026-03-01 12:00+00')")
	execute(t, db, `INSERT INTO river_job (kind, args, max_attempts) VALUES ('rollup_day', '{"date": "2026-03-02"}', 5)`)
	require.Empty(t, faults(t, db))
	return db
}

// works requires that the installation has no faults, and that changes of the application's events request dates.
func works(t *testing.T, db *pgtest.DB) {
	t.Helper()
	require.Empty(t, faults(t, db))
	var before, after int
	count := "SELECT count(*) FROM analytics.rollup_requests WHERE metric_date IN ('2026-04-01', '2026-04-02')"
	require.NoError(t, db.QueryRow(t.Context(), count).Scan(&before))
	execute(t, db, "INSERT INTO app.events (who, what, at) VALUES (1, 'view', '2026-04-01 12:00+00')")
	execute(t, db, `INSERT INTO river_job (kind, args, max_attempts) VALUES ('rollup_day', '{"date": "2026-04-02"}', 5)`)
	require.NoError(t, db.QueryRow(t.Context(), count).Scan(&after))
	require.Equal(t, before+2, after)
	execute(t, db, "SELECT FROM analytics.daily_entity_metrics_live")
	repaired, said := migrate(t, db)
	require.Empty(t, repaired, "once is enough")
	require.Empty(t, said)
}

// TestRepair damages an installation. The damage is reported, and migrate repairs it.
func TestRepair(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		damage string
		says   string // among the faults
	}{
		"Column":               {"ALTER TABLE analytics.rollup_requests ALTER COLUMN requested_at DROP DEFAULT, ALTER COLUMN priority DROP NOT NULL", "requested_at is changed"},
		"ColumnIdentity":       {"ALTER TABLE analytics.rollup_requests ALTER COLUMN id DROP IDENTITY", "rollup_requests.id is changed"},
		"Constraint":           {"ALTER TABLE analytics.daily_entity_metrics DROP CONSTRAINT daily_entity_metrics_pkey", "daily_entity_metrics_pkey on analytics.daily_entity_metrics is missing"},
		"ConstraintChanged":    {"ALTER TABLE analytics.rollup_dates DROP CONSTRAINT rollup_dates_state_check, ADD CONSTRAINT rollup_dates_state_check CHECK (true)", "rollup_dates_state_check on analytics.rollup_dates is changed"},
		"Function":             {"DROP FUNCTION analytics.promote_jobs(timestamptz, interval)", "the function analytics.promote_jobs(at_instant timestamp with time zone, silence interval) is missing"},
		"FunctionBody":         {"CREATE OR REPLACE FUNCTION daymill.record_job() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'BEGIN RETURN NULL; END'", "the function daymill.record_job() is changed"},
		"FunctionDropped":      {"DROP FUNCTION analytics.request_from_job_insert() CASCADE", "request_from_job_insert() is missing; the trigger daymill_request_insert"},
		"FunctionInvoker":      {"ALTER FUNCTION daymill.record_job() SECURITY INVOKER", "record_job() is changed"},
		"FunctionOfAnother":    {"ALTER FUNCTION analytics.request_from_job_insert() OWNER TO pg_monitor", "request_from_job_insert() is changed"},
		"FunctionPath":         {"ALTER FUNCTION analytics.date_of(timestamptz) RESET search_path", "date_of(instant timestamp with time zone) is changed"},
		"FunctionPublic":       {"GRANT EXECUTE ON FUNCTION daymill.record_job() TO PUBLIC", "record_job() is changed"},
		"FunctionPublicNot":    {"REVOKE EXECUTE ON FUNCTION analytics.enqueue_rollup(date) FROM PUBLIC", "enqueue_rollup(metric_date date) is changed"},
		"Index":                {"DROP INDEX analytics.rollup_requests_open", "the index analytics.rollup_requests_open is missing"},
		"IndexInvalid":         {"UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'analytics.rollup_requests_open'::regclass", "rollup_requests_open is disabled"},
		"Rule":                 {"CREATE RULE skip AS ON INSERT TO analytics.rollup_requests DO INSTEAD NOTHING", "the rule skip on analytics.rollup_requests is not Daymill's"},
		"RuleOfRiver":          {"CREATE RULE skip AS ON DELETE TO river_job DO INSTEAD NOTHING", "the rule skip on public.river_job is not Daymill's"},
		"Sequence":             {"SELECT setval(pg_get_serial_sequence('analytics.rollup_requests', 'id'), 1, false)", "the sequence analytics.rollup_requests_id_seq is behind"},
		"SequenceOfRiver":      {"SELECT setval('river_job_id_seq', 1, false)", "river_job_id_seq is behind"},
		"TriggerDisabled":      {"ALTER TABLE river_job DISABLE TRIGGER daymill_request_insert", "daymill_request_insert on public.river_job is disabled"},
		"TriggerMissing":       {"DROP TRIGGER daymill_record_update ON river_job", "daymill_record_update on public.river_job is missing"},
		"TriggerOfTheLedger":   {"ALTER TABLE analytics.rollup_requests DISABLE TRIGGER ALL", "audit_requests on analytics.rollup_requests is disabled"},
		"TriggerReplica":       {"ALTER TABLE river_job ENABLE REPLICA TRIGGER daymill_request_insert", "daymill_request_insert on public.river_job is disabled"},
		"TriggersDisabled":     {"ALTER TABLE river_job DISABLE TRIGGER ALL", "and 3 more"},
		"Unlogged":             {"ALTER TABLE analytics.daily_entity_metrics SET UNLOGGED", "the table analytics.daily_entity_metrics is unlogged"},
		"View":                 {"DROP VIEW analytics.daily_entity_metrics_live", "the view analytics.daily_entity_metrics_live is missing"},
		"ViewChanged":          {"CREATE OR REPLACE VIEW analytics.daily_entity_metrics_live AS SELECT * FROM analytics.daily_entity_metrics", "daily_entity_metrics_live is changed"},
		"ViewOfEvents":         {"DROP VIEW analytics.events CASCADE", "daily_entity_metrics_live is missing"},
		"WatchDisabled":        {"ALTER TABLE app.events DISABLE TRIGGER ALL", "the triggers on app.events are missing, disabled or changed"},
		"WatchFunctionChanged": {"CREATE OR REPLACE FUNCTION analytics.watch_1() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'BEGIN RETURN NULL; END'", "the triggers on app.events"},
		"WatchFunctionDropped": {"DROP FUNCTION analytics.watch_1() CASCADE", "the triggers on app.events"},
		"WatchMissing":         {"DROP TRIGGER daymill_watch_insert ON app.events", "the triggers on app.events"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := setup(t)
			execute(t, db, c.damage)
			require.Contains(t, strings.Join(faults(t, db), "\n"), c.says)
			repaired, said := migrate(t, db)
			require.NotEmpty(t, len(repaired)+len(said))
			works(t, db)
		})
	}
}

// TestRowSecurity: row security hides rows from roles that it applies to, and not from others, such as superusers.
func TestRowSecurity(t *testing.T) {
	t.Parallel()
	db := setup(t)
	role := "plain_" + db.Name
	execute(t, db, fmt.Sprintf(`CREATE ROLE %[1]s; GRANT pg_read_all_data TO %[1]s; GRANT USAGE, CREATE ON SCHEMA analytics TO %[1]s;
		ALTER TABLE analytics.rollup_requests ENABLE ROW LEVEL SECURITY`, role))
	t.Cleanup(func() {
		_, err := db.Exec(context.WithoutCancel(t.Context()), "REASSIGN OWNED BY "+role+" TO CURRENT_USER; DROP OWNED BY "+role+"; DROP ROLE "+role)
		require.NoError(t, err)
	})
	as := func(do func(context.Context, pgx.Tx, inventory.Installed, ...string) ([]inventory.Fault, error)) string {
		var found []inventory.Fault
		require.NoError(t, pgx.BeginFunc(t.Context(), db.Pool, func(tx pgx.Tx) error {
			_, err := tx.Exec(t.Context(), "SET LOCAL ROLE "+role)
			if err == nil {
				found, err = do(t.Context(), tx, db.Installation.Inventory(), inventory.Table)
			}
			return err
		}))
		return inventory.List(found)
	}
	compare := func(ctx context.Context, tx pgx.Tx, installed inventory.Installed, _ ...string) ([]inventory.Fault, error) {
		return inventory.Compare(ctx, tx, installed)
	}
	const hidden = "the table analytics.rollup_requests is under row security for this role"
	require.Empty(t, faults(t, db))
	require.Equal(t, hidden, as(compare))
	require.Equal(t, hidden+", and could not be restored: must be owner of table rollup_requests", as(inventory.Repair))
	execute(t, db, "ALTER TABLE analytics.rollup_requests OWNER TO "+role)
	require.Empty(t, as(compare), "the owner is not subject to it")
	execute(t, db, "ALTER TABLE analytics.rollup_requests FORCE ROW LEVEL SECURITY")
	require.Equal(t, hidden, as(inventory.Repair))
	require.Empty(t, as(compare))
}

// TestRepairNot: migrate repairs what it can, and reports the rest.
func TestRepairNot(t *testing.T) {
	t.Parallel()
	db := setup(t)
	execute(t, db, `ALTER TABLE analytics.rollup_runs DROP COLUMN worker; DROP TABLE analytics.marks; ALTER TABLE river_job DISABLE TRIGGER ALL`)
	repaired, _ := migrate(t, db)
	require.NotEmpty(t, repaired)
	left, err := schema.Faults(t.Context(), db.DB, db.Installation)
	require.NoError(t, err)
	require.Len(t, left, 2)
	for _, fault := range repaired {
		switch fault.Kind {
		case inventory.Column:
			require.Contains(t, fault.Error, "restore analytics.rollup_runs.worker from a backup")
		case inventory.Table:
			require.Contains(t, fault.Error, "restore analytics.marks from a backup")
		default:
			require.Empty(t, fault.Error)
		}
	}
}

// TestSwapped: another table has taken the source's name, but the view still reads the old table.
func TestSwapped(t *testing.T) {
	t.Parallel()
	db := setup(t)
	execute(t, db, `BEGIN; ALTER TABLE app.events RENAME TO events_old; CREATE TABLE app.events (LIKE app.events_old INCLUDING ALL); COMMIT`)
	said := strings.Join(faults(t, db), "\n")
	require.Contains(t, said, `analytics.events reads app.events_old, but "app"."events", which was set as the source, is now a different table`)
	report, err := source.Check(t.Context(), db.DB, db.Installation)
	require.NoError(t, err)
	require.True(t, report.Failed())
	// Only a person knows which of the two tables has the events.
	_, _ = migrate(t, db)
	require.Contains(t, strings.Join(faults(t, db), "\n"), "analytics.events reads app.events_old")
	require.NoError(t, source.Set(t.Context(), db.DB, db.Installation, source.Options{Table: "app.events", Entity: "who", Type: "what", Time: "at"}))
	require.Empty(t, faults(t, db))
}

// pgCommand runs one of Postgres's programs.
func pgCommand(t *testing.T, db *pgtest.DB, fails bool, name string, arguments ...string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), filepath.Join(db.Server.Binaries.Dir, name), arguments...)
	output, err := command.CombinedOutput()
	if !fails {
		require.NoError(t, err, string(output))
	}
}

// TestRestore restores dumps as people do, with Postgres's programs.
func TestRestore(t *testing.T) {
	t.Parallel()

	// restored returns an empty database to restore into.
	restored := func(t *testing.T, from *pgtest.DB) *pgtest.DB {
		t.Helper()
		to := pgtest.Empty(t)
		to.Installation = from.Installation
		return to
	}
	t.Run("DataOnly", func(t *testing.T) {
		t.Parallel()
		from := setup(t)
		file := filepath.Join(t.TempDir(), "dump")
		pgCommand(t, from, false, "pg_dump", "-Fc", "-f", file, from.URL)
		to := restored(t, from)
		pgCommand(t, to, false, "pg_restore", "--schema-only", "-d", to.URL, file)
		// Disabling triggers is the usual advice for foreign keys. It leaves them disabled if the restore is interrupted.
		execute(t, to, "ALTER TABLE river_job DISABLE TRIGGER ALL; ALTER TABLE app.events DISABLE TRIGGER ALL; ALTER TABLE analytics.rollup_requests DISABLE TRIGGER ALL")
		pgCommand(t, to, false, "pg_restore", "--data-only", "-d", to.URL, file)
		require.NotEmpty(t, faults(t, to))
		repaired, said := migrate(t, to)
		require.NotEmpty(t, repaired)
		require.NotEmpty(t, said)
		works(t, to)
	})
	t.Run("PublicThenAnalytics", func(t *testing.T) {
		t.Parallel()
		from := setup(t)
		file := filepath.Join(t.TempDir(), "dump")
		pgCommand(t, from, false, "pg_dump", "-Fc", "-f", file, from.URL)
		to := restored(t, from)
		execute(t, to, "CREATE SCHEMA app; CREATE SCHEMA analytics; CREATE SCHEMA capture; CREATE SCHEMA daymill; CREATE SCHEMA view; CREATE SCHEMA views")
		// The triggers call functions that do not exist yet.
		pgCommand(t, to, true, "pg_restore", "-n", "public", "-n", "app", "-d", to.URL, file)
		pgCommand(t, to, false, "pg_restore", "-n", "analytics", "-n", "capture", "-n", "daymill", "-n", "view", "-n", "views", "-d", to.URL, file)
		said := strings.Join(faults(t, to), "\n")
		require.Contains(t, said, "is missing")
		require.Contains(t, said, "the triggers on app.events")
		_, _ = migrate(t, to)
		works(t, to)
	})
	// Somebody did not know of all schemas, or the dump is from before they existed.
	t.Run("PublicThenAnalyticsAlone", func(t *testing.T) {
		t.Parallel()
		from := setup(t)
		file := filepath.Join(t.TempDir(), "dump")
		pgCommand(t, from, false, "pg_dump", "-Fc", "-f", file, from.URL)
		to := restored(t, from)
		execute(t, to, "CREATE SCHEMA app; CREATE SCHEMA analytics; CREATE SCHEMA capture")
		pgCommand(t, to, true, "pg_restore", "-n", "public", "-n", "app", "-d", to.URL, file)
		pgCommand(t, to, true, "pg_restore", "-n", "analytics", "-d", to.URL, file) // Some views read tables of the missing schemas.
		found, err := schema.Faults(t.Context(), to.DB, to.Installation)
		require.NoError(t, err)
		var schemas []string
		for _, fault := range found {
			require.NotContains(t, []string{inventory.Table, inventory.Column}, fault.Kind, fault.String())
			if fault.Kind == inventory.Schema {
				schemas = append(schemas, fault.Name)
			}
		}
		require.Equal(t, []string{"capture", "daymill", "view", "views"}, schemas)
		repaired, _ := migrate(t, to)
		for _, fault := range repaired {
			require.Empty(t, fault.Error, fault.Name)
			require.NotContains(t, fault.Name, "capture.", "its schema is said")
		}
		works(t, to)
	})
	t.Run("SequencesBehind", func(t *testing.T) {
		t.Parallel()
		// Logical replication copies all rows, but no positions of sequences.
		from := setup(t)
		rows, err := from.Query(t.Context(), "SELECT format('%I.%I', schemaname, sequencename) FROM pg_sequences WHERE schemaname IN ('analytics', 'daymill', 'public')")
		require.NoError(t, err)
		names, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		for _, name := range names {
			execute(t, from, "SELECT setval('"+name+"', 1, false)")
		}
		// The application's statement does not fail, and no late event is lost: a worker requests its date.
		execute(t, from, "INSERT INTO app.events (who, what, at) VALUES (1, 'view', '2026-03-05 12:00+00')")
		require.NotEmpty(t, faults(t, from))
		_, _ = migrate(t, from)
		execute(t, from, "SELECT analytics.settle_faults()")
		var asked bool
		require.NoError(t, from.QueryRow(t.Context(), "SELECT EXISTS(SELECT FROM analytics.rollup_requests WHERE metric_date = '2026-03-05')").Scan(&asked))
		require.True(t, asked)
		works(t, from)
	})
}

// TestFunctions: only the owner may call a function, except those that everybody may call. None resolves
// names by the caller's search_path.
func TestFunctions(t *testing.T) {
	t.Parallel()
	db := setup(t)
	rows, err := db.Query(t.Context(), `
		SELECT p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')'
		FROM pg_proc AS p INNER JOIN pg_namespace AS n ON n.oid = p.pronamespace
		WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'public', 'app')
			AND EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS g WHERE g.grantee = 0)
		ORDER BY 1`)
	require.NoError(t, err)
	public, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	for _, signature := range public {
		name, _, _ := strings.Cut(signature, "(")
		require.Contains(t, []string{"date_of", "date_start", "enqueue_entities", "enqueue_rollup", "live_dates", "metrics_from", "time_zone"}, name, "everybody may call it")
	}
	var open string
	require.NoError(t, db.QueryRow(t.Context(), `
		SELECT coalesce(string_agg(p.oid::regprocedure::text, ', '), '')
		FROM pg_proc AS p INNER JOIN pg_namespace AS n ON n.oid = p.pronamespace
		WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'public', 'app')
			AND ('search_path=pg_catalog, pg_temp' = ANY (p.proconfig)) IS NOT TRUE`).Scan(&open))
	require.Equal(t, "analytics.other_count(jsonb)", open, "SET search_path = pg_catalog, pg_temp; see TestOtherCount")
}

// TestOtherCount: a query contains the function's expression and does not call it for each count, which needs a function without a search_path.
// So it must not use what somebody else has put into the caller's.
func TestOtherCount(t *testing.T) {
	t.Parallel()
	db := setup(t)
	execute(t, db, `CREATE FUNCTION public.jsonb_typeof(jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'stolen' $$;
		CREATE FUNCTION public.trunc(numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$ SELECT 13.0 $$;
		CREATE FUNCTION public.same(text, text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT false $$;
		CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = text, FUNCTION = public.same);
		CREATE DOMAIN public.numeric AS text; CREATE DOMAIN public.int8 AS text`)
	tx, err := db.Begin(t.Context())
	require.NoError(t, err)
	defer tx.Rollback(t.Context()) //nolint:errcheck // The error does not matter.
	_, err = tx.Exec(t.Context(), "SET LOCAL search_path = public, pg_catalog")
	require.NoError(t, err)
	const query = `SELECT pg_catalog.array_agg(analytics.other_count(e.value) ORDER BY e.ordinality)
		FROM pg_catalog.jsonb_array_elements('[7, -2.9, 1e30, -1e30, "9", null, {}]') WITH ORDINALITY AS e`
	var counts []int64
	require.NoError(t, tx.QueryRow(t.Context(), query).Scan(&counts))
	require.Equal(t, []int64{7, -2, math.MaxInt64, math.MinInt64, 0, 0, 0}, counts)
	rows, err := tx.Query(t.Context(), "EXPLAIN (VERBOSE) "+query)
	require.NoError(t, err)
	plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.NotContains(t, strings.Join(plan, "\n"), "other_count")
}

// TestAttack: a role that may use the schema can request a rollup, but cannot make a function of Daymill cast
// a value of a type that the role owns.
func TestAttack(t *testing.T) {
	t.Parallel()
	db := setup(t)
	role := "mallory_" + db.Name
	execute(t, db, "CREATE ROLE "+role+"; GRANT USAGE ON SCHEMA analytics, daymill TO "+role+"; CREATE TABLE public.loot (who text); GRANT CREATE ON SCHEMA public TO "+role)
	t.Cleanup(func() {
		_, err := db.Exec(context.WithoutCancel(t.Context()), "DROP OWNED BY "+role+" CASCADE; DROP ROLE "+role)
		require.NoError(t, err)
	})
	as := func(sql string) error {
		tx, err := db.Begin(t.Context())
		require.NoError(t, err)
		defer tx.Rollback(context.WithoutCancel(t.Context())) //nolint:errcheck // It may have been committed.
		if _, err := tx.Exec(t.Context(), "SET LOCAL ROLE "+role+";"+sql); err != nil {
			return err
		}
		return tx.Commit(t.Context())
	}
	require.NoError(t, as("SELECT analytics.enqueue_rollup('2026-03-01'); SELECT analytics.enqueue_rollup('2026-03-01', '2026-03-02')"))
	attack := `
		CREATE TYPE public.evil AS (x integer);
		CREATE FUNCTION public.strike(v public.evil) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.loot VALUES (current_user); RETURN '{}'; END $$;
		CREATE CAST (public.evil AS jsonb) WITH FUNCTION public.strike(public.evil) AS IMPLICIT;
		CREATE TEMPORARY TABLE bait (id bigint, kind text, args public.evil, state text, queue text, priority smallint, attempt smallint, max_attempts smallint,
			attempted_by text[], created_at timestamptz, scheduled_at timestamptz, attempted_at timestamptz, finalized_at timestamptz, errors jsonb[], metadata jsonb, unique_key bytea);`
	for _, function := range []string{"daymill.record_job", "analytics.request_from_job_insert", "analytics.request_from_job_change", "analytics.audit_requests"} {
		err := as(attack + "CREATE TRIGGER bite AFTER INSERT ON bait FOR EACH ROW EXECUTE FUNCTION " + function + "();" +
			"INSERT INTO bait (id, kind, args, state, metadata) VALUES (1, 'rollup_day', ROW(1), 'available', '{}')")
		require.ErrorContains(t, err, "permission denied for function "+function)
	}
	// Even with EXECUTE, the functions refuse tables that are not River's.
	execute(t, db, "GRANT EXECUTE ON FUNCTION daymill.record_job(), analytics.request_from_job_insert(), analytics.request_from_job_change() TO "+role)
	for _, function := range []string{"daymill.record_job", "analytics.request_from_job_insert", "analytics.request_from_job_change"} {
		err := as(attack + "CREATE TRIGGER bite BEFORE INSERT ON bait FOR EACH ROW EXECUTE FUNCTION " + function + "();" +
			"INSERT INTO bait (id, kind, args, state, metadata) VALUES (1, 'rollup_day', ROW(1), 'available', '{}')")
		require.ErrorContains(t, err, "is for the table of River's jobs")
	}
	var loot int
	require.NoError(t, db.QueryRow(t.Context(), "SELECT count(*) FROM public.loot").Scan(&loot))
	require.Zero(t, loot)
}

// TestSearchPath: a function of another role is not called, even if its arguments fit better than those of
// Postgres's own.
func TestSearchPath(t *testing.T) {
	t.Parallel()
	db := setup(t)
	execute(t, db, `CREATE FUNCTION public.unnest(date[]) RETURNS SETOF date LANGUAGE plpgsql AS $$ BEGIN RAISE 'of somebody else'; END $$`)
	_, err := db.Exec(t.Context(), "SELECT unnest(ARRAY['2026-03-01'::date])")
	require.ErrorContains(t, err, "of somebody else")
	_, err = db.DB.Exec(t.Context(), "SELECT unnest(ARRAY['2026-03-01'::date])")
	require.NoError(t, err)
	require.NoError(t, db.Tx(t.Context(), func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), "SELECT unnest(ARRAY['2026-03-01'::date])")
		return err
	}))
	works(t, db)
}

// TestPrepared: a transaction that requests a rollup can be prepared if it requests it without a notification, as late events do.
func TestPrepared(t *testing.T) {
	t.Parallel()
	db := pgtest.On(t, pgtest.Server(t, map[string]string{"max_prepared_transactions": "2"}), pgtest.Installed{})
	_, err := db.Exec(t.Context(), "BEGIN; SELECT analytics.enqueue_rollup('2026-03-01'); PREPARE TRANSACTION 'loud'")
	require.ErrorContains(t, err, "cannot PREPARE a transaction that has executed LISTEN, UNLISTEN, or NOTIFY")
	execute(t, db, `BEGIN; SET LOCAL daymill.notify = off; SELECT analytics.enqueue_rollup('2026-03-01');
		INSERT INTO river_job (kind, args, max_attempts) VALUES ('rollup_day', '{"date": "2026-03-02"}', 5); PREPARE TRANSACTION 'quiet'`)
	execute(t, db, "COMMIT PREPARED 'quiet'")
	execute(t, db, `BEGIN; INSERT INTO analytics.rollup_requests (metric_date, requested_via) VALUES ('2026-03-03', 'watch'); PREPARE TRANSACTION 'late'`)
	execute(t, db, "COMMIT PREPARED 'late'")
	var open int
	require.NoError(t, db.QueryRow(t.Context(), "SELECT count(*) FROM analytics.rollup_requests").Scan(&open))
	require.Equal(t, 3, open)
}
