package worker_test

import (
	"testing"

	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestCancelledDateIsNotComplete: cancelling a job withdraws all requests of its date. The date is not complete any more.
func TestCancelledDateIsNotComplete(t *testing.T) {
	t.Parallel()
	b := setupUnscheduled(t)
	b.db.InsertDate(t, day, 50, 20)
	b.request(t, day)
	process := b.start(t)
	b.awaitDone(t)
	require.Equal(t, "complete", b.dateState(t, day))
	process.stop(t)

	b.db.Do(t, "INSERT INTO river_job (kind, args, max_attempts) VALUES ('rollup_day', jsonb_build_object('date', $1::text), 25)",
		day.String())
	id := pgtest.Value[int64](t, b.db, "SELECT max(id) FROM river_job WHERE kind = 'rollup_day'")
	_, err := b.app.JobCancel(t.Context(), id)
	require.NoError(t, err)
	b.awaitJobState(t, id, rivertype.JobStateCancelled)
	require.Equal(t, "cancelled", b.dateState(t, day))
	require.Zero(t, b.openRequests(t))
}

// TestOtherQueue: a client that names another queue does not prevent its date from being rolled up.
func TestOtherQueue(t *testing.T) {
	t.Parallel()
	b := setupUnscheduled(t)
	b.db.InsertDate(t, day, 50, 20)
	b.db.Do(t, "INSERT INTO river_job (kind, args, queue, max_attempts) VALUES ('rollup_day', jsonb_build_object('date', $1::text), 'imports', 25)",
		day.String())
	b.start(t)
	b.awaitDone(t)
	require.EqualValues(t, 50, pgtest.RequireExact(t, b.db).Events)
}
