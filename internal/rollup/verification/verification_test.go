package verification_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/rollup/run"
	"github.com/daymill/daymill/internal/rollup/source"
	"github.com/daymill/daymill/internal/rollup/verification"
	"github.com/daymill/daymill/internal/test/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var day = date.MustParse("2026-03-01")

type testBundle struct {
	db       *pgtest.DB
	runner   *run.Runner
	verifier *verification.Verifier
	order    verification.Order
}

// setup creates a complete date with 6,000 events.
func setup(t *testing.T) *testBundle {
	t.Helper()
	conn := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "Europe/London"})
	conn.RawEvents(t)
	b := &testBundle{
		db: conn,
		runner: &run.Runner{
			Primary: conn.DB, Source: conn.DB, Type: conn.Installation.EntityType, Clock: pace.SystemClock{},
		},
		verifier: &verification.Verifier{
			Primary: conn.DB, Source: conn.DB, Type: conn.Installation.EntityType, Clock: pace.SystemClock{},
		},
		order: verification.Order{Date: day, Via: "test"},
	}
	b.db.InsertDate(t, day, 6_000, 2_000)
	b.rollup(t)
	return b
}

// text returns one value of a query, as text.
func (b *testBundle) text(t *testing.T, sql string) (text string) {
	t.Helper()
	require.NoError(t, b.db.QueryRow(t.Context(), "SELECT ("+sql+")::text").Scan(&text), sql)
	return text
}

func (b *testBundle) rollup(t *testing.T) {
	t.Helper()
	b.db.Do(t, "SELECT analytics.enqueue_rollup($1)", day)
	_, err := b.runner.Run(t.Context(), run.Order{Date: day})
	require.NoError(t, err)
}

// metrics returns a fingerprint of the version of every row, which also shows rows that are written without a change.
func (b *testBundle) metrics(t *testing.T) string {
	t.Helper()
	return b.text(t, "SELECT md5(string_agg(m.xmin || ' ' || m, ',' ORDER BY m.metric_date, m.entity_id)) "+
		"FROM analytics.daily_entity_metrics AS m")
}

// verify verifies the date, and checks that it wrote no metrics and that the ledger has its result.
func (b *testBundle) verify(t *testing.T) verification.Result {
	t.Helper()
	before := b.metrics(t)
	result, err := b.verifier.Verify(t.Context(), b.order)
	require.NoError(t, err)
	if b.order.Progress == nil {
		require.Equal(t, before, b.metrics(t), "a verification should write no metrics")
	}
	b.requireRecorded(t, result)
	return result
}

func (b *testBundle) requireRecorded(t *testing.T, result verification.Result) {
	t.Helper()
	recorded := verification.Result{
		Date: result.Date, Reason: result.Reason, Drifts: result.Drifts, Passes: result.Passes, Took: result.Took,
	}
	err := b.db.QueryRow(t.Context(), `SELECT id, run_id, result, entities, drifted_entities, events_counted, events_stored, events_recorded, repair
		FROM analytics.verifications ORDER BY id DESC LIMIT 1`).Scan(&recorded.ID, &recorded.RunID, &recorded.Result,
		&recorded.Entities, &recorded.DriftedEntities, &recorded.EventsCounted, &recorded.EventsStored, &recorded.EventsRecorded,
		&recorded.Repair)
	require.NoError(t, err)
	require.Equal(t, result, recorded)
}

func (b *testBundle) state(t *testing.T) string {
	t.Helper()
	return b.text(t, "SELECT state FROM analytics.date_states")
}

const (
	events = 6_000
	// stored adds up what is stored.
	stored = `SELECT sum(views_count + clicks_count + saves_count + skips_count
		+ (SELECT coalesce(sum(o.value::bigint), 0) FROM jsonb_each_text(other_counts) AS o)) FROM analytics.daily_entity_metrics`
	// other is an entity that has other_counts.
	other = "(SELECT m.entity_id FROM analytics.daily_entity_metrics AS m WHERE m.other_counts <> '{}' ORDER BY 1 LIMIT 1)"
)

