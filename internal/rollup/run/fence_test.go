package run_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/lease"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/rollup/run"
)

// No statement with which a run writes to its date has an effect once the date belongs to another run, whichever part of the lease shows that.
func TestFence(t *testing.T) {
	t.Parallel()

	type lease struct {
		date  date.Date
		run   int64
		token pgtype.UUID
		beat  int64
	}
	statements := map[string]func(t *testing.T, queries *db.Queries, l lease) int64{
		"DateAdvance": func(t *testing.T, queries *db.Queries, l lease) int64 {
			t.Helper()
			rows, err := queries.DateAdvance(t.Context(), db.DateAdvanceParams{
				UpToEntity: "7", Events: 1, Entities: 1, MetricDate: l.date, RunID: l.run, Token: l.token, Beat: l.beat,
			})
			require.NoError(t, err)
			return rows
		},
		"DateBreakOff": func(t *testing.T, queries *db.Queries, l lease) int64 {
			t.Helper()
			require.NoError(t, queries.DateBreakOff(t.Context(), db.DateBreakOffParams{
				State: "failed", MetricDate: l.date, RunID: l.run, Token: l.token, Beat: l.beat,
			}))
			return -1 // The result has no count.
		},
		"DateComplete": func(t *testing.T, queries *db.Queries, l lease) int64 {
			t.Helper()
			rows, err := queries.DateComplete(t.Context(), db.DateCompleteParams{
				Events: 1, Entities: 1, MetricDate: l.date, RunID: l.run, Token: l.token, Beat: l.beat,
			})
			require.NoError(t, err)
			return rows
		},
		"DateHeartbeat": func(t *testing.T, queries *db.Queries, l lease) int64 {
			t.Helper()
			rows, err := queries.DateHeartbeat(t.Context(), db.DateHeartbeatParams{
				MetricDate: l.date, RunID: l.run, Token: l.token, Beat: l.beat,
			})
			require.NoError(t, err)
			return rows
		},
		"DateHold": func(t *testing.T, queries *db.Queries, l lease) (held int64) {
			t.Helper()
			_, _, is, err := queries.DateHoldRows(t.Context(), db.DateHoldParams{
				MetricDate: l.date, RunID: l.run, Token: l.token, Beat: l.beat, MaxRows: 1,
			})
			require.NoError(t, err)
			if is {
				return 1
			}
			return 0
		},
		"DateProgress": func(t *testing.T, queries *db.Queries, l lease) int64 {
			t.Helper()
			rows, err := queries.DateProgress(t.Context(), db.DateProgressParams{
				MetricDate: l.date, RunID: l.run, Token: l.token, Beat: l.beat, Phase: "scan",
			})
			require.NoError(t, err)
			return rows
		},
		"DateSettle": func(t *testing.T, queries *db.Queries, l lease) int64 {
			t.Helper()
			settled, err := queries.DateSettle(t.Context(), db.DateSettleParams{
				Events: 1, Entities: 1, MetricDate: l.date, RunID: l.run, Token: l.token, Beat: l.beat, Top: []byte("{}"), Types: []byte("{}"),
			})
			require.NoError(t, err)
			return settled.Completed
		},
		"GroupSettle": func(t *testing.T, queries *db.Queries, l lease) int64 {
			t.Helper()
			settled, err := queries.GroupSettle(t.Context(), db.GroupSettleParams{
				MetricDates: []date.Date{l.date}, RunIds: []int64{l.run}, Tokens: []pgtype.UUID{l.token}, Events: []int64{1}, Entities: []int64{1},
				RowsInserted: []int64{0}, RowsUpdated: []int64{0}, RowsDeleted: []int64{0}, Tops: []string{"{}"}, Types: []string{"{}"},
				Beat: l.beat,
			})
			require.NoError(t, err)
			require.Len(t, settled, 1)
			if settled[0].Completed {
				return 1
			}
			return 0
		},
		"ProtectionSet": func(t *testing.T, queries *db.Queries, l lease) int64 {
			t.Helper()
			rows, err := queries.ProtectionSet(t.Context(), db.ProtectionSetParams{
				MetricDate: l.date, RunID: l.run, Token: l.token, Beat: l.beat,
			})
			require.NoError(t, err)
			return rows
		},
	}
	// What others do to the date in the meantime.
	lost := map[string]string{
		"Beat":  "UPDATE analytics.rollup_dates SET beat = beat - 1",
		"Date":  "UPDATE analytics.rollup_dates SET metric_date = metric_date + 1",
		"Life":  "UPDATE analytics.rollup_dates SET life = '1/00000001'",
		"Run":   "UPDATE analytics.rollup_dates SET run_id = run_id + 1",
		"State": "UPDATE analytics.rollup_dates SET state = 'cancelled'",
		"Token": "UPDATE analytics.rollup_dates SET token = gen_random_uuid()",
	}

	// begin leaves a date that belongs to a run, in its state after three signs of life.
	begin := func(t *testing.T) (*testBundle, lease) {
		t.Helper()
		b := setup(t, installations[0])
		queries := db.New(b.db)
		b.request(t, day)
		_, err := queries.DateTake(t.Context(), db.DateTakeParams{MetricDate: day, NextDate: day.AddDays(1)})
		require.NoError(t, err)
		began, err := queries.RunBegin(t.Context(), db.RunBeginParams{MetricDate: day, Worker: "a", MaxRows: 1, AtInstant: time.Now()})
		require.NoError(t, err)
		l := lease{date: day, run: began.ID, token: began.Token}
		for ; l.beat < 3; l.beat++ {
			require.EqualValues(t, 1, statements["DateHeartbeat"](t, queries, l))
		}
		return b, l
	}
	row := func(t *testing.T, on db.DBTX) (text string) {
		t.Helper()
		require.NoError(t, on.QueryRow(t.Context(), "SELECT d::text FROM analytics.rollup_dates AS d").Scan(&text))
		return text
	}
	// meanwhile returns the row after a change by others, and after a statement of the run that follows.
	meanwhile := func(t *testing.T, b *testBundle, others string, do func(queries *db.Queries)) (before, after string) {
		t.Helper()
		tx, err := b.db.Begin(t.Context())
		require.NoError(t, err)
		defer tx.Rollback(context.WithoutCancel(t.Context())) //nolint:errcheck // Nothing of it stays.
		_, err = tx.Exec(t.Context(), others)
		require.NoError(t, err)
		before = row(t, tx)
		do(db.New(tx))
		return before, row(t, tx)
	}

	for name, statement := range statements {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, l := begin(t)
			for part, sql := range lost {
				before, after := meanwhile(t, b, sql, func(queries *db.Queries) {
					require.LessOrEqual(t, statement(t, queries, l), int64(0), part)
				})
				require.Equal(t, before, after, part)
			}
			before := row(t, b.db)
			require.NotZero(t, statement(t, db.New(b.db), l))
			require.NotEqual(t, before, row(t, b.db), "the run's own date is written")
		})
	}
}

