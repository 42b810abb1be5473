package restore_test

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/archive/base"
	"github.com/daymill/daymill/internal/archive/chain"
	"github.com/daymill/daymill/internal/archive/keeper"
	"github.com/daymill/daymill/internal/archive/restore"
	"github.com/daymill/daymill/internal/archive/retention"
	"github.com/daymill/daymill/internal/archive/store"
	"github.com/daymill/daymill/internal/pgserver"
)

// halfDump returns a PATH whose pg_dump writes a dump up to the first row of the first table, and then waits for the end of the process that
// started it.
func halfDump(t *testing.T) string {
	t.Helper()
	whole, err := exec.LookPath("pg_dump")
	require.NoError(t, err)
	dir := t.TempDir()
	script := "#!/bin/sh\n" + whole + ` "$@" | sed '/^COPY /q'` + "\nwhile kill -0 $PPID 2>/dev/null; do sleep 0.05; done\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "pg_dump"), []byte(script), 0o700))
	return "PATH=" + dir + string(os.PathListSeparator) + os.Getenv("PATH")
}

// late returns a PATH whose pg_dump creates the file ready, and begins once dump is called.
func late(t *testing.T) (path, ready string, dump func()) {
	t.Helper()
	whole, err := exec.LookPath("pg_dump")
	require.NoError(t, err)
	dir := t.TempDir()
	ready = filepath.Join(dir, "ready")
	script := "#!/bin/sh\n: >" + ready + "\nuntil [ -e " + ready + ".dump ]; do sleep 0.05; done\nexec " + whole + ` "$@"` + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "pg_dump"), []byte(script), 0o700))
	return "PATH=" + dir + string(os.PathListSeparator) + os.Getenv("PATH"), ready, func() { require.NoError(t, os.WriteFile(ready+".dump", nil, 0o600)) }
}

// torn waits until a base other than the given one has written rows, and returns its directory.
func (b *testBundle) torn(t *testing.T, other string) (dir string) {
	t.Helper()
	require.Eventually(t, func() bool {
		parts, err := filepath.Glob(filepath.Join(b.archive, "bases", "*", "2-rows-0001.sql.new"))
		require.NoError(t, err)
		for _, part := range parts {
			if dir = filepath.Dir(part); filepath.Base(dir) != other {
				return true
			}
		}
		return false
	}, 2*time.Minute, 20*time.Millisecond)
	return dir
}

// baseInterrupted: the archiver is killed while it makes a base after a gap. The next one makes another base. A restore does not use the torn
// one, and prune deletes it.
func baseInterrupted(t *testing.T, server *pgserver.Server) {
	t.Helper()
	b := &testBundle{server: server, db: application(t, server)}
	b.begin(t)
	b.psql(t, "-c", "CREATE TABLE t (id int PRIMARY KEY)", "-c", "INSERT INTO t VALUES (1)")
	dropped, err := keeper.Guard(t.Context(), b.config(), 1)
	require.NoError(t, err)
	require.True(t, dropped)
	first := filepath.Base(chain.BaseDir(b.chain(t).Bases[0].Position))
	process, _ := b.program(t, halfDump(t), "")
	torn := b.torn(t, first)
	kill(t, process)

	archive := b.chain(t)
	require.Len(t, archive.Bases, 1)
	require.True(t, archive.Gapped())
	_, err = restore.Run(t.Context(), restore.Config{Store: b.store, Into: b.fresh(t)})
	require.ErrorContains(t, err, "the archive has a gap from")
	require.Contains(t, b.refused(t, b.fresh(t)), "the archive has a gap from")

	// A base after the last complete one may still be in progress.
	rule := retention.Rule{Segments: time.Hour, Bases: 48 * time.Hour}
	_, err = retention.Prune(t.Context(), b.store, rule, archive.Bases[0].At.Add(24*time.Hour))
	require.NoError(t, err)
	require.DirExists(t, torn)

	process, _ = b.archiver(t)
	b.eventually(t, func(c chain.Chain) bool { return len(c.Bases) == 2 && !c.Gapped() })
	b.psql(t, "-c", "INSERT INTO t VALUES (2)")
	b.caughtUp(t)
	kill(t, process)
	require.DirExists(t, torn)
	b.equal(t, b.restored(t, restore.Config{}))
	made := b.chain(t).Bases[1]
	_, err = retention.Prune(t.Context(), b.store, rule, made.At.Add(24*time.Hour))
	require.NoError(t, err)
	require.NoDirExists(t, torn)
	archive = b.chain(t)
	require.Len(t, archive.Bases, 2)
	_, err = archive.Verify(t.Context())
	require.NoError(t, err)
	b.equal(t, b.restored(t, restore.Config{}))
}

