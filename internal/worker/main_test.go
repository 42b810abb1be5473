package worker_test

import (
	"context"
	"flag"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/internal/worker"
	"github.com/daymill/daymill/jobs"
)

func TestMain(m *testing.M) {
	// These tests wait, for a second's tick or for each other's locks, more than they compute.
	flag.Parse()
	if err := flag.Set("test.parallel", "12"); err != nil {
		panic(err)
	}
	pgtest.Main(m)
}

var day = date.MustParse("2026-03-01")

// lowest and highest are the first and the last entity in key order. InsertDate inserts neither.
const (
	lowest  = "-9223372036854775808"
	highest = "9223372036854775807"
)

// patience is how long a test waits for what should take a second or two. Requests of the watch wait nineteen times as long as the last run of
// their date took, which may be two seconds on a busy machine.
const patience = 2 * time.Minute

type testBundle struct {
	db *pgtest.DB
	// app is an application's own client, which inserts only.
	app       *river.Client[pgx.Tx]
	processes []*process
}

// setup installs Daymill with a source, an application's client, and a way to hold runs.
func setup(t *testing.T) *testBundle {
	t.Helper()
	db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	db.RawEvents(t)
	app, err := river.NewClient(riverpgxv5.New(db.Application(t)), &river.Config{})
	require.NoError(t, err)
	b := &testBundle{db: db, app: app}
	t.Cleanup(func() {
		if t.Failed() {
			b.dump(t)
		}
	})
	b.db.Do(t, `
		CREATE TABLE public.hold (metric_date date PRIMARY KEY);
		CREATE FUNCTION public.wait_for_release() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			WHILE EXISTS (SELECT FROM public.hold AS h WHERE h.metric_date = NEW.metric_date) LOOP
				PERFORM pg_sleep(0.005);
			END LOOP;
			RETURN NEW;
		END
		$$;
		CREATE TRIGGER hold BEFORE INSERT ON analytics.daily_entity_metrics
		FOR EACH ROW WHEN (NEW.entity_id = `+highest+`) EXECUTE FUNCTION public.wait_for_release()`)
	return b
}

// setupUnscheduled is setup without the daily job, which would request every date that has events. The schedule is paused, and a job of that kind
// in the far future already exists.
func setupUnscheduled(t *testing.T) *testBundle {
	t.Helper()
	b := setup(t)
	_, err := b.app.Insert(t.Context(), jobs.DailyRollupArgs{}, &river.InsertOpts{ScheduledAt: time.Now().AddDate(1, 0, 0)})
	require.NoError(t, err)
	b.db.Do(t, `INSERT INTO daymill.schedules (name, last_due_at, paused_at)
		SELECT k, '-infinity', now() FROM unnest(ARRAY['daily_rollup', 'verify_dates', 'prune_ledger']) AS k`)
	return b
}

// process is a worker that runs in the test's process.
type process struct {
	*worker.Worker

	clock   *testClock
	cancel  context.CancelFunc
	done    chan error
	stopped bool
}

// start starts a worker with the same connections as `daymill worker`, and stops it when the test ends.
func (b *testBundle) start(t *testing.T, configure ...func(*worker.Config)) *process {
	t.Helper()
	config := worker.DefaultConfig()
	config.Installation, config.Pace, config.Name = b.db.Installation, 0, "test"
	config.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	clock := &testClock{}
	for _, c := range configure {
		c(&config)
	}
	if own, ok := config.Clock.(*testClock); ok {
		clock = own
	}
	if config.Machine == nil { // Otherwise the worker uses Postgres's clock.
		config.Clock = clock
	}
	var err error
	config.DB, err = postgres.Open(t.Context(), postgres.Config{
		URL: b.db.URL, ApplicationName: "worker", PoolSize: config.Workers + 4,
	})
	require.NoError(t, err)
	t.Cleanup(config.DB.Close)
	worker, err := worker.NewWorker(config)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	p := &process{Worker: worker, clock: clock, cancel: cancel, done: make(chan error, 1)}
	b.processes = append(b.processes, p)
	t.Cleanup(func() { p.stop(t) })
	go func() { p.done <- worker.Run(ctx) }()
	return p
}

// stop stops a worker and waits until it has ended. It may be called again.
func (p *process) stop(t *testing.T) {
	t.Helper()
	if p.stopped {
		return
	}
	p.stopped = true
	p.cancel()
	select {
	case err := <-p.done:
		require.NoError(t, err)
	case <-time.After(patience):
		require.Fail(t, "the worker does not stop")
	}
}

// dates returns n dates from day on.
func dates(n int) []date.Date {
	all := make([]date.Date, n)
	for i := range all {
		all[i] = day.AddDays(i)
	}
	return all
}

// at is an hour of a date.
func at(d date.Date, hour int) time.Time {
	year, month, dayOfMonth := d.Date()
	return time.Date(year, month, dayOfMonth, hour, 0, 0, 0, time.UTC)
}

// hold makes runs of dates wait at their last entity, which it inserts.
func (b *testBundle) hold(t *testing.T, held ...date.Date) {
	t.Helper()
	for _, d := range held {
		b.db.Insert(t, pgtest.Event{Entity: highest, Type: "view", At: at(d, 12)})
	}
	b.db.Do(t, "INSERT INTO public.hold SELECT unnest($1::date[])", held)
}

