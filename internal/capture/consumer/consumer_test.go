package consumer_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/consumer"
	"github.com/daymill/daymill/internal/capture/filter"
	"github.com/daymill/daymill/internal/capture/sink"
	"github.com/daymill/daymill/internal/capture/sink/postgres"
	"github.com/daymill/daymill/internal/capture/sink/sinktest"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/lease"
	database "github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/test/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var who = audit.Who{Actor: "a test", Via: audit.ViaCLI}

// tableLog is a log in a table that the test creates.
type tableLog struct{}

func (tableLog) Read(ctx context.Context, on database.DBTX, q consumer.Query) ([]change.Change, int64, error) {
	rows, err := on.Query(ctx, `
		SELECT change::text FROM public.test_log WHERE position > $1 AND abs(hashtext((change -> 'key')::text)) % $2 = $3 ORDER BY position LIMIT $4`,
		q.After, q.Shards, q.Shard, q.Limit)
	if err != nil {
		return nil, 0, err
	}
	upTo := q.After
	changes, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (c change.Change, err error) {
		var document string
		if err = row.Scan(&document); err == nil {
			err = json.Unmarshal([]byte(document), &c)
		}
		upTo = c.Position
		return c, err
	})
	return changes, upTo, err
}

func (tableLog) Head(ctx context.Context, on database.DBTX, _ string) (head int64, err error) {
	err = on.QueryRow(ctx, "SELECT coalesce(max(position), 0) FROM public.test_log").Scan(&head)
	return head, err
}

// recorder is a sink that a test controls.
type recorder struct {
	taken   []int64
	calls   int
	refuse  map[int64]bool
	fail    func(changes []change.Change) error
	deliver func()
	sweeps  bool
}

func (r *recorder) Sweeps() bool { return r.sweeps }

func (r *recorder) Deliver(ctx context.Context, changes []change.Change) ([]sink.Refusal, error) {
	r.calls++
	if r.deliver != nil {
		r.deliver()
	}
	if r.fail != nil {
		if err := r.fail(changes); err != nil {
			return nil, err
		}
	}
	return sink.Each(ctx, changes, func(_ context.Context, one []change.Change) error {
		if r.refuse[one[0].Position] {
			return &sink.Refused{Reason: "it is refused", Answer: "no"}
		}
		r.taken = append(r.taken, one[0].Position)
		return nil
	})
}

func (*recorder) Close() error { return nil }

type testBundle struct {
	*pgtest.DB

	sink *recorder
}

func setup(t *testing.T) *testBundle {
	t.Helper()
	db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	_, err := db.Exec(t.Context(), `CREATE TABLE public.test_log (position bigint PRIMARY KEY, change json NOT NULL)`)
	require.NoError(t, err)
	b := &testBundle{DB: db, sink: &recorder{refuse: map[int64]bool{}}}
	b.create(t, "s", 1)
	return b
}

func (b *testBundle) create(t *testing.T, name string, shards int) {
	t.Helper()
	b.tx(t, func(tx pgx.Tx) error {
		return consumer.Create(t.Context(), tx, consumer.Consumer{Name: name, Stream: "app", Kind: "webhook", Shards: shards}, 0, who)
	})
}

func (b *testBundle) tx(t *testing.T, do func(tx pgx.Tx) error) {
	t.Helper()
	require.NoError(t, b.Tx(t.Context(), do))
}

func (b *testBundle) log(t *testing.T, changes ...change.Change) {
	t.Helper()
	for _, c := range changes {
		document, err := sink.Document(c)
		require.NoError(t, err)
		_, err = b.Exec(t.Context(), `INSERT INTO public.test_log VALUES ($1, $2::json)`, c.Position, string(document))
		require.NoError(t, err)
	}
}

func (b *testBundle) config(t *testing.T, with filter.Config) consumer.Config {
	t.Helper()
	f, err := filter.New(with)
	require.NoError(t, err)
	c, err := consumer.Get(t.Context(), b.DB.DB, "s")
	require.NoError(t, err)
	return consumer.Config{DB: b.DB.DB, Log: tableLog{}, Sink: b.sink, Filter: f, Consumer: c, Batch: 8}
}

func (b *testBundle) run(t *testing.T) consumer.Result {
	t.Helper()
	result, err := consumer.Run(t.Context(), b.config(t, filter.Config{}))
	require.NoError(t, err)
	return result
}

// letters returns the positions of the dead letters; those of waiting letters are negative.
func (b *testBundle) letters(t *testing.T) []int64 {
	t.Helper()
	letters, err := consumer.Letters(t.Context(), b.DB.DB, "s", 0)
	require.NoError(t, err)
	positions := []int64{}
	for _, l := range letters {
		if l.State == consumer.Waiting {
			l.Position = -l.Position
		}
		positions = append(positions, l.Position)
	}
	return positions
}

