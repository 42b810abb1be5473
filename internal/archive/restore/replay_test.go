package restore_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/archive/base"
	"github.com/daymill/daymill/internal/archive/chain"
	"github.com/daymill/daymill/internal/archive/keeper"
	"github.com/daymill/daymill/internal/archive/restore"
	"github.com/daymill/daymill/internal/archive/segment"
)

// tablespaces: the machine of a restore may not have the tablespaces of the source.
func tablespaces(t *testing.T, b *testBundle) {
	t.Helper()
	stop := b.run(t, 0)
	b.psql(t, "-c", "SET allow_in_place_tablespaces = on", "-c", "CREATE TABLESPACE archive_space LOCATION ''",
		"-c", `CREATE TABLE t (id int PRIMARY KEY USING INDEX TABLESPACE archive_space) TABLESPACE archive_space; INSERT INTO t VALUES (1)`,
		"-c", `SET default_tablespace = archive_space; CREATE TABLE u AS SELECT 1 AS i; CREATE INDEX ON u (i); CREATE MATERIALIZED VIEW v AS SELECT * FROM u`,
		"-c", "CREATE TABLE w (i int PRIMARY KEY); ALTER TABLE w SET TABLESPACE archive_space, ADD n int",
		"-c", "ALTER INDEX w_pkey SET TABLESPACE archive_space", "-c", "ALTER TABLE ALL IN TABLESPACE archive_space SET TABLESPACE pg_default",
		"-c", "ALTER INDEX ALL IN TABLESPACE archive_space SET TABLESPACE pg_default", "-c", "ALTER MATERIALIZED VIEW ALL IN TABLESPACE archive_space SET TABLESPACE pg_default",
		"-c", "DROP TABLESPACE archive_space")
	b.caughtUp(t)
	stop()
	b.equal(t, b.restored(t, restore.Config{}))
}

// sentTogether: a restore sends many statements to the server in one message. Whatever they are, and wherever a message ends, each runs once.
func sentTogether(t *testing.T, b *testBundle) {
	t.Helper()
	stop := b.run(t, 0)
	b.psql(t, "-c", "CREATE TABLE t (id int PRIMARY KEY, v text)", "-c", `CREATE TABLE "k;" (v text)`, "-c", `INSERT INTO "k;" VALUES (E'a;\n\\;b'), (E'a;\n\\;b'), ('\\;'), (';')`,
		"-c", "INSERT INTO t SELECT i, repeat(';', i) FROM generate_series(1, 3000) AS i", "-c", "UPDATE t SET v = v || id WHERE id % 2 = 0", "-c", "DELETE FROM t WHERE id % 3 = 0",
		"-c", "INSERT INTO t VALUES (3, repeat('long;', 100000))", "-c", `DELETE FROM "k;" WHERE ctid = '(0,1)'`,
		"-c", "BEGIN; UPDATE t SET v = 'one' WHERE id = 1; CREATE TABLE u (i int); INSERT INTO u VALUES (1); TRUNCATE u; UPDATE t SET v = 'two' WHERE id = 1; INSERT INTO u VALUES (2); COMMIT")
	for range 50 {
		b.psql(t, "-c", "INSERT INTO u VALUES (3)", "-c", "BEGIN; INSERT INTO u VALUES (4); ROLLBACK")
	}
	b.caughtUp(t)
	stop()
	b.equal(t, b.restored(t, restore.Config{}))
	into := b.fresh(t)
	b.script(t, into)
	b.equal(t, into)
}

// unreadable: Postgres writes values of some types that it does not read. They are NULL after a restore.
func unreadable(t *testing.T, b *testBundle) {
	t.Helper()
	stop := b.run(t, 0)
	b.psql(t, "-c", "CREATE TABLE p (i int) PARTITION BY LIST (i)", "-c", "CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1)", "-c", "CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2)",
		"-c", "CREATE TABLE kept AS SELECT relname, relpartbound FROM pg_class WHERE relispartition", "-c", "INSERT INTO kept SELECT 'more', relpartbound FROM kept",
		"-c", "UPDATE kept SET relname = 'other' WHERE relname = 'p1'", "-c", "UPDATE kept SET relpartbound = NULL WHERE relname = 'p2'", "-c", "DELETE FROM kept WHERE ctid = (SELECT min(ctid) FROM kept WHERE relname = 'more')")
	b.caughtUp(t)
	stop()
	const state = "SELECT string_agg(relname, ' ' ORDER BY relname) || ' ' || count(relpartbound) FROM kept"
	require.Equal(t, "more other p2 2", b.value(t, b.db.URL, state))
	require.Equal(t, "more other p2 0", b.value(t, b.restored(t, restore.Config{}), state))
}

