package snapshot_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/capture/signal"
	"github.com/daymill/daymill/internal/capture/snapshot"
	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/telemetry"
)

// listener calls a function with each signal.
type listener func(ctx context.Context, s telemetry.Signal)

func (l listener) Listen(ctx context.Context, s telemetry.Signal) context.Context {
	l(ctx, s)
	return ctx
}

// listen runs snapshots, and tells a listener.
func (b *testBundle) listen(ctx context.Context, to listener) error {
	_, err := snapshot.Run(ctx, snapshot.Config{DB: b.DB.DB, Source: b.DB.DB, Stream: "app", Rows: 100, Listeners: telemetry.Listeners{to}})
	return err
}

// TestChunk_Order: a chunk waits until every change that it may contain is in the log. Otherwise a row's older values would come after it.
func TestChunk_Order(t *testing.T) {
	t.Parallel()
	inModes(t, func(t *testing.T, mode string) {
		b := setup(t, mode)
		b.Do(t, "CREATE SEQUENCE public.marks; DELETE FROM app.item WHERE id > 3")
		b.begin(t, "app.item")
		b.stop() // Nothing lands.
		b.Do(t, "UPDATE app.item SET n = 100 WHERE id = 1")
		b.Do(t, "UPDATE app.item SET n = 200 WHERE id = 1")
		done := make(chan struct{})
		go func() {
			defer close(done)
			for b.run(t.Context()) != nil && t.Context().Err() == nil { // The mark does not come for a while.
			}
		}()
		// It has read the chunk, and waits, or has not waited.
		b.wait(t, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE '%DELETE FROM capture.watermark WHERE ' || 'token = $1%')
			OR EXISTS (SELECT FROM capture.log WHERE snapshot)`)
		b.own(t)
		<-done
		b.complete(t)
		b.mark(t)
		var values []string
		require.NoError(t, b.QueryRow(t.Context(), "SELECT array_agg(new ->> 'n' ORDER BY position) FROM capture.log WHERE key ->> 'id' = '1' AND key ->> 'part' <> 'mark'").Scan(&values))
		require.Equal(t, []string{"100", "200"}, values)
	})
}

// TestChunk_Restored: a chunk is read while nothing lands. Then the source loses what the chunk has read and its watermark, and uses more
// transaction ids. The chunk does not enter the log.
func TestChunk_Restored(t *testing.T) {
	t.Parallel()
	b := setup(t, stream.ModeTrigger)
	b.Do(t, "DELETE FROM app.item WHERE id > 3")
	b.begin(t, "app.item")
	b.stop()
	b.Do(t, "UPDATE app.item SET n = 100 WHERE id = 1")
	done := make(chan error, 1)
	go func() { done <- b.run(t.Context()) }()
	b.wait(t, "SELECT EXISTS (SELECT FROM daymill_capture.queue_0 WHERE op = 'm')")
	b.Do(t, `DELETE FROM daymill_capture.queue_0; ALTER TABLE app.item DISABLE TRIGGER USER;
		UPDATE app.item SET n = 1 WHERE id = 1; ALTER TABLE app.item ENABLE TRIGGER USER`)
	b.Do(t, "UPDATE app.item SET n = 2 WHERE id = 2")
	b.own(t)
	require.NoError(t, <-done)
	b.complete(t)
	var values []string
	require.NoError(t, b.QueryRow(t.Context(), "SELECT array_agg(new ->> 'n' ORDER BY position) FROM capture.log WHERE key ->> 'id' = '1'").Scan(&values))
	require.NotEmpty(t, values)
	require.NotContains(t, values, "100")
}

// TestChunk_Twice: of two workers that read the same chunk one appends it, and a chunk that is read when the snapshot is paused is not
// appended.
func TestChunk_Twice(t *testing.T) {
	t.Parallel()
	b := setup(t, stream.ModeWAL)
	b.begin(t, "app.item")
	// late begins a chunk, and continues with it after something else has happened.
	late := func(meanwhile func()) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		began := false
		err := b.listen(ctx, func(_ context.Context, s telemetry.Signal) {
			switch s.(type) {
			case signal.ChunkStart:
				if !began {
					began = true
					meanwhile()
				}
			case signal.Chunk:
				cancel()
			}
		})
		require.ErrorIs(t, err, context.Canceled)
		require.True(t, began)
	}
	appended := func() (rows, chunks int) {
		var read int
		require.NoError(t, b.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM capture.log WHERE op = 'insert' AND snapshot), n.rows, n.chunks
			FROM capture.snapshot AS n`).Scan(&rows, &read, &chunks)) // All rows are of one table.
		require.Equal(t, rows, read)
		return rows, chunks
	}

	late(func() { late(func() {}) })
	rows, chunks := appended()
	require.Equal(t, []int{100, 1}, []int{rows, chunks})

	change := func(do func(ctx context.Context, tx pgx.Tx, id int64, who audit.Who) error) {
		list, err := snapshot.List(t.Context(), b.DB.DB, "", "")
		require.NoError(t, err)
		require.NoError(t, b.Tx(t.Context(), func(tx pgx.Tx) error { return do(t.Context(), tx, list[0].ID, audit.Who{Via: audit.ViaCLI}) }))
	}
	late(func() { change(snapshot.Pause) })
	rows, chunks = appended()
	require.Equal(t, []int{100, 1}, []int{rows, chunks})
	change(snapshot.Resume)
	b.complete(t)
	rows, _ = appended()
	require.Equal(t, 2000, rows)
}
