package worker_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/internal/worker"
)

// small returns dates with a few events each.
func (b *testBundle) small(t *testing.T, n int) []date.Date {
	t.Helper()
	all := make([]date.Date, n)
	for i := range all {
		all[i] = day.AddDays(-i)
		b.db.InsertDate(t, all[i], 30+i%9, 12)
	}
	return all
}

// busy reports whether a statement of a group took too long, because the machine is busy. Then the process has no groups for a minute.
func (b *testBundle) busy(t *testing.T) bool {
	t.Helper()
	return pgtest.Value[bool](t, b.db, "SELECT EXISTS(SELECT FROM river_job WHERE metadata -> 'output' ->> 'alone' LIKE '%statement timeout%')")
}

// Two workers roll up many small dates, each once and with few jobs.
func TestGroup(t *testing.T) {
	t.Parallel()
	b := setupUnscheduled(t)
	all := b.small(t, 230)
	for _, name := range []string{"a", "b"} {
		b.start(t, func(c *worker.Config) { c.Name = name })
	}
	for round := range 3 {
		b.db.Do(t, "UPDATE public.raw_events SET event_type = 'odd' WHERE id % 7 = $1", round)
		b.db.Do(t, "SELECT analytics.enqueue_rollup($1, $2)", all[len(all)-1], all[0])
		b.awaitDone(t)
		pgtest.RequireExact(t, b.db, all...)
		require.EqualValues(t, (round+1)*len(all), b.runs(t))
	}
	require.Equal(t, len(all), pgtest.Value[int](t, b.db, "SELECT count(*) FROM analytics.date_states WHERE state = 'complete'"))
	require.True(t, b.busy(t) || pgtest.Value[int](t, b.db, "SELECT count(*) FROM river_job WHERE kind = 'rollup_day'") < 3*len(all)/4)
	require.Equal(t, 2, pgtest.Value[int](t, b.db, "SELECT count(DISTINCT worker) FROM analytics.rollup_runs"))
	b.requireQuiet(t)
}

// A date that cannot be rolled up fails alone, and the others are complete.
func TestGroup_Fails(t *testing.T) {
	t.Parallel()
	b := setupUnscheduled(t)
	all := b.small(t, 60)
	bad := all[17]
	b.db.Do(t, `CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'this date is refused'; END $$;
		CREATE TRIGGER refuse BEFORE INSERT ON analytics.daily_entity_metrics FOR EACH ROW WHEN (NEW.metric_date = '`+bad.String()+`') EXECUTE FUNCTION public.refuse()`)
	b.start(t, func(c *worker.Config) { c.NextRetry = func(int) time.Time { return time.Now().Add(time.Hour) } })
	b.db.Do(t, "SELECT analytics.enqueue_rollup($1, $2)", all[len(all)-1], all[0])
	b.db.Wait(t, `NOT EXISTS(SELECT FROM analytics.rollup_requests WHERE resolved_at IS NULL AND metric_date <> $1)
		AND EXISTS(SELECT FROM river_job WHERE kind = 'rollup_day' AND state = 'retryable')`, bad)
	require.Equal(t, "retrying", b.dateState(t, bad))
	require.Contains(t, b.job(t, bad).Errors[0].Error, "this date is refused")
	pgtest.RequireExact(t, b.db, append(all[:17:17], all[18:]...)...)
	require.True(t, b.busy(t) || pgtest.Value[bool](t, b.db, "SELECT EXISTS(SELECT FROM river_job WHERE metadata -> 'output' ->> 'alone' LIKE '%this date is refused%')"))

	// While it fails, others are rolled up together again.
	before := pgtest.Value[int](t, b.db, "SELECT count(*) FROM river_job WHERE kind = 'rollup_day'")
	b.db.Do(t, "SELECT analytics.enqueue_rollup($1, $2)", all[len(all)-1], all[0])
	b.db.Wait(t, `NOT EXISTS(SELECT FROM analytics.rollup_requests WHERE resolved_at IS NULL AND metric_date <> $1)`, bad)
	require.True(t, b.busy(t) || pgtest.Value[int](t, b.db, "SELECT count(*) FROM river_job WHERE kind = 'rollup_day'")-before < 59)

	b.db.Do(t, "DROP TRIGGER refuse ON analytics.daily_entity_metrics; UPDATE river_job SET state = 'available', scheduled_at = now() WHERE state = 'retryable'")
	b.awaitDone(t)
	pgtest.RequireExact(t, b.db, all...)
}

