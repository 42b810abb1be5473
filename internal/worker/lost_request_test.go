package worker_test

import (
	"context"
	"database/sql"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/jobs"
)

// TestLostRequest imports an event of an entity that the running run has already passed, and requests the date in the same transaction, in every
// possible way. River skips such an insert as a duplicate of the running job.
func TestLostRequest(t *testing.T) {
	t.Parallel()
	inTx := func(ask func(t *testing.T, b *testBundle, tx pgx.Tx)) func(t *testing.T, b *testBundle) {
		return func(t *testing.T, b *testBundle) {
			t.Helper()
			tx, err := b.db.Begin(t.Context())
			require.NoError(t, err)
			defer tx.Rollback(t.Context()) //nolint:errcheck // No effect after the commit.
			lateEvent(t, tx)
			ask(t, b, tx)
			require.NoError(t, tx.Commit(t.Context()))
		}
	}
	query := func(query string) func(t *testing.T, b *testBundle) {
		return inTx(func(t *testing.T, _ *testBundle, tx pgx.Tx) {
			t.Helper()
			_, err := tx.Exec(t.Context(), query)
			require.NoError(t, err)
		})
	}
	for _, test := range []struct {
		name    string
		request func(t *testing.T, b *testBundle)
	}{
		{"DatabaseSQL", func(t *testing.T, b *testBundle) {
			t.Helper()
			client, err := river.NewClient(sqlDriver{}, &river.Config{})
			require.NoError(t, err)
			db := stdlib.OpenDBFromPool(b.db.Application(t))
			t.Cleanup(func() { require.NoError(t, db.Close()) })
			tx, err := db.BeginTx(t.Context(), nil)
			require.NoError(t, err)
			defer tx.Rollback() //nolint:errcheck // No effect after the commit.
			_, err = tx.ExecContext(t.Context(), lateEventSQL)
			require.NoError(t, err)
			require.NoError(t, jobs.EnqueueDay(t.Context(), tx, client, day))
			require.NoError(t, tx.Commit())
		}},
		{"EnqueueDay", inTx(func(t *testing.T, b *testBundle, tx pgx.Tx) {
			t.Helper()
			require.NoError(t, jobs.EnqueueDay(t.Context(), tx, b.app, day))
		})},
		{"EnqueueRange", inTx(func(t *testing.T, b *testBundle, tx pgx.Tx) {
			t.Helper()
			require.NoError(t, jobs.EnqueueRange(t.Context(), tx, b.app, day, day.AddDays(1)))
		})},
		{"RiverInsert", inTx(func(t *testing.T, b *testBundle, tx pgx.Tx) {
			t.Helper()
			result, err := b.app.InsertTx(t.Context(), tx, jobs.RollupDayArgs{Date: day}, nil)
			require.NoError(t, err)
			require.True(t, result.UniqueSkippedAsDuplicate, "River skips the insert")
		})},
		{"RiverInsertMany", inTx(func(t *testing.T, b *testBundle, tx pgx.Tx) {
			t.Helper()
			results, err := b.app.InsertManyTx(t.Context(), tx, []river.InsertManyParams{
				{Args: jobs.RollupDayArgs{Date: day}}, {Args: jobs.RollupDayArgs{Date: day.AddDays(1)}},
			})
			require.NoError(t, err)
			require.True(t, results[0].UniqueSkippedAsDuplicate)
			require.False(t, results[1].UniqueSkippedAsDuplicate)
		})},
		// Like a client in another language that does not support unique jobs.
		{"RowInserted", query(`INSERT INTO river_job (args, kind, max_attempts, queue)
			VALUES ('{"date": "2026-03-01"}', 'rollup_day', 25, 'default')`)},
		{"SQLDate", query("SELECT analytics.enqueue_rollup('2026-03-01')")},
		{"SQLRange", query("SELECT analytics.enqueue_rollup('2026-02-27', '2026-03-02')")},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := setupUnscheduled(t)
			b.db.InsertDate(t, day, 600, 200)
			b.hold(t, day)
			b.start(t)
			b.request(t, day)
			b.awaitHeld(t, day)

			test.request(t, b)
			require.EqualValues(t, 1, pgtest.Value[int64](t, b.db, "SELECT count(*) FROM analytics.rollup_runs WHERE metric_date = $1", day),
				"the run should still be running")
			b.release(t, day)

			b.awaitDone(t)
			require.EqualValues(t, 602, pgtest.RequireExact(t, b.db).Events)
			require.Equal(t, []string{"satisfied", "satisfied"}, b.resolutions(t, day))
			require.EqualValues(t, 2, pgtest.Value[int64](t, b.db, "SELECT count(*) FROM analytics.rollup_runs WHERE metric_date = $1", day))
			b.requireQuiet(t)
		})
	}
}

