package ui_test

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/jobs"
)

// jobsBundle is a site with jobs.
type jobsBundle struct {
	*site

	client *river.Client[pgx.Tx]
}

func setupJobs(t *testing.T) *jobsBundle {
	t.Helper()
	db := database(t)
	client, err := river.NewClient(riverpgxv5.New(db.Application(t)), &river.Config{})
	require.NoError(t, err)
	return &jobsBundle{site: serve(t, db, nil), client: client}
}

// insert inserts a job of a date as River does, and moves it to a state.
func (b *jobsBundle) insert(t *testing.T, d, state string) int64 {
	t.Helper()
	inserted, err := b.client.Insert(t.Context(), jobs.RollupDayArgs{Date: date.MustParse(d)}, nil)
	require.NoError(t, err)
	require.False(t, inserted.UniqueSkippedAsDuplicate)
	b.move(t, inserted.Job.ID, state)
	return inserted.Job.ID
}

func (b *jobsBundle) move(t *testing.T, id int64, state string) {
	t.Helper()
	b.db.Do(t, `UPDATE river_job SET
			state = $2::text::river_job_state,
			attempt = CASE WHEN $2::text IN ('available', 'scheduled') THEN attempt ELSE 1 END,
			attempted_at = CASE WHEN $2::text IN ('available', 'scheduled') THEN attempted_at ELSE now() END,
			scheduled_at = CASE WHEN $2::text IN ('retryable', 'scheduled') THEN now() + interval '1 hour' ELSE scheduled_at END,
			finalized_at = CASE WHEN $2::text IN ('cancelled', 'completed', 'discarded') THEN now() END
		WHERE id = $1`, id, state)
}

func (b *jobsBundle) state(t *testing.T, id int64) string {
	t.Helper()
	return pgtest.Value[string](t, b.db, "SELECT coalesce((SELECT state::text FROM river_job WHERE id = $1), 'none')", id)
}

func (b *jobsBundle) dateState(t *testing.T, d string) string {
	t.Helper()
	return pgtest.Value[string](t, b.db, "SELECT coalesce((SELECT state FROM analytics.date_states WHERE metric_date = $1), 'none')", d)
}

var (
	jobLinks    = regexp.MustCompile(`href="/jobs/(\d+)"`)
	hiddenInput = regexp.MustCompile(`<input type="hidden" name="([^"]+)" value="([^"]*)"`)
)

// listed returns the jobs that a page links to, in order.
func listed(body string) []string {
	var ids []string
	for _, match := range jobLinks.FindAllStringSubmatch(body, -1) {
		ids = append(ids, match[1])
	}
	return ids
}

// form returns the values of a page's hidden fields.
func form(body string) url.Values {
	values := url.Values{}
	for _, match := range hiddenInput.FindAllStringSubmatch(body, -1) {
		values.Set(match[1], strings.ReplaceAll(match[2], "&#43;", "+"))
	}
	return values
}

// confirmed takes an action through its confirmation, and returns both pages.
func (b *jobsBundle) confirmed(t *testing.T, query string, between func()) (confirmation, result response) {
	t.Helper()
	confirmation = b.get(t, "/jobs/bulk?"+query)
	require.Equal(t, http.StatusOK, confirmation.status, confirmation.body)
	if between != nil {
		between()
	}
	sent := b.post(t, "/jobs/bulk", form(confirmation.body).Encode())
	require.Equal(t, http.StatusSeeOther, sent.status, sent.body)
	result = b.get(t, sent.header.Get("Location"))
	require.Equal(t, http.StatusOK, result.status)
	return confirmation, result
}

