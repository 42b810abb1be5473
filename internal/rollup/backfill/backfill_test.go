package backfill_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/rollup/backfill"
	"github.com/daymill/daymill/internal/test/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var first = date.MustParse("2026-03-01")

type testBundle struct {
	db *pgtest.DB
}

func setup(t *testing.T) *testBundle {
	t.Helper()
	return &testBundle{db: pgtest.Database(t, pgtest.Installed{})}
}

func (b *testBundle) start(t *testing.T, plan backfill.Plan) (id, dates int64) {
	t.Helper()
	require.NoError(t, plan.Validate(first.AddDays(100)))
	require.NoError(t, pgx.BeginFunc(t.Context(), b.db, func(tx pgx.Tx) (err error) {
		id, dates, err = backfill.Start(t.Context(), tx, plan)
		return err
	}))
	return id, dates
}

func (b *testBundle) advance(t *testing.T) {
	t.Helper()
	require.NoError(t, pgx.BeginFunc(t.Context(), b.db, func(tx pgx.Tx) error {
		_, err := backfill.Advance(t.Context(), tx)
		return err
	}))
}

func (b *testBundle) get(t *testing.T, id int64) backfill.Status {
	t.Helper()
	status, err := backfill.Get(t.Context(), b.db, id)
	require.NoError(t, err)
	return status
}

// open returns the dates with open requests, in the order of the requests.
func (b *testBundle) open(t *testing.T) []date.Date {
	t.Helper()
	rows, err := b.db.Query(t.Context(), "SELECT metric_date FROM analytics.rollup_requests WHERE resolved_at IS NULL ORDER BY id")
	require.NoError(t, err)
	dates, err := pgx.CollectRows(rows, pgx.RowTo[date.Date])
	require.NoError(t, err)
	return dates
}

// resolve ends the open requests of dates.
func (b *testBundle) resolve(t *testing.T, resolution string, dates ...date.Date) {
	t.Helper()
	b.db.Do(t, `UPDATE analytics.rollup_requests SET resolved_at = clock_timestamp(), resolution = $1
		WHERE resolved_at IS NULL AND metric_date = ANY ($2)`, resolution, dates)
}

func (b *testBundle) complete(t *testing.T, dates ...date.Date) {
	t.Helper()
	b.db.Do(t, `INSERT INTO analytics.rollup_dates (metric_date, state, run_id, scan_run_id)
		SELECT unnest($1::date[]), 'complete', 1, 1`, dates)
}

func span(days int) date.Range { return date.Range{First: first, Last: first.AddDays(days - 1)} }

func all(r date.Range) []date.Date {
	dates := make([]date.Date, r.Len())
	for i := range dates {
		dates[i] = r.First.AddDays(i)
	}
	return dates
}