// initInterrupted: the first base is interrupted, so there is no archive yet. Init can be called again with the same place. If it fails, it
// leaves nothing behind.
func initInterrupted(t *testing.T, server *pgserver.Server) {
	t.Helper()
	b := &testBundle{server: server, db: application(t, server), archive: filepath.Join(t.TempDir(), "archive")}
	b.psql(t, "-c", "CREATE TABLE t (id int PRIMARY KEY)", "-c", "INSERT INTO t VALUES (1)")
	place, err := store.Directory(b.archive)
	require.NoError(t, err)
	b.store = place
	process, _ := b.program(t, halfDump(t), "init")
	b.torn(t, "")
	kill(t, process)
	_, err = chain.Read(t.Context(), b.store)
	require.ErrorIs(t, err, chain.ErrUnfinished)
	other := &testBundle{server: server, db: application(t, server), archive: b.archive, store: b.store}
	_, err = base.Init(t.Context(), other.config(), base.Options{})
	require.ErrorContains(t, err, "has the beginning of an archive of the database")
	_, err = base.Init(t.Context(), b.config(), base.Options{})
	require.NoError(t, err)
	stop := b.run(t, 0)
	b.psql(t, "-c", "INSERT INTO t VALUES (2)")
	b.caughtUp(t)
	stop()
	b.equal(t, b.restored(t, restore.Config{}))
	slots := "SELECT string_agg(slot_name, ' ') FROM pg_replication_slots WHERE database = current_database()"
	require.Equal(t, b.slot(t), b.value(t, b.db.URL, slots))
	_, err = base.Init(t.Context(), b.config(), base.Options{})
	require.ErrorContains(t, err, "already has files")

	// There is no pg_dump.
	other.archive = filepath.Join(t.TempDir(), "archive")
	other.store, err = store.Directory(other.archive)
	require.NoError(t, err)
	process, _ = other.program(t, "PATH=/nonexistent", "init")
	require.Error(t, process.Wait())
	names, err := other.store.Names(t.Context(), "")
	require.NoError(t, err)
	require.Empty(t, names)
	require.Equal(t, "none", other.value(t, other.db.URL, "SELECT coalesce(("+slots+"), 'none')"))
	_, err = base.Init(t.Context(), other.config(), base.Options{})
	require.NoError(t, err)
}