// TestLostRequestRetry requests a complete date again, as dashboards do that can retry a finished job.
func TestLostRequestRetry(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		retry func(t *testing.T, b *testBundle, job int64)
	}{
		{"JobRetry", func(t *testing.T, b *testBundle, job int64) {
			t.Helper()
			_, err := b.app.JobRetry(t.Context(), job)
			require.NoError(t, err)
		}},
		{"RowUpdated", func(t *testing.T, b *testBundle, job int64) {
			t.Helper()
			b.db.Do(t, "UPDATE river_job SET state = 'available', finalized_at = NULL, scheduled_at = now() WHERE id = $1", job)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := setupUnscheduled(t)
			b.db.InsertDate(t, day, 600, 200)
			b.start(t)
			b.request(t, day)
			b.awaitDone(t)
			pgtest.RequireExact(t, b.db)

			b.db.Do(t, lateEventSQL)
			test.retry(t, b, pgtest.Value[int64](t, b.db, "SELECT max(id) FROM river_job WHERE kind = 'rollup_day'"))
			b.awaitDone(t)
			require.EqualValues(t, 601, pgtest.RequireExact(t, b.db).Events)
			require.EqualValues(t, 2, b.runs(t))
			require.Equal(t, []string{"satisfied", "satisfied"}, b.resolutions(t, day))
			b.requireQuiet(t)
		})
	}
}

// TestLostRequestPlainRole makes requests as a role that may use the schema, but has no right on its objects.
func TestLostRequestPlainRole(t *testing.T) {
	t.Parallel()
	b := setupUnscheduled(t)
	b.db.InsertDate(t, day, 60, 20)
	b.start(t)
	role := pgx.Identifier{"importer_" + b.db.Name}.Sanitize()
	b.db.Do(t, "CREATE ROLE "+role)
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		_, err := b.db.Exec(ctx, fmt.Sprintf("DROP OWNED BY %[1]s; DROP ROLE %[1]s", role))
		require.NoError(t, err)
	})
	b.db.Do(t, fmt.Sprintf(`GRANT USAGE ON SCHEMA analytics TO %[1]s; GRANT SELECT, INSERT, UPDATE ON river_job TO %[1]s;
		GRANT USAGE ON SEQUENCE river_job_id_seq TO %[1]s`, role))
	as := func(do func(tx pgx.Tx) error) {
		err := pgx.BeginFunc(t.Context(), b.db, func(tx pgx.Tx) error {
			if _, err := tx.Exec(t.Context(), "SET LOCAL ROLE "+role); err != nil {
				return err
			}
			return do(tx)
		})
		require.NoError(t, err)
	}
	as(func(tx pgx.Tx) error { return jobs.EnqueueDay(t.Context(), tx, b.app, day) })
	as(func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), "SELECT analytics.enqueue_rollup($1)", day)
		return err
	})
	as(func(tx pgx.Tx) error {
		_, err := b.app.InsertTx(t.Context(), tx, jobs.RollupDayArgs{Date: day}, nil)
		return err
	})
	b.awaitDone(t)
	require.Equal(t, []string{"satisfied", "satisfied", "satisfied"}, b.resolutions(t, day))
	require.EqualValues(t, 60, pgtest.RequireExact(t, b.db).Events)
}

// lateEventSQL imports an event of the first entity in key order.
const lateEventSQL = `INSERT INTO public.raw_events (entity_id, event_type, created_at)
	VALUES (` + lowest + `, 'view', '2026-03-01 12:00+00')`

func lateEvent(t *testing.T, tx pgx.Tx) {
	t.Helper()
	_, err := tx.Exec(t.Context(), lateEventSQL)
	require.NoError(t, err)
}

// sqlDriver has the parts of River's driver for database/sql that an enqueueing client needs. The project does not depend on that driver.
type sqlDriver struct {
	riverdriver.Driver[*sql.Tx]
}

func (sqlDriver) PoolIsSet() bool { return false }

func (sqlDriver) UnwrapExecutor(tx *sql.Tx) riverdriver.ExecutorTx { return sqlExecutor{tx: tx} }

type sqlExecutor struct {
	riverdriver.ExecutorTx

	tx *sql.Tx
}

func (e sqlExecutor) Exec(ctx context.Context, query string, args ...any) error {
	_, err := e.tx.ExecContext(ctx, query, args...)
	return err
}
