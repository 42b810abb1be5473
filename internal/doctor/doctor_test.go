package doctor_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/doctor"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/health"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/checkup"
	"github.com/daymill/daymill/internal/rollup/source"
	"github.com/daymill/daymill/internal/schema"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/internal/worker"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// shifted is a clock that is ahead.
type shifted struct {
	pace.SystemClock

	by time.Duration
}

func (c shifted) Now() time.Time { return c.SystemClock.Now().Add(c.by) }

// of returns the levels and the sentences of a check's findings.
func of(findings []doctor.Finding, id string) (levels []doctor.Level, sentences string) {
	for _, f := range findings {
		if f.ID == id {
			levels, sentences = append(levels, f.Level), sentences+f.Sentence+" | "+f.Fix+"\n"
		}
	}
	return levels, sentences
}

func open(t *testing.T, url string) *postgres.DB {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	return db
}

// role creates a role that can log in, and returns its name and URL.
func role(t *testing.T, db *pgtest.DB, attributes string) (name, url string) {
	t.Helper()
	name = "role_" + db.Name
	_, err := db.Exec(t.Context(), "CREATE ROLE "+name+" LOGIN "+attributes)
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := db.Exec(context.WithoutCancel(t.Context()), "DROP OWNED BY "+name+" CASCADE; DROP ROLE "+name)
		require.NoError(t, err)
	})
	return name, strings.Replace(db.URL, "//postgres@", "//"+name+"@", 1)
}

const watched = `CREATE TABLE public.parts (who bigint NOT NULL, what text, at timestamptz NOT NULL) PARTITION BY RANGE (at);
	CREATE TABLE public.parts_1 PARTITION OF public.parts DEFAULT;
	CREATE INDEX ON public.parts (at)`

// stands inserts a job that no worker has taken for ten minutes, although a worker is alive.
const stands = `INSERT INTO daymill.workers (name, version, workers, pace, max_entities, daily_hour, lookback, retention_seconds, follower)
	VALUES ('w', 'v', 1, 1, 1, 1, 1, 1, false);
	INSERT INTO river_job (kind, args, max_attempts, queue, scheduled_at) VALUES ('backfill', '{}', 5, 'daymill', now() - interval '10 minutes');`

// extension lists an extension that cannot be installed here, as if it were there.
func extension(name, version string) string {
	return `SET allow_system_table_mods = on; INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
		VALUES (99999, '` + name + `', 10, 11, false, '` + version + `'); RESET allow_system_table_mods`
}

// distributed makes Citus's catalog, with one table.
func distributed(table string) string {
	return `; SET allow_system_table_mods = on; CREATE TABLE pg_catalog.pg_dist_partition AS SELECT '` + table + `'::regclass AS logicalrelid;
		RESET allow_system_table_mods`
}

// TestExamineSupabase has a cluster of its own, because roles belong to the cluster.
func TestExamineSupabase(t *testing.T) {
	t.Parallel()
	db := pgtest.On(t, pgtest.Server(t, nil), pgtest.Installed{})
	config := doctor.Config{DB: open(t, db.URL), Clock: pace.SystemClock{}}
	levels, sentences := of(doctor.Examine(t.Context(), config), "engine")
	require.Empty(t, levels, sentences)
	db.Do(t, "CREATE ROLE supabase_admin")
	levels, sentences = of(doctor.Examine(t.Context(), config), "engine")
	require.Equal(t, []doctor.Level{doctor.Note}, levels)
	require.Contains(t, sentences, "Supabase: the shared pooler on port 6543 is in transaction mode")
}

// Extensions are always listed in the same order.
func TestExamineExtensions(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{})
	_, err := db.Exec(t.Context(), "CREATE EXTENSION pg_stat_statements")
	require.NoError(t, err)
	levels, sentences := of(doctor.Examine(t.Context(), doctor.Config{DB: open(t, db.URL), Clock: pace.SystemClock{}}), "extensions")
	require.Len(t, levels, 2)
	cron, statements, _ := strings.Cut(sentences, "\n")
	require.Contains(t, cron, "pg_cron")
	require.Equal(t, doctor.OK, levels[1])
	require.Contains(t, statements, "pg_stat_statements is installed")
}

