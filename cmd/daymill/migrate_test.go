package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestMigrateRepairs: migrate reports each damage by a restore or a person on its own line, and the exit code says whether all of it is repaired.
func TestMigrateRepairs(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	db.RawEvents(t)
	require.Equal(t, "nothing to do: the schema is as it should be\n", requireOK(t, db.URL, "migrate"))

	db.Do(t, "ALTER TABLE public.river_job DISABLE TRIGGER ALL; DROP VIEW analytics.daily_entity_metrics_live")
	said := requireOK(t, db.URL, "migrate")
	require.Regexp(t, `(?m)^restored: the trigger \S+ on public\.river_job, which was disabled; Daymill missed late events and requests in the meantime, and `+"`daymill verify` finds their dates$", said)
	require.Regexp(t, `(?m)^restored: the view analytics\.daily_entity_metrics_live, which was missing$`, said)
	require.Equal(t, "nothing to do: the schema is as it should be\n", requireOK(t, db.URL, "migrate"))

	// The values of a dropped column are lost.
	db.Do(t, "ALTER TABLE analytics.rollup_runs DROP COLUMN worker CASCADE")
	code, said, stderr := command(t.Context(), db.URL, "migrate")
	require.Equal(t, exitFailed, code)
	require.Contains(t, said, "restore analytics.rollup_runs.worker from a backup")
	require.Equal(t, "daymill: something that Daymill needs is missing or changed and could not be restored: see above\n", stderr)
}

// TestSwappedSource: the source's name now belongs to another table than the one that the view reads: no report says that all is well.
func TestSwappedSource(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	_, err := db.Exec(t.Context(), `CREATE SCHEMA app; CREATE TABLE app.events (who bigint NOT NULL, what text, at timestamptz NOT NULL);
		CREATE INDEX ON app.events (at)`)
	require.NoError(t, err)
	requireOK(t, db.URL, "source", "set", "--table", "app.events", "--entity", "who", "--type", "what", "--time", "at")
	_, err = db.Exec(t.Context(), `INSERT INTO daymill.workers (name, version, workers, pace, max_entities, daily_hour, lookback, retention_seconds, follower)
		VALUES ('worker.1/4/abcd', 'v1', 2, 1, 1000, 2, 2, 0, false);
		INSERT INTO analytics.rollup_dates (metric_date, state, run_id, scan_run_id) VALUES ('2026-03-01', 'complete', 1, 1)`)
	require.NoError(t, err)
	require.Contains(t, requireOK(t, db.URL, "status"), "All is well")

	_, err = db.Exec(t.Context(), "BEGIN; ALTER TABLE app.events RENAME TO events_old; CREATE TABLE app.events (LIKE app.events_old INCLUDING ALL); COMMIT")
	require.NoError(t, err)
	const said = `analytics.events reads app.events_old, but "app"."events", which was set as the source, is now a different table`
	for _, verb := range []string{"status", "doctor"} {
		code, text, _ := command(t.Context(), db.URL, verb)
		require.Equal(t, exitFailed, code, verb)
		require.Contains(t, text, said, verb)
	}
	events := filepath.Join(t.TempDir(), "events.csv")
	require.NoError(t, os.WriteFile(events, []byte("entity_id,event_type,created_at\n1,view,2026-03-01T12:00:00Z\n"), 0o600))
	for _, arguments := range [][]string{{"import", events}, {"rollup", "2026-03-01"}, {"verify", "2026-03-01"}} {
		code, _, stderr := command(t.Context(), db.URL, arguments...)
		require.Equal(t, exitFailed, code, arguments[0])
		require.Contains(t, stderr, said, arguments[0])
		require.Contains(t, stderr, "run `daymill source set` for the table that has the events", arguments[0])
	}
	p := start(t, "web", "--database-url", db.URL, "--listen", "127.0.0.1:0")
	_, page := send(t, "GET", p.address(t, &p.stderr, `address=(http://127\.0\.0\.1:\d+/)`), nil)
	require.Contains(t, page, "analytics.events reads app.events_old")
	require.NotContains(t, page, "All is well")
}

