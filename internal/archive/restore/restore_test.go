package restore_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/archive/base"
	"github.com/daymill/daymill/internal/archive/restore"
	"github.com/daymill/daymill/internal/archive/segment"
	"github.com/daymill/daymill/internal/archive/stream"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/pgserver"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/test/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

type testBundle struct {
	server  *pgserver.Server
	db      *pgtest.DB
	archive string
}

// TestRestore archives a database and compares what is restored of it.
func TestRestore(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t, map[string]string{"wal_level": "logical", "max_wal_senders": "20", "max_replication_slots": "20"})
	setup := func(t *testing.T) *testBundle {
		t.Helper()
		b := &testBundle{server: server, db: application(t, server), archive: filepath.Join(t.TempDir(), "archive")}
		_, err := base.Init(t.Context(), b.db.DB, b.db.URL, b.archive, time.Now())
		require.NoError(t, err)
		return b
	}

	t.Run("AlteredByOneByte", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		stop := b.run(t, 1)
		b.psql(t, "-c", "CREATE TABLE t (id int PRIMARY KEY)", "-c", "INSERT INTO t VALUES (12345)")
		b.caughtUp(t)
		stop()
		manifest, err := base.Read(b.archive)
		require.NoError(t, err)
		files, err := segment.List(b.archive)
		require.NoError(t, err)
		require.NoError(t, segment.Check(files, manifest.Base))
		at := slices.IndexFunc(files, func(f segment.File) bool { return f.Seal != nil && strings.Contains(read(t, f.Path), "12345") })
		require.GreaterOrEqual(t, at, 0)
		require.NoError(t, os.WriteFile(files[at].Path, []byte(strings.Replace(read(t, files[at].Path), "12345", "12346", 1)), 0o600))
		require.ErrorContains(t, segment.Check(files, manifest.Base), "was altered after it was sealed")
		_, err = restore.Run(t.Context(), restore.Config{Archive: b.archive, Into: b.fresh(t)})
		require.ErrorContains(t, err, "was altered after it was sealed")
		require.NoError(t, os.Remove(files[at].Path))
		require.NoError(t, os.Remove(files[at].Path+".json"))
		files, err = segment.List(b.archive)
		require.NoError(t, err)
		require.ErrorContains(t, segment.Check(files, manifest.Base), "a segment is missing")
	})

	t.Run("ExactlyOnceAfterTornFiles", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.psql(t, "-c", "CREATE TABLE t (id serial, v text)") // Without a key: a transaction that came twice would show.
		for range 5 {
			stop := b.run(t, 0)
			b.psql(t, "-c", "INSERT INTO t (v) SELECT repeat('x', i) FROM generate_series(1, 50) AS i", "-c", "UPDATE t SET v = v || '!' WHERE id % 7 = 0")
			b.caughtUp(t)
			stop()
			files, err := segment.List(b.archive)
			require.NoError(t, err)
			last := files[len(files)-1].Path
			require.NoError(t, os.WriteFile(last, []byte(read(t, last)+"BEGIN; -- 00000000/0FFFFFFF 2026-01-01T00:00:00Z\nCOPY \"public\".\"t\" (\"id\") FROM stdin;\n1"), 0o600))
		}
		stop := b.run(t, 0)
		b.caughtUp(t)
		stop()
		b.equal(t, b.restored(t, restore.Config{}))
	})

	// Every role may write messages to the WAL. What it writes never becomes SQL that a restore runs.
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
		b.caughtUp(t)
		stop()
		into := b.restored(t, restore.Config{})
		b.equal(t, into)
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
			into := b.restored(t, restore.Config{LSN: lsn})
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
		into := b.fresh(t)
		output, err := exec.CommandContext(t.Context(), "sh", filepath.Join(b.archive, "restore.sh"), into).CombinedOutput()
		require.NoError(t, err, string(output))
		b.equal(t, into)
	})

	t.Run("RefusesWhatIsNotEmpty", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.psql(t, "-c", "CREATE TABLE t (id int)")
		_, err := restore.Run(t.Context(), restore.Config{Archive: b.archive, Into: b.db.URL})
		require.ErrorContains(t, err, "is not empty")
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

// application is a database of an application, without Daymill in it.
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

// run archives until what it returns is called. Size is that of a segment; 0 is the default.
func (b *testBundle) run(t *testing.T, size int64) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	started, done := make(chan struct{}), make(chan error, 1)
	go func() {
		done <- stream.Run(ctx, stream.Config{
			Source: b.db.DB, URL: b.db.URL, Archive: b.archive, Clock: pace.SystemClock{}, Size: size, Started: func() { close(started) },
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
	manifest, err := base.Read(b.archive)
	require.NoError(t, err)
	return manifest.Slot
}

// caughtUp waits until the slot has confirmed everything that is committed now.
func (b *testBundle) caughtUp(t *testing.T) {
	t.Helper()
	var lsn string // A transaction that ends after it.
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

// fresh is the URL of a new database.
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
	config.Archive, config.Into = b.archive, b.fresh(t)
	_, err := restore.Run(t.Context(), config)
	require.NoError(t, err)
	return config.Into
}

// equal compares schema and rows of the source with a restored database.
func (b *testBundle) equal(t *testing.T, into string) {
	t.Helper()
	require.Equal(t, dump(t, b.db.URL, "--schema-only"), dump(t, into, "--schema-only"))
	rows := func(url string) []string {
		lines := slices.DeleteFunc(strings.Split(dump(t, url, "--data-only", "--inserts"), "\n"), func(line string) bool { return !strings.HasPrefix(line, "INSERT") })
		slices.Sort(lines)
		return lines
	}
	want := rows(b.db.URL)
	require.NotEmpty(t, want)
	require.Equal(t, want, rows(into))
}

// own matches what the archive itself has in its source, and what differs between two dumps of one database.
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