func TestAdvance(t *testing.T) {
	t.Parallel()

	// A process that is advancing a backfill does not block another one, and the two never do the same work.
	t.Run("Concurrent", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.start(t, backfill.Plan{Range: span(3)})
		other, err := b.db.Begin(t.Context())
		require.NoError(t, err)
		defer other.Rollback(t.Context()) //nolint:errcheck // It is committed, or the test has failed.
		_, err = backfill.Advance(t.Context(), other)
		require.NoError(t, err)
		b.advance(t)
		require.Empty(t, b.open(t))
		require.NoError(t, other.Commit(t.Context()))
		b.advance(t)
		require.Equal(t, all(span(1)), b.open(t))
	})

	t.Run("Failed", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		id, _ := b.start(t, backfill.Plan{Range: span(3), InFlight: 3})
		b.advance(t)
		dates := all(span(3))
		b.resolve(t, "satisfied", dates[0])
		b.resolve(t, "failed", dates[1])
		b.resolve(t, "cancelled", dates[2])
		b.advance(t)
		status := b.get(t, id)
		require.Equal(t, backfill.Complete, status.State, "it is complete, whatever the result of its dates")
		require.EqualValues(t, 1, status.DatesComplete)
		require.EqualValues(t, 1, status.DatesFailed)
		require.EqualValues(t, 1, status.DatesCancelled)
		require.EqualValues(t, 3, status.Done())
		require.NotNil(t, status.FinishedAt)
		require.Nil(t, status.RemainingSeconds)
	})

	t.Run("InFlight", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		id, dates := b.start(t, backfill.Plan{Range: span(5), InFlight: 2})
		require.EqualValues(t, 5, dates)
		d := all(span(5))
		b.advance(t)
		b.advance(t)
		require.ElementsMatch(t, d[:2], b.open(t))
		require.Nil(t, b.get(t, id).RemainingSeconds, "nobody knows before the first date")
		b.resolve(t, "satisfied", d[1])
		b.advance(t)
		b.advance(t)
		require.ElementsMatch(t, []date.Date{d[0], d[2]}, b.open(t))
		require.NotNil(t, b.get(t, id).RemainingSeconds)
		b.resolve(t, "satisfied", d[0], d[2])
		b.advance(t)
		require.ElementsMatch(t, d[3:], b.open(t))
		// Another client's request of one of its dates does not affect it.
		b.db.Do(t, "SELECT analytics.enqueue_rollup($1)", d[3])
		b.resolve(t, "satisfied", d[4])
		b.advance(t)
		require.EqualValues(t, 1, b.get(t, id).DatesRequested)
		b.resolve(t, "satisfied", d...)
		b.advance(t)
		require.Equal(t, backfill.Complete, b.get(t, id).State)
		b.advance(t)
		require.Empty(t, b.open(t))
	})

	t.Run("NewestFirst", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.start(t, backfill.Plan{Range: span(4), NewestFirst: true})
		var order []date.Date
		for range 4 {
			b.advance(t)
			open := b.open(t)
			require.Len(t, open, 1)
			order = append(order, open...)
			b.resolve(t, "satisfied", open...)
		}
		d := all(span(4))
		require.Equal(t, []date.Date{d[3], d[2], d[1], d[0]}, order)
	})

	t.Run("Pause", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.start(t, backfill.Plan{Range: span(2), Pause: time.Hour})
		b.advance(t)
		d := all(span(2))
		require.Equal(t, d[:1], b.open(t))
		b.resolve(t, "satisfied", d[0])
		b.advance(t)
		b.advance(t)
		require.Empty(t, b.open(t))
		b.db.Do(t, "UPDATE analytics.backfills SET last_finished_at = last_finished_at - interval '59 minutes 50 seconds'")
		b.advance(t)
		require.Empty(t, b.open(t))
		b.db.Do(t, "UPDATE analytics.backfills SET last_finished_at = last_finished_at - interval '10 seconds'")
		b.advance(t)
		require.Equal(t, d[1:], b.open(t))
	})

	t.Run("Two", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		one, _ := b.start(t, backfill.Plan{Range: span(2)})
		two, _ := b.start(t, backfill.Plan{Range: span(2), NewestFirst: true})
		b.advance(t)
		require.ElementsMatch(t, all(span(2)), b.open(t), "each has its own limit")
		for range 2 {
			b.resolve(t, "satisfied", all(span(2))...)
			b.advance(t)
		}
		require.Equal(t, backfill.Complete, b.get(t, one).State)
		require.Equal(t, backfill.Complete, b.get(t, two).State)
	})
}

func TestList(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var ids []int64
	for range 3 {
		id, _ := b.start(t, backfill.Plan{Range: span(2), By: "ada", Via: "cli", Pause: 1500 * time.Millisecond})
		ids = append(ids, id)
	}
	id, _ := b.start(t, backfill.Plan{Range: span(1)})
	list, err := backfill.List(t.Context(), b.db, 0, 2)
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.Equal(t, id, list[0].ID)
	require.Equal(t, "postgres", list[0].By, "the database's user, if nobody is named")
	require.Equal(t, ids[2], list[1].ID)
	require.InDelta(t, 1.5, list[1].PauseSeconds, 0)
	list, err = backfill.List(t.Context(), b.db, ids[2], 10)
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.Equal(t, ids[1], list[0].ID)

	_, err = backfill.Get(t.Context(), b.db, id+1)
	require.ErrorIs(t, err, backfill.ErrNotFound)
	_, err = backfill.Get(t.Context(), b.db, 0)
	require.ErrorIs(t, err, backfill.ErrNotFound)
}

func TestSetState(t *testing.T) {
	t.Parallel()

	// Requests that a run has claimed are completed; the others are withdrawn.
	t.Run("Cancel", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		id, _ := b.start(t, backfill.Plan{Range: span(4), InFlight: 3})
		b.advance(t)
		d := all(span(4))
		b.resolve(t, "satisfied", d[0])
		b.advance(t)
		b.db.Do(t, "UPDATE analytics.rollup_requests SET run_id = 7 WHERE metric_date = $1", d[1])
		require.NoError(t, backfill.SetState(t.Context(), b.db.DB, id, backfill.Cancelled, audit.Who{Via: "test"}))
		require.Equal(t, d[1:2], b.open(t))
		status := b.get(t, id)
		require.Equal(t, backfill.Cancelled, status.State)
		require.EqualValues(t, 1, status.DatesComplete)
		require.EqualValues(t, 3, status.DatesCancelled)
		require.NotNil(t, status.FinishedAt)
		b.resolve(t, "satisfied", d[1])
		b.advance(t)
		require.Empty(t, b.open(t))
		require.Equal(t, status, b.get(t, id))

		require.NoError(t, backfill.SetState(t.Context(), b.db.DB, id, backfill.Cancelled, audit.Who{Via: "test"}), "once more does no harm")
		require.ErrorIs(t, backfill.SetState(t.Context(), b.db.DB, id, backfill.Running, audit.Who{Via: "test"}), backfill.ErrEnded)
	})

	t.Run("Pause", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		id, _ := b.start(t, backfill.Plan{Range: span(3)})
		b.advance(t)
		require.NoError(t, backfill.SetState(t.Context(), b.db.DB, id, backfill.Paused, audit.Who{Via: "test"}))
		d := all(span(3))
		b.resolve(t, "satisfied", d[0])
		b.advance(t)
		require.Empty(t, b.open(t))
		require.Equal(t, backfill.Paused, b.get(t, id).State)
		require.NoError(t, backfill.SetState(t.Context(), b.db.DB, id, backfill.Running, audit.Who{Via: "test"}))
		b.advance(t)
		require.Equal(t, d[1:2], b.open(t))
		require.EqualValues(t, 1, b.get(t, id).DatesComplete)
	})

	t.Run("Unknown", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		require.ErrorIs(t, backfill.SetState(t.Context(), b.db.DB, 1, backfill.Paused, audit.Who{Via: "test"}), backfill.ErrNotFound)
		id, _ := b.start(t, backfill.Plan{Range: span(1)})
		b.complete(t, first)
		b.advance(t)
		b.resolve(t, "satisfied", first)
		b.advance(t)
		require.ErrorIs(t, backfill.SetState(t.Context(), b.db.DB, id, backfill.Paused, audit.Who{Via: "test"}), backfill.ErrEnded)
	})
}