// Other tests create and drop roles at the same time, so look only for this test's own.
func TestExamineNotify(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{})
	_, err := db.Exec(t.Context(), "REVOKE CONNECT ON DATABASE "+db.Name+" FROM PUBLIC")
	require.NoError(t, err)
	look := func() (levels []doctor.Level, sentences string) {
		return of(doctor.Examine(t.Context(), doctor.Config{DB: open(t, db.URL), Clock: pace.SystemClock{}}), "notify")
	}
	levels, sentences := look()
	require.Equal(t, []doctor.Level{doctor.OK}, levels, sentences)
	name, _ := role(t, db, "")
	_, err = db.Exec(t.Context(), "GRANT CONNECT ON DATABASE "+db.Name+" TO "+name)
	require.NoError(t, err)
	levels, sentences = look()
	require.Equal(t, []doctor.Level{doctor.Note}, levels)
	require.Contains(t, sentences, name+" may connect. Every role that may connect can pause queues")
}

// TestExamine gives a database one fault at a time, and expects the finding.
func TestExamine(t *testing.T) {
	t.Parallel()
	good := doctor.River{Schema: "public", Applied: 6, Newest: 6}
	for name, c := range map[string]struct {
		setup     string // DATABASE is the database's name
		configure func(config *doctor.Config)
		watch     bool // whether public.parts is watched before
		id        string
		levels    []doctor.Level
		says      string
	}{
		"AutovacuumOff":      {id: "autovacuum", levels: []doctor.Level{doctor.Warning}, says: "autovacuum is off: the queue"}, // as in all tests
		"AutovacuumOffTable": {setup: "ALTER TABLE river_job SET (autovacuum_enabled = off)", id: "autovacuum", levels: []doctor.Level{doctor.Warning, doctor.Warning}, says: "RESET (autovacuum_enabled)"},
		"BloatNone":          {id: "bloat", levels: []doctor.Level{doctor.OK}},
		"Clock":              {id: "clock", levels: []doctor.Level{doctor.OK}},
		"ClockAhead": {
			configure: func(c *doctor.Config) { c.Clock = shifted{by: time.Minute} },
			id:        "clock", levels: []doctor.Level{doctor.Warning}, says: "apart",
		},
		"ClockBehind": {
			configure: func(c *doctor.Config) { c.Clock = shifted{by: -time.Hour} },
			id:        "clock", levels: []doctor.Level{doctor.Failure}, says: "leads nothing",
		},
		"Connections": {id: "connections", levels: []doctor.Level{doctor.OK}},
		"ConnectionsFew": {
			configure: func(c *doctor.Config) { c.PoolSize = 400 },
			id:        "connections", levels: []doctor.Level{doctor.Warning}, says: "max_connections is 300",
		},
		"EngineAurora":       {setup: "CREATE FUNCTION public.aurora_version() RETURNS text LANGUAGE sql RETURN '16.6'", id: "engine", levels: []doctor.Level{doctor.Note}, says: "Amazon Aurora: "},
		"EngineCitus":        {setup: extension("citus", "13.2-1"), id: "engine", levels: []doctor.Level{doctor.Note, doctor.OK}, says: "Daymill's own tables are local"},
		"EngineCitusMetrics": {setup: extension("citus", "13.2-1") + distributed("analytics.daily_entity_metrics"), id: "engine", levels: []doctor.Level{doctor.Note, doctor.OK}, says: "Citus distributes the metrics"},
		"EngineCitusLedger":  {setup: extension("citus", "13.2-1") + distributed("analytics.rollup_dates"), id: "engine", levels: []doctor.Level{doctor.Note, doctor.Warning}, says: "Citus distributes analytics.rollup_dates, which must be local, because Daymill locks its rows | SELECT undistribute_table('analytics.rollup_dates');"},
		"EngineTimescaleDB":  {setup: extension("timescaledb", "2.26.0"), id: "engine", levels: []doctor.Level{doctor.Note}, says: "TimescaleDB: the chunks of a hypertable take no triggers"},
		"EngineNeon":         {setup: "ALTER DATABASE DATABASE SET neon.timeline_id = 'd3c4f0'", id: "engine", levels: []doctor.Level{doctor.Note}, says: "Neon: Neon removes"},
		"EnginePostgres":     {id: "engine"},
		"Follower":           {id: "follower"},
		"FollowerNone": {
			configure: func(c *doctor.Config) { c.Followers = []doctor.Follower{{DB: c.DB}} },
			id:        "follower", levels: []doctor.Level{doctor.Failure}, says: "never was a follower",
		},
		"Inventory":         {id: "inventory", levels: []doctor.Level{doctor.OK}},
		"InventorySequence": {setup: "INSERT INTO analytics.rollup_requests (metric_date) VALUES ('2026-03-01'); SELECT setval(pg_get_serial_sequence('analytics.rollup_requests', 'id'), 1, false)", id: "inventory", levels: []doctor.Level{doctor.Failure}, says: "rollup_requests_id_seq is behind: inserts fail with a duplicate key | daymill migrate"},
		"InventoryTrigger":  {setup: "ALTER TABLE river_job DISABLE TRIGGER daymill_request_insert", id: "inventory", levels: []doctor.Level{doctor.Failure}, says: "the trigger daymill_request_insert on public.river_job is disabled"},
		"InventoryView":     {setup: "DROP VIEW analytics.daily_entity_metrics_live", id: "inventory", levels: []doctor.Level{doctor.Failure}, says: "daymill migrate"},
		"Names":             {setup: "REVOKE CREATE ON SCHEMA public FROM PUBLIC", id: "names", levels: []doctor.Level{doctor.OK}},
		"NamesAnalytics":    {setup: "REVOKE CREATE ON SCHEMA public FROM PUBLIC; GRANT CREATE ON SCHEMA analytics TO pg_monitor", id: "names", levels: []doctor.Level{doctor.Warning}, says: "pg_monitor may create objects in the schema analytics"},
		"NamesPublic":       {setup: "GRANT CREATE ON SCHEMA public TO PUBLIC", id: "names", levels: []doctor.Level{doctor.Note}, says: "PUBLIC may create objects in the schema public"},
		"Pooler":            {id: "pooler", levels: []doctor.Level{doctor.OK}},
		"Primary":           {id: "primary", levels: []doctor.Level{doctor.OK}},
		"PrimaryReadOnly":   {setup: "ALTER DATABASE DATABASE SET default_transaction_read_only = on", id: "primary", levels: []doctor.Level{doctor.Warning}, says: "read-only"},
		"Queue":             {id: "queue", levels: []doctor.Level{doctor.OK}},
		"QueuePaused": {
			setup: stands + "INSERT INTO river_queue (name, paused_at, updated_at) VALUES ('daymill', now(), now())",
			id:    "queue", levels: []doctor.Level{doctor.OK},
		},
		"QueueStands":     {setup: stands, id: "queue", levels: []doctor.Level{doctor.Failure}, says: "the queue daymill stands still"},
		"Replication":     {id: "replication", levels: []doctor.Level{doctor.Note}, says: "wal_level is replica"},
		"RightsSuperuser": {id: "rights", levels: []doctor.Level{doctor.Note}, says: "superuser"},
		"River":           {id: "river", levels: []doctor.Level{doctor.OK}},
		"RiverFails": {
			configure: func(c *doctor.Config) { c.River.Err = errors.New("timeout") },
			id:        "river", levels: []doctor.Level{doctor.Warning}, says: "could not be checked: timeout",
		},
		"RiverMissing": {
			configure: func(c *doctor.Config) { c.River.Applied = 0 },
			id:        "river", levels: []doctor.Level{doctor.Failure}, says: "missing",
		},
		"RiverNewer": {
			configure: func(c *doctor.Config) { c.River.Applied = 9 },
			id:        "river", levels: []doctor.Level{doctor.Warning}, says: "newer",
		},
		"RiverOlder": {
			configure: func(c *doctor.Config) { c.River.Applied = 5 },
			id:        "river", levels: []doctor.Level{doctor.Failure}, says: "daymill migrate",
		},
		"Health": {
			configure: func(c *doctor.Config) {
				c.Health = func(context.Context) ([]health.Finding, error) {
					return []health.Finding{
						{Check: "faults", Level: health.Bad, Sentence: "Reported by another check."},
						{Check: "a", Level: health.Bad, Sentence: "Bad.", Command: "fix it"},
						{Check: "b", Level: health.Wait, Sentence: "Late."},
						{Check: "c", Level: health.Busy, Sentence: "Busy."},
					}, nil
				}
			},
			id: "health", levels: []doctor.Level{doctor.Failure, doctor.Warning, doctor.OK}, says: "Bad.",
		},
		"Schema":        {id: "schema", levels: []doctor.Level{doctor.OK}},
		"SchemaMissing": {setup: "DROP SCHEMA analytics CASCADE", id: "schema", levels: []doctor.Level{doctor.Failure}, says: "not installed"},
		"SchemaNewer":   {setup: "INSERT INTO analytics.schema_migrations VALUES (9999, 'x')", id: "schema", levels: []doctor.Level{doctor.Failure}, says: "deploy"},
		"SchemaOlder":   {setup: "DELETE FROM analytics.schema_migrations WHERE version = 1", id: "schema", levels: []doctor.Level{doctor.Failure}, says: "1 of"},
		"SchemaZone":    {setup: "UPDATE analytics.installation SET time_zone = 'No/Where'", id: "schema", levels: []doctor.Level{doctor.Failure}, says: "No/Where"},
		"SourceNone":    {id: "source", levels: []doctor.Level{doctor.Failure}, says: "reads no table"},
		"SourceNoIndex": {
			setup: `CREATE TABLE public.e (a bigint, b text, c timestamptz); CREATE OR REPLACE VIEW analytics.events AS
				SELECT a::analytics.entity_id AS entity_id, b AS event_type, c AS created_at FROM public.e`,
			id: "source", levels: []doctor.Level{doctor.OK, doctor.OK, doctor.OK, doctor.Failure}, says: "CREATE INDEX CONCURRENTLY",
		},
		"TimeZone":        {id: "time_zone", levels: []doctor.Level{doctor.OK}},
		"TimeZoneUnknown": {setup: "UPDATE analytics.installation SET time_zone = 'Local'", id: "time_zone", levels: []doctor.Level{doctor.Failure}, says: "does not know"},
		"Timeouts":        {id: "timeouts", levels: []doctor.Level{doctor.OK}},
		"TimeoutsIdle":    {setup: "ALTER DATABASE DATABASE SET idle_session_timeout = '30s'", id: "timeouts", levels: []doctor.Level{doctor.Warning}, says: "30s"},
		"TimeoutsOwn":     {setup: "ALTER DATABASE DATABASE SET statement_timeout = '10s'", id: "timeouts", levels: []doctor.Level{doctor.Note}, says: "statement_timeout is 10s"},
		"Transactions":    {id: "transactions", levels: []doctor.Level{doctor.OK}},
		"Version":         {id: "version", levels: []doctor.Level{doctor.OK}},
		"WatchAddedTo": {
			setup: "CREATE TABLE public.parts_2 PARTITION OF public.parts FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')",
			watch: true, id: "watch", levels: []doctor.Level{doctor.Warning}, says: "late events in public.parts_2 are not noticed",
		},
		"WatchDisabled": {setup: "ALTER TABLE public.parts DISABLE TRIGGER ALL", watch: true, id: "watch", levels: []doctor.Level{doctor.Failure}, says: "missing, disabled or changed"},
		"WatchLost":     {setup: "ALTER TABLE public.parts DROP at2 CASCADE", watch: true, id: "watch", levels: []doctor.Level{doctor.Failure}, says: "no longer has the column"},
		"WatchNone":     {id: "watch", levels: []doctor.Level{doctor.Note}, says: "daymill source watch"},
		"WatchOK":       {setup: "SELECT 1", watch: true, id: "watch", levels: []doctor.Level{doctor.OK}},
		"WatchRenamed":  {setup: "ALTER TABLE public.parts RENAME at2 TO happened", watch: true, id: "watch", levels: []doctor.Level{doctor.Warning}, says: "--time 'happened'"},
		"Wraparound":    {id: "wraparound", levels: []doctor.Level{doctor.OK}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint})
			if c.watch {
				_, err := db.Exec(t.Context(), strings.ReplaceAll(watched, "at timestamptz NOT NULL", "at timestamptz NOT NULL, at2 timestamptz"))
				require.NoError(t, err)
				require.NoError(t, source.Set(t.Context(), db.DB, db.Installation, source.Options{Table: "parts", Entity: "who", Type: "what", Time: "at"}))
				_, err = source.Watch(t.Context(), db.DB, db.Installation, source.WatchOptions{Table: "parts", Time: "at2"})
				require.NoError(t, err)
			}
			_, err := db.Exec(t.Context(), strings.ReplaceAll(c.setup, "DATABASE DATABASE", "DATABASE "+db.Name))
			require.NoError(t, err)
			config := doctor.Config{DB: open(t, db.URL), Clock: pace.SystemClock{}, PoolSize: 6, River: good, Checks: checkup.Checks()}
			if c.configure != nil {
				c.configure(&config)
			}
			findings := doctor.Examine(t.Context(), config)
			levels, sentences := of(findings, c.id)
			require.Equal(t, c.levels, levels, sentences)
			require.Contains(t, sentences, c.says)
			for _, f := range findings {
				require.False(t, f.Level == doctor.Failure && f.Fix == "", f.Sentence)
			}
		})
	}
}

