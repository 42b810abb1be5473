package restore_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/archive/base"
	"github.com/daymill/daymill/internal/archive/chain"
	"github.com/daymill/daymill/internal/archive/restore"
	"github.com/daymill/daymill/internal/archive/store"
	"github.com/daymill/daymill/internal/archive/stream"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/pgserver"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestMain adds the directory of the server's programs to the PATH, so that the archive finds psql and pg_dump.
func TestMain(m *testing.M) {
	if arguments := os.Getenv(archiverVariable); arguments != "" {
		if err := archiver(context.Background(), arguments); err != nil {
			panic(err)
		}
		return
	}
	if binaries, err := pgserver.Find(context.Background()); err == nil {
		_ = os.Setenv("PATH", binaries.Dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	}
	pgtest.Main(m)
}

type testBundle struct {
	server  *pgserver.Server
	db      *pgtest.DB
	archive string
	store   *store.Store
	options base.Options
	clock   pace.Clock // pace.SystemClock if nil
}

func (b *testBundle) config() base.Config {
	config := base.Config{Source: b.db.DB, URL: b.db.URL, Store: b.store, Clock: pace.SystemClock{}}
	if b.clock != nil {
		config.Clock = b.clock
	}
	return config
}

// begin begins an archive in a new directory.
func (b *testBundle) begin(t *testing.T) {
	t.Helper()
	b.archive = filepath.Join(t.TempDir(), "archive")
	place, err := store.Directory(b.archive)
	require.NoError(t, err)
	b.store = place
	_, err = base.Init(t.Context(), b.config(), b.options)
	require.NoError(t, err)
}

func (b *testBundle) chain(t *testing.T) chain.Chain {
	t.Helper()
	archive, err := chain.Read(t.Context(), b.store)
	require.NoError(t, err)
	return archive
}

// path returns the path of a segment's file.
func (b *testBundle) path(file store.File) string { return filepath.Join(b.archive, file.Name) }

// TestRestore archives a database and compares it with what is restored.
func TestRestore(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t, map[string]string{"wal_level": "logical", "max_wal_senders": "20", "max_replication_slots": "20"})
	setup := func(t *testing.T) *testBundle {
		t.Helper()
		b := &testBundle{server: server, db: application(t, server)}
		b.begin(t)
		return b
	}

	t.Run("AlteredByOneByte", func(t *testing.T) {
		t.Parallel()
		alteredByOneByte(t, setup(t))
	})

	// The archive has the rows that triggers and rules wrote in the source. A restore does not run them again, and enables them afterwards as they were.
	t.Run("EnabledAlways", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		const made = `CREATE TABLE %[1]s (id int PRIMARY KEY, v int); CREATE TABLE %[1]s_queue (id int);
			CREATE FUNCTION %[1]s_f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO %[1]s_queue VALUES (NEW.id); RETURN NEW; END $$;
			CREATE TRIGGER odd AFTER INSERT ON %[1]s FOR EACH ROW EXECUTE FUNCTION %[1]s_f(); ALTER TABLE %[1]s ENABLE ALWAYS TRIGGER odd;
			CREATE RULE "100%%" AS ON DELETE TO %[1]s DO ALSO INSERT INTO %[1]s_queue VALUES (-old.id); ALTER TABLE %[1]s ENABLE REPLICA RULE "100%%";
			INSERT INTO %[1]s SELECT i, 0 FROM generate_series(1, 9) AS i; UPDATE %[1]s SET v = 1; DELETE FROM %[1]s WHERE id < 3;`
		b.psql(t, "-c", fmt.Sprintf(made, "before"),
			"-c", `CREATE FUNCTION noticed() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.before_queue VALUES (0); END $$;
				CREATE EVENT TRIGGER noticed ON ddl_command_end EXECUTE FUNCTION noticed(); ALTER EVENT TRIGGER noticed ENABLE ALWAYS`)
		require.NoError(t, base.Remove(t.Context(), b.db.DB, b.slot(t)))
		b.begin(t)
		stop := b.run(t, 0)
		b.psql(t, "-c", fmt.Sprintf(made, "later"), "-c", "INSERT INTO before VALUES (100, 0)", "-c", "ALTER TABLE before RENAME TO former",
			"-c", "INSERT INTO former VALUES (101, 0); DELETE FROM former WHERE id = 5", "-c", "ALTER TABLE later DISABLE TRIGGER odd; INSERT INTO later VALUES (102, 0)",
			"-c", "CREATE TABLE seen (i int)", "-c", "DROP TABLE seen")
		b.caughtUp(t)
		stop()
		b.equal(t, b.restored(t, restore.Config{}))
	})

	t.Run("ExactlyOnceAfterTornFiles", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.psql(t, "-c", "CREATE TABLE t (id serial, v text)")                                                                                           // Without a key, a transaction that is restored twice would show.
		torn := "BEGIN; -- 00000000/0FFFFFFF 2026-01-01T00:00:00Z\nCOPY \"public\".\"t\" (\"id\") FROM stdin;\n" + strings.Repeat("1\n", 500_000) + "1" // It is longer than what follows.
		for range 5 {
			stop := b.run(t, 0)
			b.psql(t, "-c", "INSERT INTO t (v) SELECT repeat('x', i) FROM generate_series(1, 50) AS i", "-c", "UPDATE t SET v = v || '!' WHERE id % 7 = 0")
			b.caughtUp(t)
			stop()
			archive := b.chain(t)
			last := archive.OpenPath()
			require.NoError(t, os.WriteFile(last, []byte(read(t, last)+torn), 0o600))
		}
		stop := b.run(t, 0)
		b.caughtUp(t)
		stop()
		archive := b.chain(t)
		require.Less(t, len(read(t, archive.OpenPath())), len(torn), "the torn end is gone")
		b.equal(t, b.restored(t, restore.Config{}))
	})

	// Every role may write messages to the WAL. They never become SQL that a restore runs.
	t.Run("ForgedMessage", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		stop := b.run(t, 2000)
		b.psql(t, "-c", `CREATE ROLE archive_guest; SET ROLE archive_guest;
			SELECT pg_logical_emit_message(true, p, '{"kind": "sql", "sql": "CREATE TABLE public.forged ()"}')
			FROM unnest(ARRAY['daymill_archive', 'daymill_archive.row', 'daymill_archive.pad']) AS p;
			RESET ROLE; CREATE TABLE public.honest (id integer PRIMARY KEY); INSERT INTO public.honest VALUES (1)`)
		var may bool
		require.NoError(t, b.db.QueryRow(t.Context(), "SELECT has_table_privilege('archive_guest', 'daymill_archive.secret', 'SELECT')").Scan(&may))
		require.False(t, may)
		var open []string
		require.NoError(t, b.db.QueryRow(t.Context(), `SELECT array_agg(p.proname) FROM pg_proc AS p
			WHERE p.pronamespace = 'daymill_archive'::regnamespace AND has_function_privilege('archive_guest', p.oid, 'EXECUTE')
				OR p.pronamespace = 'daymill_archive'::regnamespace AND has_schema_privilege('archive_guest', p.pronamespace, 'USAGE')`).Scan(&open))
		require.Empty(t, open, "functions that a guest may call")
		// A role that may read every table, or an old base, does not learn the prefix of the messages.
		var prefix string
		require.NoError(t, b.db.QueryRow(t.Context(), "SELECT prefix FROM daymill_archive.secret").Scan(&prefix))
		output, err := exec.CommandContext(t.Context(), "psql", "-X", "-A", "-t", "-d", b.db.URL,
			"-c", "GRANT pg_read_all_data TO archive_guest; SET ROLE archive_guest; SELECT 'found', count(*) FROM daymill_archive.secret").CombinedOutput()
		require.NoError(t, err, string(output))
		require.Contains(t, string(output), "found|0")
		for _, file := range b.chain(t).Bases[0].Files {
			require.NotContains(t, read(t, b.path(file)), prefix, file.Name)
		}
		b.caughtUp(t)
		stop()
		into := b.restored(t, restore.Config{})
		b.equal(t, into)
	})

	// Triggers pass values to each other in settings, which every role may set. Forged settings do not change the archive.
	t.Run("ForgedSetting", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		stop := b.run(t, 2000)
		b.psql(t, "-c", `CREATE SCHEMA guest; CREATE ROLE archive_forger; GRANT ALL ON SCHEMA guest TO archive_forger`)
		b.psql(t, "-c", `SET ROLE archive_forger; SET daymill_archive.dropped = 'RESET ROLE; CREATE TABLE public.forged ()';
			SET daymill_archive.caller = '{"settings": {"role": "postgres"}}';
			DROP TABLE IF EXISTS guest.nothing`)
		b.psql(t, "-c", `SET ROLE archive_forger; SET daymill_archive.quiet = on; SET daymill_archive.rewritten = '1259';
			SET daymill_archive.seen = 'x'; CREATE TABLE guest.hidden (id integer PRIMARY KEY); INSERT INTO guest.hidden VALUES (1)`)
		// A value is behind a seal of 64 characters.
		b.psql(t, "-c", `SET ROLE archive_forger; SELECT set_config('daymill_archive.quiet', repeat('0', 64) || 'on', false);
			CREATE TABLE guest.sealed (id integer PRIMARY KEY); INSERT INTO guest.sealed VALUES (1)`,
			"-c", `RESET daymill_archive.quiet; SELECT set_config('daymill_archive.dropped', repeat('0', 64) || 'temporary', false); DROP TABLE guest.hidden`)
		b.caughtUp(t)
		stop()
		into := b.restored(t, restore.Config{})
		b.equal(t, into)
	})
	// A column was GENERATED ALWAYS when the row changed, but is not when the change is read.
	t.Run("IdentityAsOfThen", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.psql(t, "-c", "CREATE TABLE t (id int PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY, m int GENERATED BY DEFAULT AS IDENTITY)",
			"-c", "INSERT INTO t (id) VALUES (1), (2)", "-c", "UPDATE t SET n = DEFAULT WHERE id = 1",
			"-c", "ALTER TABLE t RENAME n TO number", "-c", "UPDATE t SET number = DEFAULT WHERE id = 1", "-c", "ALTER TABLE t ALTER number DROP IDENTITY",
			"-c", "ALTER TABLE t ALTER m SET GENERATED ALWAYS", "-c", "UPDATE t SET m = DEFAULT", "-c", "ALTER TABLE t DROP m")
		stop := b.run(t, 0)
		b.caughtUp(t)
		stop()
		b.equal(t, b.restored(t, restore.Config{}))
	})

	// The database and the role have unusual settings for writing and reading values.
	t.Run("OddSettings", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		odd := func(name string) {
			for _, setting := range []string{
				"DateStyle = 'German, DMY'", "IntervalStyle = iso_8601", "TimeZone = 'Asia/Kathmandu'", "extra_float_digits = -10", "bytea_output = escape",
				"lc_monetary = 'C.utf8'", "quote_all_identifiers = on", "search_path = odd, public", "xmloption = document", "array_nulls = off",
				"transform_null_equals = on", "standard_conforming_strings = off", "timezone_abbreviations = 'Australia'", "client_encoding = LATIN1",
				"default_transaction_isolation = serializable", "row_security = off", "default_toast_compression = pglz", "backslash_quote = off",
			} {
				_, err := b.db.DB.Exec(t.Context(), "ALTER DATABASE "+name+" SET "+setting)
				require.NoError(t, err)
			}
		}
		source, err := pgx.ParseConfig(b.db.URL)
		require.NoError(t, err)
		odd(source.Database)
		stop := b.run(t, 0)
		b.psql(t, "-c", `CREATE SCHEMA odd; CREATE TABLE odd."T" (id int PRIMARY KEY, at timestamptz DEFAULT '01.02.2026 00:00 EST');
			CREATE TABLE kept (c regclass, d date, i interval, at timestamptz, f float8, b bytea, x xml, m money, a int[], t regtype, p regprocedure);
			INSERT INTO odd."T" VALUES (1); INSERT INTO odd."T" SELECT i FROM generate_series(2, 9) AS i`,
			"-c", `INSERT INTO kept SELECT '"T"'::regclass, '03.02.2026', '1 day 2 hours', '03.02.2026 04:05 EST', 1.0 / 3, E'a\\001', '<a/>', 12.5, ARRAY[1, 2], 'odd."T"', 'lower(text)' FROM generate_series(1, 9)`,
			"-c", "UPDATE kept SET f = f / 7 WHERE ctid = '(0,3)'", "-c", "DELETE FROM kept WHERE ctid = '(0,5)'", "-c", "ALTER TABLE kept ADD r regclass DEFAULT '\"T\"'::regclass",
			"-c", "ALTER TABLE kept ADD n float8 DEFAULT random()")
		b.caughtUp(t)
		stop()
		into := b.fresh(t)
		name, err := pgx.ParseConfig(into)
		require.NoError(t, err)
		odd(name.Database)
		_, err = restore.Run(t.Context(), restore.Config{Store: b.store, Into: into})
		require.NoError(t, err)
		b.equal(t, into)
	})

	t.Run("ParallelBase", func(t *testing.T) {
		t.Parallel()
		parallelBase(t, setup(t))
	})

	t.Run("PointInTime", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		stop := b.run(t, 2000)
		b.psql(t, "-c", "CREATE TABLE t (id int PRIMARY KEY, v int)")
		kept := map[string]string{}
		for i := range 12 {
			id := strconv.Itoa(i)
			b.psql(t, "-c", "INSERT INTO t VALUES ("+id+", 0)", "-c", "UPDATE t SET v = v + "+id, "-c", "DELETE FROM t WHERE id = "+id+" - 4")
			var lsn, sum string
			require.NoError(t, b.db.QueryRow(t.Context(), "SELECT pg_current_wal_insert_lsn()::text, (SELECT string_agg(t::text, ' ' ORDER BY id) FROM t)").Scan(&lsn, &sum))
			kept[lsn] = sum
		}
		b.caughtUp(t)
		stop()
		for text, want := range kept {
			lsn, err := pglogrepl.ParseLSN(text)
			require.NoError(t, err)
			into := b.restored(t, restore.Config{Target: chain.Target{LSN: lsn}})
			conn, err := pgx.Connect(t.Context(), into)
			require.NoError(t, err)
			var got string
			require.NoError(t, conn.QueryRow(t.Context(), "SELECT string_agg(t::text, ' ' ORDER BY id) FROM t").Scan(&got))
			require.NoError(t, conn.Close(t.Context()))
			require.Equal(t, want, got, text)
		}
	})

	t.Run("PsqlAlone", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		stop := b.run(t, 2000)
		b.psql(t, "-f", "testdata/workload.sql")
		b.caughtUp(t)
		stop()
		strayFiles(t, b)
		into := b.fresh(t)
		b.script(t, into)
		b.equal(t, into)
		require.Contains(t, b.refused(t, into), "the database is not empty")
		for _, odd := range []string{"yesterday", "", "2026-02-30T00:00:00Z", "2026-02-03", "0/G", "1/2/3"} {
			require.NotContains(t, b.refused(t, b.fresh(t), odd), "the restore did not finish", odd)
		}
		require.Contains(t, b.refused(t, b.fresh(t), "yesterday"), "is neither a time")
		require.Contains(t, b.refused(t, b.fresh(t), "0/0"), "the archive begins at ")
		require.Contains(t, b.refused(t, b.fresh(t), "FF/0"), "it ends at ")
		require.Contains(t, b.refused(t), "name the database")
		// The base alone, with nothing after it.
		only := b.fresh(t)
		b.script(t, only, b.chain(t).Bases[0].Position)
		require.Equal(t, dump(t, b.restored(t, restore.Config{Target: chain.Target{LSN: b.baseAt(t)}}), "--schema-only"), dump(t, only, "--schema-only"))
		// Without what a part needs, nothing is restored, and the script does not say that everything was.
		path := b.path(b.chain(t).Bases[0].Files[0])
		require.NoError(t, os.Rename(path, path+".age"))
		require.Contains(t, b.refused(t, b.fresh(t)), "FAILED")
	})

	t.Run("PsqlAloneTorn", func(t *testing.T) {
		t.Parallel()
		psqlAloneTorn(t, setup(t))
	})

	t.Run("BesideCapture", func(t *testing.T) {
		t.Parallel()
		besideCapture(t, server)
	})

	t.Run("RoleMadeLater", func(t *testing.T) {
		t.Parallel()
		roleMadeLater(t, setup(t))
	})

	t.Run("InterruptedSession", func(t *testing.T) {
		t.Parallel()
		interruptedSession(t, setup(t))
	})

	t.Run("RefusesWhatIsNotEmpty", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.psql(t, "-c", "CREATE TABLE t (id int)")
		_, err := restore.Run(t.Context(), restore.Config{Store: b.store, Into: b.db.URL})
		require.ErrorContains(t, err, "is not empty")
		// The result of a proof is not encrypted, so it must not have what psql says of rows.
		_, err = restore.Run(t.Context(), restore.Config{Store: b.store, Into: b.db.URL, Force: true, Quiet: true})
		require.ErrorContains(t, err, "42P06")
		require.NotContains(t, err.Error(), "already exists")
	})

	t.Run("SentTogether", func(t *testing.T) {
		t.Parallel()
		sentTogether(t, setup(t))
	})

	t.Run("Tablespaces", func(t *testing.T) {
		t.Parallel()
		tablespaces(t, setup(t))
	})

	t.Run("Workload", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		stop := b.run(t, 0)
		b.psql(t, "-f", "testdata/workload.sql")
		b.caughtUp(t)
		stop()
		b.equal(t, b.restored(t, restore.Config{}))
		require.NoError(t, base.Remove(t.Context(), b.db.DB, b.slot(t)))
		b.psql(t, "-c", "CREATE TABLE afterwards (i int)", "-c", "INSERT INTO afterwards VALUES (1)", "-c", "UPDATE afterwards SET i = 2")
	})
}

