package consumer_test

import (
	"context"
	"encoding/json"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/consumer"
	"github.com/daymill/daymill/internal/capture/filter"
	"github.com/daymill/daymill/internal/capture/log"
	"github.com/daymill/daymill/internal/capture/sink"
	"github.com/daymill/daymill/internal/capture/sink/postgres"
	"github.com/daymill/daymill/internal/capture/sink/sinktest"
	"github.com/daymill/daymill/internal/lease"
	database "github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// realLog adapts the real log.
type realLog struct{}

func (realLog) Read(ctx context.Context, on database.DBTX, q consumer.Query) ([]change.Change, int64, error) {
	return log.Log{}.Read(ctx, on, log.Query(q))
}

func (realLog) Head(ctx context.Context, on database.DBTX, stream string) (int64, error) {
	return log.Log{}.Head(ctx, on, stream)
}

// TestRun_FenceAgain: a consumer that is removed and created again during a delivery begins with a fence that an old turn has.
func TestRun_FenceAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for i := range 8 {
		b.log(t, sinktest.Insert(int64(i+1), i))
	}
	config := b.config(t, filter.Config{})
	config.Batch = 100
	b.sink.deliver = func() { // The old turn, whose fence is 1, is in the middle of a delivery.
		b.tx(t, func(tx pgx.Tx) error { return consumer.Remove(t.Context(), tx, "s", who) })
		b.create(t, "s", 1)
		b.tx(t, func(tx pgx.Tx) error { return consumer.Rewind(t.Context(), tx, "s", 0, who) })
	}
	_, err := consumer.Run(t.Context(), config)
	require.Equal(t, int64(0), b.position(t), "the old turn moved the new consumer")
	require.ErrorIs(t, err, lease.ErrFenced)
}

// TestRun_FenceOfAnother: the same, where another worker takes the new consumer.
func TestRun_FenceOfAnother(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for i := range 8 {
		b.log(t, sinktest.Insert(int64(i+1), i))
	}
	config := b.config(t, filter.Config{})
	config.Batch = 100
	second := &recorder{refuse: map[int64]bool{}}
	b.sink.deliver = func() {
		b.tx(t, func(tx pgx.Tx) error { return consumer.Remove(t.Context(), tx, "s", who) })
		b.create(t, "s", 1)
		other := b.config(t, filter.Config{})
		other.Sink, other.Batch = second, 2
		second.fail = func([]change.Change) error { return errUnreachable }
		result, err := consumer.Run(t.Context(), other) // Its first attempt fails; it is to be tried again in a second.
		require.NoError(t, err)
		require.ErrorIs(t, result.Err, errUnreachable)
	}
	_, err := consumer.Run(t.Context(), config)
	b.sink.deliver, second.fail = nil, nil
	other := b.config(t, filter.Config{})
	other.Sink = second
	_, err2 := consumer.Run(t.Context(), other)
	require.NoError(t, err2)
	require.Len(t, second.taken, 8, "the new consumer has lost changes")
	require.ErrorIs(t, err, lease.ErrFenced)
}

// TestRun_ReplayMeanwhile: a replay that is requested while a batch with a later change of the key is delivered ends that delivery. It would
// park the later change behind nothing.
func TestRun_ReplayMeanwhile(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.sink.refuse[1] = true
	b.log(t, sinktest.Insert(1, 1))
	b.run(t)
	b.log(t, sinktest.Update(2, 1), sinktest.Insert(3, 3))
	b.sink.deliver = func() {
		if b.sink.calls == 2 {
			b.sink.refuse[1] = false
			b.tx(t, func(tx pgx.Tx) error { _, err := consumer.Replay(t.Context(), tx, "s", nil, who); return err })
		}
	}
	_, err := consumer.Run(t.Context(), b.config(t, filter.Config{}))
	require.ErrorIs(t, err, lease.ErrFenced)
	b.run(t)
	require.Empty(t, b.letters(t))
	require.Equal(t, []int64{3, 1, 2, 3}, b.sink.taken, "the batch is delivered again, after the letter")
}

// TestRun_Discarded: the changes that waited behind a discarded letter are delivered, and none that waits behind another one.
func TestRun_Discarded(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.sink.refuse[1] = true
	b.log(t, sinktest.Insert(1, 1), sinktest.Update(2, 1), sinktest.Update(3, 1))
	b.run(t)
	require.Equal(t, []int64{1, -2, -3}, b.letters(t))
	b.sink.refuse[1] = false
	discard := func(position int64) {
		b.tx(t, func(tx pgx.Tx) error {
			_, err := consumer.Discard(t.Context(), tx, "s", []int64{position}, who)
			return err
		})
		b.run(t)
	}
	discard(2)
	require.Equal(t, []int64{1, -3}, b.letters(t))
	discard(1)
	require.Empty(t, b.letters(t))
	require.Equal(t, []int64{3}, b.sink.taken)
}

