package consumer_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/consumer"
	"github.com/daymill/daymill/internal/capture/filter"
	"github.com/daymill/daymill/internal/capture/log"
	"github.com/daymill/daymill/internal/capture/sink"
	"github.com/daymill/daymill/internal/capture/sink/sinktest"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
)

type pollBundle struct {
	*pgtest.DB

	writer *log.Writer
}

func setupPoll(t *testing.T, settings string) *pollBundle {
	t.Helper()
	b := &pollBundle{DB: pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})}
	var err error
	b.writer, err = log.Take(t.Context(), log.Config{DB: b.DB.DB, Stream: "app", Owner: "test", Partition: 50_000})
	require.NoError(t, err)
	require.NoError(t, b.Tx(t.Context(), func(tx pgx.Tx) error {
		return consumer.Create(t.Context(), tx, consumer.Consumer{Name: "p", Stream: "app", Kind: "poll", Settings: []byte(settings)}, 0, who)
	}))
	return b
}

func (b *pollBundle) land(t *testing.T, changes ...change.Change) {
	t.Helper()
	require.NoError(t, b.writer.Land(t.Context(), changes, log.Mark{LSN: "0/1"}))
}

func (b *pollBundle) poll(t *testing.T, poller string, limit int) []int64 {
	t.Helper()
	changes, err := consumer.Poll{Consumer: "p", Limit: limit, Poller: poller, Lease: time.Hour}.Changes(t.Context(), b.DB.DB)
	require.NoError(t, err)
	positions := []int64{}
	for _, c := range changes {
		positions = append(positions, c.Position)
	}
	return positions
}

func (b *pollBundle) ack(t *testing.T, poller string, upTo int64) bool {
	t.Helper()
	counts, err := consumer.Poll{Consumer: "p", Poller: poller}.Ack(t.Context(), b.DB.DB, upTo)
	require.NoError(t, err)
	return counts
}

// TestPoll: changes come in order, the same ones until they are acknowledged, and never again afterwards.
func TestPoll(t *testing.T) {
	t.Parallel()
	b := setupPoll(t, `{"tables": ["public.orders"], "ops": ["insert", "delete"]}`)
	require.Empty(t, b.poll(t, "a", 10))
	other := sinktest.Insert(0, 9)
	other.Table = "notes"
	b.land(t, sinktest.Insert(0, 1), other, sinktest.Update(0, 1), sinktest.Insert(0, 2), sinktest.Delete(0, 1), other)
	require.Equal(t, []int64{1, 4}, b.poll(t, "a", 2))
	require.Equal(t, []int64{1, 4}, b.poll(t, "a", 2))
	require.True(t, b.ack(t, "a", 1))
	require.Equal(t, []int64{4, 5}, b.poll(t, "a", 10))
	require.True(t, b.ack(t, "a", 5))
	require.True(t, b.ack(t, "a", 5), "a repeat does no harm")
	require.Empty(t, b.poll(t, "a", 10))

	all, err := consumer.List(t.Context(), b.DB.DB)
	require.NoError(t, err)
	require.Equal(t, []int64{6, 3}, []int64{all[0].Position, all[0].Delivered}, "changes for others are skipped")
}