func TestVerifyDrift(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		sql string // makes one entity drift
		// Of the drift, and the difference that it makes.
		noRow, noEvent  bool
		counted, stored int64
	}{
		"ExtraRow": {
			sql:     "INSERT INTO analytics.daily_entity_metrics (entity_id, metric_date, views_count, other_counts) VALUES (5, '2026-03-01', 2, '{\"a\": 3}')",
			noEvent: true, stored: events + 5, counted: events,
		},
		"LateEvent": {
			sql:   "INSERT INTO public.raw_events (entity_id, event_type, created_at) VALUES (5, 'view', '2026-03-01 12:00+00')",
			noRow: true, stored: events, counted: events + 1,
		},
		"MissingRow": {
			sql: "DELETE FROM analytics.daily_entity_metrics WHERE entity_id = (SELECT max(entity_id) FROM analytics.daily_entity_metrics)",
			// How many it had is looked up.
			noRow: true, counted: events,
		},
		"OtherCounts": {
			sql:    "UPDATE analytics.daily_entity_metrics SET other_counts = other_counts || '{\"more\": 4}' WHERE entity_id = " + other,
			stored: events + 4, counted: events,
		},
		"OtherCountsName": {
			sql: "UPDATE analytics.daily_entity_metrics SET other_counts = (SELECT jsonb_object_agg(upper(o.key), o.value) " +
				"FROM jsonb_each(other_counts) AS o) WHERE entity_id = " + other,
			stored: events, counted: events,
		},
		"VanishedEntity": {
			sql:     "DELETE FROM public.raw_events WHERE entity_id = (SELECT min(entity_id) FROM public.raw_events)",
			noEvent: true, stored: events,
		},
		"WrongCount": {
			sql: "UPDATE analytics.daily_entity_metrics SET views_count = views_count + 1, clicks_count = clicks_count - 1 " +
				"WHERE entity_id = (SELECT min(entity_id) FROM analytics.daily_entity_metrics)",
			stored: events, counted: events,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			result := b.verify(t)
			require.Equal(t, verification.Exact, result.Result)
			require.EqualValues(t, events, result.EventsCounted)
			require.EqualValues(t, events, result.EventsStored)
			require.Equal(t, b.text(t, "SELECT 'complete'"), b.state(t))

			b.db.Do(t, c.sql)
			result = b.verify(t)
			require.Equal(t, verification.Drifted, result.Result)
			require.EqualValues(t, 1, result.DriftedEntities)
			require.Len(t, result.Drifts, 1)
			require.Equal(t, c.noRow, result.Drifts[0].Stored == nil)
			require.Equal(t, c.noEvent, result.Drifts[0].Counted == nil)
			kept, err := verification.Drifts(t.Context(), b.db, result.ID)
			require.NoError(t, err)
			wanted, err := json.Marshal(result.Drifts)
			require.NoError(t, err)
			got, err := json.Marshal(kept)
			require.NoError(t, err)
			require.JSONEq(t, string(wanted), string(got))
			require.Equal(t, b.text(t, stored), b.text(t, "SELECT events_stored FROM analytics.verifications ORDER BY id DESC LIMIT 1"))
			if c.stored > 0 {
				require.Equal(t, c.stored, result.EventsStored)
			}
			require.Equal(t, b.text(t, "SELECT count(*) FROM public.raw_events"),
				b.text(t, "SELECT events_counted FROM analytics.verifications ORDER BY id DESC LIMIT 1"))
			if c.counted > 0 {
				require.Equal(t, c.counted, result.EventsCounted)
			}
			require.Equal(t, b.text(t, `SELECT count(*) FROM (SELECT entity_id FROM public.raw_events
				UNION SELECT entity_id FROM analytics.daily_entity_metrics) AS e`),
				b.text(t, "SELECT entities FROM analytics.verifications ORDER BY id DESC LIMIT 1"))
			require.Equal(t, "stale", b.state(t))
			require.Equal(t, "0", b.text(t, "SELECT count(*) FROM analytics.rollup_requests WHERE resolved_at IS NULL"))

			b.order.Repair = verification.RepairGains
			lost := result.EventsCounted < result.EventsRecorded
			require.Equal(t, max(0, result.EventsRecorded-result.EventsCounted), result.Erased())
			result = b.verify(t)
			require.Equal(t, !lost, result.Repair, "a date that has lost events is a person's to judge")
			if lost {
				b.order.Repair = verification.RepairAll
				require.True(t, b.verify(t).Repair)
			}
			require.Equal(t, "requested", b.state(t))
			_, err = b.runner.Run(t.Context(), run.Order{Date: day})
			require.NoError(t, err)
			pgtest.RequireExact(t, b.db)
			require.Equal(t, "complete", b.state(t))
			require.Equal(t, verification.Exact, b.verify(t).Result)
		})
	}
}

