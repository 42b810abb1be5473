package stream_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestRestored: a source that became an older copy of its disk is a gap, although it has used more transaction ids, and has more WAL, than what was
// read when the owner sees it again, and also if nothing that is captured changes there. If the copy lacks nothing that was read, it is none.
func TestRestored(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{stream.ModeTrigger, stream.ModeWAL} {
		for _, kind := range []string{"changing", "quiet", "complete"} {
			t.Run(mode+"/"+kind, func(t *testing.T) {
				t.Parallel()
				b := setup(t)
				server := pgtest.Server(t, map[string]string{"wal_level": "logical"})
				source := pgtest.On(t, server, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
				source.Do(t, simple)
				owner := b.owner("app", mode)
				owner.Source, owner.SourceURL = source.DB, source.URL
				backup := filepath.Join(t.TempDir(), "backup")
				replace := func(from, to string) {
					t.Helper()
					pgtest.Replace(t, server, from, to)
					source.Reset() // The restart closed its connections.
				}
				landed := func(id string) {
					t.Helper()
					b.wait(t, "SELECT EXISTS (SELECT FROM capture.log WHERE table_name = 't' AND key ->> 'id' = $1)", id)
				}
				grow := func() { // The transactions change nothing that is captured.
					for range 100 {
						source.Do(t, "SELECT pg_current_xact_id(), pg_logical_emit_message(false, 'x', repeat('x', 10000))")
					}
				}
				stop := b.start(t, owner)
				source.Do(t, "INSERT INTO app.t VALUES (1)")
				landed("1")
				// The end of the reader's turn writes to the source. A copy from before that would be an older one.
				b.wait(t, "SELECT mode = 'wal' OR seen NOT LIKE '% % %' FROM capture.stream")
				stop()
				replace(server.DataDir(), backup)
				stop = b.start(t, owner)
				if kind != "complete" {
					source.Do(t, "INSERT INTO app.t VALUES (2)")
					landed("2")
				} else if mode == stream.ModeWAL { // The position moves all the same.
					grow()
					b.wait(t, "SELECT lsn::pg_lsn >= $1::pg_lsn FROM capture.stream", pgtest.Column[string](t, source, "SELECT pg_current_wal_lsn()::text")[0])
				}
				require.Empty(t, b.gaps(t, "app"), "a restart is none")
				stop()

				replace(backup, server.DataDir())
				if kind != "quiet" {
					source.Do(t, "INSERT INTO app.t VALUES (3)")
				}
				longer := func() bool { // What is written and not on disk yet does not count for the owner.
					return pgtest.Value[bool](t, source, "SELECT pg_current_wal_flush_lsn() > $1::pg_lsn", pgtest.Value[string](t, b.DB, "SELECT coalesce(lsn, '0/0') FROM capture.stream"))
				}
				for grow(); !longer(); {
					grow()
				}
				b.start(t, owner)
				if kind == "complete" {
					landed("3")
					require.Empty(t, b.gaps(t, "app"))
				} else {
					b.running(t, 1)
					require.Equal(t, []string{"restore "}, b.gaps(t, "app"))
				}
				source.Do(t, "INSERT INTO app.t VALUES (4)")
				landed("4")
			})
		}
	}
}