// TestPoll_Document: a poller receives the same document as every consumer.
func TestPoll_Document(t *testing.T) {
	t.Parallel()
	b := setupPoll(t, `{}`)
	want := []change.Change{sinktest.Insert(0, 1), sinktest.Update(0, 1), sinktest.Delete(0, 1)}
	want[1].Unchanged, want[1].KeyChanged, want[1].Snapshot = []string{"body"}, true, true
	b.land(t, want...)
	got, err := consumer.Poll{Consumer: "p", Limit: 10, Poller: "a", Lease: time.Minute}.Changes(t.Context(), b.DB.DB)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// TestPoll_Sweep: only a poller that asks for sweeps receives them.
func TestPoll_Sweep(t *testing.T) {
	t.Parallel()
	b := setupPoll(t, `{"tables": ["public.orders"], "ops": ["insert", "sweep"]}`)
	require.NoError(t, b.Tx(t.Context(), func(tx pgx.Tx) error {
		return consumer.Create(t.Context(), tx, consumer.Consumer{Name: "q", Stream: "app", Kind: "poll"}, 0, who)
	}))
	other := sinktest.Sweep(0, 1)
	other.Table = "notes"
	b.land(t, sinktest.Insert(0, 1), sinktest.Delete(0, 1), other, sinktest.Sweep(0, 1))
	changes, err := consumer.Poll{Consumer: "p", Limit: 10, Poller: "a", Lease: time.Hour}.Changes(t.Context(), b.DB.DB)
	require.NoError(t, err)
	require.Len(t, changes, 2)
	require.Equal(t, []change.Op{change.Insert, change.Sweep}, []change.Op{changes[0].Op, changes[1].Op})
	upTo, err := sink.SweptUpTo(changes[1])
	require.NoError(t, err)
	require.Equal(t, int64(1), upTo)
	require.Empty(t, changes[1].Key)
	require.True(t, b.ack(t, "a", 4))

	changes, err = consumer.Poll{Consumer: "q", Limit: 10, Poller: "a", Lease: time.Hour}.Changes(t.Context(), b.DB.DB)
	require.NoError(t, err)
	require.Len(t, changes, 2)
	require.Equal(t, []change.Op{change.Insert, change.Delete}, []change.Op{changes[0].Op, changes[1].Op})
}

// TestPoll_Fenced: while a poller has changes, no other receives any, and a poller that has lost its changes cannot acknowledge them.
func TestPoll_Fenced(t *testing.T) {
	t.Parallel()
	b := setupPoll(t, `{}`)
	for i := range 6 {
		b.land(t, sinktest.Insert(0, i))
	}
	require.Equal(t, []int64{1, 2}, b.poll(t, "a", 2))
	require.Empty(t, b.poll(t, "b", 2))
	require.False(t, b.ack(t, "b", 2))
	_, err := consumer.Poll{Consumer: "p", Poller: "a"}.Ack(t.Context(), b.DB.DB, 3)
	require.ErrorIs(t, err, consumer.ErrPoll)
	require.ErrorContains(t, err, "position 3 was not given to a poller of p")

	_, err = b.Exec(t.Context(), "UPDATE capture.shard SET polled_until = now() - interval '1 second'")
	require.NoError(t, err)
	require.Equal(t, []int64{1, 2, 3}, b.poll(t, "b", 3))
	require.False(t, b.ack(t, "a", 2), "its lease is over, and another has the changes")
	require.True(t, b.ack(t, "b", 3))
	require.Equal(t, []int64{4, 5}, b.poll(t, "a", 2), "no other poller holds changes")

	require.NoError(t, b.Tx(t.Context(), func(tx pgx.Tx) error { return consumer.Rewind(t.Context(), tx, "p", 0, who) }))
	require.False(t, b.ack(t, "a", 5), "an acknowledgement does not undo a rewind")
	require.Equal(t, []int64{1}, b.poll(t, "b", 1))
	require.NoError(t, b.Tx(t.Context(), func(tx pgx.Tx) error { return consumer.Pause(t.Context(), tx, "p", "", who) }))
	require.False(t, b.ack(t, "b", 1))
	require.Empty(t, b.poll(t, "b", 1))
}

// TestPoll_Once: several sessions that poll, write and acknowledge in a transaction write each change once, in order.
func TestPoll_Once(t *testing.T) {
	t.Parallel()
	b := setupPoll(t, `{}`)
	_, err := b.Exec(t.Context(), "CREATE TABLE public.taken (n bigint GENERATED ALWAYS AS IDENTITY, position bigint PRIMARY KEY)")
	require.NoError(t, err)
	const count = 300
	changes := make([]change.Change, count)
	for i := range changes {
		changes[i] = sinktest.Insert(0, i)
	}
	b.land(t, changes...)
	failed := errors.New("it fails now and then")
	var tries sync.Map
	var group errgroup.Group
	for range 4 {
		group.Go(func() error {
			for {
				done := false
				err := pgx.BeginFunc(t.Context(), b.Application(t), func(tx pgx.Tx) error {
					var last *int64
					err := tx.QueryRow(t.Context(), `
						WITH p AS (SELECT position FROM capture.poll('p', 7)), w AS (INSERT INTO public.taken (position) SELECT position FROM p ORDER BY position RETURNING position)
						SELECT max(position) FROM w`).Scan(&last)
					if err != nil || last == nil {
						if err == nil {
							err = tx.QueryRow(t.Context(), "SELECT position = $1 FROM capture.shard", count).Scan(&done)
						}
						return err
					}
					if _, again := tries.LoadOrStore(*last, true); !again && *last%3 == 0 {
						return failed
					}
					_, err = tx.Exec(t.Context(), "SELECT capture.ack('p', $1)", *last)
					return err
				})
				if done || err != nil && !errors.Is(err, failed) {
					return err
				}
			}
		})
	}
	require.NoError(t, group.Wait())
	var rows, inOrder int
	require.NoError(t, b.QueryRow(t.Context(), `SELECT count(*), count(*) FILTER (WHERE position > before OR before IS NULL)
		FROM (SELECT position, lag(position) OVER (ORDER BY n) AS before FROM public.taken) AS t`).Scan(&rows, &inOrder))
	require.Equal(t, []int{count, count}, []int{rows, inOrder})
}

// TestPoll_Bounds: a poll is bounded in changes, in bytes and in positions, and begins where the log does.
func TestPoll_Bounds(t *testing.T) {
	t.Parallel()
	b := setupPoll(t, `{"tables": ["public.orders"]}`)
	for _, limit := range []int{0, 10_001} {
		_, err := consumer.Poll{Consumer: "p", Limit: limit, Poller: "a", Lease: time.Minute}.Changes(t.Context(), b.DB.DB)
		require.ErrorContains(t, err, "a poll takes 1 to 10000 changes")
	}
	_, err := consumer.Poll{Consumer: "p", Limit: 1, Poller: "a", Lease: 2 * time.Hour}.Changes(t.Context(), b.DB.DB)
	require.ErrorContains(t, err, "the lease of a poll is a second to an hour")
	_, err = consumer.Poll{Consumer: "nobody", Limit: 1, Poller: "a", Lease: time.Minute}.Changes(t.Context(), b.DB.DB)
	require.ErrorIs(t, err, consumer.ErrNone)

	large := sinktest.Insert(0, 1)
	large.New = sinktest.Object(map[string]any{"id": 1, "body": string(make([]byte, 0)) + fmt.Sprintf("%05000000d", 1)})
	b.land(t, large, large, large)
	require.Equal(t, []int64{1, 2}, b.poll(t, "a", 10))
	require.True(t, b.ack(t, "a", 2))
	require.Equal(t, []int64{3}, b.poll(t, "a", 10))
	require.True(t, b.ack(t, "a", 3))

	other := sinktest.Insert(0, 1)
	other.Table = "notes"
	many := make([]change.Change, 50_000)
	for i := range many {
		many[i] = other
	}
	for range 3 {
		b.land(t, many...)
	}
	b.land(t, sinktest.Insert(0, 7))
	require.Empty(t, b.poll(t, "a", 10), "one poll covers a limited number of positions")
	require.Equal(t, []int64{150_004}, b.poll(t, "a", 10))

	_, err = b.Exec(t.Context(), "UPDATE capture.stream SET forgotten = 150004")
	require.NoError(t, err)
	_, err = consumer.Poll{Consumer: "p", Limit: 1, Poller: "a", Lease: time.Minute}.Changes(t.Context(), b.DB.DB)
	require.ErrorContains(t, err, "the log of app begins after position 150004")
}

// TestPoll_Grants: only the owner may poll, until somebody else is granted it, and the grant allows nothing else.
func TestPoll_Grants(t *testing.T) {
	t.Parallel()
	b := setupPoll(t, `{}`)
	b.land(t, sinktest.Insert(0, 1))
	as := func(grants, statement string) error {
		return pgx.BeginFunc(t.Context(), b.Application(t), func(tx pgx.Tx) error {
			_, err := tx.Exec(t.Context(), "CREATE ROLE poll_reader; "+grants)
			require.NoError(t, err)
			// Objects of the user's schema, which comes first in the search_path, must not be found by the functions.
			_, err = tx.Exec(t.Context(), `CREATE SCHEMA evil; GRANT USAGE ON SCHEMA evil TO poll_reader; SET LOCAL search_path = evil, pg_catalog;
				CREATE FUNCTION evil.cardinality(text[]) RETURNS integer LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'evil'; END $$;
				CREATE FUNCTION evil.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'evil'; END $$;
				SET LOCAL ROLE poll_reader`)
			require.NoError(t, err)
			if _, err = tx.Exec(t.Context(), statement); err == nil {
				err = errRollback
			}
			return err
		})
	}
	const usage, both = "GRANT USAGE ON SCHEMA capture TO poll_reader", "; GRANT EXECUTE ON FUNCTION capture.poll, capture.ack TO poll_reader"
	require.ErrorContains(t, as(usage, "SELECT capture.poll('p')"), "permission denied for function poll")
	require.ErrorContains(t, as(usage, "SELECT capture.ack('p', 1)"), "permission denied for function ack")
	require.ErrorIs(t, as(usage+both, "SELECT * FROM capture.poll('p', 10); SELECT capture.ack('p', 1)"), errRollback)
	require.ErrorContains(t, as(usage+both, "SELECT * FROM capture.log"), "permission denied for table log")
	require.ErrorContains(t, as(usage+both, "SELECT capture.take_changes('p', 1)"), "permission denied for function take_changes")
}

var errRollback = errors.New("it worked, so roll it back")

// TestPoll_Patterns: the database matches tables as the rest of Daymill does.
func TestPoll_Patterns(t *testing.T) {
	t.Parallel()
	b := setupPoll(t, `{}`)
	ctx := t.Context()
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[a-c*_.!" \\$A-Z()é-]{1,6}`)
		patterns := rapid.SliceOfN(rapid.OneOf(name, rapid.StringMatching(`!?("[a-b.*"" ]{1,3}"|[a-b*_]{1,3})(\.("[a-b.*]{1,3}"|[a-b*$_]{1,3}))?`)), 0, 3).Draw(t, "patterns")
		schema, table := rapid.StringMatching(`[a-b._*"$é]{1,3}`).Draw(t, "schema"), rapid.StringMatching(`[a-b._*"$é]{1,3}`).Draw(t, "table")
		tables, err := filter.ParseTables(patterns)
		var readable, matches bool
		queryErr := b.DB.DB.QueryRow(ctx, `SELECT coalesce((SELECT bool_and(capture.pattern(p) IS NOT NULL) FROM unnest($1::text[]) AS p), true),
			coalesce(capture.matches($1::text[], $2, $3), false)`, patterns, schema, table).Scan(&readable, &matches)
		require.NoError(t, queryErr)
		require.Equal(t, err == nil, readable, "%q: %v", patterns, err)
		if err == nil {
			require.Equal(t, tables.Match(schema, table), matches, "%q matches %q.%q", patterns, schema, table)
		}
	})
}