func (b *testBundle) position(t *testing.T) int64 {
	t.Helper()
	shards, err := consumer.Shards(t.Context(), b.DB.DB, "s")
	require.NoError(t, err)
	return shards[0].Position
}

func TestRun(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var want []int64
	for i := range 30 {
		b.log(t, sinktest.Insert(int64(i+1), i%7))
		want = append(want, int64(i+1))
	}
	require.Equal(t, consumer.Result{Delivered: 30}, b.run(t))
	require.Equal(t, want, b.sink.taken)
	require.Equal(t, 4, b.sink.calls)
	require.Equal(t, int64(30), b.position(t))
	require.Equal(t, consumer.Result{}, b.run(t))
}

// TestRun_Parked: a refused change parks its key, all other keys continue, and replay keeps the order.
func TestRun_Parked(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.sink.refuse[2] = true
	b.log(t, sinktest.Insert(1, 1), sinktest.Insert(2, 2), sinktest.Update(3, 2), sinktest.Update(4, 1))
	require.Equal(t, consumer.Result{Delivered: 2, Letters: 2}, b.run(t))
	b.log(t, sinktest.Delete(5, 2), sinktest.Insert(6, 3))
	require.Equal(t, consumer.Result{Delivered: 1, Letters: 1}, b.run(t))
	require.Equal(t, []int64{1, 4, 6}, b.sink.taken)
	require.Equal(t, []int64{2, -3, -5}, b.letters(t))
	l, err := consumer.GetLetter(t.Context(), b.DB.DB, "s", 2)
	require.NoError(t, err)
	require.Equal(t, "it is refused", l.Reason)
	require.Equal(t, "no", l.Answer)
	require.JSONEq(t, `{"id": 2}`, string(l.Change.Key))

	replay := func() {
		b.tx(t, func(tx pgx.Tx) error {
			count, err := consumer.Replay(t.Context(), tx, "s", []int64{5}, who)
			require.Equal(t, int64(3), count)
			return err
		})
	}
	replay() // It is still refused.
	require.Equal(t, consumer.Result{}, b.run(t))
	require.Equal(t, []int64{2, -3, -5}, b.letters(t))
	l, err = consumer.GetLetter(t.Context(), b.DB.DB, "s", 2)
	require.NoError(t, err)
	require.Equal(t, 2, l.Attempts)
	require.Nil(t, l.ReplayAt)

	b.sink.refuse = nil
	b.log(t, sinktest.Insert(7, 2))
	replay()
	require.Equal(t, consumer.Result{Delivered: 4}, b.run(t))
	require.Equal(t, []int64{1, 4, 6, 2, 3, 5, 7}, b.sink.taken)
	require.Empty(t, b.letters(t))
	list, err := consumer.List(t.Context(), b.DB.DB)
	require.NoError(t, err)
	require.Equal(t, int64(7), list[0].Delivered, "with the letters")
}

// TestRun_ReplayFails: letters on which the sink fails do not hold up other changes.
func TestRun_ReplayFails(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.sink.refuse[1] = true
	b.log(t, sinktest.Insert(1, 1))
	b.run(t)
	b.sink.fail = func(changes []change.Change) error {
		if changes[0].Position == 1 {
			return errors.New("it crashed")
		}
		return nil
	}
	b.log(t, sinktest.Insert(2, 2))
	b.tx(t, func(tx pgx.Tx) error { _, err := consumer.Replay(t.Context(), tx, "s", nil, who); return err })
	require.Equal(t, consumer.Result{Delivered: 1}, b.run(t))
	l, err := consumer.GetLetter(t.Context(), b.DB.DB, "s", 1)
	require.NoError(t, err)
	require.Equal(t, "the sink failed again during a replay: it crashed", l.Reason)
}

func TestRun_Discard(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.sink.refuse[1] = true
	b.log(t, sinktest.Insert(1, 1), sinktest.Update(2, 1))
	b.run(t)
	discard := func(positions ...int64) {
		b.tx(t, func(tx pgx.Tx) error { _, err := consumer.Discard(t.Context(), tx, "s", positions, who); return err })
	}
	discard(1)
	require.Equal(t, []int64{-2}, b.letters(t))
	b.tx(t, func(tx pgx.Tx) error { _, err := consumer.Replay(t.Context(), tx, "s", nil, who); return err })
	b.run(t)
	require.Equal(t, []int64{2}, b.sink.taken)
	require.Empty(t, b.letters(t))
	err := b.Tx(t.Context(), func(tx pgx.Tx) error { _, err := consumer.Discard(t.Context(), tx, "s", nil, who); return err })
	require.ErrorIs(t, err, consumer.ErrNoLetter)
}