// TestSecondSignal: after the first signal, a verb finishes what it has begun. The second signal ends it at once.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	db.RawEvents(t)
	// The worker cannot record that it has stopped while this lock is held.
	var log output
	process := exec.CommandContext(t.Context(), binary(t), "worker", "--database-url", db.URL)
	process.Stderr = &log
	require.NoError(t, process.Start())
	require.Eventually(t, func() bool { return workersAlive(t, db) == 1 }, waitFor, tick, log.String())
	tx, err := db.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "LOCK TABLE daymill.workers")
	require.NoError(t, err)
	require.NoError(t, process.Process.Signal(syscall.SIGINT))
	ended := make(chan error, 1)
	go func() { ended <- process.Wait() }()
	require.Eventually(t, func() bool {
		require.Empty(t, ended, "the first signal did not wait")
		var waits bool
		require.NoError(t, db.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'daymill.workers'::regclass)").Scan(&waits))
		return waits
	}, waitFor, tick)
	require.NoError(t, process.Process.Signal(syscall.SIGINT))
	select {
	case err := <-ended:
		require.Error(t, err)
	case <-time.After(waitFor):
		t.Fatal("the second signal did not end it")
	}
	status, ok := process.ProcessState.Sys().(syscall.WaitStatus)
	require.True(t, ok)
	require.True(t, status.Signaled(), process.ProcessState.String())
	require.NoError(t, tx.Rollback(t.Context()))
}

// TestEnqueueEntities: some entities of a date can be requested. If one of them is invalid, nothing is requested.
func TestEnqueueEntities(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	require.Equal(t, "2 entities of 2026-03-01 requested: the workers count them again\n",
		requireOK(t, db.URL, "enqueue", "2026-03-01", "--entity", "7", "--entity", "12", "--entity", "7"))
	for _, args := range [][]string{
		{"2026-03-01", "--entity", "x"}, {"2026-03-01..2026-03-02", "--entity", "7"}, {"2026-03-01", "--entity", "7", "--erase"},
	} {
		code, _, stderr := command(t.Context(), db.URL, append([]string{"enqueue"}, args...)...)
		require.Equal(t, exitUsage, code, stderr)
	}
	var entities []string
	require.NoError(t, db.QueryRow(t.Context(), "SELECT entities FROM analytics.rollup_requests").Scan(&entities))
	require.ElementsMatch(t, []string{"7", "12"}, entities)
}

// TestMigratePartitions: metrics are partitioned at the installation; later, only while there are none.
func TestMigratePartitions(t *testing.T) {
	t.Parallel()
	db := pgtest.Empty(t)
	require.Contains(t, requireOK(t, db.URL, "migrate", "--partition-metrics", "month", "--dry-run"), "would partition the metrics by month")
	said := requireOK(t, db.URL, "migrate", "--partition-metrics", "month")
	require.Contains(t, said, "partitioned the metrics by month\ncreated partitions of the metrics for 3 months\n")
	require.Equal(t, "nothing to do: the schema is as it should be\n", requireOK(t, db.URL, "migrate", "--partition-metrics", "month"))

	other := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	_, err := other.Exec(t.Context(), "INSERT INTO analytics.daily_entity_metrics (entity_id, metric_date) VALUES (1, '2026-03-01')")
	require.NoError(t, err)
	code, _, stderr := command(t.Context(), other.URL, "migrate", "--partition-metrics", "month")
	require.Equal(t, exitFailed, code)
	require.Contains(t, stderr, "analytics.daily_entity_metrics has rows, and only an empty table can be partitioned: docs/scale.md")
	code, _, stderr = command(t.Context(), other.URL, "migrate", "--partition-metrics", "week")
	require.Equal(t, exitUsage, code, stderr)
}
