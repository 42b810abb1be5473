package stream_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/capture/watermark"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/pgserver"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// older returns a source of its own, and functions that save its disk and put the older disk back.
func older(t *testing.T, b *testBundle) (source *pgtest.DB, owner stream.Owner, save, restore func()) {
	t.Helper()
	server := pgtest.Server(t, map[string]string{"wal_level": "logical"})
	source = pgtest.On(t, server, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	source.Do(t, simple)
	owner = b.owner("app", stream.ModeWAL)
	owner.Source, owner.SourceURL = source.DB, source.URL
	backup := filepath.Join(t.TempDir(), "backup")
	replace := func(from, to string) {
		t.Helper()
		pgtest.Replace(t, server, from, to)
		source.Reset() // The restart closed its connections.
	}
	return source, owner, func() { t.Helper(); replace(server.DataDir(), backup) }, func() { t.Helper(); replace(backup, server.DataDir()) }
}

func grow(t *testing.T, source *pgtest.DB) {
	t.Helper()
	source.Do(t, "SELECT pg_logical_emit_message(false, 'x', repeat('x', 4000000))")
}

func (b *testBundle) is(t *testing.T, sql string, arguments ...any) bool {
	t.Helper()
	return pgtest.Column[bool](t, b.DB, sql, arguments...)[0]
}

// watermark writes a watermark of a stream that is read from the WAL.
func (b *testBundle) watermark(t *testing.T, source *pgtest.DB, name string) string {
	t.Helper()
	id := pgtest.Column[int32](t, b.DB, "SELECT id FROM capture.stream WHERE name = $1", name)[0]
	token, err := watermark.Write(t.Context(), source.DB, watermark.Stream{ID: id, Name: name, Mode: stream.ModeWAL})
	require.NoError(t, err)
	return token
}

// TestWAL_RestoredWatermark: a source loses a watermark that has landed, and with it what a reader of its rows saw before, such as the values of
// ALTER COLUMN … USING, which is not in the WAL's changes. That is a gap.
func TestWAL_RestoredWatermark(t *testing.T) {
	t.Parallel()
	b := setup(t)
	source, owner, save, restore := older(t, b)
	stop := b.start(t, owner)
	source.Do(t, "INSERT INTO app.t VALUES (1, 'a')")
	b.wait(t, "SELECT EXISTS (SELECT FROM capture.log WHERE table_name = 't')")
	stop()
	save()
	stop = b.start(t, owner)
	source.Do(t, "ALTER TABLE app.t ALTER v TYPE text USING v || ' rewritten'")
	token := b.watermark(t, source, "app")
	b.wait(t, "SELECT EXISTS (SELECT FROM capture.watermark WHERE token = $1)", token)
	stop()
	restore()
	grow(t, source)
	b.start(t, owner)
	source.Do(t, "INSERT INTO app.t VALUES (2, 'b')")
	b.wait(t, "SELECT EXISTS (SELECT FROM capture.log WHERE table_name = 't' AND key ->> 'id' = '2') OR EXISTS (SELECT FROM capture.gap)")
	require.Equal(t, []string{"restore "}, b.gaps(t, "app"))
}

// TestWAL_RestoredInPart: a part of a large transaction has landed. Then the source becomes an older copy, whose WAL ends after the last complete
// transaction that landed, and before that transaction. That is a gap, and changes land at once.
func TestWAL_RestoredInPart(t *testing.T) {
	t.Parallel()
	b := setup(t)
	source, owner, save, restore := older(t, b)
	stop := b.start(t, owner)
	source.Do(t, "INSERT INTO app.t VALUES (0, 'a')")
	b.wait(t, "SELECT EXISTS (SELECT FROM capture.log WHERE table_name = 't')")
	stop()
	save()
	at := pgtest.Column[string](t, b.DB, "SELECT lsn FROM capture.stream")[0]
	stop = b.start(t, owner)
	source.Do(t, "INSERT INTO app.t SELECT g, repeat('v', 200) FROM generate_series(1, 100000) AS g")
	b.wait(t, "SELECT position > 1 FROM capture.stream")
	stop()
	require.True(t, b.is(t, "SELECT lsn::pg_lsn < split_part(seen, ' ', 1)::pg_lsn FROM capture.stream"), "the whole transaction has landed")
	restore()
	// As if no beat had moved it in the middle of the transaction.
	b.Do(t, "UPDATE capture.stream SET lsn = $1, seen = regexp_replace(seen, '[^ ]+$', $1)", at)
	for pgtest.Column[bool](t, source, "SELECT pg_current_wal_lsn() <= '"+at+"'")[0] {
		source.Do(t, "SELECT pg_logical_emit_message(false, 'x', repeat('x', 500000))")
	}
	end := pgtest.Column[string](t, source, "SELECT pg_current_wal_lsn()::text")[0]
	require.True(t, b.is(t, "SELECT $1::pg_lsn < split_part(seen, ' ', 1)::pg_lsn FROM capture.stream", end), "the WAL ends before the transaction")
	b.start(t, owner)
	source.Do(t, "INSERT INTO app.t VALUES (-1, 'b')")
	b.running(t, 1)
	source.Do(t, "INSERT INTO app.t VALUES (-2, 'c')")
	b.wait(t, "SELECT EXISTS (SELECT FROM capture.log WHERE table_name = 't' AND key ->> 'id' = '-2')")
}

// TestWAL_Message: a message with Daymill's prefix that is not a watermark does not stop the stream. Every role may write one.
func TestWAL_Message(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{
		"Invalid": `'\xff'::bytea`, "Zero": `'\x00'::bytea`,
		"Long": "(SELECT string_agg(md5(g::text), '') FROM generate_series(1, 1000) AS g)::bytea",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.Do(t, simple)
			b.start(t, b.owner("app", stream.ModeWAL))
			b.Do(t, "SELECT pg_logical_emit_message(true, 'daymill', "+content+")")
			b.mark(t, "app")
		})
	}
}