// TestRun_Down: a sink that is down is tried again without end, with growing pauses, and no change becomes a letter.
func TestRun_Down(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.sink.fail = func([]change.Change) error { return errors.New("it is down") }
	for i := range 20 {
		b.log(t, sinktest.Insert(int64(i+1), i))
	}
	var before time.Duration
	for i := range 20 {
		result := b.run(t)
		require.EqualError(t, result.Err, "it is down")
		require.LessOrEqual(t, result.After, time.Minute)
		if i < 6 {
			require.Greater(t, result.After, before)
		}
		before = result.After
	}
	require.Empty(t, b.letters(t))
	shards, err := consumer.Shards(t.Context(), b.DB.DB, "s")
	require.NoError(t, err)
	require.Equal(t, 20, shards[0].Failures)
	require.Equal(t, "it is down", shards[0].Error)
	require.NotNil(t, shards[0].RetryAt)

	b.sink.fail = nil
	require.Equal(t, consumer.Result{Delivered: 20}, b.run(t))
	require.Len(t, b.sink.taken, 20)
	require.True(t, slices.IsSorted(b.sink.taken))
}

// TestRun_Busy: a sink that says when to try again is tried again then.
func TestRun_Busy(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.sink.fail = func([]change.Change) error { return &sink.RetryError{After: 17 * time.Minute, Err: errors.New("busy")} }
	b.log(t, sinktest.Insert(1, 1))
	for range 20 {
		result := b.run(t)
		require.Equal(t, 17*time.Minute, result.After)
	}
	require.Empty(t, b.letters(t))
}

// TestRun_Poison: a row on which the sink fails, without refusing it, is found and becomes a letter. All other rows arrive.
func TestRun_Poison(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.sink.fail = func(changes []change.Change) error {
		if slices.ContainsFunc(changes, func(c change.Change) bool { return c.Position == 6 }) {
			return errors.New("it crashed")
		}
		return nil
	}
	for i := range 20 {
		b.log(t, sinktest.Insert(int64(i+1), i%10))
	}
	for range 100 {
		if result := b.run(t); result.Err == nil {
			break
		}
	}
	require.Equal(t, []int64{6, -16}, b.letters(t))
	require.Equal(t, int64(20), b.position(t))
	for i := range int64(20) {
		require.Equal(t, i+1 != 6 && i+1 != 16, slices.Contains(b.sink.taken, i+1), i+1)
	}
}

// TestRun_Fenced: after another process has taken the shard, what the turn delivers is not recorded.
func TestRun_Fenced(t *testing.T) {
	t.Parallel()
	for name, take := range map[string]func(b *testBundle, tx pgx.Tx) error{
		"Pause":  func(_ *testBundle, tx pgx.Tx) error { return consumer.Pause(t.Context(), tx, "s", "because", who) },
		"Remove": func(_ *testBundle, tx pgx.Tx) error { return consumer.Remove(t.Context(), tx, "s", who) },
		"Rewind": func(_ *testBundle, tx pgx.Tx) error { return consumer.Rewind(t.Context(), tx, "s", 0, who) },
		"Another": func(_ *testBundle, tx pgx.Tx) error {
			_, err := tx.Exec(t.Context(), "UPDATE capture.shard SET fence = fence + 1")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.log(t, sinktest.Insert(1, 1))
			b.sink.deliver = func() { b.tx(t, func(tx pgx.Tx) error { return take(b, tx) }) }
			_, err := consumer.Run(t.Context(), b.config(t, filter.Config{}))
			require.ErrorIs(t, err, lease.ErrFenced)
			var moved bool
			require.NoError(t, b.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM capture.shard WHERE position > 0)").Scan(&moved))
			require.False(t, moved)
		})
	}
}

func TestRun_Paused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.log(t, sinktest.Insert(1, 1))
	because := func(reason, want string) {
		b.tx(t, func(tx pgx.Tx) error { return consumer.Pause(t.Context(), tx, "s", reason, who) })
		list, err := consumer.List(t.Context(), b.DB.DB)
		require.NoError(t, err)
		require.Equal(t, want, list[0].PausedBecause)
	}
	because("", "")
	because("we upgrade it", "we upgrade it")
	because("", "we upgrade it")
	_, err := consumer.Run(t.Context(), b.config(t, filter.Config{}))
	require.ErrorIs(t, err, consumer.ErrPaused)
	b.tx(t, func(tx pgx.Tx) error { return consumer.Resume(t.Context(), tx, "s", who) })
	require.Equal(t, consumer.Result{Delivered: 1}, b.run(t))
	b.tx(t, func(tx pgx.Tx) error { return consumer.Rewind(t.Context(), tx, "s", 0, who) })
	require.Equal(t, consumer.Result{Delivered: 1}, b.run(t))
	require.Equal(t, []int64{1, 1}, b.sink.taken)
	var entries int
	require.NoError(t, b.QueryRow(t.Context(), "SELECT count(*) FROM daymill.audit WHERE target = 's'").Scan(&entries))
	require.Equal(t, 6, entries)
	err = b.Tx(t.Context(), func(tx pgx.Tx) error { return consumer.Pause(t.Context(), tx, "nobody", "", who) })
	require.ErrorIs(t, err, consumer.ErrNone)
}