// baseAt returns the position of the first base.
func (b *testBundle) baseAt(t *testing.T) pglogrepl.LSN {
	t.Helper()
	lsn, err := pglogrepl.ParseLSN(b.chain(t).Bases[0].Position)
	require.NoError(t, err)
	return lsn
}

// script runs the archive's script.
func (b *testBundle) script(t *testing.T, arguments ...string) {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), "sh", append([]string{filepath.Join(b.archive, "restore.sh")}, arguments...)...).CombinedOutput()
	require.NoError(t, err, string(output))
}

// refused runs the archive's script, which must fail, and returns what it printed.
func (b *testBundle) refused(t *testing.T, arguments ...string) string {
	t.Helper()
	script := exec.CommandContext(t.Context(), "sh", append([]string{filepath.Join(b.archive, "restore.sh")}, arguments...)...)
	script.Env = append(os.Environ(), "IDENTITY=/nonexistent")
	output, err := script.CombinedOutput()
	require.Error(t, err, string(output))
	return string(output)
}

// application returns an application's database without Daymill's schema.
func application(t *testing.T, server *pgserver.Server) *pgtest.DB {
	t.Helper()
	b := &testBundle{server: server}
	conn, err := postgres.Open(t.Context(), postgres.Config{URL: server.URL("postgres"), StatementTimeout: time.Minute})
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	b.db = pgtest.As(t, server, "postgres", server.URL("postgres"), conn, 2)
	url := b.fresh(t)
	source, err := postgres.Open(t.Context(), postgres.Config{URL: url, StatementTimeout: time.Minute})
	require.NoError(t, err)
	t.Cleanup(source.Close)
	return pgtest.As(t, server, "application", url, source, 2)
}