// standing is a clock that does not move, so that no sign of life is due.
type standing struct {
	pace.SystemClock

	at time.Time
}

func (c standing) Now() time.Time { return c.at }

// A run whose date is cancelled between two batches does not write the next one. It does not have to wait for a sign of life to notice.
func TestRunCancelledBetweenBatches(t *testing.T) {
	t.Parallel()
	b := setup(t, installations[0])
	b.db.InsertDate(t, day, 9_000, 6_000)
	b.request(t, day)
	b.runner.Clock = standing{at: time.Now()}
	stored := func() (rows int64) {
		require.NoError(t, b.db.QueryRow(t.Context(), "SELECT count(*) FROM analytics.daily_entity_metrics").Scan(&rows))
		return rows
	}
	var then int64
	figures, err := b.runner.Run(t.Context(), run.Order{Date: day, Progress: func(f run.Report) {
		if f.Batches == 1 && then == 0 {
			_, err := b.db.Exec(t.Context(), "UPDATE analytics.rollup_dates SET state = 'cancelled'")
			require.NoError(t, err)
			then = stored()
		}
	}})
	require.ErrorIs(t, err, lease.ErrFenced)
	require.Equal(t, 1, figures.Batches)
	require.Positive(t, then)
	require.Equal(t, then, stored())
}