func TestJobs(t *testing.T) {
	t.Parallel()

	t.Run("Empty", func(t *testing.T) {
		t.Parallel()
		b := setupJobs(t)
		answer := b.get(t, "/jobs")
		require.Equal(t, http.StatusOK, answer.status)
		require.Contains(t, answer.body, "There are no jobs yet.")
		require.NotContains(t, answer.body, "/jobs/bulk")
	})

	t.Run("Filter", func(t *testing.T) {
		t.Parallel()
		b := setupJobs(t)
		first := b.insert(t, "2026-03-01", "discarded")
		second := b.insert(t, "2026-03-02", "completed")
		third := b.insert(t, "2026-03-03", "discarded")
		b.db.Do(t, `UPDATE river_job SET errors = ARRAY[jsonb_build_object('at', now(), 'attempt', 1,
			'error', 'read slice 7: connection refused', 'trace', '')] WHERE id = $1`, third)
		_, err := b.client.Insert(t.Context(), jobs.DailyRollupArgs{}, nil)
		require.NoError(t, err)
		for query, wanted := range map[string][]int64{
			"?state=discarded":                                {third, first},
			"?kind=rollup_day":                                {third, second, first},
			"?state=discarded&kind=daily_rollup":              nil,
			"?from=2026-03-02":                                {third, second},
			"?to=2026-03-02":                                  {second, first},
			"?from=2026-03-02&to=2026-03-02":                  {second},
			"?from=2026-03-01&to=2026-03-31&state=discarded":  {third, first},
			"?q=connection+refused":                           {third},
			"?q=refus":                                        {third},
			"?q=re":                                           {third}, // The beginning of a word, also of two letters.
			"?q=connection&state=completed":                   nil,
			"?q=2026-03-02":                                   {second},
			"?q=connection&from=2026-03-03&state=discarded":   {third},
			"?q=%22slice+refused%22":                          nil,
			"?q=%27%3B+DROP+TABLE+daymill.jobs%3B+--+%26+%28": nil,
		} {
			answer := b.get(t, "/jobs"+query)
			require.Equal(t, http.StatusOK, answer.status, query)
			var ids []string
			for _, id := range wanted {
				ids = append(ids, strconv.FormatInt(id, 10))
			}
			require.Equal(t, ids, listed(answer.body), query)
		}
		body := b.get(t, "/jobs?state=discarded").body
		require.Regexp(t, `aria-current="true">discarded <span class="count">2<`, body)
		require.Regexp(t, `completed <span class="count">1<`, body)
		require.Contains(t, body, `href="/dates/2026-03-03"`)
	})

	t.Run("Hostile", func(t *testing.T) {
		t.Parallel()
		b := setupJobs(t)
		id := b.insert(t, "2026-03-01", "retryable")
		evil := `<script>alert(1)</script>"'&` + strings.Repeat("x", 10_000)
		b.db.Do(t, `UPDATE river_job SET args = args || jsonb_build_object('note', $2::text), attempted_by = ARRAY[$2::text],
			errors = ARRAY[jsonb_build_object('at', now(), 'attempt', 1, 'error', $2::text, 'trace', $2::text)] WHERE id = $1`, id, evil)
		for _, path := range []string{
			"/jobs", fmt.Sprintf("/jobs/%d", id), "/jobs?q=" + url.QueryEscape(`<script>alert(1)</script>`),
			"/jobs/bulk?action=retry&q=" + url.QueryEscape(`<script>`),
		} {
			answer := b.get(t, path)
			require.Equal(t, http.StatusOK, answer.status, path)
			require.NotContains(t, answer.body, "<script>alert", path)
		}
		require.Contains(t, b.get(t, fmt.Sprintf("/jobs/%d", id)).body, "&lt;script&gt;alert")
	})

	t.Run("Mistakes", func(t *testing.T) {
		t.Parallel()
		b := setupJobs(t)
		id := b.insert(t, "2026-03-01", "discarded")
		for _, query := range []string{
			"state=nosuch", "kind=nosuch", "from=yesterday", "to=2026-02-30", "from=2026-03-02&to=2026-03-01", "before=x", "after=-1",
			"q=" + strings.Repeat("x", 300), "q=%00", "q=%ff",
		} {
			answer := b.get(t, "/jobs?"+query)
			require.Equal(t, http.StatusUnprocessableEntity, answer.status, query)
			require.Contains(t, answer.body, `role="alert"`, query)
		}
		for _, body := range []string{"action=explode", "action=", ""} {
			require.Equal(t, http.StatusUnprocessableEntity, b.post(t, fmt.Sprintf("/jobs/%d", id), body).status, body)
		}
		for _, body := range []string{
			"action=delete", "action=delete&max_id=9&at=2026-01-01T00:00:00Z&shown=-1", "action=delete&max_id=x&at=y",
			"action=explode&max_id=9&at=2026-01-01T00:00:00Z&shown=1", "action=delete&max_id=9&at=2026-01-01T00:00:00Z&shown=99999999",
			"action=delete&max_id=9&at=2026-01-01T00:00:00Z&shown=1&state=nosuch",
		} {
			require.Equal(t, http.StatusUnprocessableEntity, b.post(t, "/jobs/bulk", body).status, body)
		}
		require.Equal(t, "discarded", b.state(t, id))
		for _, path := range []string{"/jobs/999999", "/jobs/0", "/jobs/x", "/jobs/-1", "/jobs/99999999999999999999"} {
			require.Equal(t, http.StatusNotFound, b.get(t, path).status, path)
		}
		require.Equal(t, http.StatusNotFound, b.post(t, "/jobs/999999", "action=retry").status)
	})

	// good_job #1725: pages that drop jobs.
	t.Run("Pages", func(t *testing.T) {
		t.Parallel()
		b := setupJobs(t)
		b.db.Do(t, `INSERT INTO river_job (kind, args, max_attempts, state, finalized_at, queue)
			SELECT 'prune_ledger', jsonb_build_object('n', i), 6, 'completed', now(), 'daymill' FROM generate_series(1, 123) AS i`)
		for _, query := range []string{"", "?q=prune", "?state=completed&kind=prune_ledger"} {
			var down, up []string
			path := "/jobs" + query
			for range 3 {
				body := b.get(t, path).body
				down = append(down, listed(body)...)
				path = followed(body, "next")
				if path == "" {
					break
				}
			}
			require.Empty(t, path, query)
			require.Len(t, down, 123, query)
			for i, id := range down {
				require.Equal(t, strconv.Itoa(123-i), id, query)
			}
			// Then back, from the last page.
			path = "/jobs" + strings.Replace("?"+strings.TrimPrefix(query, "?")+"&before=24", "?&", "?", 1)
			for range 4 {
				body := b.get(t, path).body
				up = append(listed(body), up...)
				if path = followed(body, "prev"); path == "" {
					break
				}
			}
			require.Empty(t, path, query)
			require.Subset(t, up, down, query)
		}
	})

	t.Run("Viewer", func(t *testing.T) {
		t.Parallel()
		b := setupJobs(t)
		id := b.insert(t, "2026-03-01", "discarded")
		for _, path := range []string{"/jobs", fmt.Sprintf("/jobs/%d", id)} {
			answer := b.do(t, b.request(t, "viewer", http.MethodGet, path, ""))
			require.Equal(t, http.StatusOK, answer.status)
			require.NotContains(t, answer.body, `method="post"`)
			require.NotContains(t, answer.body, "/jobs/bulk")
		}
		require.Equal(t, http.StatusForbidden, b.do(t, b.request(t, "viewer", http.MethodGet, "/jobs/bulk?action=delete", "")).status)
		for _, path := range []string{"/jobs/bulk", fmt.Sprintf("/jobs/%d", id)} {
			require.Equal(t, http.StatusForbidden, b.do(t, b.request(t, "viewer", http.MethodPost, path, "action=delete")).status)
		}
		require.Equal(t, "discarded", b.state(t, id))
	})
}

var pagerLinks = regexp.MustCompile(`<a href="([^"]+)" rel="(prev|next)"`)

// followed returns the address of a link in a page's pager.
func followed(body, rel string) string {
	for _, match := range pagerLinks.FindAllStringSubmatch(body, -1) {
		if match[2] == rel {
			return strings.ReplaceAll(match[1], "&amp;", "&")
		}
	}
	return ""
}
