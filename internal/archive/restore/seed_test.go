package restore_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/archive/base"
	"github.com/daymill/daymill/internal/archive/bucket"
	"github.com/daymill/daymill/internal/archive/chain"
	"github.com/daymill/daymill/internal/archive/ddl"
	"github.com/daymill/daymill/internal/archive/keeper"
	"github.com/daymill/daymill/internal/archive/restore"
	"github.com/daymill/daymill/internal/archive/segment"
	"github.com/daymill/daymill/internal/archive/store"
	"github.com/daymill/daymill/internal/pgserver"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// seeded is the run of one seed.
type seeded struct {
	*testBundle

	random  *rand.Rand
	front   *faults // nil if the archive is in a directory
	codec   store.Codec
	often   string    // what makes an archiver seal often
	process *exec.Cmd // the archiver; nil if it does not run
	points  []seededPoint
	gaps    int // at most: one for each cause, and one after each base that was made before the cause was noticed
	log     []string
}

type seededPoint struct {
	target chain.Target
	want   string
}

// TestSeeds does random work while random things break, and then judges the archive: its end can be restored exactly, and so can every moment
// that the test remembers, unless it is in a gap that the archive names and that has a cause. DAYMILL_ARCHIVE_SEEDS says how many seeds,
// DAYMILL_ARCHIVE_SEED which is the first; see `make archive-seeds`.
//
//nolint:paralleltest,tparallel // The seeds run one after another: they crash the server.
func TestSeeds(t *testing.T) {
	t.Parallel()
	number := func(variable string, otherwise int) int {
		if n, err := strconv.Atoi(os.Getenv(variable)); err == nil {
			return n
		}
		return otherwise
	}
	server := pgtest.Server(t, map[string]string{
		"wal_level": "logical", "max_wal_senders": "20", "max_replication_slots": "20",
		"synchronous_commit": "on", // What the test remembers must survive a crash.
	})
	first := number("DAYMILL_ARCHIVE_SEED", 1)
	for seed := range number("DAYMILL_ARCHIVE_SEEDS", 2) {
		t.Run(strconv.Itoa(first+seed), func(t *testing.T) {
			s := seededSetup(t, server, first+seed)
			defer func() {
				if t.Failed() {
					t.Log(s.log)
				}
			}()
			for range 12 + s.random.IntN(8) {
				s.step(t)
			}
			s.judge(t)
		})
	}
}

func seededSetup(t *testing.T, server *pgserver.Server, seed int) *seeded {
	t.Helper()
	s := &seeded{
		testBundle: &testBundle{server: server, db: application(t, server), archive: filepath.Join(t.TempDir(), "archive")},
		random:     rand.New(rand.NewPCG(uint64(seed), 14)),
	}
	s.options.Compression = []string{"", store.Gzip, store.Zstd}[s.random.IntN(3)]
	if s.random.IntN(3) == 0 {
		s.front = &faults{s3: gofakes3.New(s3mem.New(), gofakes3.WithAutoBucket(true)).Server()}
		web := httptest.NewServer(s.front)
		t.Cleanup(web.Close)
		s.archive, s.often = "s3://backups/app?region=us-east-1&use_path_style=true&anonymous=true&endpoint="+web.URL, "often"
	}
	if s.random.IntN(4) == 0 {
		identity, err := age.GenerateX25519Identity()
		require.NoError(t, err)
		key := filepath.Join(t.TempDir(), "key.txt")
		require.NoError(t, os.WriteFile(key, []byte(identity.String()+"\n"), 0o600))
		require.NoError(t, s.codec.Identify(key))
		s.options.Recipients, s.often = []string{identity.Recipient().String()}, "often"
	}
	s.notef("%s, compression %q, encrypted: %v", s.archive, s.options.Compression, len(s.options.Recipients) > 0)
	place, err := bucket.Open(t.Context(), s.archive)
	require.NoError(t, err)
	t.Cleanup(func() { _ = place.Close() })
	s.store = place
	manifest, err := base.Init(t.Context(), s.config(), s.options)
	require.NoError(t, err)
	s.psql(t, "-c", "CREATE TABLE t (id int PRIMARY KEY, v int)", "-c", "CREATE TABLE u (v int)")
	s.start(t)
	t.Cleanup(func() {
		s.stop(t)
		require.NoError(t, base.Remove(context.WithoutCancel(t.Context()), s.db.DB, manifest.Slot)) // Other seeds need slots.
	})
	return s
}

func (s *seeded) notef(format string, arguments ...any) {
	s.log = append(s.log, fmt.Sprintf(format, arguments...))
}

// start starts the archiver, if it does not run.
func (s *seeded) start(t *testing.T) {
	t.Helper()
	if s.process == nil {
		var output io.Reader
		s.process, output = s.program(t, "PATH="+os.Getenv("PATH"), s.often)
		go func() { _, _ = io.Copy(io.Discard, output) }()
	}
}