// sequenceReset: a statement sets a sequence, and the sequence moves to where it was before, while the archive writes the values of those that have moved.
func sequenceReset(t *testing.T, b *testBundle) {
	t.Helper()
	stop := b.run(t, 1) // Each time that it has everything, it writes the sequences.
	for range 2 {
		b.psql(t, "-c", "CREATE SEQUENCE IF NOT EXISTS again; ALTER SEQUENCE again RESTART WITH 4", "-c", "CREATE TABLE IF NOT EXISTS owner (id serial); TRUNCATE owner RESTART IDENTITY",
			"-c", "SELECT nextval('again'), nextval('again'); INSERT INTO owner DEFAULT VALUES")
		b.caughtUp(t)
	}
	stop()
	const values = "SELECT (SELECT last_value || ' ' || is_called FROM again) || ', ' || (SELECT last_value || ' ' || is_called FROM owner_id_seq)"
	require.Equal(t, "5 true, 1 true", b.value(t, b.db.URL, values))
	require.Equal(t, "5 true, 1 true", b.value(t, b.restored(t, restore.Config{}), values))
}

// sequenceDropped: a sequence is dropped while the archiver reads the values of all sequences. This is not an error.
func sequenceDropped(t *testing.T, b *testBundle) {
	t.Helper()
	b.psql(t, "-c", "CREATE SEQUENCE gone; CREATE SEQUENCE kept; SELECT nextval('gone'), nextval('kept')")
	conn, err := pgx.Connect(t.Context(), b.db.URL)
	require.NoError(t, err)
	defer conn.Close(t.Context())
	_, err = conn.Exec(t.Context(), "BEGIN; DROP SEQUENCE public.gone", pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err)
	type result struct {
		text string
		err  error
	}
	done := make(chan result, 1)
	go func() {
		text, err := segment.Sequences(t.Context(), b.db.DB, map[string]string{})
		done <- result{text, err}
	}()
	require.Eventually(t, func() bool {
		return b.value(t, b.db.URL, "SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") == "1"
	}, time.Minute, 10*time.Millisecond)
	_, err = conn.Exec(t.Context(), "COMMIT")
	require.NoError(t, err)
	got := <-done
	require.NoError(t, got.err)
	require.Contains(t, got.text, "kept")
	require.NotContains(t, got.text, "gone")
}

// shorterFile: the open segment lost its end, which was confirmed to the slot. The archive has a gap from there.
func shorterFile(t *testing.T, b *testBundle) {
	t.Helper()
	stop := b.run(t, 0)
	b.psql(t, "-c", "CREATE TABLE t (i int)", "-c", "INSERT INTO t VALUES (1)")
	before := b.position(t)
	b.caughtUp(t)
	b.psql(t, "-c", "INSERT INTO t VALUES (2)")
	after := b.position(t)
	b.caughtUp(t)
	stop()
	archive := b.chain(t)
	content := read(t, archive.OpenPath())
	at := strings.LastIndex(content, "BEGIN; -- ")
	at = strings.LastIndex(content[:at], "BEGIN; -- ") // The last one is of caughtUp.
	require.Contains(t, content[at:], "VALUES ('2')")
	require.NoError(t, os.WriteFile(archive.OpenPath(), []byte(content[:at]), 0o600))
	stop = b.keep(t)
	b.eventually(t, func(c chain.Chain) bool { return len(c.Bases) == 2 && len(c.Gaps) == 1 })
	b.psql(t, "-c", "INSERT INTO t VALUES (3)")
	b.caughtUp(t)
	stop()
	b.equal(t, b.restored(t, restore.Config{}))
	require.Equal(t, "1", b.value(t, b.restored(t, restore.Config{Target: chain.Target{LSN: before}}), "SELECT string_agg(i::text, ' ') FROM t"))
	_, err := restore.Run(t.Context(), restore.Config{Store: b.store, Into: b.fresh(t), Target: chain.Target{LSN: after}})
	require.ErrorContains(t, err, "is ahead of the last segment")
}

