package worker_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/rollup/source"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/internal/worker"
)

// TestSourceSetDuringRun sets another source during a run: the run ends, and its date is rolled up from the new source.
func TestSourceSetDuringRun(t *testing.T) {
	t.Parallel()
	b := setupUnscheduled(t)
	b.db.InsertDate(t, day, 1_500, 40)
	p := b.start(t, func(config *worker.Config) { config.Workers, config.Pace = 1, 1 })
	p.clock.keep()
	b.request(t, day)
	p.clock.awaitKept(t, 1)
	require.NoError(t, source.Set(t.Context(), b.db.DB, b.db.Installation, source.Options{
		Table: "public.raw_events", Entity: "entity_id", Type: "event_type", Time: "created_at", Where: "entity_id % 2 = 0",
	}))
	require.Equal(t, "retrying", b.dateState(t, day))
	p.clock.releaseAll()
	b.awaitDone(t)
	require.Equal(t, []string{"interrupted: the source was changed while it was at work", "complete: "},
		pgtest.Column[string](t, b.db, "SELECT state || ': ' || coalesce(error, '') FROM analytics.rollup_runs ORDER BY id"))
	events := pgtest.RequireExact(t, b.db).Events
	require.Positive(t, events)
	require.Less(t, events, int64(1_500))
	require.Equal(t, "complete", b.dateState(t, day))
	b.requireQuiet(t)
}

// TestSwappedSource gives the source's name to another table. No run counts the wrong table, and after `daymill source set` the
// date that was requested in the meantime is counted from the new one.
func TestSwappedSource(t *testing.T) {
	t.Parallel()
	b := setupUnscheduled(t)
	set := source.Options{Table: "public.raw_events", Entity: "entity_id", Type: "event_type", Time: "created_at"}
	require.NoError(t, source.Set(t.Context(), b.db.DB, b.db.Installation, set))
	b.db.Do(t, `BEGIN;
		ALTER TABLE public.raw_events RENAME TO raw_events_old;
		CREATE TABLE public.raw_events (LIKE public.raw_events_old INCLUDING ALL);
		COMMIT`)
	b.db.InsertDate(t, day, 100, 40)
	b.start(t)
	b.request(t, day)
	b.db.Wait(t, "EXISTS(SELECT FROM river_job WHERE kind = 'rollup_day' AND cardinality(errors) > 0)")
	job := b.job(t, day)
	require.Contains(t, job.Errors[0].Error, `analytics.events reads public.raw_events_old, but "public"."raw_events"`)
	require.Zero(t, b.runs(t))
	require.NoError(t, source.Set(t.Context(), b.db.DB, b.db.Installation, set))
	_, err := b.app.JobRetry(t.Context(), job.ID)
	require.NoError(t, err)
	b.awaitDone(t)
	require.EqualValues(t, 100, pgtest.RequireExact(t, b.db).Events)
	require.Equal(t, "complete", b.dateState(t, day))
}

// TestRecordsReads: a worker records the tables behind a view that was written by hand.
func TestRecordsReads(t *testing.T) {
	t.Parallel()
	b := setupUnscheduled(t)
	b.db.Do(t, `
		CREATE OR REPLACE VIEW analytics.events AS SELECT entity_id::analytics.entity_id AS entity_id, event_type, created_at
			FROM public.raw_events WHERE event_type <> 'bot';
		DELETE FROM analytics.source_reads`)
	b.start(t)
	b.db.Wait(t, "EXISTS(SELECT FROM analytics.source_reads WHERE relation_schema = 'public' AND relation_name = 'raw_events')")
}
