package worker_test

import (
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// plan is a node of a plan, as EXPLAIN (ANALYZE, FORMAT JSON) prints it.
type plan struct {
	Node     string  `json:"Node Type"`              //nolint:tagliatelle // Postgres's names.
	Relation string  `json:"Relation Name"`          //nolint:tagliatelle // Postgres's names.
	Rows     float64 `json:"Actual Rows"`            //nolint:tagliatelle // Postgres's names.
	Removed  float64 `json:"Rows Removed by Filter"` //nolint:tagliatelle // Postgres's names.
	Loops    float64 `json:"Actual Loops"`           //nolint:tagliatelle // Postgres's names.
	Plans    []plan  `json:"Plans"`                  //nolint:tagliatelle // Postgres's names.
}

// visit calls see for the node and all below it.
func (p plan) visit(see func(plan)) {
	see(p)
	for _, one := range p.Plans {
		one.visit(see)
	}
}

// TestBacklog: with 100,000 open requests of 3,650 dates, no statement of the reconciler reads a table from end to end, and none reads more requests
// than a pass can make jobs of, a few times each.
func TestBacklog(t *testing.T) {
	t.Parallel()
	const (
		at   = 500 // as many jobs as a pass makes
		most = 10 * at
	)
	b := &testBundle{db: pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})}
	b.db.Do(t, `SET daymill.notify = off;
		INSERT INTO analytics.rollup_requests (metric_date, requested_via, priority, resolved_at, resolution)
		SELECT date '2026-03-01' - i % 3650, 'sql', 1 + i % 4, now() - i * interval '1 minute', 'satisfied' FROM generate_series(1, 50000) AS i;
		INSERT INTO analytics.rollup_requests (metric_date, requested_via, priority)
		SELECT date '2026-03-01' - i % 3650, CASE i % 3 WHEN 0 THEN 'watch' ELSE 'sql' END, 1 + i % 4 FROM generate_series(1, 100000) AS i;
		INSERT INTO analytics.rollup_dates (metric_date, state, run_id, scan_run_id, completed_at, heartbeat_at, events, entities)
		SELECT date '2026-03-01' - i, 'complete', i + 1, i + 1, now(), now(), 10, 10 FROM generate_series(0, 3649) AS i;
		INSERT INTO river_job (kind, queue, args, max_attempts, metadata, priority)
		SELECT 'rollup_day', 'daymill', jsonb_build_object('date', date '2026-03-01' - i), 5, '{"daymill": "request"}', 1 + i % 4 FROM generate_series(0, 299) AS i;
		INSERT INTO river_job (kind, queue, args, max_attempts, metadata, state, scheduled_at, attempt, attempted_at, errors)
		SELECT 'rollup_day', 'daymill', jsonb_build_object('date', date '2026-02-28' - 300 - i), 5, '{"daymill": "request"}', 'retryable', now() + interval '1 hour', 1, now(), ARRAY['{}'::jsonb]
		FROM generate_series(0, 99) AS i;
		INSERT INTO river_job (kind, queue, args, max_attempts, metadata, state, finalized_at)
		SELECT 'rollup_day', 'daymill', jsonb_build_object('date', date '2026-03-01' - i % 3650), 5, '{"daymill": "request"}', 'completed', now() FROM generate_series(0, 20000) AS i;
		RESET daymill.notify`)
	b.db.Do(t, "VACUUM ANALYZE analytics.rollup_requests, analytics.rollup_dates, analytics.rollup_runs, river_job")

	// A function hides its plan, so its text is explained.
	body := func(name string) string {
		text := pgtest.Value[string](t, b.db, "SELECT prosrc FROM pg_proc WHERE oid = $1::regproc", name)
		return strings.NewReplacer("at_instant", "now()", "- silence", "- interval '30 seconds'", "- older", "- interval '1 minute'",
			"|| silence", "|| '30 seconds'", "* rests", "* 19", "max_rows", strconv.Itoa(at)).Replace(text)
	}
	queries, err := os.ReadFile("../../queries/reconcile.sql")
	require.NoError(t, err)
	query := func(name string) string {
		_, text, found := strings.Cut(string(queries), "-- name: "+name+" ")
		require.True(t, found)
		text, _, _ = strings.Cut(text, ";")
		_, text, _ = strings.Cut(text, "\n")
		return strings.ReplaceAll(text, "@at_instant::timestamptz", "now()")
	}
	for name, sql := range map[string]string{
		"DatesWithJob": body("analytics.dates_with_job"),
		"Promote":      body("analytics.promote_jobs"),
		"Touch":        body("analytics.touch_jobs"),
		"Rescue":       body("analytics.rescue_jobs"),
		"Dates":        body("analytics.dates_to_enqueue"),
		"Needed":       query("ReconcileNeeded"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tx, err := b.db.Begin(t.Context())
			require.NoError(t, err)
			defer tx.Rollback(t.Context()) //nolint:errcheck // It only looks.
			var text []byte
			require.NoError(t, tx.QueryRow(t.Context(), "EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) "+sql, pgx.QueryExecModeSimpleProtocol).Scan(&text), sql)
			var all []struct {
				Plan plan    `json:"Plan"`           //nolint:tagliatelle // Postgres's name.
				Took float64 `json:"Execution Time"` //nolint:tagliatelle // Postgres's name.
			}
			require.NoError(t, json.Unmarshal(text, &all))
			rows := 0.0
			all[0].Plan.visit(func(p plan) {
				// The dates of the ledger are few.
				if p.Node == "Seq Scan" && p.Relation != "rollup_dates" {
					require.LessOrEqual(t, p.Rows+p.Removed, 1_000.0, "%s reads %s from end to end", name, p.Relation)
				}
				if p.Relation == "rollup_requests" {
					rows += (p.Rows + p.Removed) * p.Loops
				}
			})
			t.Logf("%s: %.0f rows of requests, %.0f ms", name, rows, all[0].Took)
			require.LessOrEqual(t, rows, float64(most))
		})
	}
}