// Counts that somebody has written by hand are shown unchanged, and are not an error.
func TestVerifyGarbage(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.db.Do(t, `UPDATE analytics.daily_entity_metrics SET other_counts = '["what", 7]' WHERE entity_id = `+other)
	result := b.verify(t)
	require.Equal(t, verification.Drifted, result.Result)
	require.JSONEq(t, `["what", 7]`, string(result.Drifts[0].Stored.Other))
	require.Equal(t, "stale", b.state(t))
}

// What people have written may be too large to add up.
func TestVerifyLargeCounts(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.db.Do(t, `INSERT INTO analytics.daily_entity_metrics (entity_id, metric_date, other_counts)
		SELECT i, '2026-03-01', '{"a": 9e18}' FROM generate_series(1000001, 1000003) AS i`)
	result := b.verify(t)
	require.EqualValues(t, 3, result.DriftedEntities)
	require.Equal(t, int64(math.MaxInt64), result.EventsStored)
}

func TestVerifyPasses(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.verifier.Options = verification.Options{MaxEntities: 200, Drifts: 7}
	result := b.verify(t)
	require.Equal(t, verification.Exact, result.Result)
	require.Greater(t, result.Passes, 5)
	require.EqualValues(t, events, result.EventsStored)

	b.db.Do(t, "UPDATE analytics.daily_entity_metrics SET skips_count = skips_count + 1 WHERE entity_id % 2 = 0")
	b.db.Do(t, "DELETE FROM analytics.daily_entity_metrics WHERE entity_id % 5 = 0")
	result = b.verify(t)
	require.Equal(t, verification.Drifted, result.Result)
	require.Len(t, result.Drifts, 7)
	require.Equal(t, b.text(t, stored), b.text(t, "SELECT events_stored FROM analytics.verifications ORDER BY id DESC LIMIT 1"))
	require.EqualValues(t, events, result.EventsCounted)
	require.Equal(t, b.text(t, `SELECT count(*) FROM (SELECT DISTINCT entity_id FROM public.raw_events) AS e
		WHERE entity_id % 2 = 0 OR entity_id % 5 = 0`),
		b.text(t, "SELECT drifted_entities FROM analytics.verifications ORDER BY id DESC LIMIT 1"))
}

// during calls do once, when the verification reaches a phase.
func (b *testBundle) during(phase string, do func()) {
	done := false
	b.order.Progress = func(at string, _ float64) {
		if at == phase && !done {
			done = true
			do()
		}
	}
}

