package job_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/job"
	"github.com/daymill/daymill/internal/test/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// fill inserts a history of n jobs with a common state, rare states, and dates that are not in the order of
// the ids.
func fill(t *testing.T, db *pgtest.DB, n int) {
	t.Helper()
	_, err := db.Exec(t.Context(), `
		INSERT INTO daymill.jobs (id, kind, metric_date, args, state, queue, priority, attempt, max_attempts, created_at, scheduled_at, errors)
		SELECT
			i + 10,
			CASE WHEN i % 50 = 0 THEN 'backfill' ELSE 'rollup_day' END,
			CASE WHEN i % 50 = 0 THEN NULL ELSE date '2025-01-01' + (hashint4(i) & 255) END,
			jsonb_build_object('n', i),
			CASE WHEN i % 97 = 0 THEN 'discarded' WHEN i % 1009 = 0 THEN 'retryable' ELSE 'completed' END,
			'daymill', 1, 1, 10, now(), now(),
			CASE WHEN i % 3 = 0 THEN jsonb_build_array(jsonb_build_object('error', 'connection refused by host' || i % 11)) ELSE '[]' END
		FROM generate_series(1, $1::integer) AS i`, n)
	require.NoError(t, err)
	_, err = db.Exec(t.Context(), "VACUUM ANALYZE daymill.jobs")
	require.NoError(t, err)
}

func filters() []job.Filter {
	d := date.MustParse
	return []job.Filter{
		{},
		{State: "completed"},
		{State: "discarded", Kind: "rollup_day"},
		{Kind: "backfill"},
		{First: d("2025-02-01"), Last: d("2025-02-03")},
		{First: d("2025-02-01"), Last: d("2025-08-03"), State: "discarded"},
		{First: d("2025-03-01"), Kind: "backfill"},
		{Text: "connection refused"},
		{Text: "host7", State: "discarded"},
		{Text: "refus", Last: d("2025-02-01")},
		{Text: "backfill -connection"},
		{Text: "-connection", State: "retryable"},
		{Text: "nosuchword"},
		{Text: "c"},
		{Text: "connection r"},
		{Text: "re", State: "discarded"},
	}
}

// matching returns the jobs that a filter selects, found by a plain scan.
func matching(t *testing.T, db *pgtest.DB, filter job.Filter) []int64 {
	t.Helper()
	var ids []int64
	err := db.QueryRow(t.Context(), `SELECT coalesce(array_agg(id ORDER BY id DESC), '{}') FROM daymill.jobs
		WHERE ($1 = '' OR state = $1) AND ($2 = '' OR kind = $2)
			AND ($3 = '' OR metric_date >= nullif($3, '')::date) AND ($4 = '' OR metric_date <= nullif($4, '')::date)
			AND ($5 = '' OR words @@ daymill.job_words($5))`,
		filter.State, filter.Kind, filter.First.String(), filter.Last.String(), filter.Text).Scan(&ids)
	require.NoError(t, err)
	return ids
}

// Consecutive pages have every matching job once, in both directions, whichever way finds them.
func TestListDropsNothing(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{})
	fill(t, db, 3_000)
	for _, reader := range []job.Reader{{}, {Narrow: 40, Budget: 70}, {Narrow: 1, Budget: 301}} {
		for _, filter := range filters() {
			name := fmt.Sprintf("%+v %+v", reader, filter)
			wanted := matching(t, db, filter)
			size := 1 + rand.IntN(40) + len(wanted)/20
			var down, up []int64
			at, last := job.Cursor{}, job.Cursor{}
			for i := 0; ; i++ {
				require.Less(t, i, 3_000, name)
				page, err := reader.List(t.Context(), db.DB, filter, at, size)
				require.NoError(t, err, name)
				for _, j := range page.Jobs {
					down = append(down, j.ID)
				}
				if len(page.Jobs) > 0 {
					last = job.Cursor{After: page.Jobs[len(page.Jobs)-1].ID - 1}
				}
				if page.Older == (job.Cursor{}) {
					break
				}
				at = page.Older
			}
			require.Equal(t, wanted, append([]int64{}, down...), name)
			for at = last; at != (job.Cursor{}); {
				page, err := reader.List(t.Context(), db.DB, filter, at, size)
				require.NoError(t, err, name)
				above := []int64{}
				for _, j := range page.Jobs {
					above = append(above, j.ID)
				}
				up = slices.Concat(above, up)
				at = page.Newer
			}
			require.Equal(t, wanted, append([]int64{}, up...), name)

			since, err := job.Now(t.Context(), db.DB)
			require.NoError(t, err)
			ids, more, err := reader.IDs(t.Context(), db.DB, filter, since, 100)
			require.NoError(t, err)
			require.Equal(t, wanted[:min(100, len(wanted))], append([]int64{}, ids...), name)
			require.Equal(t, len(wanted) > 100, more, name)

			_, counts, err := reader.ListCounted(t.Context(), db.DB, filter, job.Cursor{}, 10)
			require.NoError(t, err)
			for _, state := range job.States() {
				of := filter
				of.State = state
				exact := int64(len(matching(t, db, of)))
				if counts[state].More {
					require.LessOrEqual(t, counts[state].Jobs, exact, name)
				} else {
					require.Equal(t, exact, counts[state].Jobs, "%s %s", name, state)
				}
			}
		}
	}
}

// No filter causes a scan of the whole table: Postgres itself counts sequential scans.
func TestListIsBounded(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{})
	fill(t, db, 40_000)
	conn, err := db.Acquire(t.Context())
	require.NoError(t, err)
	defer conn.Release()
	scans := func() (scans, rows int64) {
		t.Helper()
		err := conn.QueryRow(t.Context(), `SELECT pg_stat_get_xact_numscans('daymill.jobs'::regclass),
			pg_stat_get_xact_tuples_returned('daymill.jobs'::regclass)`).Scan(&scans, &rows)
		require.NoError(t, err)
		return scans, rows
	}
	reader := job.Reader{Narrow: 500, Budget: 500}
	for _, filter := range filters() {
		tx, err := conn.Begin(t.Context())
		require.NoError(t, err)
		_, err = tx.Exec(t.Context(), "SET LOCAL plan_cache_mode = 'force_custom_plan'")
		require.NoError(t, err)
		_, _, err = reader.ListCounted(t.Context(), tx, filter, job.Cursor{}, 50)
		require.NoError(t, err)
		sequential, rows := scans()
		require.NoError(t, tx.Rollback(t.Context()))
		require.Zero(t, sequential, "%+v", filter)
		require.Zero(t, rows, "%+v", filter)
	}
}

// Some jobs change after they were chosen and before they are locked.
func TestStill(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{})
	fill(t, db, 300)
	since, err := job.Now(t.Context(), db.DB)
	require.NoError(t, err)
	var every []int64
	for id := int64(1); id <= 310; id++ {
		every = append(every, id)
	}
	ids := func(filter job.Filter, since job.Snapshot) []int64 {
		t.Helper()
		refs, err := job.Still(t.Context(), db.DB, filter, since, every)
		require.NoError(t, err)
		all := []int64{}
		for _, ref := range refs {
			all = append(all, ref.ID)
		}
		return all
	}
	for _, filter := range filters() {
		require.Equal(t, matching(t, db, filter), ids(filter, since), "%+v", filter)
	}
	_, err = db.Exec(t.Context(), "UPDATE daymill.jobs SET changed_at = clock_timestamp() WHERE id = 20")
	require.NoError(t, err)
	require.NotContains(t, ids(job.Filter{}, since), int64(20))
	require.Contains(t, ids(job.Filter{}, job.Snapshot{}), int64(20))
}