// stop kills the archiver, if it runs.
func (s *seeded) stop(t *testing.T) {
	t.Helper()
	if s.process != nil {
		kill(t, s.process)
		s.process = nil
	}
}

const seededState = `SELECT coalesce(string_agg(t::text, ' ' ORDER BY id), '') || '/' || (SELECT coalesce(string_agg(v::text, ' ' ORDER BY v), '') FROM u)
	|| '/' || (SELECT count(*) FROM pg_class WHERE relname LIKE 'made%') FROM t`

// step does some work, remembers the moment, and breaks something.
func (s *seeded) step(t *testing.T) {
	t.Helper()
	for range 1 + s.random.IntN(4) {
		s.work(t)
	}
	if s.random.IntN(2) == 0 {
		p := seededPoint{want: s.value(t, s.db.URL, seededState)}
		if s.random.IntN(2) == 0 {
			p.target.LSN = s.position(t)
		} else {
			require.NoError(t, s.db.QueryRow(t.Context(), "SELECT clock_timestamp()").Scan(&p.target.Time))
		}
		s.points = append(s.points, p)
	}
	if s.random.IntN(3) == 0 {
		s.settle(t)
	}
	if s.front != nil {
		fault := []string{"", "", "", "failing", "forbidden", "hanging up", "lost answers", "slow"}[s.random.IntN(8)]
		s.notef("bucket: %q", fault)
		s.front.begin(fault)
	}
	switch s.random.IntN(10) {
	case 0, 1:
		s.notef("kill")
		s.stop(t)
	case 2: //nolint:mnd // The numbers mean nothing.
		s.crash(t)
	case 3: //nolint:mnd
		s.notef("drop the slot")
		s.gaps++
		_, err := keeper.Guard(t.Context(), s.config(), 1)
		s.notef("%v", err) // The archiver may make the slot just now.
	case 4: //nolint:mnd
		s.base(t)
	case 5: //nolint:mnd
		s.tear(t)
	case 6: //nolint:mnd
		s.notef("a change of the schema is lost")
		s.gaps++
		prefix, err := ddl.Prefix(t.Context(), s.db.DB)
		require.NoError(t, err)
		_, err = s.db.Exec(t.Context(), `SELECT pg_logical_emit_message(true, $1, '{"kind": "lost", "tag": "ALTER TABLE", "reason": "a test"}')`, prefix)
		require.NoError(t, err)
	default:
		s.start(t)
	}
}

// settle lets the archiver archive everything. Without it, most moments would be in gaps, because the faults come faster than an archiver starts.
func (s *seeded) settle(t *testing.T) {
	t.Helper()
	if s.front != nil {
		s.front.begin("")
	}
	s.start(t)
	s.caughtUp(t)
	s.eventually(t, func(c chain.Chain) bool { return !c.Gapped() })
	s.caughtUp(t)
}

func (s *seeded) work(t *testing.T) {
	t.Helper()
	id := strconv.Itoa(s.random.IntN(20))
	s.psql(t, "-c", []string{
		"INSERT INTO t (id, v) VALUES (" + id + ", 0) ON CONFLICT (id) DO UPDATE SET v = t.v + 1", "DELETE FROM t WHERE id = " + id,
		"INSERT INTO u SELECT generate_series(1, " + id + ")", "UPDATE u SET v = v + 1 WHERE ctid = (SELECT min(ctid) FROM u)", "TRUNCATE u",
		"ALTER TABLE t ADD IF NOT EXISTS c" + id + " int DEFAULT " + id, "UPDATE t SET id = id + 100 WHERE id = " + id + " AND NOT EXISTS (SELECT FROM t WHERE id = " + id + " + 100)",
		"BEGIN; INSERT INTO u SELECT generate_series(1, " + id + "); ROLLBACK", "ALTER TABLE t ADD IF NOT EXISTS r" + id + " float8 DEFAULT random()",
		"DROP TABLE IF EXISTS made_" + id + "; CREATE TABLE made_" + id + " AS SELECT i FROM generate_series(1, 9) AS i; UPDATE made_" + id + " SET i = 1 WHERE i < 4",
		"INSERT INTO u SELECT i FROM generate_series(1, 300) AS i; DELETE FROM u WHERE v > 20",
	}[s.random.IntN(11)])
}

// crash crashes Postgres while a transaction runs.
func (s *seeded) crash(t *testing.T) {
	t.Helper()
	s.notef("crash")
	conn, err := pgx.Connect(t.Context(), s.db.URL)
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = conn.Exec(t.Context(), "INSERT INTO u SELECT generate_series(1, 3000)") // It commits or not.
		_ = conn.Close(t.Context())
	}()
	if s.random.IntN(2) == 0 {
		s.stop(t)
	}
	require.NoError(t, s.server.Restart(t.Context(), pgserver.Immediate))
	<-done
	s.db.Reset()
}