// baseAhead: a base was made while nothing archived. The archive does not have the transactions before the base, at first for now and then,
// without the slot, for good.
func baseAhead(t *testing.T, b *testBundle) {
	t.Helper()
	b.psql(t, "-c", "CREATE TABLE t (i int)", "-c", "INSERT INTO t VALUES (1)")
	target := chain.Target{LSN: b.position(t)}
	var at time.Time
	require.NoError(t, b.db.QueryRow(t.Context(), "SELECT clock_timestamp()").Scan(&at))
	second, err := base.Take(t.Context(), b.config(), "a test")
	require.NoError(t, err)
	ahead, err := pglogrepl.ParseLSN(second.Position)
	require.NoError(t, err)
	refused := func(what string) {
		for _, target := range []chain.Target{target, {Time: at}} {
			_, err := restore.Run(t.Context(), restore.Config{Store: b.store, Into: b.fresh(t), Target: target})
			require.ErrorContains(t, err, what)
		}
		require.Contains(t, b.refused(t, b.fresh(t), at.UTC().Format("2006-01-02T15:04:05.000000")), what)
		require.Equal(t, "1", b.value(t, b.restored(t, restore.Config{Target: chain.Target{LSN: ahead}}), "SELECT string_agg(i::text, ' ') FROM t"))
	}
	refused("the archive does not have")
	dropped, err := keeper.Guard(t.Context(), b.config(), 1)
	require.NoError(t, err)
	require.True(t, dropped)
	b.psql(t, "-c", "INSERT INTO t VALUES (2)")
	stop := b.keep(t)
	b.eventually(t, func(c chain.Chain) bool { return len(c.Bases) == 3 && !c.Gapped() })
	b.psql(t, "-c", "INSERT INTO t VALUES (3)")
	b.caughtUp(t)
	stop()
	archive := b.chain(t)
	_, err = archive.Verify(t.Context())
	require.NoError(t, err)
	require.Len(t, archive.Gaps, 2, "one before the base and one after it")
	refused("the archive has a gap from")
	_, err = restore.Run(t.Context(), restore.Config{Store: b.store, Into: b.fresh(t), Target: chain.Target{LSN: ahead + 1}})
	require.ErrorContains(t, err, "the archive has a gap from")
	b.equal(t, b.restored(t, restore.Config{}))
}

// interruptedSession: the server still runs what an interrupted restore has sent. Another one waits for it.
func interruptedSession(t *testing.T, b *testBundle) {
	t.Helper()
	stop := b.run(t, 0)
	b.psql(t, "-c", "CREATE TABLE t (i int)", "-c", "INSERT INTO t VALUES (1)")
	b.caughtUp(t)
	stop()
	into := b.fresh(t)
	conn, err := pgx.Connect(t.Context(), into)
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), "SELECT pg_advisory_lock_shared("+restore.Lock+")")
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() {
		_, err := restore.Run(t.Context(), restore.Config{Store: b.store, Into: into})
		done <- err
	}()
	require.Eventually(t, func() bool {
		return b.value(t, into, "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") == "1"
	}, time.Minute, 10*time.Millisecond)
	require.Empty(t, done)
	require.NoError(t, conn.Close(t.Context()))
	require.NoError(t, <-done)
	b.equal(t, into)
	require.NotContains(t, strings.ToLower(dump(t, into, "--schema-only")), "daymill")

	// Each psql of a restore holds the lock.
	into = b.fresh(t)
	_, err = restore.Run(t.Context(), restore.Config{Store: b.store, Into: into, Progress: func(name string, _, _ int) {
		if !strings.HasPrefix(name, "0") { // It is no segment.
			return
		}
		require.Eventually(t, func() bool {
			return b.value(t, into, "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock' AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())") == "1"
		}, time.Minute, 10*time.Millisecond)
	}})
	require.NoError(t, err)
}

// psqlAloneTorn: the archiver was killed while it wrote a transaction.
func psqlAloneTorn(t *testing.T, b *testBundle) {
	t.Helper()
	stop := b.run(t, 0)
	b.psql(t, "-c", "CREATE TABLE t (id int, v text)", "-c", "INSERT INTO t SELECT i, E'COMMIT; -- 00000000/00000000\nx' FROM generate_series(1, 9) AS i")
	b.caughtUp(t)
	stop()
	archive := b.chain(t)
	last := archive.OpenPath()
	whole := read(t, last)
	for _, torn := range []string{
		"BEGIN; -- 0000000F/0FFFFFFF 2026-01-01T00:00:00.000000Z\nCOPY \"public\".\"t\" (\"id\") FROM stdin;\n1\nx",
		"BEGIN; -- 0000000F/0FFFFFFF 2026-01-01T00:00:00.000000Z\nINSERT INTO public.t VALUES (1, 'x",
		"BEGIN; -- 0000000F/0FFFFFFF 2026-01-01T00:00:00.000000Z\nINSERT INTO public.t VALUES (1);\nCOMMIT; -- 000000",
		"BEGIN; -- 0000000F/0FFFFFFF 2026-01-01T00:00:00.000000Z\nSELECT $ddl$\nSELECT 1/0",
	} {
		require.NoError(t, os.WriteFile(last, []byte(whole+torn), 0o600))
		into := b.fresh(t)
		b.script(t, into)
		b.equal(t, into)
	}
}
