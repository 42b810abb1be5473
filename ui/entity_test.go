package ui_test

import (
	"encoding/csv"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// entities serves the pages over a test's database, on the tenth of March.
func entities(t *testing.T, db *pgtest.DB) *site {
	t.Helper()
	s := serve(t, db, nil)
	s.clock.set(time.Date(2026, time.March, 10, 12, 0, 0, 0, time.UTC))
	return s
}

func entityURL(path, id string, more ...string) string {
	query := url.Values{"id": {id}}
	for i := 0; i+1 < len(more); i += 2 {
		query.Add(more[i], more[i+1])
	}
	return path + "?" + query.Encode()
}

func TestEntities(t *testing.T) {
	t.Parallel()

	t.Run("Find", func(t *testing.T) {
		t.Parallel()
		s := entities(t, textDatabase(t, "post/1", "post/12", "post/2", "Post/3"))
		answer := s.get(t, entityURL("/entities", "post/1"))
		require.Equal(t, http.StatusSeeOther, answer.status)
		require.Equal(t, "/entity?id=post%2F1", answer.header.Get("Location"))
		answer = s.get(t, entityURL("/entities", "post/"))
		require.Equal(t, http.StatusOK, answer.status)
		require.Equal(t, 3, strings.Count(answer.body, `href="/entity?id=post%2F`))
		require.NotContains(t, answer.body, "Post/3")
		answer = s.get(t, entityURL("/entities", "nothing"))
		require.Equal(t, http.StatusNotFound, answer.status)
		require.Contains(t, answer.body, "There are no metrics for nothing.")
	})

	t.Run("FindMany", func(t *testing.T) {
		t.Parallel()
		var ids []string
		for i := range 30 {
			ids = append(ids, fmt.Sprintf("x%02d", i))
		}
		s := entities(t, textDatabase(t, ids...))
		answer := s.get(t, entityURL("/entities", "x"))
		require.Equal(t, 25, strings.Count(answer.body, `href="/entity?id=x`))
		require.Contains(t, answer.body, "the first 25 in order")
	})

	t.Run("Mistakes", func(t *testing.T) {
		t.Parallel()
		for entityType, ids := range map[entity.Type]map[string]string{
			entity.Bigint: {"seven": "not a whole number", "9223372036854775808": "not a whole number", "<script>alert(1)</script>": "not a whole number"},
			entity.Text:   {"a\x00b": "no NUL", "\xff": "not UTF-8"},
			entity.UUID:   {"1234": "not a uuid", strings.Repeat("x", 10_000): "not a uuid"},
		} {
			s := entities(t, pgtest.Database(t, pgtest.Installed{EntityType: entityType, TimeZone: "UTC"}))
			for id, sentence := range ids {
				for _, path := range []string{"/entities", "/entity", "/entity.csv"} {
					answer := s.get(t, entityURL(path, id))
					require.Equal(t, http.StatusUnprocessableEntity, answer.status, "%s %.30q", path, id)
					require.Contains(t, answer.body, sentence)
					require.NotContains(t, answer.body, "<script>alert")
				}
			}
		}
	})

	t.Run("None", func(t *testing.T) {
		t.Parallel()
		s := entities(t, database(t))
		answer := s.get(t, "/entities")
		require.Equal(t, http.StatusOK, answer.status)
		require.Contains(t, answer.body, "No date of this period is complete.")
	})

	t.Run("Top", func(t *testing.T) {
		t.Parallel()
		db := textDatabase(t, "a", `<script>alert(1)</script>`)
		metrics(t, db, "b", "2026-03-02", 50, `{"share": 7}`)
		s := entities(t, db)
		answer := s.get(t, "/entities?metric=views&period=30")
		require.Equal(t, http.StatusOK, answer.status)
		require.Contains(t, answer.body, "Counts from 2026-03-01 to 2026-03-03, added up over the 3 dates that have been complete.")
		require.Contains(t, answer.body, "&lt;script&gt;alert(1)&lt;/script&gt;</a>")
		require.NotContains(t, answer.body, "<script>alert")
		require.Less(t, strings.Index(answer.body, "1,002"), strings.Index(answer.body, ">50<"))
		// Yesterday is not complete; the day of b is in the last eight days only.
		require.Contains(t, s.get(t, "/entities?period=1").body, "No date of this period is complete.")
		answer = s.get(t, "/entities?metric=other%3Ashare&period=30")
		require.Contains(t, answer.body, `<option value="other:share" selected>`)
		require.Less(t, strings.Index(answer.body, "id=b&amp;"), strings.Index(answer.body, "id=a&amp;"))
		for _, query := range []string{"metric=%00", "metric=other:%00", "metric=other:%FF", "metric=' OR 1", "period=x", "metric=other:" + strings.Repeat("x", 9999)} {
			require.Equal(t, http.StatusOK, s.get(t, "/entities?"+strings.ReplaceAll(query, " ", "+")).status, "%.40s", query)
		}
		require.Contains(t, s.get(t, "/entities?metric=skips&period=30").body, "No entity has any skips in this period.")
		_, err := db.Exec(t.Context(), "UPDATE analytics.rollup_dates SET entities = 90000")
		require.NoError(t, err)
		require.Contains(t, s.get(t, "/entities?period=30").body, "2 earlier dates of the period are left out")
	})
}

func TestEntity(t *testing.T) {
	t.Parallel()

	t.Run("Chart", func(t *testing.T) {
		t.Parallel()
		s := entities(t, textDatabase(t, "a"))
		answer := s.get(t, entityURL("/entity", "a", "days", "30"))
		require.Equal(t, http.StatusOK, answer.status)
		require.Contains(t, answer.body, `<title id="chart-title-wide">Events of a per date</title>`)
		require.Contains(t, answer.body, "From 2026-02-08 to 2026-03-09: 1,008 in all, views 1,002, clicks 2")
		require.Contains(t, answer.body, "2026-03-01: 7\nviews 2\nclicks 1\nshare 3")
		require.Equal(t, 2*30, strings.Count(answer.body, `class="hit"`))
		require.NotContains(t, answer.body, "style=")
		require.Contains(t, answer.body, "&lt;b&gt;&#34;bold&#34;")
		require.NotContains(t, answer.body, "<b>")
		// With fewer metrics the totals change, and the links keep the choice.
		answer = s.get(t, entityURL("/entity", "a", "days", "30", "metric", "clicks", "metric", "other:share"))
		require.Contains(t, answer.body, "5 in all, clicks 2, share 3.")
		require.Contains(t, answer.body, "days=7&amp;id=a&amp;metric=clicks&amp;metric=other%3Ashare")
		require.Contains(t, answer.body, `value="clicks" checked`)
		require.NotContains(t, answer.body, `value="views" checked`)
	})

	t.Run("Buckets", func(t *testing.T) {
		t.Parallel()
		s := entities(t, textDatabase(t, "a"))
		answer := s.get(t, entityURL("/entity", "a", "days", "365"))
		require.Contains(t, answer.body, "Events per week")
		require.Contains(t, answer.body, "Week of 2026-02-23: 7\n")
		require.Contains(t, answer.body, "Week of 2026-03-09 (a part of it): 0")
		answer = s.get(t, entityURL("/entity", "a", "from", "2016-03-11", "to", "2026-03-09"))
		require.Contains(t, answer.body, "Events per month")
		require.Contains(t, answer.body, "2016-03 (a part of it): 0")
		require.Contains(t, answer.body, "2026-03 (a part of it): 1,008\n")
		require.Equal(t, 2*121, strings.Count(answer.body, `class="hit"`))
	})

	t.Run("CSV", func(t *testing.T) {
		t.Parallel()
		db := textDatabase(t, hostile()...)
		_, err := db.Exec(t.Context(), `INSERT INTO analytics.daily_entity_metrics (entity_id, metric_date, views_count)
			SELECT 'long', '2020-01-01'::date + d, d FROM generate_series(0, 1200) AS d`)
		require.NoError(t, err)
		s := entities(t, db)
		for _, id := range hostile() {
			answer := s.get(t, entityURL("/entity.csv", id, "from", "2026-03-01", "to", "2026-03-03"))
			require.Equal(t, http.StatusOK, answer.status)
			require.Regexp(t, `^attachment; filename="daymill-[A-Za-z0-9_-]{1,41}-2026-03-01-2026-03-03\.csv"$`, answer.header.Get("Content-Disposition"))
			records, err := csv.NewReader(strings.NewReader(answer.body)).ReadAll()
			require.NoError(t, err)
			require.Len(t, records, 3)
			require.Equal(t, id, strings.TrimPrefix(records[1][1], "'"))
			require.NotContains(t, "=+-@\t\r\n", records[1][1][:1])
		}
		answer := s.get(t, entityURL("/entity.csv", "long", "from", "2020-01-01", "to", "2026-01-01"))
		require.Equal(t, 1202, strings.Count(answer.body, "\n"))
		require.Equal(t, http.StatusNotFound, s.get(t, entityURL("/entity.csv", "unknown")).status)
	})

	t.Run("HostileIDs", func(t *testing.T) {
		t.Parallel()
		s := entities(t, textDatabase(t, hostile()...))
		for _, id := range hostile() {
			answer := s.get(t, entityURL("/entity", id))
			require.Equal(t, http.StatusOK, answer.status, "%.40q", id)
			require.NotContains(t, answer.body, "<script>alert")
			require.Contains(t, answer.body, "1,002", "%.40q", id)
			answer = s.get(t, entityURL("/entities", id))
			require.Equal(t, http.StatusSeeOther, answer.status)
			require.Equal(t, entityURL("/entity", id), answer.header.Get("Location"))
		}
		answer := s.get(t, entityURL("/entity", hostile()[len(hostile())-1]))
		head, _, _ := strings.Cut(answer.body, "<main")
		require.Contains(t, answer.body, "The whole id, 10,000 bytes")
		require.NotContains(t, head, strings.Repeat("long ", 100))
	})

	t.Run("Incomplete", func(t *testing.T) {
		t.Parallel()
		s := entities(t, textDatabase(t, "a"))
		require.NotContains(t, s.get(t, entityURL("/entity", "a")).body, "not complete")
		_, err := s.db.Exec(t.Context(), "INSERT INTO analytics.rollup_requests (metric_date) VALUES ('2026-03-03')")
		require.NoError(t, err)
		require.Contains(t, s.get(t, entityURL("/entity", "a")).body, "1 date of this range is not complete")
	})

	t.Run("Mistakes", func(t *testing.T) {
		t.Parallel()
		s := entities(t, textDatabase(t, "a"))
		for _, more := range [][]string{
			{"from", "2026-03-01"},
			{"to", "2026-03-01"},
			{"from", "2026-03-02", "to", "2026-03-01"},
			{"from", "x", "to", "2026-03-01"},
			{"from", "2000-01-01", "to", "2026-03-01"},
			{"from", "0000-01-01", "to", "0000-01-02"},
		} {
			for _, path := range []string{"/entity", "/entity.csv"} {
				require.Equal(t, http.StatusUnprocessableEntity, s.get(t, entityURL(path, "a", more...)).status, more)
			}
		}
		require.Equal(t, http.StatusUnprocessableEntity, s.get(t, entityURL("/entity", "a", "before", "x")).status)
		require.Equal(t, http.StatusUnprocessableEntity, s.get(t, "/entity").status)
		require.Equal(t, http.StatusOK, s.get(t, entityURL("/entity", "a", "days", "x", "metric", "\x00")).status)
	})

	t.Run("ManyTypes", func(t *testing.T) {
		t.Parallel()
		db := textDatabase(t)
		metrics(t, db, "a", "2026-03-01", 1, `{"t1": 9, "t2": 8, "t3": 7, "t4": 6, "t5": 5, "t6": 4}`)
		metrics(t, db, "b", "2026-03-01", 1, `{"t1": 9, "t2": 8, "t3": 7, "t4": 6, "t5": 5}`)
		s := entities(t, db)
		answer := s.get(t, entityURL("/entity", "a", "metric", "rest"))
		require.Contains(t, answer.body, "2 other event types")
		require.Contains(t, answer.body, "9 in all, 2 other event types 9.")
		require.NotContains(t, answer.body, "other:t5")
		require.Contains(t, s.get(t, entityURL("/entity", "b")).body, "other:t5")
	})

	t.Run("NothingInRange", func(t *testing.T) {
		t.Parallel()
		s := entities(t, textDatabase(t, "a"))
		answer := s.get(t, entityURL("/entity", "a", "from", "2020-01-01", "to", "2020-01-31"))
		require.Equal(t, http.StatusOK, answer.status)
		require.Contains(t, answer.body, "No events in this range.")
		require.Contains(t, answer.body, "from=2026-03-01&amp;id=a&amp;to=2026-03-03")
	})

	t.Run("Table", func(t *testing.T) {
		t.Parallel()
		db := textDatabase(t)
		_, err := db.Exec(t.Context(), `INSERT INTO analytics.daily_entity_metrics (entity_id, metric_date, views_count)
			SELECT 'a', '2025-10-01'::date + d, d + 1 FROM generate_series(0, 119) AS d`)
		require.NoError(t, err)
		s := entities(t, db)
		path := entityURL("/entity", "a", "from", "2025-10-01", "to", "2026-03-01")
		seen := 0
		for range 3 {
			answer := s.get(t, path)
			require.Equal(t, http.StatusOK, answer.status)
			seen += strings.Count(answer.body, `<th scope="row" class="fixed"><a href="/dates/`)
			before, _, found := strings.Cut(answer.body, `#by-date" rel="next"`)
			if !found {
				break
			}
			path = strings.ReplaceAll(before[strings.LastIndex(before, `href="`)+len(`href="`):], "&amp;", "&")
		}
		require.Equal(t, 120, seen)
	})

	t.Run("Unknown", func(t *testing.T) {
		t.Parallel()
		s := entities(t, textDatabase(t, "a"))
		for _, id := range []string{"b", "<script>alert(1)</script>", strings.Repeat("y", 10_000)} {
			answer := s.get(t, entityURL("/entity", id))
			require.Equal(t, http.StatusNotFound, answer.status)
			require.Contains(t, answer.body, "There are no metrics for this entity")
			require.NotContains(t, answer.body, "<script>alert")
		}
	})
}
