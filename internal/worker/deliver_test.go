package worker_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/consumer"
	"github.com/daymill/daymill/internal/capture/filter"
	"github.com/daymill/daymill/internal/capture/sink"
	"github.com/daymill/daymill/internal/capture/sink/sinktest"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/worker"
)

// numbers is a log of inserts at positions from 1 up to the number in a table of the test.
type numbers struct{}

func (numbers) Head(ctx context.Context, on postgres.DBTX, _ string) (head int64, err error) {
	return head, on.QueryRow(ctx, "SELECT max(n) FROM public.numbers").Scan(&head)
}

func (l numbers) Read(ctx context.Context, on postgres.DBTX, q consumer.Query) ([]change.Change, int64, error) {
	head, err := l.Head(ctx, on, q.Stream)
	var changes []change.Change
	for position := q.After + 1; position <= head && len(changes) < q.Limit; position++ {
		changes = append(changes, sinktest.Insert(position, position%5))
	}
	return changes, q.After + int64(len(changes)), err
}

type collector struct {
	mu    sync.Mutex
	taken []int64
}

func (c *collector) Deliver(_ context.Context, changes []change.Change) ([]sink.Refusal, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, change := range changes {
		c.taken = append(c.taken, change.Position)
	}
	return nil, nil
}

func (*collector) Close() error { return nil }

func (c *collector) all() []int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.taken)
}

func openTo(s sink.Sink, failed error) func(context.Context, consumer.Consumer) (sink.Sink, *filter.Filter, bool, error) {
	return func(context.Context, consumer.Consumer) (sink.Sink, *filter.Filter, bool, error) {
		passes, err := filter.New(filter.Config{})
		return s, passes, false, errors.Join(err, failed)
	}
}

// TestDeliver: changes are delivered as they arrive, but not while the consumer is paused, and the rest afterwards.
func TestDeliver(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.db.Do(t, "CREATE TABLE public.numbers (n bigint); INSERT INTO public.numbers VALUES (3)")
	who := audit.Who{Via: audit.ViaCLI}
	tx := func(do func(tx pgx.Tx) error) { require.NoError(t, b.db.Tx(t.Context(), do)) }
	tx(func(tx pgx.Tx) error {
		return consumer.Create(t.Context(), tx, consumer.Consumer{Name: "s", Stream: "app", Kind: "webhook", Shards: 1}, 0, who)
	})
	taken := &collector{}
	for range 2 {
		b.start(t, func(config *worker.Config) {
			config.Name += t.Name() + string(rune('a'+len(b.processes)))
			config.Capture = &worker.Capture{Log: numbers{}, Open: openTo(taken, nil)}
		})
	}
	until := func(positions ...int64) {
		t.Helper()
		require.Eventually(t, func() bool { return slices.Equal(positions, taken.all()) }, patience, 10*time.Millisecond, "%v", taken)
	}
	until(1, 2, 3)
	b.db.Do(t, "UPDATE public.numbers SET n = 5")
	until(1, 2, 3, 4, 5)
	// A pause takes the shard from its job, so changes that the job had delivered but not recorded would be delivered again.
	b.db.Wait(t, "EXISTS (SELECT FROM capture.shard WHERE position = 5)")
	tx(func(tx pgx.Tx) error { return consumer.Pause(t.Context(), tx, "s", "", who) })
	b.db.Wait(t, "NOT EXISTS (SELECT FROM river_job WHERE kind = 'deliver_changes' AND finalized_at IS NULL)")
	b.db.Do(t, "UPDATE public.numbers SET n = 6")
	until(1, 2, 3, 4, 5)
	tx(func(tx pgx.Tx) error { return consumer.Resume(t.Context(), tx, "s", who) })
	until(1, 2, 3, 4, 5, 6)
}

// TestDeliver_Broken: the shard has the reason why a sink cannot be opened.
func TestDeliver_Broken(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.db.Do(t, "CREATE TABLE public.numbers (n bigint); INSERT INTO public.numbers VALUES (3)")
	require.NoError(t, b.db.Tx(t.Context(), func(tx pgx.Tx) error {
		return consumer.Create(t.Context(), tx, consumer.Consumer{Name: "s", Stream: "app", Kind: "webhook"}, 0, audit.Who{Via: audit.ViaCLI})
	}))
	b.start(t, func(config *worker.Config) {
		config.Capture = &worker.Capture{Log: numbers{}, Open: openTo(nil, errors.New("the environment variable URL is not set"))}
	})
	require.Eventually(t, func() bool {
		shards, err := consumer.Shards(t.Context(), b.db.DB, "s")
		require.NoError(t, err)
		return shards[0].Error == "the environment variable URL is not set"
	}, patience, 10*time.Millisecond)
}