// The dates along with a job whose worker was killed are rolled up by another, long before the job itself is handed on.
func TestGroup_Killed(t *testing.T) {
	t.Parallel()
	b := setupUnscheduled(t)
	all := b.small(t, 12)
	b.request(t, all...)
	along := ""
	for _, d := range all[1:] {
		along += "," + d.String()
	}
	b.db.Do(t, `INSERT INTO river_job (kind, queue, args, max_attempts, metadata, state, attempt, attempted_at, attempted_by)
		VALUES ('rollup_day', 'daymill', jsonb_build_object('date', $1::date), 10, jsonb_build_object('daymill', 'request', 'along', substr($2::text, 2)),
			'running', 1, now(), ARRAY['dead'])`, all[0], along)
	b.start(t)
	b.db.Wait(t, "(SELECT count(*) FROM analytics.rollup_requests WHERE resolved_at IS NULL) = 1")
	require.Equal(t, []string{"running"}, b.jobStates(t, all[0]))
	pgtest.RequireExact(t, b.db, all[1:]...)

	b.db.Do(t, "UPDATE river_job SET attempted_at = now() - interval '1 hour' WHERE state = 'running'")
	b.awaitDone(t)
	pgtest.RequireExact(t, b.db, all...)
	require.EqualValues(t, len(all), b.runs(t))
}

// If the events of many dates take too long together, the process has no groups for a while.
func TestGroup_Slow(t *testing.T) {
	t.Parallel()
	b := setupUnscheduled(t)
	all := b.small(t, 30)
	b.db.Do(t, `CREATE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			IF NEW.metric_date = '`+all[3].String()+`' THEN PERFORM pg_sleep(0.01); END IF;
			RETURN NEW;
		END $$;
		CREATE TRIGGER slow BEFORE INSERT ON analytics.daily_entity_metrics FOR EACH ROW EXECUTE FUNCTION public.slow();
		UPDATE public.raw_events SET entity_id = id`)
	b.start(t)
	b.db.Do(t, "SELECT analytics.enqueue_rollup($1, $2)", all[len(all)-1], all[0])
	b.awaitDone(t)
	pgtest.RequireExact(t, b.db, all...)
	jobs := func() int {
		return pgtest.Value[int](t, b.db, "SELECT count(*) FROM river_job WHERE kind = 'rollup_day'")
	}
	before := jobs()
	b.db.Do(t, "SELECT analytics.enqueue_rollup($1, $2)", all[len(all)-1], all[0])
	b.awaitDone(t)
	require.Equal(t, before+len(all), jobs())
}

// A date that is wanted sooner does not wait for the job that would take it along.
func TestGroup_Sooner(t *testing.T) {
	t.Parallel()
	b := setupUnscheduled(t)
	all := b.small(t, 30)
	b.db.Do(t, "INSERT INTO river_queue (name, paused_at, updated_at) VALUES ('daymill', now(), now())")
	b.start(t)
	b.db.Do(t, "INSERT INTO analytics.rollup_requests (metric_date, priority) SELECT unnest($1::date[]), 3", all)
	b.db.Wait(t, "(SELECT count(*) FROM river_job WHERE kind = 'rollup_day') = 4")
	b.awaitLooks(t)
	require.Equal(t, 4, pgtest.Value[int](t, b.db, "SELECT count(*) FROM river_job WHERE kind = 'rollup_day'"))
	require.Empty(t, b.jobStates(t, all[2]))
	b.request(t, all[2])
	b.db.Wait(t, "EXISTS(SELECT FROM river_job WHERE args ->> 'date' = $1 AND priority = 1)", all[2].String())
	b.awaitLooks(t)
	require.Equal(t, 5, pgtest.Value[int](t, b.db, "SELECT count(*) FROM river_job WHERE kind = 'rollup_day'"))
}