// release lets runs of dates continue.
func (b *testBundle) release(t *testing.T, held ...date.Date) {
	t.Helper()
	b.db.Do(t, "DELETE FROM public.hold WHERE metric_date = ANY($1)", held)
}

// awaitHeld returns once the run of a date waits at the last entity.
func (b *testBundle) awaitHeld(t *testing.T, d date.Date) {
	t.Helper()
	b.db.Wait(t, `EXISTS(
		SELECT FROM analytics.rollup_dates AS d
		WHERE d.metric_date = $1 AND d.state = 'running' AND d.cursor_events = (
			SELECT count(*) - 1 FROM public.raw_events AS e
			WHERE e.created_at >= analytics.date_start($1) AND e.created_at < analytics.date_start($1 + 1)
		))`, d)
}

func (b *testBundle) request(t *testing.T, requested ...date.Date) {
	t.Helper()
	b.db.Do(t, "SELECT analytics.enqueue_rollup(d) FROM unnest($1::date[]) AS d", requested)
}

func (b *testBundle) openRequests(t *testing.T) int64 {
	t.Helper()
	return pgtest.Value[int64](t, b.db, "SELECT count(*) FROM analytics.rollup_requests WHERE resolved_at IS NULL")
}

func (b *testBundle) runs(t *testing.T) int64 {
	t.Helper()
	return pgtest.Value[int64](t, b.db, "SELECT count(*) FROM analytics.rollup_runs")
}

// resolutions returns the resolutions of a date's requests, in the order of the requests; "open" if there is none.
func (b *testBundle) resolutions(t *testing.T, d date.Date) []string {
	t.Helper()
	return pgtest.Column[string](t, b.db,
		"SELECT coalesce(resolution, 'open') FROM analytics.rollup_requests WHERE metric_date = $1 ORDER BY id", d)
}

// jobStates returns the states of a date's jobs, in the order of the jobs.
func (b *testBundle) jobStates(t *testing.T, d date.Date) []string {
	t.Helper()
	return pgtest.Column[string](t, b.db,
		"SELECT state::text FROM river_job WHERE kind = 'rollup_day' AND args ->> 'date' = $1 ORDER BY id", d.String())
}

// awaitDone returns once no request is open and no job of a date is waiting or running.
func (b *testBundle) awaitDone(t *testing.T) {
	t.Helper()
	b.db.Wait(t, `NOT EXISTS(SELECT FROM analytics.rollup_requests WHERE resolved_at IS NULL)
		AND NOT EXISTS(SELECT FROM river_job WHERE kind = 'rollup_day' AND finalized_at IS NULL)`)
}

// requireQuiet makes the reconciler look three more times, and fails if it has done anything.
func (b *testBundle) requireQuiet(t *testing.T) {
	t.Helper()
	b.awaitDone(t)
	before := b.activity(t)
	b.awaitLooks(t)
	b.awaitDone(t)
	require.Equal(t, before, b.activity(t), "there was a run or a request without a reason")
}

// activity returns counts that would grow without end if a date were rolled up again and again.
func (b *testBundle) activity(t *testing.T) [3]int64 {
	t.Helper()
	return [3]int64{
		b.runs(t),
		pgtest.Value[int64](t, b.db, "SELECT count(*) FROM analytics.rollup_requests"),
		pgtest.Value[int64](t, b.db, "SELECT count(*) FROM river_job WHERE kind = 'rollup_day'"),
	}
}

// awaitLooks pokes the reconcilers and returns when each has looked about ten more times: a look reads the clock twice, and a waiting run hardly
// ever does.
func (b *testBundle) awaitLooks(t *testing.T) {
	t.Helper()
	const enough = 20
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.Now().Add(patience)
	for _, p := range b.processes {
		for since := p.clock.calls.Load(); !p.stopped && p.clock.calls.Load() < since+enough; <-ticker.C {
			b.db.Do(t, "SELECT pg_notify('daymill_request', '')")
			require.True(t, time.Now().Before(deadline), "the reconciler does not look")
		}
	}
}

// dump logs the ledger and the queue.
func (b *testBundle) dump(t *testing.T) {
	t.Helper()
	for _, sql := range []string{
		"SELECT to_jsonb(d) FROM analytics.rollup_dates AS d ORDER BY metric_date LIMIT 20",
		"SELECT jsonb_strip_nulls(to_jsonb(r)) FROM analytics.rollup_runs AS r ORDER BY id LIMIT 20",
		"SELECT jsonb_strip_nulls(to_jsonb(q)) FROM analytics.rollup_requests AS q ORDER BY id LIMIT 20",
		`SELECT jsonb_strip_nulls(to_jsonb(j) - 'unique_key' - 'unique_states' - 'tags') FROM river_job AS j ORDER BY id LIMIT 20`,
		`SELECT jsonb_build_object('pid', pid, 'name', application_name, 'state', state, 'wait', wait_event, 'query', left(query, 90))
			FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`,
	} {
		rows, err := b.db.Query(context.WithoutCancel(t.Context()), sql)
		if err != nil {
			t.Log(err)
			continue
		}
		all, err := pgx.CollectRows(rows, pgx.RowTo[string])
		t.Log(sql, err)
		for _, row := range all {
			t.Log("  " + row)
		}
	}
}