// suspectFirst makes the sink fail on the change at position 1, which has failed so often that it is compared with another one.
func (b *testBundle) suspectFirst(t *testing.T) {
	t.Helper()
	b.Do(t, "UPDATE capture.shard SET failures = 12")
	b.sink.fail = func(changes []change.Change) error {
		if changes[0].Position == 1 {
			return errUnreachable
		}
		return nil
	}
}

// TestRun_Witness: the change that a suspect is compared with must be the first of its key, also if that one is from a snapshot.
func TestRun_Witness(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w, err := log.Take(t.Context(), log.Config{DB: b.DB.DB, Stream: "app", Owner: "o"})
	require.NoError(t, err)
	bad, snap, live := sinktest.Insert(0, 1), sinktest.Insert(0, 2), sinktest.Update(0, 2)
	snap.Snapshot, snap.Consumer = true, "s"
	require.NoError(t, w.Land(t.Context(), []change.Change{bad, snap, live}, log.Mark{}))
	config := b.config(t, filter.Config{})
	config.Log = realLog{}
	b.suspectFirst(t)
	_, err = consumer.Run(t.Context(), config)
	require.NoError(t, err)
	require.Equal(t, int64(2), b.sink.taken[0], "order of key 2: %v", b.sink.taken)
	require.True(t, slices.IsSorted(b.sink.taken), "%v", b.sink.taken)
}