// base makes a base, and maybe interrupts it.
func (s *seeded) base(t *testing.T) {
	t.Helper()
	process, output := s.program(t, "PATH="+os.Getenv("PATH"), "base")
	go func() { _, _ = io.Copy(io.Discard, output) }()
	after := time.Duration(s.random.IntN(600)) * time.Millisecond
	ended := make(chan error, 1)
	go func() { ended <- process.Wait() }()
	select {
	case err := <-ended:
		s.notef("base: %v", err) // The bucket may fail.
		s.gaps++
	case <-time.After(after):
		s.notef("base, killed after %s", after)
		_ = process.Process.Kill() // It may have ended.
		s.notef("base: %v", <-ended)
	}
}

// tear kills the archiver, and damages the end of the unsealed segment: another line begins, or the last lines are gone.
func (s *seeded) tear(t *testing.T) {
	t.Helper()
	s.stop(t)
	if s.front != nil {
		return
	}
	archive := s.chain(t)
	if archive.Open == "" {
		return
	}
	content := read(t, archive.OpenPath())
	if content == "" {
		return
	}
	switch s.random.IntN(3) {
	case 0:
		s.notef("a torn transaction")
		content += "BEGIN; -- 0000000F/0FFFFFFF 2026-01-01T00:00:00.000000Z\nCOPY \"public\".\"t\" (\"id\") FROM stdin;\n1"
	case 1:
		s.notef("a torn line")
		content += "BEGIN; -- 0000000F/0FF"
	default: // What was confirmed to the slot may be gone.
		s.notef("a shorter file")
		s.gaps++
		content = content[:s.random.IntN(len(content))]
	}
	require.NoError(t, os.WriteFile(archive.OpenPath(), []byte(content), 0o600))
}

// judge repairs everything, and compares the archive with what the test remembers.
func (s *seeded) judge(t *testing.T) {
	t.Helper()
	s.psql(t, "-c", "INSERT INTO u VALUES (-1)")
	s.settle(t)
	s.stop(t)
	archive := s.chain(t)
	require.LessOrEqual(t, len(archive.Gaps), s.gaps)
	_, err := archive.Verify(t.Context())
	require.NoError(t, err)
	s.equal(t, s.restored(t, restore.Config{Codec: s.codec}))
	refused := 0
	for _, p := range s.points {
		into := s.fresh(t)
		_, err := restore.Run(t.Context(), restore.Config{Store: s.store, Codec: s.codec, Into: into, Target: p.target})
		if err != nil {
			require.ErrorContains(t, err, "the archive has a gap from")
			require.True(t, inGap(archive, p.target), "%v is in no gap: %v", p.target, err)
			refused++
			continue
		}
		require.Equal(t, p.want, s.value(t, into, seededState), fmt.Sprint(p.target))
	}
	t.Logf("%d gaps, %d bases, %d segments, %d moments, of which %d are in a gap", len(archive.Gaps), len(archive.Bases), len(archive.Segments), len(s.points), refused)
	s.alter(t, archive)
}

// inGap reports whether a target is in one of the archive's gaps.
func inGap(archive chain.Chain, target chain.Target) bool {
	for _, gap := range archive.Gaps {
		for _, next := range archive.Bases {
			if next.Position <= gap.From {
				continue
			}
			lsn := segment.LSN(target.LSN)
			if target.LSN != 0 && lsn > gap.From && lsn < next.Position || !target.Time.IsZero() && target.Time.After(gap.At) && !target.Time.After(next.At) {
				return true
			}
			break
		}
	}
	return false
}

// alter changes one byte of a file that a restore needs.
func (s *seeded) alter(t *testing.T, archive chain.Chain) {
	t.Helper()
	last := archive.Bases[len(archive.Bases)-1]
	files := append([]store.File{}, last.Files...)
	for _, seal := range archive.After(last) {
		files = append(files, seal.File)
	}
	file := files[s.random.IntN(len(files))]
	from, err := s.store.Read(t.Context(), file.Name)
	require.NoError(t, err)
	content, err := io.ReadAll(from)
	require.NoError(t, err)
	require.NoError(t, from.Close())
	if len(content) == 0 {
		return
	}
	content[s.random.IntN(len(content))] ^= 1 << s.random.IntN(8)
	_, err = s.store.Put(t.Context(), file.Name, func(to io.Writer) error {
		_, err := to.Write(content)
		return err
	})
	require.NoError(t, err)
	_, err = archive.Verify(t.Context())
	require.ErrorContains(t, err, file.Name+" was modified")
	_, err = restore.Run(t.Context(), restore.Config{Store: s.store, Codec: s.codec, Into: s.fresh(t), Target: chain.Target{LSN: pglogrepl.LSN(0)}})
	require.ErrorContains(t, err, file.Name+" was modified")
}
