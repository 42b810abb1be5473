package ui_test

import (
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/ui"
)

// TestAuditAndJobPlans explains every statement of the audit's pages and of the pages of one job and of many, with years of data: none scans
// a large table, or much more of an index than its page shows. Package job has the tests of the list of jobs, which count the rows that it
// reads.
func TestAuditAndJobPlans(t *testing.T) {
	t.Parallel()
	s := atMarch(t)
	// There are few actors, ways and actions, and one of each is rare.
	s.db.Do(t, `INSERT INTO daymill.audit (actor, via, action, target, detail)
		SELECT CASE WHEN i % 9973 = 0 THEN 'rare' ELSE 'user' || i % 7 END, CASE WHEN i % 9973 = 1 THEN 'cron' ELSE (ARRAY['web', 'sql', 'go'])[1 + i % 3] END,
			CASE WHEN i % 9973 = 2 THEN 'watch source' ELSE (ARRAY['request dates', 'start backfill', 'retry jobs'])[1 + i / 3 % 3] END, i::text, '{}'
		FROM generate_series(1, 60000) AS i`)
	s.db.Do(t, `INSERT INTO daymill.jobs (id, kind, metric_date, args, state, queue, priority, attempt, max_attempts, created_at, scheduled_at, finalized_at)
		SELECT i, 'rollup_day', '2016-03-15'::date + i % 3600, '{}', CASE WHEN i % 997 = 0 THEN 'discarded' ELSE 'completed' END,
			'daymill', 1, 1, 10, now(), now(), now()
		FROM generate_series(1, 40000) AS i`)
	s.db.Do(t, `INSERT INTO analytics.rollup_runs (metric_date, state, worker, job_id, attempt, finished_at)
		SELECT '2016-03-15'::date + i % 3600, 'lost', 'w', i, 1, now() FROM generate_series(1, 40000) AS i`)
	s.db.Do(t, `INSERT INTO public.river_job (kind, args, max_attempts, state, queue, finalized_at)
		SELECT 'theirs', '{}', 10, 'completed', 'theirs', now() FROM generate_series(1, 40000) AS i`)
	for _, table := range []string{"daymill.audit", "daymill.jobs", "analytics.rollup_runs", "public.river_job"} {
		s.db.Do(t, "VACUUM ANALYZE "+table)
	}
	tracer := &tracer{}
	traced := serve(t, s.db, func(c *ui.Config) { c.DB = tracer.open(t, s.db.URL) })
	large := regexp.MustCompile(`Seq Scan on (audit|jobs|rollup_runs|river_job)\b`)
	rows := regexp.MustCompile(`\(actual rows=(\d+)(?:\.\d+)? loops=(\d+)\)`)
	removed := regexp.MustCompile(`Rows Removed by Filter: (\d+)`)
	explain := func(path string, most int) (statements int) {
		require.Equal(t, http.StatusOK, traced.get(t, path).status, path)
		for _, q := range tracer.take() {
			if !regexp.MustCompile(`(?m)^\s*(SELECT|WITH)`).MatchString(q.sql) || strings.Contains(q.sql, "set_config") {
				continue
			}
			found, err := s.db.Query(t.Context(), "EXPLAIN (ANALYZE, TIMING off) "+q.sql, q.args...)
			require.NoError(t, err, q.sql)
			plan, err := pgx.CollectRows(found, pgx.RowTo[string])
			require.NoError(t, err, q.sql)
			text := strings.Join(plan, "\n")
			require.NotRegexp(t, large, text, "%s: %s", path, q.sql)
			// For a combination of filters that rarely match together, a page reads at most ten thousand entries, and then offers to continue.
			for _, node := range rows.FindAllStringSubmatch(text, -1) {
				n, err := strconv.Atoi(node[1])
				require.NoError(t, err)
				require.LessOrEqual(t, n, 10_001, "%s: %s\n%s", path, q.sql, text)
			}
			for _, node := range removed.FindAllStringSubmatch(text, -1) {
				n, err := strconv.Atoi(node[1])
				require.NoError(t, err)
				require.LessOrEqual(t, n, most, "%s: %s\n%s", path, q.sql, text)
			}
			statements++
		}
		return statements
	}

	for _, path := range []string{
		"/audit", "/audit?before=30000", "/audit?after=30000", "/audit?actor=user3", "/audit?actor=rare", "/audit?via=web", "/audit?via=cron&before=30000",
		"/audit?action=request+dates", "/audit?action=watch+source&after=10", "/audit?action=request+dates&actor=rare",
		"/audit?actor=user3&via=cron", "/audit?actor=nobody", "/audit?action=retry+jobs&actor=user1&via=go&before=40000",
	} {
		// For an action that every third entry has, the planner skips the other two.
		require.GreaterOrEqual(t, explain(path, 25_000), 2, path)
	}
	for _, path := range []string{"/jobs/1", "/jobs/39999"} {
		require.GreaterOrEqual(t, explain(path, 100), 2, path)
	}
	// Their counts are those of the list: see package job.
	for _, path := range []string{"/jobs/bulk?action=retry&state=discarded", "/jobs/bulk?action=delete&from=2020-01-01&to=2020-01-03"} {
		require.GreaterOrEqual(t, explain(path, math.MaxInt), 2, path)
	}
}
