package ui_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/job"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestLargeArguments: jobs with large arguments delay neither bulk changes nor pages.
func TestLargeArguments(t *testing.T) {
	t.Parallel()
	b := setupJobs(t)
	small := b.insert(t, "2026-03-01", "available")
	b.db.Do(t, `INSERT INTO river_job (kind, args, max_attempts, queue)
		SELECT 'rollup_day', jsonb_build_object('date', '2026-03-02', 'x', (SELECT string_agg(md5(i::text), ' ') FROM generate_series(1, 400000) AS i)), 10, 'daymill'`)
	large := pgtest.Value[int64](t, b.db, "SELECT max(id) FROM river_job")
	last := b.insert(t, "2026-03-03", "available")
	fit, err := job.Fit(t.Context(), b.db, []int64{last, large, small}, 8<<20)
	require.NoError(t, err)
	require.Equal(t, 1, fit, "a transaction has at most one large job")
	fit, err = job.Fit(t.Context(), b.db, []int64{large, last, small}, 8<<20)
	require.NoError(t, err)
	require.Equal(t, 1, fit)
	answer := b.get(t, "/jobs/"+strconv.FormatInt(large, 10))
	require.Equal(t, http.StatusOK, answer.status)
	require.Less(t, len(answer.body), 400<<10)
	require.Equal(t, http.StatusOK, b.get(t, "/jobs").status)
	b.clock.set(time.Now()) // The clock does not move, so that one request handles all jobs.
	_, result := b.confirmed(t, "action=cancel", nil)
	require.Contains(t, strings.Join(strings.Fields(result.body), " "), "3 jobs cancelled</strong> of 3")
	for _, id := range []int64{small, large, last} {
		require.Equal(t, "cancelled", b.state(t, id))
	}
	_, result = b.confirmed(t, "action=retry", nil)
	require.Contains(t, strings.Join(strings.Fields(result.body), " "), "3 jobs retried</strong> of 3")
}

// TestLargeEntity: very long texts in the data do not make a page or an answer too large.
func TestLargeEntity(t *testing.T) {
	t.Parallel()
	s := serve(t, database(t), nil)
	s.clock.set(time.Date(2026, time.March, 10, 12, 0, 0, 0, time.UTC))
	s.db.Do(t, `INSERT INTO analytics.daily_entity_metrics (entity_id, metric_date, views_count, other_counts)
		SELECT 7, date '2025-06-01' + d, 1, o.counts FROM generate_series(0, 270) AS d,
			(SELECT jsonb_object_agg('type number ' || i || ' of many', 1) AS counts FROM generate_series(1, 1500) AS i) AS o`)
	s.db.Do(t, `INSERT INTO analytics.daily_entity_metrics (entity_id, metric_date, views_count, other_counts)
		SELECT 8, date '2026-03-01' + d, 1, jsonb_build_object(repeat('long', 75000), 5, 'share', 2) FROM generate_series(0, 2) AS d`)

	answer := s.get(t, "/entity?id=7&from=2025-06-01&to=2026-03-01")
	require.Equal(t, http.StatusUnprocessableEntity, answer.status)
	require.Contains(t, answer.body, "choose a shorter range")
	answer = s.get(t, "/api/entities/7/metrics?from=2025-06-01&to=2026-03-01")
	require.Equal(t, http.StatusUnprocessableEntity, answer.status)
	require.Contains(t, answer.body, "choose a shorter range")
	require.Equal(t, http.StatusOK, s.get(t, "/entity?id=7&from=2025-06-01&to=2025-06-30").status)
	answer = s.get(t, "/entity.csv?id=7&from=2025-06-01&to=2026-03-01")
	require.Equal(t, http.StatusOK, answer.status)
	require.Equal(t, 272, strings.Count(answer.body, "\n"))

	answer = s.get(t, "/entity?id=8&days=30")
	require.Equal(t, http.StatusOK, answer.status)
	require.Less(t, len(answer.body), 400<<10)
	require.Contains(t, answer.body, "share")
}
