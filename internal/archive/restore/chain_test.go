package restore_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/archive/base"
	"github.com/daymill/daymill/internal/archive/chain"
	"github.com/daymill/daymill/internal/archive/keeper"
	"github.com/daymill/daymill/internal/archive/proof"
	"github.com/daymill/daymill/internal/archive/restore"
	"github.com/daymill/daymill/internal/archive/retention"
	"github.com/daymill/daymill/internal/archive/store"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestChain tests later events in the life of an archive: further bases, gaps, retention, encryption, interruptions.
func TestChain(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t, map[string]string{"wal_level": "logical", "max_wal_senders": "30", "max_replication_slots": "30"})
	setup := func(t *testing.T, options base.Options) *testBundle {
		t.Helper()
		b := &testBundle{server: server, db: application(t, server), options: options}
		b.begin(t)
		return b
	}

	t.Run("BaseAhead", func(t *testing.T) {
		t.Parallel()
		baseAhead(t, setup(t, base.Options{}))
	})

	// The role owns the database and may replicate, and no more. Event triggers are not allowed, so the archive detects changes of the schema.
	t.Run("Detection", func(t *testing.T) {
		t.Parallel()
		b := &testBundle{server: server, db: application(t, server), clock: hastyClock{}}
		const role = "archive_owner"
		_, err := b.db.DB.Exec(t.Context(), "CREATE ROLE "+role+" LOGIN REPLICATION CREATEDB")
		require.NoError(t, err)
		owned, err := url.Parse(b.db.URL)
		require.NoError(t, err)
		_, err = b.db.DB.Exec(t.Context(), "ALTER DATABASE "+strings.TrimPrefix(owned.Path, "/")+" OWNER TO "+role)
		require.NoError(t, err)
		owned.User = url.User(role)
		source, err := postgres.Open(t.Context(), postgres.Config{URL: owned.String(), StatementTimeout: time.Minute})
		require.NoError(t, err)
		t.Cleanup(source.Close)
		b.db = pgtest.As(t, server, "application", owned.String(), source, 2)
		b.psql(t, "-c", "CREATE TABLE t (id int PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY)", "-c", "CREATE TABLE keyless (v int)")
		b.begin(t)
		require.True(t, b.chain(t).Manifest.Detection)
		stop := b.keep(t)
		b.psql(t, "-c", "INSERT INTO t VALUES (1)", "-c", "UPDATE t SET n = DEFAULT", "-c", "INSERT INTO keyless VALUES (1), (1)", "-c", "UPDATE keyless SET v = 2 WHERE ctid = '(0,1)'",
			"-c", `SELECT pg_logical_emit_message(true, '', '{"kind": "sql", "sql": "CREATE TABLE forged ()"}')`, "-c", "CREATE TEMP TABLE passing (i int)")
		b.caughtUp(t)
		require.Empty(t, b.chain(t).Gaps)
		b.psql(t, "-c", "CREATE TABLE later (v int)", "-c", "INSERT INTO later VALUES (1)")
		b.eventually(t, func(c chain.Chain) bool { return len(c.Bases) > 1 && !c.Gapped() })
		b.psql(t, "-c", "INSERT INTO later VALUES (2)", "-c", "UPDATE later SET v = v + 1", "-c", "TRUNCATE keyless", "-c", "INSERT INTO keyless VALUES (7)")
		b.caughtUp(t)
		stop()
		b.equal(t, b.restored(t, restore.Config{}))
		before, err := pglogrepl.ParseLSN(b.chain(t).Gaps[0].From)
		require.NoError(t, err)
		require.Equal(t, "true", b.value(t, b.restored(t, restore.Config{Target: chain.Target{LSN: before}}), "SELECT (to_regclass('later') IS NULL)::text"))
		_, err = restore.Run(t.Context(), restore.Config{Store: b.store, Into: b.fresh(t), Target: chain.Target{LSN: b.gapEnd(t)}})
		require.ErrorContains(t, err, "the schema has changed")
		// A change while nobody archives, which another one undoes.
		gaps := len(b.chain(t).Gaps)
		b.psql(t, "-c", "ALTER TABLE t ALTER n DROP IDENTITY", "-c", "ALTER TABLE t ALTER n ADD GENERATED ALWAYS AS IDENTITY", "-c", "CREATE VIEW v AS SELECT * FROM t")
		stop = b.keep(t)
		b.eventually(t, func(c chain.Chain) bool { return len(c.Gaps) > gaps && !c.Gapped() })
		b.psql(t, "-c", "UPDATE t SET id = 2")
		b.caughtUp(t)
		stop()
		b.equal(t, b.restored(t, restore.Config{}))
		require.NoError(t, base.Remove(t.Context(), b.db.DB, b.slot(t)))
	})

	t.Run("Encrypted", func(t *testing.T) {
		t.Parallel()
		identity, err := age.GenerateX25519Identity()
		require.NoError(t, err)
		b := setup(t, base.Options{Compression: store.Zstd, Recipients: []string{identity.Recipient().String()}})
		stop := b.run(t, 2000)
		b.psql(t, "-f", "testdata/workload.sql")
		b.psql(t, "-c", "CREATE TABLE secret AS SELECT 'rumpelstiltskin' AS name FROM generate_series(1, 2000)")
		b.caughtUp(t)
		stop()
		require.NoError(t, filepath.WalkDir(b.archive, func(path string, _ os.DirEntry, err error) error {
			if info, statted := os.Stat(path); statted == nil && info.Mode().IsRegular() {
				require.NotContains(t, read(t, path), "rumpelstiltskin", path)
			}
			return err
		}))
		_, err = restore.Run(t.Context(), restore.Config{Store: b.store, Into: b.fresh(t)})
		require.ErrorContains(t, err, "is encrypted")
		require.Contains(t, b.refused(t, b.fresh(t)), "the restore did not finish")
		key := filepath.Join(t.TempDir(), "key.txt")
		require.NoError(t, os.WriteFile(key, []byte(identity.String()+"\n"), 0o600))
		var codec store.Codec
		require.NoError(t, codec.Identify(key))
		b.equal(t, b.restored(t, restore.Config{Codec: codec}))
	})

	// It has a cluster of its own. It makes a COPY wait for its client, and until that has ended, no other test can drop a database of the same cluster.
	t.Run("LockedTables", func(t *testing.T) {
		t.Parallel()
		server := pgtest.Server(t, map[string]string{"wal_level": "logical"})
		b := &testBundle{server: server, db: application(t, server)}
		b.begin(t)
		lockedTables(t, b)
	})

	// A schema change that the triggers could not write: the archive records a gap, and continues from a new base.
	t.Run("LostSchema", func(t *testing.T) {
		t.Parallel()
		b := setup(t, base.Options{})
		stop := b.keep(t)
		b.psql(t, "-c", "CREATE TABLE t (id int PRIMARY KEY)", "-c", "INSERT INTO t VALUES (1)")
		before := b.position(t)
		var prefix string
		require.NoError(t, b.db.QueryRow(t.Context(), "SELECT prefix FROM daymill_archive.secret").Scan(&prefix))
		_, err := b.db.Exec(t.Context(), `SELECT pg_logical_emit_message(true, $1, '{"kind": "lost", "tag": "ALTER TABLE", "reason": "a test"}')`, prefix)
		require.NoError(t, err)
		b.eventually(t, func(c chain.Chain) bool { return len(c.Bases) == 2 && len(c.Gaps) == 1 })
		b.psql(t, "-c", "INSERT INTO t VALUES (2)")
		b.caughtUp(t)
		stop()
		b.equal(t, b.restored(t, restore.Config{}))
		_, err = restore.Run(t.Context(), restore.Config{Store: b.store, Into: b.fresh(t), Target: chain.Target{LSN: b.gapEnd(t)}})
		require.ErrorContains(t, err, "the archive has a gap from")
		require.ErrorContains(t, err, "a test")
		require.Equal(t, "1", b.value(t, b.restored(t, restore.Config{Target: chain.Target{LSN: before}}), "SELECT string_agg(id::text, ' ') FROM t"))
	})

	t.Run("OwnDatabase", func(t *testing.T) {
		t.Parallel()
		ownDatabase(t, setup(t, base.Options{}))
	})

	t.Run("MemberLater", func(t *testing.T) {
		t.Parallel()
		memberLater(t, setup(t, base.Options{}))
	})

	// The columns of a temporary table are not in the archive: it records a gap, and continues from a base that has the new table.
	t.Run("LikeTemporary", func(t *testing.T) {
		t.Parallel()
		b := setup(t, base.Options{})
		stop := b.keep(t)
		b.psql(t, "-c", "CREATE TABLE kept (i int)", "-c", "CREATE TEMP TABLE passing (i int NOT NULL DEFAULT 3); CREATE TABLE later (LIKE passing INCLUDING DEFAULTS)")
		b.eventually(t, func(c chain.Chain) bool { return len(c.Bases) == 2 && len(c.Gaps) == 1 })
		b.psql(t, "-c", "INSERT INTO later DEFAULT VALUES", "-c", "CREATE TABLE last (LIKE later)")
		b.caughtUp(t)
		stop()
		require.Contains(t, b.chain(t).Gaps[0].Reason, "LIKE a temporary table")
		b.equal(t, b.restored(t, restore.Config{}))
	})

	// No event trigger fires for a table that EXPLAIN ANALYZE creates: the archive records a gap, and continues from a base that has the table.
	t.Run("Unnoticed", func(t *testing.T) {
		t.Parallel()
		b := setup(t, base.Options{})
		stop := b.keep(t)
		b.psql(t, "-c", "CREATE TABLE t (i int)", "-c", "INSERT INTO t VALUES (1)", "-c", "EXPLAIN ANALYZE CREATE TABLE made AS SELECT i FROM t")
		b.eventually(t, func(c chain.Chain) bool { return len(c.Bases) == 2 && len(c.Gaps) == 1 })
		require.Contains(t, b.chain(t).Gaps[0].Reason, `"public"."made"`)
		b.psql(t, "-c", "INSERT INTO made VALUES (2)", "-c", "UPDATE made SET i = i + 1", "-c", "CREATE TABLE later AS SELECT i FROM made")
		b.caughtUp(t)
		stop()
		require.Len(t, b.chain(t).Gaps, 1)
		b.equal(t, b.restored(t, restore.Config{}))
	})

	t.Run("Proof", func(t *testing.T) {
		t.Parallel()
		b := setup(t, base.Options{Compression: store.Zstd})
		stop := b.run(t, 2000)
		b.psql(t, "-f", "testdata/workload.sql")
		prove := func() chain.Proof {
			p, err := proof.Run(t.Context(), proof.Config{URL: b.db.URL, Store: b.store, Scratch: server.URL("postgres"), Clock: pace.SystemClock{}, Jobs: 2})
			require.NoError(t, err)
			return p
		}
		p := prove()
		require.Empty(t, p.Failure)
		require.Positive(t, p.Rows)
		require.Greater(t, p.Tables, 20)
		b.caughtUp(t)
		stop()
		archive := b.chain(t)
		require.Len(t, archive.Proofs, 1)
		// Somebody modifies a segment.
		path := b.path(archive.Segments[len(archive.Segments)-1].File)
		content := []byte(read(t, path))
		content[len(content)/2] ^= 1
		require.NoError(t, os.WriteFile(path, content, 0o600))
		stop = b.run(t, 2000)
		p = prove()
		stop()
		require.Contains(t, p.Failure, "was modified")
		// Nobody archives.
		waited := ""
		_, err := proof.Run(t.Context(), proof.Config{
			URL: b.db.URL, Store: b.store, Scratch: server.URL("postgres"), Clock: hastyClock{},
			Waiting: func(position string, archiving bool) { waited = fmt.Sprint(position != "", archiving) },
		})
		require.ErrorIs(t, err, proof.ErrNobody)
		require.Equal(t, "true false", waited)
		archive = b.chain(t)
		require.Equal(t, p.Failure, archive.Proofs[len(archive.Proofs)-1].Failure)
	})

	t.Run("Prune", func(t *testing.T) {
		t.Parallel()
		b := setup(t, base.Options{Compression: store.Gzip})
		stop := b.run(t, 100)
		b.psql(t, "-c", "CREATE TABLE t (id int PRIMARY KEY)")
		var made []chain.Base
		for i := range 3 {
			b.psql(t, "-c", "INSERT INTO t VALUES ("+strconv.Itoa(i)+")")
			b.caughtUp(t)
			one, err := base.Take(t.Context(), b.config(), "a test")
			require.NoError(t, err)
			made = append(made, one)
		}
		b.psql(t, "-c", "INSERT INTO t VALUES (3)")
		b.caughtUp(t)
		stop()
		rule := retention.Rule{Segments: time.Hour, Bases: 2 * time.Hour, Monthly: 3 * time.Hour}
		plan, err := retention.Prune(t.Context(), b.store, rule, made[1].At.Add(time.Hour))
		require.NoError(t, err)
		require.NotEmpty(t, plan.Segments)
		require.Empty(t, plan.Bases)
		archive := b.chain(t)
		_, err = archive.Verify(t.Context())
		require.NoError(t, err)
		b.equal(t, b.restored(t, restore.Config{}))
		lsn := func(position string) pglogrepl.LSN {
			lsn, err := pglogrepl.ParseLSN(position)
			require.NoError(t, err)
			return lsn
		}
		// Pruned transactions cannot be restored, but the base can.
		require.Equal(t, "1", b.value(t, b.restored(t, restore.Config{Target: chain.Target{LSN: lsn(made[0].Position)}}), "SELECT count(*)::text FROM t"))
		_, err = restore.Run(t.Context(), restore.Config{Store: b.store, Into: b.fresh(t), Target: chain.Target{LSN: lsn(made[0].Position) + 1}})
		require.ErrorContains(t, err, "were pruned")
		plan, err = retention.Prune(t.Context(), b.store, rule, made[2].At.Add(4*time.Hour))
		require.NoError(t, err)
		require.Len(t, plan.Bases, 3)
		archive = b.chain(t)
		_, err = archive.Verify(t.Context())
		require.NoError(t, err)
		require.Len(t, archive.Bases, 1)
		b.equal(t, b.restored(t, restore.Config{}))
		names, err := b.store.Names(t.Context(), "bases/")
		require.NoError(t, err)
		for _, name := range names {
			require.True(t, strings.HasPrefix(name, chain.BaseDir(made[2].Position)), name)
		}
		stop = b.run(t, 100)
		b.psql(t, "-c", "INSERT INTO t VALUES (4)")
		b.caughtUp(t)
		stop()
		b.equal(t, b.restored(t, restore.Config{}))
		into := b.fresh(t)
		output, err := exec.CommandContext(t.Context(), "sh", filepath.Join(b.archive, "restore.sh"), into).CombinedOutput()
		require.NoError(t, err, string(output))
		b.equal(t, into)
	})

	// Random positions and times of a random workload, each restored and compared with the rows at that point. DAYMILL_ARCHIVE_POINTS
	// says how many; `make archive-points` takes 50.
	t.Run("RandomPoints", func(t *testing.T) {
		t.Parallel()
		points, err := strconv.Atoi(os.Getenv("DAYMILL_ARCHIVE_POINTS"))
		if err != nil {
			points = 6
		}
		b := setup(t, base.Options{Compression: store.Zstd})
		stop := b.run(t, 3000)
		random := rand.New(rand.NewPCG(14, uint64(points)))
		type point struct {
			target chain.Target
			want   string
		}
		var kept []point
		const state = "SELECT coalesce(string_agg(t::text, ' ' ORDER BY id), '') || '/' || (SELECT coalesce(string_agg(v::text, ' ' ORDER BY v), '') FROM u) FROM t"
		b.psql(t, "-c", "CREATE TABLE t (id int PRIMARY KEY, v int)", "-c", "CREATE TABLE u (v int)")
		for i := range points * 3 {
			id := strconv.Itoa(random.IntN(20))
			statement := []string{
				"INSERT INTO t (id, v) VALUES (" + id + ", 0) ON CONFLICT (id) DO UPDATE SET v = t.v + 1", "DELETE FROM t WHERE id = " + id,
				"INSERT INTO u VALUES (" + id + ")", "UPDATE u SET v = v + 1 WHERE ctid = (SELECT min(ctid) FROM u)", "TRUNCATE u",
				"ALTER TABLE t ADD IF NOT EXISTS c" + id + " int DEFAULT " + id, "UPDATE t SET id = id + 100 WHERE id = " + id,
				"BEGIN; INSERT INTO u SELECT generate_series(1, " + id + "); ROLLBACK",
			}[random.IntN(8)]
			b.psql(t, "-c", statement)
			if i == points {
				_, err := base.Take(t.Context(), b.config(), "a test")
				require.NoError(t, err)
			}
			if i%3 != 2 {
				continue
			}
			p := point{want: b.value(t, b.db.URL, state)}
			if len(kept)%2 == 0 {
				p.target.LSN = b.position(t)
			} else {
				require.NoError(t, b.db.QueryRow(t.Context(), "SELECT clock_timestamp()").Scan(&p.target.Time))
			}
			kept = append(kept, p)
		}
		b.caughtUp(t)
		stop()
		for _, p := range kept {
			require.Equal(t, p.want, b.value(t, b.restored(t, restore.Config{Target: p.target}), state), fmt.Sprint(p.target))
			argument := p.target.LSN.String()
			if p.target.LSN == 0 {
				argument = p.target.Time.Format(time.RFC3339Nano)
			}
			into := b.fresh(t)
			b.script(t, into, argument)
			require.Equal(t, p.want, b.value(t, into, state), argument)
		}
		_, err = restore.Run(t.Context(), restore.Config{Store: b.store, Into: b.fresh(t), Target: chain.Target{Time: time.Unix(1, 0)}})
		require.ErrorContains(t, err, "the archive begins at")
		_, err = restore.Run(t.Context(), restore.Config{Store: b.store, Into: b.fresh(t), Target: chain.Target{LSN: 1 << 60}})
		require.ErrorContains(t, err, "the archive ends at")
	})

	// A restore that is interrupted after each step continues there.
	t.Run("Resumed", func(t *testing.T) {
		t.Parallel()
		b := setup(t, base.Options{Compression: store.Zstd})
		b.psql(t, "-f", "testdata/workload.sql", "-c", "CREATE INDEX ON old (s)", "-c", "CREATE TABLE wide AS SELECT i, repeat('x', 100) AS v FROM generate_series(1, 20000) AS i")
		stop := b.run(t, 2000)
		_, err := base.Take(t.Context(), b.config(), "a test")
		require.NoError(t, err)
		b.psql(t, "-c", "CREATE TABLE later (id serial, v text)")
		for i := range 12 {
			b.psql(t, "-c", "INSERT INTO later (v) SELECT repeat('y', i) FROM generate_series(1, 40) AS i", "-c", "UPDATE later SET v = v || '!' WHERE id % 7 = "+strconv.Itoa(i%7))
		}
		b.caughtUp(t)
		stop()
		into := b.fresh(t)
		done, runs := false, 0
		for stopAt := 1; !done; stopAt++ {
			ctx, cancel := context.WithCancel(t.Context())
			count := 0
			_, err := restore.Run(ctx, restore.Config{Store: b.store, Into: into, Jobs: 2, Progress: func(string, int, int) {
				if count++; count > stopAt/2 {
					cancel()
				}
			}})
			cancel()
			done = err == nil
			if runs++; runs > 200 {
				require.NoError(t, err)
			}
			if !done {
				b.gone(t, into) // The server notices that the killed psql is gone.
			}
		}
		require.Greater(t, runs, 3)
		b.equal(t, into)
	})

	t.Run("SequenceReset", func(t *testing.T) {
		t.Parallel()
		sequenceReset(t, setup(t, base.Options{}))
	})

	t.Run("SequenceDropped", func(t *testing.T) {
		t.Parallel()
		sequenceDropped(t, setup(t, base.Options{}))
	})

	t.Run("SuperuserLater", func(t *testing.T) {
		t.Parallel()
		superuserLater(t, setup(t, base.Options{}))
	})

	t.Run("ShorterFile", func(t *testing.T) {
		t.Parallel()
		shorterFile(t, setup(t, base.Options{}))
	})

	t.Run("Unreadable", func(t *testing.T) {
		t.Parallel()
		unreadable(t, setup(t, base.Options{}))
	})

	t.Run("SlotDropped", func(t *testing.T) {
		t.Parallel()
		b := setup(t, base.Options{})
		stop := b.keep(t)
		b.psql(t, "-c", "CREATE TABLE t (id int PRIMARY KEY)", "-c", "INSERT INTO t VALUES (1)")
		before := b.position(t)
		b.caughtUp(t)
		stop()
		// The archive will miss these changes.
		dropped, err := keeper.Guard(t.Context(), b.config(), 1)
		require.NoError(t, err)
		require.True(t, dropped)
		b.psql(t, "-c", "INSERT INTO t VALUES (2)", "-c", "DELETE FROM t WHERE id = 1")
		stop = b.keep(t)
		b.eventually(t, func(c chain.Chain) bool { return len(c.Bases) == 2 && len(c.Gaps) == 1 })
		b.psql(t, "-c", "INSERT INTO t VALUES (3)")
		b.caughtUp(t)
		stop()
		archive := b.chain(t)
		_, err = archive.Verify(t.Context())
		require.NoError(t, err)
		b.equal(t, b.restored(t, restore.Config{}))
		require.Equal(t, "1", b.value(t, b.restored(t, restore.Config{Target: chain.Target{LSN: before}}), "SELECT string_agg(id::text, ' ') FROM t"))
		_, err = restore.Run(t.Context(), restore.Config{Store: b.store, Into: b.fresh(t), Target: chain.Target{LSN: b.gapEnd(t)}})
		require.ErrorContains(t, err, "the archive has a gap from")
		into := b.fresh(t)
		output, err := exec.CommandContext(t.Context(), "sh", filepath.Join(b.archive, "restore.sh"), into).CombinedOutput()
		require.NoError(t, err, string(output))
		b.equal(t, into)
	})
}