// run archives until stop is called. size is the size of a segment; 0 means the default. Small segments are sealed soon, because what is
// compressed is confirmed to the slot only then.
func (b *testBundle) run(t *testing.T, size int64) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	started, done := make(chan struct{}), make(chan error, 1)
	var age time.Duration
	if size > 0 {
		age = time.Second
	}
	go func() {
		done <- stream.Run(ctx, stream.Config{
			Source: b.db.DB, URL: b.db.URL, Store: b.store, Clock: pace.SystemClock{}, Size: size, Age: age, Started: func() { close(started) },
		})
	}()
	select {
	case <-started:
	case err := <-done:
		require.NoError(t, err)
	}
	return func() {
		cancel()
		require.NoError(t, <-done)
	}
}

func (b *testBundle) slot(t *testing.T) string {
	t.Helper()
	archive := b.chain(t)
	return archive.Manifest.Slot
}

// caughtUp waits until the slot has confirmed everything that is committed now.
func (b *testBundle) caughtUp(t *testing.T) {
	t.Helper()
	var lsn string // Make a transaction that ends after that position.
	require.NoError(t, b.db.QueryRow(t.Context(), "SELECT pg_logical_emit_message(true, 'test', '')::text").Scan(&lsn))
	require.Eventually(t, func() bool {
		var done bool
		err := b.db.QueryRow(t.Context(), "SELECT confirmed_flush_lsn > $2::pg_lsn FROM pg_replication_slots WHERE slot_name = $1", b.slot(t), lsn).Scan(&done)
		return err == nil && done
	}, 2*time.Minute, 20*time.Millisecond)
}