// TestExamineRoles examines a database as roles with few rights.
func TestExamineRoles(t *testing.T) {
	t.Parallel()

	examine := func(t *testing.T, url string) []doctor.Finding {
		t.Helper()
		return doctor.Examine(t.Context(), doctor.Config{
			DB: open(t, url), Clock: pace.SystemClock{}, PoolSize: 6,
			River: doctor.River{Schema: "river", Applied: 1, Newest: 1},
		})
	}
	t.Run("ConnectionLimit", func(t *testing.T) {
		t.Parallel()
		db := pgtest.Database(t, pgtest.Installed{})
		_, url := role(t, db, "CONNECTION LIMIT 3")
		levels, sentences := of(examine(t, url), "connections")
		require.Equal(t, []doctor.Level{doctor.Failure}, levels, sentences)
		require.Contains(t, sentences, "the role may have 3")
	})
	t.Run("DatabaseLimit", func(t *testing.T) {
		t.Parallel()
		db := pgtest.Database(t, pgtest.Installed{})
		_, err := db.Exec(t.Context(), "ALTER DATABASE "+db.Name+" CONNECTION LIMIT 30")
		require.NoError(t, err)
		_, url := role(t, db, "")
		// Some of the thirty are in use, or being closed, and a worker would open up to forty-two.
		levels, sentences := of(doctor.Examine(t.Context(), doctor.Config{
			DB: open(t, url), Clock: pace.SystemClock{}, PoolSize: 40, River: doctor.River{Schema: "river", Applied: 1, Newest: 1},
		}), "connections")
		require.Equal(t, []doctor.Level{doctor.Warning}, levels, sentences)
		require.Contains(t, sentences, "the database may have 30")
	})
	t.Run("NoRights", func(t *testing.T) {
		t.Parallel()
		db := pgtest.Database(t, pgtest.Installed{})
		_, url := role(t, db, "")
		findings := examine(t, url)
		levels, sentences := of(findings, "schema")
		require.Equal(t, []doctor.Level{doctor.Note}, levels, sentences)
		require.Contains(t, sentences, "cannot see: ")
		levels, sentences = of(findings, "transactions")
		require.Equal(t, []doctor.Level{doctor.OK, doctor.Note}, levels, sentences)
	})
	t.Run("NotAllRights", func(t *testing.T) {
		t.Parallel()
		db := pgtest.Database(t, pgtest.Installed{})
		name, url := role(t, db, "")
		_, err := db.Exec(t.Context(), "GRANT USAGE ON SCHEMA analytics TO "+name+"; GRANT SELECT ON ALL TABLES IN SCHEMA analytics TO "+name)
		require.NoError(t, err)
		levels, sentences := of(examine(t, url), "rights")
		require.Equal(t, []doctor.Level{doctor.Failure}, levels)
		require.Contains(t, sentences, "GRANT USAGE ON SCHEMA capture, daymill, view, views TO "+name)
		_, err = db.Exec(t.Context(), "GRANT USAGE ON SCHEMA capture, daymill, view, views TO "+name)
		require.NoError(t, err)
		levels, sentences = of(examine(t, url), "rights")
		require.Equal(t, []doctor.Level{doctor.Failure}, levels)
		require.Contains(t, sentences, ", daymill.audit, ")
		_, err = db.Exec(t.Context(), "GRANT ALL ON ALL TABLES IN SCHEMA analytics, capture, daymill, view, views, public TO "+name)
		require.NoError(t, err)
		levels, sentences = of(examine(t, url), "rights")
		require.Equal(t, []doctor.Level{doctor.Failure}, levels)
		require.Contains(t, sentences, "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA analytics, capture, daymill, view, views TO "+name)
		_, err = db.Exec(t.Context(), "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA analytics, capture, daymill, view, views TO "+name)
		require.NoError(t, err)
		levels, sentences = of(examine(t, url), "rights")
		require.Equal(t, []doctor.Level{doctor.Warning}, levels, sentences)
		require.Contains(t, sentences, "does not own Daymill's schemas")
	})
	t.Run("Owner", func(t *testing.T) {
		t.Parallel()
		db := pgtest.Empty(t)
		name, url := role(t, db, "")
		_, err := db.Exec(t.Context(), "GRANT CREATE ON DATABASE "+db.Name+" TO "+name+`; CREATE SCHEMA app;
			CREATE TABLE app.events (who uuid NOT NULL, what text, at timestamptz); CREATE INDEX ON app.events (at);
			GRANT USAGE ON SCHEMA app TO `+name+"; GRANT SELECT, TRIGGER ON app.events TO "+name)
		require.NoError(t, err)
		conn := open(t, url)
		_, err = schema.Up(t.Context(), conn, schema.Options{RiverSchema: "river", River: worker.RiverMigrator(conn.Pool)})
		require.NoError(t, err)
		installation, err := schema.Get(t.Context(), conn)
		require.NoError(t, err)
		require.NoError(t, source.Set(t.Context(), conn, installation, source.Options{Table: "app.events", Entity: "who", Type: "what", Time: "at"}))
		_, err = source.Watch(t.Context(), conn, installation, source.WatchOptions{})
		require.NoError(t, err)
		for _, f := range examine(t, url) {
			require.NotEqual(t, doctor.Failure, f.Level, f.Sentence)
			require.True(t, f.Level != doctor.Warning || f.ID == "autovacuum", "%s: %s", f.ID, f.Sentence)
		}
		levels, sentences := of(examine(t, url), "rights")
		require.Equal(t, []doctor.Level{doctor.OK}, levels, sentences)
	})
	t.Run("Pooler", func(t *testing.T) {
		t.Parallel()
		db := pgtest.Database(t, pgtest.Installed{})
		levels, sentences := of(examine(t, pgtest.PgBouncer(t, db)), "pooler")
		require.Equal(t, []doctor.Level{doctor.Note}, levels, sentences)
		_, err := db.Exec(t.Context(), "ALTER DATABASE "+db.Name+" SET default_transaction_read_only = on")
		require.NoError(t, err)
		findings := examine(t, pgtest.PgBouncer(t, db))
		levels, sentences = of(findings, "pooler")
		require.Equal(t, []doctor.Level{doctor.Failure, doctor.Note}, levels, sentences)
		at := slices.IndexFunc(findings, func(f doctor.Finding) bool { return f.Level == doctor.Failure && f.ID == "pooler" })
		direct, err := pgx.Connect(t.Context(), db.Server.URL("postgres"))
		require.NoError(t, err)
		defer direct.Close(t.Context())
		_, err = direct.Exec(t.Context(), findings[at].Fix)
		require.NoError(t, err)
		levels, sentences = of(examine(t, pgtest.PgBouncer(t, db)), "pooler")
		require.Equal(t, []doctor.Level{doctor.Note}, levels, sentences)
	})
}