// parallelBase: large tables are copied beside pg_dump, in the same snapshot. A TRUNCATE that comes before pg_dump has its locks does not
// take rows from the base.
func parallelBase(t *testing.T, b *testBundle) {
	t.Helper()
	b.psql(t, "-c", "CREATE TABLE gate (i int PRIMARY KEY)", "-c", "INSERT INTO gate VALUES (1)",
		"-c", `CREATE SCHEMA "Ä.b"; CREATE TABLE "Ä.b"."T ""*""" (id int PRIMARY KEY, gone int, "select" regclass, at timestamptz, f float8, b bytea, i interval,
			m money, d date, s text, g int GENERATED ALWAYS AS (id * 2) STORED);
			ALTER TABLE "Ä.b"."T ""*""" DROP gone;
			INSERT INTO "Ä.b"."T ""*""" SELECT i, 'gate', '2026-01-02 03:04:05.678901+00', 1.0 / 3, '\x00ff', '1 day 02:03', 12.5, '2026-02-03',
				E'\\.\n\t' || repeat(chr(228), 500) FROM generate_series(1, 9000) AS i`,
		"-c", "CREATE TABLE wide AS SELECT i, repeat('x', 1000) AS v FROM generate_series(1, 9000) AS i", "-c", "ANALYZE")
	name := b.value(t, b.db.URL, "SELECT quote_ident(current_database())")
	for _, setting := range []string{"DateStyle = 'German, DMY'", "IntervalStyle = iso_8601", "TimeZone = 'Asia/Kathmandu'", "extra_float_digits = -10", "bytea_output = escape"} {
		b.psql(t, "-c", "ALTER DATABASE "+name+" SET "+setting)
	}
	stop := b.run(t, 0)
	path, ready, dump := late(t)
	process, _ := b.program(t, path, "base")
	require.Eventually(t, func() bool {
		_, err := os.Stat(ready)
		return err == nil
	}, 2*time.Minute, 20*time.Millisecond)
	b.psql(t, "-c", "TRUNCATE wide", "-c", `UPDATE "Ä.b"."T ""*""" SET s = 'later' WHERE id < 10`)
	dump()
	require.NoError(t, process.Wait())
	made := b.chain(t).Bases[1]
	for _, file := range made.Files {
		text := read(t, b.path(file))
		if strings.Contains(text, "COPY public.gate ") {
			require.NotContains(t, text, "COPY public.wide ")
			require.NotContains(t, text, `COPY "Ä.b"`)
		}
	}
	b.caughtUp(t)
	stop()
	b.psql(t, "-c", "ALTER DATABASE "+name+" RESET ALL") // To compare the texts of values.
	b.equal(t, b.restored(t, restore.Config{}))
	at, err := pglogrepl.ParseLSN(made.Position)
	require.NoError(t, err)
	into := b.restored(t, restore.Config{Target: chain.Target{LSN: at}})
	require.Equal(t, "9000 0", b.value(t, into, `SELECT (SELECT count(*) FROM wide) || ' ' || (SELECT count(*) FROM "Ä.b"."T ""*""" WHERE s = 'later')`))
	into = b.fresh(t)
	output, err := exec.CommandContext(t.Context(), "sh", filepath.Join(b.archive, "restore.sh"), into).CombinedOutput()
	require.NoError(t, err, string(output))
	b.equal(t, into)
}

// gated is a place whose parts with rows cannot be written before the gate is open.
type gated struct {
	store.Place

	reached, gate chan struct{}
	once          sync.Once
}

func (g *gated) Put(ctx context.Context, name string, write func(io.Writer) error) error {
	if strings.Contains(name, "/2-rows-") {
		g.once.Do(func() { close(g.reached) })
		select {
		case <-g.gate:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return g.Place.Put(ctx, name, write)
}

// lockedTables: all large tables are locked before the first of them is copied, because otherwise one that is truncated meanwhile would
// have no row of the snapshot.
func lockedTables(t *testing.T, b *testBundle) {
	t.Helper()
	b.psql(t, "-c", "CREATE TABLE wide AS SELECT i, repeat('x', 1000) AS v FROM generate_series(1, 20000) AS i",
		"-c", "CREATE TABLE next AS SELECT i, repeat('x', 1000) AS v FROM generate_series(1, 9000) AS i", "-c", "ANALYZE")
	stop := b.run(t, 0)
	place := &gated{Place: b.store.Place, reached: make(chan struct{}), gate: make(chan struct{})}
	config := b.config()
	config.Store, config.Jobs = store.New(place), 2
	type result struct {
		made chain.Base
		err  error
	}
	done, truncated := make(chan result, 1), make(chan error, 1)
	go func() {
		made, err := base.Take(t.Context(), config, "a test")
		done <- result{made, err}
	}()
	<-place.reached
	go func() {
		_, err := b.db.Exec(t.Context(), "SET lock_timeout = 0; TRUNCATE next", pgx.QueryExecModeSimpleProtocol)
		truncated <- err
	}()
	require.Eventually(t, func() bool {
		return len(truncated) == 1 || b.value(t, b.db.URL, "SELECT count(*)::text FROM pg_locks WHERE relation = 'next'::regclass AND NOT granted") == "1"
	}, time.Minute, 10*time.Millisecond)
	close(place.gate)
	got := <-done
	require.NoError(t, got.err)
	require.NoError(t, <-truncated)
	b.caughtUp(t)
	stop()
	b.equal(t, b.restored(t, restore.Config{}))
	at, err := pglogrepl.ParseLSN(got.made.Position)
	require.NoError(t, err)
	require.Equal(t, "9000", b.value(t, b.restored(t, restore.Config{Target: chain.Target{LSN: at}}), "SELECT count(*)::text FROM next"))
}