func TestVerifyMeanwhile(t *testing.T) {
	t.Parallel()
	late := func(t *testing.T, b *testBundle) {
		t.Helper()
		b.db.Insert(t, pgtest.Event{Entity: "5", Type: "view", At: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)})
	}

	t.Run("EventWithoutRequest", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.during("scan", func() { late(t, b) })
		require.Equal(t, verification.Drifted, b.verify(t).Result)
		require.Equal(t, "stale", b.state(t))
	})

	t.Run("Request", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.during("scan", func() {
			late(t, b)
			b.db.Do(t, "SELECT analytics.enqueue_rollup($1)", day)
		})
		result := b.verify(t)
		require.Equal(t, verification.Changed, result.Result)
		require.Equal(t, "complete", b.text(t, "SELECT state FROM analytics.rollup_dates"))
		require.Equal(t, "true", b.text(t, "SELECT verified_at IS NULL FROM analytics.rollup_dates"))
	})

	// A request that changes nothing does not affect the verification.
	t.Run("RequestOfWhatIsRight", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.during("scan", func() { b.db.Do(t, "SELECT analytics.enqueue_rollup($1)", day) })
		require.Equal(t, verification.Exact, b.verify(t).Result)
	})

	// The run is over by the time that the verification judges: its counts are older than the rows.
	t.Run("Run", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.during("compare", func() {
			late(t, b)
			b.rollup(t)
		})
		result := b.verify(t)
		require.Equal(t, verification.Changed, result.Result)
		require.EqualValues(t, 1, result.DriftedEntities, "or the run came too late to be in the way")
		require.Equal(t, "complete", b.state(t))
		b.order.Progress = nil
		require.Equal(t, verification.Exact, b.verify(t).Result)
	})

	// The run is still running: it waits before it publishes.
	t.Run("RunUnderWay", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.db.Do(t, "SELECT analytics.enqueue_rollup($1)", day)
		verified := false
		_, err := b.runner.Run(t.Context(), run.Order{Date: day, Progress: func(f run.Report) {
			if f.Phase == run.PhaseScan && !verified {
				verified = true
				result, err := b.verifier.Verify(t.Context(), b.order)
				require.NoError(t, err)
				require.Equal(t, verification.Incomplete, result.Result)
			}
		}})
		require.NoError(t, err)
		require.True(t, verified)
		require.Equal(t, "0", b.text(t, "SELECT count(*) FROM analytics.verifications"))
	})

	// A run that wants to begin while the verification judges waits, and finds the date as it was judged.
	t.Run("RunBeginsBesides", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		late(t, b)
		// Lock the date as a new run does, let the verification judge, and begin.
		tx, err := b.db.Begin(t.Context())
		require.NoError(t, err)
		defer tx.Rollback(context.WithoutCancel(t.Context())) //nolint:errcheck // It is committed, or the test has failed.
		_, err = tx.Exec(t.Context(), "UPDATE analytics.rollup_dates SET state = 'running', run_id = run_id + 1")
		require.NoError(t, err)
		ended := make(chan verification.Result)
		go func() {
			defer close(ended)
			result, err := b.verifier.Verify(context.WithoutCancel(t.Context()), b.order)
			if err == nil {
				ended <- result
			}
		}()
		require.Eventually(t, func() bool {
			var waits bool
			err := b.db.QueryRow(t.Context(), `SELECT EXISTS(SELECT FROM pg_stat_activity WHERE datname = current_database()
				AND wait_event_type = 'Lock' AND query LIKE '%VerificationSteady%')`).Scan(&waits)
			return err == nil && waits
		}, time.Minute, 5*time.Millisecond)
		require.NoError(t, tx.Commit(t.Context()))
		require.Equal(t, verification.Changed, (<-ended).Result)
		require.Equal(t, "running", b.text(t, "SELECT state FROM analytics.rollup_dates"))
	})
}

