package view_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/telemetry"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/internal/view/signal"
)

// TestFill: a table has no index while it is filled. Changes in the meantime are applied before the table serves, also if a build was given
// up halfway, and another build that was requested in the meantime waits.
func TestFill(t *testing.T) {
	t.Parallel()
	b := setup(t, stream.ModeTrigger, shop+`; INSERT INTO public.customers SELECT i, 'c' FROM generate_series(1, 20) AS i;
		INSERT INTO public.orders SELECT i, i, now() FROM generate_series(1, 20) AS i; INSERT INTO public.lines SELECT i, 1, 'l' FROM generate_series(1, 20) AS i;
		INSERT INTO public.customers VALUES (-1, 'kept'); INSERT INTO public.orders VALUES (0, -1, now()); INSERT INTO public.lines VALUES (0, 1, 'kept')`)
	b.capture(t, stream.ModeTrigger)
	b.apply(t, read(t, lines))

	// The first build stops after some chunks, and is given up. The first customer never changes, so no refresh would hide duplicate rows of it.
	half, stop := context.WithCancel(t.Context())
	first := *b.engine
	first.Chunk, first.Pace, first.Clock = 1, pace.Fixed(1), pauses{do: stop}
	_, err := first.Work(half, 1)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, []string{"true"}, pgtest.Column[string](t, b.DB, "SELECT (count(*) BETWEEN 1 AND 19)::text FROM views._daymill_1"))
	b.Do(t, "UPDATE view.task SET state = 'failed', taken_at = NULL")
	for range 2 {
		_, err = b.engine.Refresh(t.Context(), "lines", nil, who)
		require.NoError(t, err)
	}
	_, err = b.engine.Work(t.Context(), 3)
	require.NoError(t, err)
	require.Equal(t, []string{"it waits until the new table of the view is filled"}, pgtest.Column[string](t, b.DB, "SELECT error FROM view.task WHERE id = 3"))

	// The next one fills the table, while rows change that the table already has, and rows that it does not have yet.
	changed := false
	second := *b.engine
	second.Chunk, second.Pace = 1, pace.Fixed(1)
	second.Clock = pauses{do: func() {
		if changed || len(pgtest.Column[string](t, b.DB, "SELECT 'x' FROM views._daymill_1")) < 5 {
			return
		}
		changed = true
		require.Empty(t, pgtest.Column[string](t, b.DB, "SELECT 'x' FROM pg_index WHERE indrelid = 'views._daymill_1'::regclass"))
		b.Do(t, `UPDATE public.lines SET item = 'changed' WHERE order_id > 0; UPDATE public.customers SET name = 'changed' WHERE id IN (1, 20); DELETE FROM public.orders WHERE id IN (2, 19);
			INSERT INTO public.customers VALUES (0, 'before'), (21, 'after'); UPDATE public.orders SET customer_id = 1 WHERE id IN (3, 18)`)
		b.deliver(t)
		b.Do(t, "UPDATE public.customers SET name = 'twice' WHERE id = 1")
		b.deliver(t)
		require.Equal(t, []string{"0 true", "1 true", "2 true"}, pgtest.Column[string](t, b.DB, "SELECT table_index || ' ' || (retry_at > now() + interval '1 year') FROM view.task WHERE kind = 'refresh' ORDER BY 1"), "one task per table, however many changes")
	}}
	for range 100 {
		if _, err = second.Work(t.Context(), 2); err != nil || len(pgtest.Column[string](t, b.DB, "SELECT 'x' FROM view.task WHERE id = 2 AND state = 'done'")) > 0 {
			break
		}
	}
	require.NoError(t, err)
	require.True(t, changed)
	b.exact(t, "lines")
	require.Equal(t, []string{"twice"}, pgtest.Column[string](t, b.DB, "SELECT DISTINCT name FROM views.lines WHERE customer_id = 1"))
	require.Len(t, pgtest.Column[string](t, b.DB, "SELECT 'x' FROM pg_index WHERE indrelid = 'views.lines'::regclass"), 3)
	require.NotEmpty(t, pgtest.Column[string](t, b.DB, "SELECT 'x' FROM pg_statistic WHERE starelid = 'views.lines'::regclass"), "the planner has statistics")
	b.quiet(t)
	b.exact(t, "lines")
}