func TestStart(t *testing.T) {
	t.Parallel()

	// Only dates that are not complete or were requested since; or every date.
	t.Run("Dates", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		d := all(span(5))
		b.complete(t, d[0], d[1], d[2])
		b.db.Do(t, "INSERT INTO analytics.rollup_dates (metric_date, state, run_id, scan_run_id) VALUES ($1, 'failed', 1, 1)", d[3])
		b.db.Do(t, "SELECT analytics.enqueue_rollup($1)", d[1])
		for _, every := range []bool{false, true} {
			plan := backfill.Plan{Range: span(5), EveryDate: every, InFlight: 100}
			preview, err := backfill.Preview(t.Context(), b.db, plan)
			require.NoError(t, err)
			_, dates := b.start(t, plan)
			require.Len(t, preview, int(dates))
			if !every {
				require.Equal(t, []date.Date{d[1], d[3], d[4]}, preview)
			}
			want := map[bool]int64{false: 3, true: 5}
			require.Equal(t, want[every], dates)
		}
	})

	t.Run("NoDates", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.complete(t, first)
		id, dates := b.start(t, backfill.Plan{Range: span(1)})
		require.Zero(t, dates)
		b.advance(t)
		require.Equal(t, backfill.Complete, b.get(t, id).State)
	})

	t.Run("OncePerJob", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		job := int64(7)
		id, dates := b.start(t, backfill.Plan{Range: span(3), JobID: &job})
		require.NotZero(t, id)
		require.EqualValues(t, 3, dates)
		id, dates = b.start(t, backfill.Plan{Range: span(3), JobID: &job})
		require.Zero(t, id)
		require.Zero(t, dates)
	})

	t.Run("TenYears", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		last := first.AddDays(-1)
		id, dates := b.start(t, backfill.Plan{Range: date.Range{First: last.AddDays(-3649), Last: last}, InFlight: 100})
		require.EqualValues(t, 3650, dates)
		for range 4 {
			b.advance(t)
			require.Len(t, b.open(t), 100)
			b.resolve(t, "satisfied", b.open(t)...)
		}
		b.advance(t)
		status := b.get(t, id)
		require.EqualValues(t, 400, status.DatesComplete)
		require.EqualValues(t, 100, status.DatesRequested)
	})
}

func TestValidate(t *testing.T) {
	t.Parallel()
	today := first.AddDays(10)
	for name, test := range map[string]struct {
		plan backfill.Plan
		err  error
	}{
		"Future":           {backfill.Plan{Range: date.Range{First: first, Last: today}}, backfill.ErrFuture},
		"InFlightMany":     {backfill.Plan{Range: span(1), InFlight: 101}, backfill.ErrInFlight},
		"InFlightNegative": {backfill.Plan{Range: span(1), InFlight: -1}, backfill.ErrInFlight},
		"NoFirst":          {backfill.Plan{Range: date.Range{Last: first}}, backfill.ErrNoDate},
		"NoLast":           {backfill.Plan{Range: date.Range{First: first}}, backfill.ErrNoDate},
		"PauseLong":        {backfill.Plan{Range: span(1), Pause: 24*time.Hour + 1}, backfill.ErrPause},
		"PauseNegative":    {backfill.Plan{Range: span(1), Pause: -1}, backfill.ErrPause},
		"Reversed":         {backfill.Plan{Range: date.Range{First: first, Last: first.AddDays(-1)}}, date.ErrReversed},
		"TooLong":          {backfill.Plan{Range: date.Range{First: first.AddDays(-3660), Last: first}}, date.ErrTooLong},
		"Yesterday":        {backfill.Plan{Range: date.Range{First: first, Last: today.AddDays(-1)}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.ErrorIs(t, test.plan.Validate(today), test.err)
		})
	}
}
