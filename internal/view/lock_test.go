package view_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/lease"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/telemetry"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/internal/view"
	"github.com/daymill/daymill/internal/view/signal"
)

// TestLock: of two refreshes of the same key at the same time, the later one waits for the earlier one, and reads after it. Otherwise it
// would not see the rows that the earlier one has inserted, and leave them in addition to its own.
func TestLock(t *testing.T) {
	t.Parallel()
	b := setup(t, stream.ModeTrigger, shop+`; INSERT INTO public.customers VALUES (1, 'ann'); CREATE TABLE public.gate (is_open boolean);
		CREATE FUNCTION public.wait() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			WHILE NOT EXISTS (SELECT FROM public.gate) LOOP PERFORM pg_sleep(0.01); END LOOP;
			RETURN NULL;
		END $$`)
	b.capture(t, stream.ModeTrigger)
	b.apply(t, read(t, lines))
	b.quiet(t)
	b.Do(t, "CREATE TRIGGER wait AFTER INSERT ON views.lines EXECUTE FUNCTION public.wait()")
	id := b.view(t, "lines").ID
	refresh := func() <-chan error {
		done := make(chan error, 1)
		go func() {
			opened, err := b.engine.Sink(t.Context(), id, "app")
			if err == nil {
				err = b.Tx(t.Context(), func(tx pgx.Tx) error {
					_, err := opened.DeliverTx(t.Context(), tx, []change.Change{{Op: change.Update, Schema: "public", Table: "customers", Key: json.RawMessage(`{"id": 1}`)}})
					return err
				})
			}
			done <- err
		}()
		return done
	}
	earlier := refresh()
	b.until(t, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep')")
	b.Do(t, "UPDATE public.customers SET name = 'bob'")
	later := refresh()
	b.until(t, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')")
	b.Do(t, "INSERT INTO public.gate VALUES (true)")
	require.NoError(t, <-earlier)
	require.NoError(t, <-later)
	require.Equal(t, []string{"bob"}, pgtest.Column[string](t, b.DB, "SELECT name FROM views.lines"))
	b.exact(t, "lines")
}

// pauses is a clock that calls a function at each pause.
type pauses struct {
	pace.SystemClock

	do func()
}

func (p pauses) Sleep(context.Context, time.Duration) error {
	p.do()
	return nil
}

// TestFence: a worker whose task another worker has taken can no longer write.
func TestFence(t *testing.T) {
	t.Parallel()
	b := setup(t, stream.ModeTrigger, shop+"; INSERT INTO public.customers SELECT i, 'c' FROM generate_series(1, 10) AS i")
	b.capture(t, stream.ModeTrigger)
	b.apply(t, read(t, lines))
	stale := *b.engine
	stale.Chunk, stale.Pace = 1, pace.Fixed(1)
	stale.Clock = pauses{do: func() { b.Do(t, "UPDATE view.task SET fence = fence + 1") }}
	_, err := stale.Work(t.Context(), 1)
	require.ErrorIs(t, err, lease.ErrFenced)
	require.Equal(t, []string{"1 running"}, pgtest.Column[string](t, b.DB, "SELECT done || ' ' || state FROM view.task"), "the second chunk was rolled back")
	require.Len(t, pgtest.Column[string](t, b.DB, "SELECT 'x' FROM views._daymill_1"), 1)
	b.Do(t, "UPDATE view.task SET taken_at = NULL")
	b.quiet(t)
	b.exact(t, "lines")
}

// TestCapturedFirst: a build waits until changes of its tables are captured, because changes before that would be missing.
func TestCapturedFirst(t *testing.T) {
	t.Parallel()
	b := setup(t, stream.ModeTrigger, shop+"; INSERT INTO public.customers VALUES (1, 'ann')")
	b.apply(t, read(t, lines))
	engine, turns := *b.engine, make(chan signal.TaskStop, 1)
	engine.Listeners = telemetry.Listeners{stops(turns)}
	_, err := engine.Work(t.Context(), 1)
	require.NoError(t, err)
	waits := <-turns
	level, line := waits.Line()
	require.Equal(t, []any{signal.Waits, slog.LevelInfo, "task of a view waits", nil}, []any{waits.Outcome, level, line, waits.SpanEnd()})
	require.Equal(t, []string{"it waits until changes of public.customers of database app are captured"}, pgtest.Column[string](t, b.DB, "SELECT error FROM view.task"))
	require.Empty(t, pgtest.Column[string](t, b.DB, "SELECT 'x' FROM views._daymill_1"))
	b.capture(t, stream.ModeTrigger)
	b.Do(t, `UPDATE view.task SET retry_at = NULL, failures = 20; CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
		CREATE TRIGGER fail BEFORE INSERT ON views._daymill_1 FOR EACH STATEMENT EXECUTE FUNCTION public.fail()`)
	_, err = b.engine.Work(t.Context(), 1)
	require.NoError(t, err)
	require.Equal(t, []string{"running 1 true"}, pgtest.Column[string](t, b.DB, "SELECT concat_ws(' ', state, failures, (error LIKE '%no%')::text) FROM view.task"), "waits are not failures")
	b.Do(t, "DROP FUNCTION public.fail() CASCADE; UPDATE view.task SET retry_at = NULL")
	b.quiet(t)
	b.exact(t, "lines")
}

// TestPause: pausing a view also stops the turn of a task that a worker works on.
func TestPause(t *testing.T) {
	t.Parallel()
	b := setup(t, stream.ModeTrigger, shop+"; INSERT INTO public.customers SELECT i, 'c' FROM generate_series(1, 10) AS i")
	b.capture(t, stream.ModeTrigger)
	b.apply(t, read(t, lines))
	change := func(do func(ctx context.Context, tx pgx.Tx, v view.View) error) {
		require.NoError(t, b.Tx(t.Context(), func(tx pgx.Tx) error { return do(t.Context(), tx, b.view(t, "lines")) }))
	}
	engine := *b.engine
	engine.Chunk, engine.Pace = 1, pace.Fixed(1)
	engine.Clock = pauses{do: func() {
		change(func(ctx context.Context, tx pgx.Tx, v view.View) error {
			return view.Pause(ctx, tx, v, "maintenance", who)
		})
	}}
	_, err := engine.Work(t.Context(), 1)
	require.ErrorIs(t, err, lease.ErrFenced)
	require.Equal(t, []string{"1 running"}, pgtest.Column[string](t, b.DB, "SELECT done || ' ' || state FROM view.task"))
	require.False(t, b.step(t.Context(), t), "nobody works on it")
	change(func(ctx context.Context, tx pgx.Tx, v view.View) error { return view.Resume(ctx, tx, v, who) })
	b.quiet(t)
	b.exact(t, "lines")
}