// gapEnd returns the last position of the first gap: a position that a test reads while a keeper runs may be after it already.
func (b *testBundle) gapEnd(t *testing.T) pglogrepl.LSN {
	t.Helper()
	after, err := pglogrepl.ParseLSN(b.chain(t).Bases[1].Position)
	require.NoError(t, err)
	return after - 1
}

// keep runs a keeper until stop is called.
func (b *testBundle) keep(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	started, done := make(chan struct{}, 10), make(chan error, 1)
	k := keeper.Keeper{Config: b.config(), Started: func() { started <- struct{}{} }}
	go func() { done <- k.Run(ctx) }()
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

func (b *testBundle) eventually(t *testing.T, is func(c chain.Chain) bool) {
	t.Helper()
	require.Eventually(t, func() bool {
		archive, err := chain.Read(t.Context(), b.store)
		return err == nil && is(archive)
	}, 2*time.Minute, 50*time.Millisecond)
}

// position returns a position after everything that is committed.
func (b *testBundle) position(t *testing.T) pglogrepl.LSN {
	t.Helper()
	lsn, err := pglogrepl.ParseLSN(b.value(t, b.db.URL, "SELECT pg_current_wal_insert_lsn()::text"))
	require.NoError(t, err)
	return lsn
}

func (b *testBundle) value(t *testing.T, url, query string) (value string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer conn.Close(t.Context())
	require.NoError(t, conn.QueryRow(t.Context(), query).Scan(&value))
	return value
}