// TestWatermark_Stream: a watermark of one stream does not land with another stream of the same database, which may be further.
func TestWatermark_Stream(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Do(t, simple)
	b.start(t, b.owner("one", stream.ModeWAL))()
	b.start(t, b.owner("two", stream.ModeWAL))
	b.Do(t, "INSERT INTO app.t VALUES (1, 'a')")
	token := b.watermark(t, b.DB, "one")
	b.mark(t, "two")
	landed, err := watermark.Landed(t.Context(), b.DB.DB, []string{token})
	require.NoError(t, err)
	require.Empty(t, landed, "nobody reads the stream")
}

// TestWAL_EarlierVersion: during a rolling deployment, a process of the earlier version owns the stream for a while. It does not write seen when whole
// transactions land. Then Postgres crashes, and the slot goes back. Nothing lands twice.
func TestWAL_EarlierVersion(t *testing.T) {
	t.Parallel()
	b := setup(t)
	server := pgtest.Server(t, map[string]string{"wal_level": "logical"})
	source := pgtest.On(t, server, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	source.Do(t, simple)
	owner := b.owner("app", stream.ModeWAL)
	owner.Source, owner.SourceURL = source.DB, source.URL
	landed := func(id string) {
		t.Helper()
		b.wait(t, "SELECT EXISTS (SELECT FROM capture.log WHERE table_name = 't' AND key ->> 'id' = $1)", id)
	}
	stop := b.start(t, owner)
	source.Do(t, "INSERT INTO app.t VALUES (1, 'a')")
	landed("1")
	seen := pgtest.Column[string](t, b.DB, "SELECT seen FROM capture.stream")[0]
	require.True(t, waitFor(t.Context(), func() bool {
		var is bool
		return source.QueryRow(t.Context(), "SELECT confirmed_flush_lsn > split_part($1, ' ', 1)::pg_lsn FROM pg_replication_slots", seen).Scan(&is) == nil && is
	}))
	stop()
	source.Do(t, "CHECKPOINT") // The slot is on disk.
	stop = b.start(t, owner)
	source.Do(t, "INSERT INTO app.t VALUES (2, 'b')")
	landed("2")
	stop()
	b.Do(t, "UPDATE capture.stream SET seen = $1", seen) // As the earlier version leaves it.
	require.NoError(t, server.Stop(t.Context(), pgserver.Immediate))
	require.NoError(t, server.Start(t.Context()))
	source.Reset()
	b.start(t, owner)
	source.Do(t, "INSERT INTO app.t VALUES (3, 'c')")
	landed("3")
	require.Empty(t, b.gaps(t, "app"))
	require.Equal(t, []string{"1", "2", "3"}, pgtest.Column[string](t, b.DB, "SELECT key ->> 'id' FROM capture.log WHERE table_name = 't' ORDER BY position"))
}