// TestRun_SweepLetter: a refused sweep is replayed like it is delivered: whatever ops and columns say.
func TestRun_SweepLetter(t *testing.T) {
	t.Parallel()
	for name, with := range map[string]filter.Config{
		"ops": {Ops: []change.Op{change.Insert, change.Update, change.Delete}}, "columns": {Columns: []string{"status"}}, "condition": {Condition: `new.status != "x"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.sink.sweeps = true
			b.sink.refuse[2] = true
			b.log(t, sinktest.Insert(1, 1), sinktest.Sweep(2, 1))
			_, err := consumer.Run(t.Context(), b.config(t, with))
			require.NoError(t, err)
			require.Equal(t, []int64{2}, b.letters(t))
			b.sink.refuse[2] = false
			var last change.Change
			b.sink.fail = func(changes []change.Change) error { last = changes[0]; return nil }
			b.tx(t, func(tx pgx.Tx) error { _, err := consumer.Replay(t.Context(), tx, "s", nil, who); return err })
			_, err = consumer.Run(t.Context(), b.config(t, with))
			require.NoError(t, err)
			require.Equal(t, []int64{1, 2}, b.sink.taken, "letters: %v", b.letters(t))
			_, err = sink.SweptUpTo(last)
			require.NoError(t, err, string(last.Old))
		})
	}
}

// TestRun_RefusedAtCommit: the target refuses a row at the commit of the transaction that moves the position.
func TestRun_RefusedAtCommit(t *testing.T) {
	t.Parallel()
	b := setup(t)
	config := b.config(t, filter.Config{})
	config.Sink, config.Once = &onceSink{Postgres: postgres.New(postgres.Config{DB: b.DB.DB, Schema: "copy"})}, true
	b.log(t, sinktest.Insert(1, 1))
	_, err := consumer.Run(t.Context(), config)
	require.NoError(t, err)
	_, err = b.Exec(t.Context(), `CREATE FUNCTION copy.no() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN IF new.id = 2 THEN RAISE EXCEPTION 'no'; END IF; RETURN NULL; END$$;
		CREATE CONSTRAINT TRIGGER no AFTER INSERT ON copy.orders DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION copy.no()`)
	require.NoError(t, err)
	b.log(t, sinktest.Insert(2, 2), sinktest.Insert(3, 3))
	result, err := consumer.Run(t.Context(), config)
	require.NoError(t, err, "an error of the sink is no error of Daymill's database")
	require.NoError(t, result.Err)
	require.Equal(t, []int64{2}, b.letters(t))
	require.Equal(t, consumer.Result{Delivered: 1, Letters: 1}, result)
}

// TestRun_WitnessSchema: a witness is not delivered past a change of columns before which the consumer must pause.
func TestRun_WitnessSchema(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first, second := sinktest.Insert(1, 1), sinktest.Insert(2, 2)
	first.SchemaVersion, second.SchemaVersion = 1, 2
	b.log(t, first, second)
	config := b.config(t, filter.Config{})
	config.Judge = func(_ context.Context, _ database.DBTX, c change.Change, _ int) (string, error) {
		if c.SchemaVersion == 2 {
			return "a column is gone", nil
		}
		return "", nil
	}
	b.suspectFirst(t)
	_, err := consumer.Run(t.Context(), config)
	require.NoError(t, err)
	require.NotContains(t, b.sink.taken, int64(2), "delivered before the pause")
}

// TestRun_WitnessFenced: a turn that has lost its shard delivers no witness in the log's database either.
func TestRun_WitnessFenced(t *testing.T) {
	t.Parallel()
	b := setup(t)
	target := &onceSink{Postgres: postgres.New(postgres.Config{DB: b.DB.DB, Schema: "copy"}), after: errUnreachable}
	config := b.config(t, filter.Config{})
	config.Sink, config.Once = target, true
	b.log(t, sinktest.Insert(1, 1), sinktest.Insert(2, 2))
	b.suspectFirst(t)
	var reads atomic.Int32
	config.Log = losing{func() {
		if reads.Add(1) == 3 { // The suspect was delivered after the first; the second read ahead.
			b.Do(t, "UPDATE capture.shard SET fence = fence + 1")
		}
	}}
	_, err := consumer.Run(t.Context(), config)
	require.ErrorIs(t, err, lease.ErrFenced)
	require.Equal(t, int32(3), reads.Load())
	require.Equal(t, 1, target.calls)
}

// TestRun_Changed: a turn that begins after the consumer was changed, or was made again, must not deliver what it was to deliver before.
func TestRun_Changed(t *testing.T) {
	t.Parallel()
	again := func(c consumer.Consumer) func(t *testing.T, tx pgx.Tx) error {
		return func(t *testing.T, tx pgx.Tx) error {
			t.Helper()
			if err := consumer.Remove(t.Context(), tx, "s", who); err != nil {
				return err
			}
			c.Name = "s"
			return consumer.Create(t.Context(), tx, c, 0, who)
		}
	}
	for name, change := range map[string]func(t *testing.T, tx pgx.Tx) error{
		"Settings": func(t *testing.T, tx pgx.Tx) error {
			t.Helper()
			return consumer.Update(t.Context(), tx, consumer.Consumer{Name: "s", Kind: "webhook", Settings: json.RawMessage(`{"tables": ["public"]}`)}, who)
		},
		"Kind":   again(consumer.Consumer{Stream: "app", Kind: "poll", Shards: 1}),
		"Stream": again(consumer.Consumer{Stream: "crm", Kind: "webhook", Shards: 1}),
		"Shards": again(consumer.Consumer{Stream: "app", Kind: "webhook", Shards: 2}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			config := b.config(t, filter.Config{}) // What a worker's job has opened.
			_, err := consumer.Run(t.Context(), config)
			require.NoError(t, err)
			b.tx(t, func(tx pgx.Tx) error { return change(t, tx) })
			b.log(t, sinktest.Insert(1, 1))
			_, err = consumer.Run(t.Context(), config) // The job continues.
			require.ErrorIs(t, err, lease.ErrFenced)
			require.Empty(t, b.sink.taken)
			require.EqualValues(t, 0, pgtest.Value[int64](t, b.DB, "SELECT max(position) FROM capture.shard"))
		})
	}
}

// TestRun_Slow: a sink that takes too long for a batch fails, so the next batch is smaller, and it makes progress.
func TestRun_Slow(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for i := range 40 {
		b.log(t, sinktest.Insert(int64(i+1), i))
	}
	config := b.config(t, filter.Config{})
	config.Batch, config.Sink, config.Most = 40, slowSink{b.sink}, 200*time.Millisecond
	result, err := consumer.Run(t.Context(), config)
	require.NoError(t, err)
	require.ErrorContains(t, result.Err, "it takes too long for 20 changes")
	for b.position(t) == 0 {
		_, err := consumer.Run(t.Context(), config)
		require.NoError(t, err)
	}
}

// slowSink delivers one change at a time, each in 50 ms.
type slowSink struct{ *recorder }

func (s slowSink) Deliver(ctx context.Context, changes []change.Change) ([]sink.Refusal, error) {
	return sink.Each(ctx, changes, func(ctx context.Context, one []change.Change) error {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
			s.taken = append(s.taken, one[0].Position)
			return nil
		}
	})
}