// named is a view of orders with their customers' names.
const named = `
name: named
tables:
  - {table: orders, columns: [id]}
  - {table: customers, join: {customer_id: id}, columns: [name]}
`

// TestBuild_LooksUp: a chunk of a build looks up the rows of a large joined table. It does not read the whole table again for each chunk.
func TestBuild_LooksUp(t *testing.T) {
	t.Parallel()
	b := setup(t, stream.ModeTrigger, `CREATE TABLE public.customers (id integer PRIMARY KEY, name text NOT NULL);
		INSERT INTO public.customers SELECT i, 'customer ' || i FROM generate_series(1, 100000) AS i;
		CREATE TABLE public.orders (id integer PRIMARY KEY, customer_id integer NOT NULL);
		INSERT INTO public.orders SELECT i, 1 + i * 7919 % 100000 FROM generate_series(1, 4000) AS i; ANALYZE`)
	b.capture(t, stream.ModeTrigger)
	b.apply(t, read(t, named))
	b.engine.Chunk = 1000
	b.quiet(t)
	const statistics = "FROM pg_stat_user_tables WHERE relid = 'public.customers'::regclass"
	b.Wait(t, "SELECT idx_scan + seq_tup_read >= 4000 "+statistics)
	require.Zero(t, pgtest.Value[int64](t, b.DB, "SELECT seq_tup_read "+statistics))
	b.exact(t, "named")
}

// TestDeliver_ReadsSome: the delivery of a change to a row on which very many rows depend reads only enough of them to see that a task has to refresh them.
func TestDeliver_ReadsSome(t *testing.T) {
	t.Parallel()
	b := setup(t, stream.ModeTrigger, shop+"; INSERT INTO public.customers VALUES (1, 'one'); INSERT INTO public.orders SELECT i, 1, now() FROM generate_series(1, 5000) AS i; ANALYZE")
	b.capture(t, stream.ModeTrigger)
	b.apply(t, read(t, named))
	b.engine.Most = 20
	b.quiet(t)
	const statistics = "FROM pg_stat_user_tables WHERE relid = "
	const read = "SELECT (seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint " + statistics + "'views.named'::regclass"
	b.Wait(t, "SELECT seq_tup_read >= 5000 * (SELECT count(*) FROM pg_index WHERE indrelid = relid) "+statistics+"'views.named'::regclass") // By CREATE INDEX.
	before := pgtest.Value[int64](t, b.DB, read)
	b.Do(t, "UPDATE public.customers SET name = 'two'")
	b.deliver(t)
	b.Wait(t, "SELECT n_tup_ins >= 2 "+statistics+"'view.task'::regclass")
	require.Less(t, pgtest.Value[int64](t, b.DB, read)-before, int64(100))
	b.quiet(t)
	b.exact(t, "named")
}

// TestRefresh_Walks: if so many rows depend on a changed row that a chunk of a refresh cannot find them in time, it walks through the root's keys.
func TestRefresh_Walks(t *testing.T) {
	t.Parallel()
	b := setup(t, stream.ModeTrigger, shop+"; INSERT INTO public.orders SELECT i, i % 2, now() FROM generate_series(1, 200) AS i")
	b.capture(t, stream.ModeTrigger)
	b.apply(t, read(t, named))
	b.engine.Most, b.engine.Chunk = 20, 7
	b.quiet(t)
	for _, change := range []string{
		"INSERT INTO public.customers VALUES (0, 'zero'), (1, 'one')",
		"UPDATE public.customers SET name = 'none' WHERE id = 0",
		"DELETE FROM public.orders WHERE id > 150; DELETE FROM public.customers WHERE id = 1",
	} {
		b.Do(t, change)
		b.deliver(t)
		task := pgtest.Value[int64](t, b.DB, "SELECT max(id) FROM view.task WHERE kind = 'refresh' AND state = 'queued'")
		blocker, err := b.Begin(t.Context())
		require.NoError(t, err)
		_, err = blocker.Exec(t.Context(), "LOCK TABLE public.orders, views.named")
		require.NoError(t, err)
		worked := make(chan error, 1)
		go func() {
			_, err := b.engine.Work(t.Context(), task)
			worked <- err
		}()
		b.Wait(t, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'SELECT ARRAY[CAST(r.%OFFSET%')")
		require.NoError(t, blocker.Rollback(t.Context()))
		require.NoError(t, <-worked)
		require.Equal(t, "done", pgtest.Value[string](t, b.DB, "SELECT state FROM view.task WHERE id = $1", task), change)
		b.exact(t, "named")
	}
	b.quiet(t)
	b.exact(t, "named")
}