// TestRun_Filter: changes that do not pass the filter are skipped, also sweeps, and a condition that cannot be evaluated parks the key.
func TestRun_Filter(t *testing.T) {
	t.Parallel()
	b := setup(t)
	other := sinktest.Insert(2, 2)
	other.Table = "other"
	bad := sinktest.Insert(3, 3)
	bad.New = json.RawMessage(`{"id": 3, "status": {}}`)
	b.sink.sweeps = true
	otherSweep := sinktest.Sweep(7, 5)
	otherSweep.Table = "other"
	b.log(t, sinktest.Insert(1, 1), other, bad, sinktest.Update(4, 3), sinktest.Insert(5, 5), sinktest.Sweep(6, 5), otherSweep)
	config := b.config(t, filter.Config{Tables: []string{"public.orders"}, Condition: `new.status startsWith "new" or new.status startsWith "at"`})
	result, err := consumer.Run(t.Context(), config)
	require.NoError(t, err)
	require.Equal(t, consumer.Result{Delivered: 3, Letters: 2}, result)
	require.Equal(t, []int64{1, 5, 6}, b.sink.taken)
	require.Equal(t, []int64{3, -4}, b.letters(t))
}

// TestRun_Once: the position and the effect are one transaction, so a turn that has lost its shard has no effect.
func TestRun_Once(t *testing.T) {
	t.Parallel()
	b := setup(t)
	target := &onceSink{Postgres: postgres.New(postgres.Config{DB: b.DB.DB, Schema: "copy"})}
	config := b.config(t, filter.Config{})
	config.Sink, config.Once = target, true
	b.log(t, sinktest.Insert(1, 1), sinktest.Insert(2, 2), sinktest.Delete(3, 1))
	_, err := consumer.Run(t.Context(), config)
	require.NoError(t, err)
	rows := func() (found string) {
		require.NoError(t, b.QueryRow(t.Context(), "SELECT string_agg(id::text, ' ') FROM copy.orders").Scan(&found))
		return found
	}
	require.Equal(t, "2", rows())
	b.log(t, sinktest.Insert(4, 4))
	target.after = errors.New("the process is killed")
	result, err := consumer.Run(t.Context(), config)
	require.NoError(t, err)
	require.ErrorContains(t, result.Err, "killed")
	require.Equal(t, "2", rows())
	require.Equal(t, int64(3), b.position(t))

	// A turn that has lost its shard by then does not write at all: it could wait for locks of the one that has it.
	target.after, target.calls = nil, 0
	config.Log = losing{func() {
		_, err := b.Exec(t.Context(), "UPDATE capture.shard SET fence = fence + 1")
		require.NoError(t, err)
	}}
	_, err = consumer.Run(t.Context(), config)
	require.ErrorIs(t, err, lease.ErrFenced)
	require.Zero(t, target.calls)
}

// losing is a log whose reader loses the shard.
type losing struct{ lose func() }

func (l losing) Read(ctx context.Context, on database.DBTX, q consumer.Query) ([]change.Change, int64, error) {
	l.lose()
	return tableLog{}.Read(ctx, on, q)
}

func (losing) Head(ctx context.Context, on database.DBTX, stream string) (int64, error) {
	return tableLog{}.Head(ctx, on, stream)
}

type onceSink struct {
	*postgres.Postgres

	after error
	calls int
}

func (s *onceSink) DeliverTx(ctx context.Context, tx pgx.Tx, changes []change.Change) ([]sink.Refusal, error) {
	s.calls++
	refusals, err := s.Postgres.DeliverTx(ctx, tx, changes)
	return refusals, errors.Join(err, s.after)
}

// TestRun_Shards: with any number of shards, every change arrives once, and the changes of each key arrive in order.
func TestRun_Shards(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.create(t, "four", 4)
	for i := range 40 {
		b.log(t, sinktest.Insert(int64(i+1), i%9))
	}
	config := b.config(t, filter.Config{})
	var err error
	config.Consumer, err = consumer.Get(t.Context(), b.DB.DB, "four")
	require.NoError(t, err)
	for config.Shard = range 4 {
		_, err := consumer.Run(t.Context(), config)
		require.NoError(t, err)
	}
	require.Len(t, b.sink.taken, 40)
	last := map[int64]int64{}
	for _, position := range b.sink.taken {
		key := (position - 1) % 9
		require.Greater(t, position, last[key], fmt.Sprint(b.sink.taken))
		last[key] = position
	}
}