// TestExamineCluster needs its own cluster and a follower.
func TestExamineCluster(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t, map[string]string{
		"autovacuum": "on", "max_prepared_transactions": "2", "wal_level": "logical", "max_replication_slots": "1",
	})
	db := pgtest.On(t, server, pgtest.Installed{})
	follower, err := server.Follower(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, follower.Close()) })
	replica := open(t, follower.URL(db.Name))
	exec := func(t *testing.T, on *postgres.DB, sql string) {
		t.Helper()
		_, err := on.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	config := doctor.Config{DB: db.DB, Followers: []doctor.Follower{{DB: replica}}, Clock: pace.SystemClock{}, PoolSize: 6}
	// eventually repeats the examination until it finds what it should, because statistics and followers take
	// their time.
	eventually := func(t *testing.T, config doctor.Config, id string, says string, levels ...doctor.Level) {
		t.Helper()
		var found []doctor.Level
		var sentences string
		require.Eventually(t, func() bool {
			found, sentences = of(doctor.Examine(t.Context(), config), id)
			return strings.Contains(sentences, says) && len(found) == len(levels) && found[0] == levels[0]
		}, 30*time.Second, 50*time.Millisecond, "%s is %v: %s", id, &found, &sentences)
		require.Equal(t, levels, found)
	}

	eventually(t, config, "autovacuum", "is on", doctor.OK)
	eventually(t, config, "replication", "1 of 1 slots free", doctor.OK)
	eventually(t, config, "follower", "keeps up", doctor.OK)
	eventually(t, doctor.Config{DB: replica, Clock: pace.SystemClock{}}, "primary", "is a follower", doctor.Failure)

	several := config
	several.Followers = []doctor.Follower{{DB: replica}, {DB: db.DB}, {Err: errors.New("it is down")}}
	eventually(t, several, "follower", "of --source-url keeps up", doctor.OK, doctor.Warning, doctor.Warning)
	_, said := of(doctor.Examine(t.Context(), several), "follower")
	require.Contains(t, said, "follower 2 of --source-url accepts writes, because it was promoted or never was a follower: runs refuse to read from it")
	require.Contains(t, said, "follower 3 of --source-url cannot be reached, so runs read from the others: it is down")
	several.Followers = several.Followers[1:]
	levels, _ := of(doctor.Examine(t.Context(), several), "follower")
	require.Equal(t, []doctor.Level{doctor.Failure, doctor.Failure}, levels)

	exec(t, db.DB, "CREATE ROLE plain LOGIN")
	eventually(t, doctor.Config{DB: open(t, strings.Replace(db.URL, "//postgres@", "//plain@", 1)), Clock: pace.SystemClock{}},
		"replication", "may not replicate", doctor.Note)
	exec(t, db.DB, "SELECT pg_create_physical_replication_slot('taken')")
	eventually(t, config, "replication", "are taken", doctor.Note)

	exec(t, replica, "SELECT pg_wal_replay_pause()")
	eventually(t, config, "follower", "paused", doctor.Failure)
	exec(t, replica, "SELECT pg_wal_replay_resume()")
	eventually(t, config, "follower", "keeps up", doctor.OK)
	exec(t, replica, "ALTER SYSTEM SET recovery_min_apply_delay = '1h'")
	exec(t, replica, "SELECT pg_reload_conf()")
	exec(t, db.DB, "CREATE TABLE public.much AS SELECT i FROM generate_series(1, 1000) AS i")
	config.Limits.Lag = 1
	eventually(t, config, "follower", "MB behind", doctor.Warning)
	config.Followers = nil

	exec(t, db.DB, "ALTER TABLE daymill.schedules SET (autovacuum_enabled = off)")
	exec(t, db.DB, "INSERT INTO daymill.schedules SELECT i::text, now() FROM generate_series(1, 500) AS i; DELETE FROM daymill.schedules")
	config.Limits.DeadRows = 100
	eventually(t, config, "bloat", "daymill.schedules has 500 dead rows", doctor.Warning)

	tx, err := db.Begin(t.Context())
	require.NoError(t, err)
	config.Limits.Transaction = time.Nanosecond
	_, err = tx.Exec(t.Context(), "SELECT 1")
	require.NoError(t, err)
	eventually(t, config, "transactions", "pg_terminate_backend", doctor.Warning)
	_, err = tx.Exec(t.Context(), "CREATE TABLE public.prepared (); PREPARE TRANSACTION 'it''s'")
	require.NoError(t, err)
	require.NoError(t, tx.Rollback(t.Context()))
	eventually(t, config, "transactions", "ROLLBACK PREPARED 'it''s';", doctor.OK, doctor.Warning)
}