// TestRefresh_WalksTheView: a walk also goes through the view in chunks, if the view has many more rows than the root by now.
func TestRefresh_WalksTheView(t *testing.T) {
	t.Parallel()
	b := setup(t, stream.ModeTrigger, shop+"; INSERT INTO public.orders SELECT i, i % 2, now() FROM generate_series(1, 200) AS i; UPDATE public.orders SET customer_id = 7 WHERE id = 200; INSERT INTO public.customers VALUES (0, 'zero'), (1, 'one'), (7, 'seven')")
	b.capture(t, stream.ModeTrigger)
	b.apply(t, read(t, named))
	b.quiet(t)
	b.Do(t, "DELETE FROM public.orders") // The view does not receive these changes yet.
	task := pgtest.Value[int64](t, b.DB, `INSERT INTO view.task (view_id, version_id, kind, table_index, keys, via)
		SELECT v.view_id, v.id, 'refresh', 1, '[["7"]]', 'capture' FROM view.version AS v RETURNING id`)
	blocker, err := b.Begin(t.Context())
	require.NoError(t, err)
	_, err = blocker.Exec(t.Context(), "LOCK TABLE public.orders, views.named")
	require.NoError(t, err)
	engine, turns := *b.engine, make(chan signal.TaskStop, 100)
	engine.Chunk, engine.Listeners = 7, telemetry.Listeners{stops(turns)}
	worked := make(chan error, 1)
	go func() {
		done := false
		for !done { // On a busy machine, the statement may wait for too long before anybody sees it.
			_, err := engine.Work(t.Context(), task)
			if err == nil {
				err = b.QueryRow(t.Context(), "UPDATE view.task SET failures = 0 WHERE id = $1 RETURNING state = 'done'", task).Scan(&done)
			}
			if err != nil {
				worked <- err
				return
			}
		}
		worked <- nil
	}()
	b.Wait(t, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'SELECT ARRAY[CAST(r.%OFFSET%')")
	require.NoError(t, blocker.Rollback(t.Context()))
	require.NoError(t, <-worked)
	refreshed := <-turns
	for len(turns) > 0 {
		refreshed = <-turns
	}
	require.Greater(t, refreshed.Chunks, 1, "chunks of 7 keys go through 200 rows")
	require.Equal(t, "done", pgtest.Value[string](t, b.DB, "SELECT state FROM view.task WHERE id = $1", task))
	require.Equal(t, int64(199), pgtest.Value[int64](t, b.DB, "SELECT count(*) FROM views.named"), "order 200 does not exist any more")

	ids, err := engine.Verify(t.Context(), "named", false, who)
	require.NoError(t, err)
	engine.Clock = pauses{do: func() {}}
	_, err = engine.Work(t.Context(), ids[0])
	require.NoError(t, err)
	verified := <-turns
	require.Greater(t, verified.Chunks, 1, "chunks of 7 keys go through 199 rows")
	require.Equal(t, int64(199), verified.Differing)
	b.quiet(t)
	b.exact(t, "named")
}

// stops receives the ends of turns.
type stops chan<- signal.TaskStop

// Listen sends the end of a turn.
func (s stops) Listen(ctx context.Context, sent telemetry.Signal) context.Context {
	if stop, is := sent.(signal.TaskStop); is {
		s <- stop
	}
	return ctx
}

// deliver delivers changes to views, once some have landed.
func (b *testBundle) deliver(t *testing.T) {
	t.Helper()
	var last int
	require.NoError(t, b.QueryRow(t.Context(), "INSERT INTO marks.mark DEFAULT VALUES RETURNING id").Scan(&last))
	b.until(t, "SELECT EXISTS (SELECT FROM capture.log WHERE table_name = 'mark' AND (new ->> 'id')::integer = $1)", last)
	b.consume(t.Context(), t)
}