func TestVerifyProtected(t *testing.T) {
	t.Parallel()

	t.Run("DroppedMeanwhile", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.during("scan", func() { b.db.Do(t, "TRUNCATE public.raw_events") })
		b.order.Repair = verification.RepairAll
		result := b.verify(t)
		require.Equal(t, verification.Protected, result.Result)
		require.False(t, result.Repair)
		require.Equal(t, "complete", b.state(t))
	})

	t.Run("Retention", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.db.Do(t, "DELETE FROM public.raw_events WHERE id % 2 = 0")
		require.NoError(t, source.SetRetention(t.Context(), b.db.DB, 48*time.Hour, audit.Who{}))
		require.Equal(t, verification.Protected, b.verify(t).Result)
		require.NoError(t, source.SetRetention(t.Context(), b.db.DB, 0, audit.Who{}))
		require.Equal(t, verification.Drifted, b.verify(t).Result)
	})

	t.Run("Vanished", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.db.Do(t, "TRUNCATE public.raw_events")
		result := b.verify(t)
		require.Equal(t, verification.Protected, result.Result)
		require.Contains(t, result.Reason, "it no longer has events")
		require.Equal(t, "complete", b.state(t))
	})
}

func TestVerifyStops(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stop")
	b.during("compare", func() { cancel(stop) })
	_, err := b.verifier.Verify(ctx, b.order)
	require.ErrorIs(t, err, stop)
	require.Equal(t, "0", b.text(t, "SELECT count(*) FROM analytics.verifications"))
}

func TestChoose(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.db.Do(t, `INSERT INTO analytics.rollup_dates (metric_date, state, run_id, scan_run_id, completed_at, verified_at) VALUES
		('2026-02-01', 'complete', 1, 1, now(), now() - interval '3 days'),
		('2026-02-02', 'complete', 1, 1, now(), now() - interval '5 days'),
		('2026-02-03', 'failed', 1, 1, now(), NULL),
		('2026-02-04', 'stale', 1, 1, now(), now()),
		('2026-02-05', 'protected', 1, 1, now(), now()),
		('2026-02-06', 'complete', 1, 1, now(), now()),
		('2026-02-07', 'complete', 1, 1, now(), NULL)`)
	b.db.Do(t, "INSERT INTO analytics.rollup_requests (metric_date) VALUES ('2026-02-07')")
	since := time.Now().Add(-time.Hour)
	parse := func(texts ...string) (dates []date.Date) {
		for _, text := range texts {
			dates = append(dates, date.MustParse(text))
		}
		return dates
	}
	due, err := verification.Due(t.Context(), b.db.DB, 10, since, "job")
	require.NoError(t, err)
	require.Equal(t, parse("2026-03-01", "2026-02-02", "2026-02-01"), due)
	// The previous attempt has verified one of the two.
	b.db.Do(t, `INSERT INTO analytics.verifications (metric_date, result, started_at, requested_via)
		VALUES ('2026-02-06', 'exact', now(), 'job'), ('2026-02-06', 'exact', now(), 'cli')`)
	due, err = verification.Due(t.Context(), b.db.DB, 2, since, "job")
	require.NoError(t, err)
	require.Equal(t, parse("2026-03-01"), due)

	within, err := verification.InRange(t.Context(), b.db.DB, date.Range{First: date.MustParse("2026-02-02"), Last: day})
	require.NoError(t, err)
	require.Equal(t, parse("2026-02-02", "2026-02-04", "2026-02-05", "2026-02-06", "2026-02-07", "2026-03-01"), within)

	one, of, err := verification.Sample(t.Context(), b.db.DB, 3, 11)
	require.NoError(t, err)
	require.EqualValues(t, 6, of)
	require.Len(t, one, 3)
	again, _, err := verification.Sample(t.Context(), b.db.DB, 3, 11)
	require.NoError(t, err)
	require.Equal(t, one, again)
	different := false
	for seed := range int64(10) {
		another, _, err := verification.Sample(t.Context(), b.db.DB, 3, seed)
		require.NoError(t, err)
		different = different || another[0] != one[0] || another[1] != one[1]
	}
	require.True(t, different)
}