func (b *testBundle) psql(t *testing.T, arguments ...string) {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), "psql", append([]string{"-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", b.db.URL}, arguments...)...).CombinedOutput()
	require.NoError(t, err, string(output))
}

// fresh returns the URL of a new database.
func (b *testBundle) fresh(t *testing.T) string {
	t.Helper()
	name := "restored_" + regexp.MustCompile(`\W`).ReplaceAllString(strings.ToLower(t.Name()), "_") + "_" + strconv.FormatInt(time.Now().UnixNano(), 36)
	name = name[len(name)-min(len(name), 60):]
	_, err := b.db.DB.Exec(t.Context(), "CREATE DATABASE "+name+" TEMPLATE template0")
	require.NoError(t, err)
	return b.server.URL(name)
}

func (b *testBundle) restored(t *testing.T, config restore.Config) (url string) {
	t.Helper()
	config.Store, config.Into = b.store, b.fresh(t)
	_, err := restore.Run(t.Context(), config)
	require.NoError(t, err)
	return config.Into
}

// equal compares the source's schema and rows with a restored database.
func (b *testBundle) equal(t *testing.T, into string) {
	t.Helper()
	require.Equal(t, dump(t, b.db.URL, "--schema-only"), dump(t, into, "--schema-only"))
	b.equalRows(t, into)
}

// own matches the archive's own objects in its source, and lines that differ between two dumps of the same database.
var own = regexp.MustCompile(`(?m)^\\(un)?restrict .*\n|^--.*\n|^CREATE EVENT TRIGGER daymill_archive[^;]*;\n|^ALTER EVENT TRIGGER daymill_archive.*\n|^\n`)

func dump(t *testing.T, url string, arguments ...string) string {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), "pg_dump", append([]string{"--no-publications", "--exclude-schema=daymill_archive", "--dbname=" + url}, arguments...)...).Output()
	require.NoError(t, err)
	return own.ReplaceAllString(string(output), "")
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(content)
}
