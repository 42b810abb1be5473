package consumer_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/consumer"
	"github.com/daymill/daymill/internal/capture/filter"
	"github.com/daymill/daymill/internal/capture/sink/postgres"
	"github.com/daymill/daymill/internal/capture/sink/sinktest"
	database "github.com/daymill/daymill/internal/postgres"
)

var errUnreachable = errors.New("the sink cannot be reached")

// watched is a log that records after which positions it was read.
type watched struct {
	tableLog

	mu    sync.Mutex
	after []int64
}

func (w *watched) Read(ctx context.Context, on database.DBTX, q consumer.Query) ([]change.Change, int64, error) {
	w.mu.Lock()
	w.after = append(w.after, q.After)
	w.mu.Unlock()
	return w.tableLog.Read(ctx, on, q)
}

func (w *watched) reads() []int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.after)
}

// TestRun_Ahead: while a full batch is delivered, the next one is read, and it is not read again.
func TestRun_Ahead(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for i := range 10 {
		b.log(t, sinktest.Insert(int64(i+1), i))
	}
	log := &watched{}
	config := b.config(t, filter.Config{})
	config.Log, config.Batch = log, 4
	b.sink.deliver = func() {
		if next := int64(4 * b.sink.calls); next < 10 {
			require.Eventually(t, func() bool { return slices.Contains(log.reads(), next) }, time.Minute, time.Millisecond)
		}
	}
	result, err := consumer.Run(t.Context(), config)
	require.NoError(t, err)
	require.Equal(t, consumer.Result{Delivered: 10}, result)
	require.Equal(t, []int64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, b.sink.taken)
	require.Equal(t, []int64{0, 4, 8, 10}, log.reads())

	// What was read ahead of a batch that fails is not used: the next batch begins where that one did, and is smaller.
	b.sink.taken = nil
	for i := range 8 {
		b.log(t, sinktest.Insert(int64(11+i), i))
	}
	failed := false
	b.sink.deliver = nil
	b.sink.fail = func([]change.Change) error {
		if !failed {
			failed = true
			return errUnreachable
		}
		return nil
	}
	result, err = consumer.Run(t.Context(), config)
	require.NoError(t, err)
	require.ErrorIs(t, result.Err, errUnreachable)
	_, err = consumer.Run(t.Context(), config)
	require.NoError(t, err)
	require.Equal(t, []int64{11, 12, 13, 14, 15, 16, 17, 18}, b.sink.taken)
}

// TestRun_AheadCut: a change of columns ends a batch before its end. What was read ahead of the whole batch does not follow it.
func TestRun_AheadCut(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for i := range 10 {
		c := sinktest.Insert(int64(i+1), i)
		c.SchemaVersion = 1 + i/2
		b.log(t, c)
	}
	log := &watched{}
	config := b.config(t, filter.Config{})
	config.Log, config.Batch = log, 4
	config.Judge = func(_ context.Context, _ database.DBTX, c change.Change, _ int) (string, error) {
		if c.SchemaVersion == 2 {
			return "a column is gone", nil
		}
		return "", nil
	}
	b.sink.deliver = func() {
		require.Eventually(t, func() bool { return slices.Contains(log.reads(), 4) }, time.Minute, time.Millisecond)
	}
	_, err := consumer.Run(t.Context(), config)
	require.ErrorIs(t, err, consumer.ErrPaused)
	require.Equal(t, []int64{1, 2}, b.sink.taken)
	require.Equal(t, []int64{0, 4, 2}, log.reads()[:3])
}

// TestRun_Lazy: the commit that moves a position waits for the disk only if a crash would lose more than the position.
func TestRun_Lazy(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.Exec(t.Context(), `
		CREATE TABLE public.commits (position bigint, lazy text);
		CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS
			$$BEGIN -- The server of the tests never waits for the disk, so look at who has decided that.
				INSERT INTO public.commits SELECT new.position, CASE source WHEN 'session' THEN 'lazy' ELSE 'usual' END
				FROM pg_settings WHERE name = 'synchronous_commit';
				RETURN NULL;
			END$$;
		CREATE CONSTRAINT TRIGGER note AFTER UPDATE OF position ON capture.shard DEFERRABLE INITIALLY DEFERRED
			FOR EACH ROW WHEN (old.position <> new.position) EXECUTE FUNCTION public.note()`)
	require.NoError(t, err)
	commits := func() (text string) {
		err := b.QueryRow(t.Context(), "SELECT string_agg(position || ' ' || lazy, ', ' ORDER BY position) FROM public.commits").Scan(&text)
		require.NoError(t, err)
		return text
	}
	b.log(t, sinktest.Insert(1, 1))
	b.run(t)
	require.Equal(t, "1 lazy", commits())

	b.sink.refuse[2] = true // It becomes a dead letter.
	b.log(t, sinktest.Insert(2, 2))
	b.run(t)
	require.Equal(t, "1 lazy, 2 usual", commits())

	config := b.config(t, filter.Config{})
	config.Sink, config.Once = &onceSink{Postgres: postgres.New(postgres.Config{DB: b.DB.DB, Schema: "copy"})}, true
	b.log(t, sinktest.Insert(3, 3))
	_, err = consumer.Run(t.Context(), config)
	require.NoError(t, err)
	require.Equal(t, "1 lazy, 2 usual, 3 usual", commits())
}

// sized is a sink that wishes for a size of batches.
type sized struct{ *recorder }

func (sized) Batch() int { return 3 }

// TestRun_Sized: a batch is as large as the sink wishes.
func TestRun_Sized(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for i := range 7 {
		b.log(t, sinktest.Insert(int64(i+1), i))
	}
	config := b.config(t, filter.Config{})
	config.Sink, config.Batch = sized{b.sink}, 0
	_, err := consumer.Run(t.Context(), config)
	require.NoError(t, err)
	require.Equal(t, 3, b.sink.calls)
}
