// Package e2e tests worker processes as they are deployed: real processes of the built command, which are killed, stopped and
// cut off from their database.
package e2e_test

import (
	"context"
	"flag"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/browser"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/jobs"
)

func TestMain(m *testing.M) {
	// These tests wait for half a minute of silence, not for the processor.
	flag.Parse()
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	pgtest.Main(m, browser.Stop)
}

// TestWorker builds the command once for all subtests.
func TestWorker(t *testing.T) {
	t.Parallel()
	binary := build(t)
	for name, test := range map[string]func(t *testing.T, binary string){
		"Follower":             testFollower,
		"FollowerOfNothing":    testFollowerOfNothing,
		"IdleCost":             testIdleCost,
		"Killed":               testKilled,
		"MaxConnections":       testMaxConnections,
		"PgBouncer":            testPgBouncer,
		"PostgresCrash":        testPostgresCrash,
		"SSL":                  testSSL,
		"Stopped":              testStopped,
		"StoppedInTransaction": testStoppedInTransaction,
		"Terminated":           testTerminated,
		"TerminatedWithImport": testTerminatedWithOpenImport,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, binary)
		})
	}
}

var (
	day       = date.MustParse("2026-03-01")
	installed = pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"}
)

// patience is how long a test waits. A killed worker's date is free for another worker after half a minute.
const patience = 3 * time.Minute

// Number of events of each date of prepare, and of entities in addition to the last one.
const (
	events   = 3_001
	entities = 1_000
)

type testBundle struct {
	db     *pgtest.DB
	binary string
	env    []string // of workers, in addition to the test's own
}

// prepare gives a database a source with events of three dates and a way to hold runs, and keeps the daily job from asking
// for dates.
func prepare(t *testing.T, db *pgtest.DB, binary string) *testBundle {
	t.Helper()
	b := &testBundle{db: db, binary: binary}
	t.Cleanup(func() {
		if t.Failed() {
			b.dump(t)
		}
	})
	db.RawEvents(t)
	for i := range 3 {
		d := day.AddDays(i)
		db.InsertDate(t, d, events-1, entities)
		year, month, dayOfMonth := d.Date()
		db.Insert(t, pgtest.Event{
			Entity: highest, Type: "view", At: time.Date(year, month, dayOfMonth, 12, 0, 0, 0, time.UTC),
		})
	}
	app, err := river.NewClient(riverpgxv5.New(db.Application(t)), &river.Config{})
	require.NoError(t, err)
	_, err = app.Insert(t.Context(), jobs.DailyRollupArgs{}, &river.InsertOpts{ScheduledAt: time.Now().AddDate(1, 0, 0)})
	require.NoError(t, err)
	b.db.Do(t, `
		INSERT INTO daymill.schedules (name, last_due_at, paused_at)
		SELECT k, '-infinity', now() FROM unnest(ARRAY['daily_rollup', 'prune_ledger', 'verify_dates']) AS k;
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

// highest is the last entity in key order.
const highest = "9223372036854775807"

// hold makes runs of dates wait at their last entity.
func (b *testBundle) hold(t *testing.T, held ...date.Date) {
	t.Helper()
	b.db.Do(t, "INSERT INTO public.hold SELECT unnest($1::date[])", held)
}

// release lets all runs continue.
func (b *testBundle) release(t *testing.T) {
	t.Helper()
	b.db.Do(t, "DELETE FROM public.hold")
}

func (b *testBundle) request(t *testing.T, requested ...date.Date) {
	t.Helper()
	b.db.Do(t, "SELECT analytics.enqueue_rollup(d) FROM unnest($1::date[]) AS d", requested)
}

// awaitHeld returns once the run of a date waits, after it has written some batches.
func (b *testBundle) awaitHeld(t *testing.T, d date.Date) {
	t.Helper()
	b.db.Wait(t, `EXISTS(
		SELECT FROM analytics.rollup_dates WHERE metric_date = $1 AND state = 'running' AND cursor_events = $2)
		AND EXISTS(
		SELECT FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' AND query LIKE 'copy %'
			AND pid <> pg_backend_pid())`, d, events-1)
}

// awaitComplete returns once dates are complete, none of their requests is open, and their jobs are done. It compares the dates with a recount.
func (b *testBundle) awaitComplete(t *testing.T, dates ...date.Date) {
	t.Helper()
	for _, d := range dates {
		b.db.Wait(t, `EXISTS(SELECT FROM analytics.date_states WHERE metric_date = $1 AND state = 'complete')
			AND NOT EXISTS(SELECT FROM analytics.rollup_requests WHERE metric_date = $1 AND resolved_at IS NULL)
			AND NOT EXISTS(SELECT FROM river_job WHERE args ->> 'date' = $1::date::text AND state <> 'completed')`, d)
	}
	require.EqualValues(t, events*len(dates), pgtest.RequireExact(t, b.db, dates...).Events)
}

// workerOf returns the process that runs a date.
func (b *testBundle) workerOf(t *testing.T, d date.Date, all ...*process) *process {
	t.Helper()
	pid := pgtest.Value[int](t, b.db, `SELECT substring(worker FROM '/(\d+)')::integer FROM analytics.rollup_runs
		WHERE metric_date = $1 AND state = 'running'`, d)
	for _, p := range all {
		if p.cmd.Process.Pid == pid {
			return p
		}
	}
	require.Fail(t, "no process is at work on the date")
	return nil
}

func (b *testBundle) runStates(t *testing.T, d date.Date) []string {
	t.Helper()
	return pgtest.Column[string](t, b.db, "SELECT state FROM analytics.rollup_runs WHERE metric_date = $1 ORDER BY id", d)
}

// dump logs the ledger and the queue.
func (b *testBundle) dump(t *testing.T) {
	t.Helper()
	for _, sql := range []string{
		"SELECT to_jsonb(d) FROM analytics.rollup_dates AS d ORDER BY metric_date",
		"SELECT jsonb_strip_nulls(to_jsonb(r)) FROM analytics.rollup_runs AS r ORDER BY id",
		"SELECT jsonb_strip_nulls(to_jsonb(q)) FROM analytics.rollup_requests AS q ORDER BY id",
		`SELECT jsonb_strip_nulls(to_jsonb(j) - 'unique_key' - 'unique_states' - 'tags') FROM river_job AS j ORDER BY id`,
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
