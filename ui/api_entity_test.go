package ui_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// hostile returns ids that are hard to handle.
func hostile() []string {
	return []string{
		"<script>alert(1)</script>", `"quoted'`, "a/b", "..", ".", "../../etc/passwd", "a//b/", "=1+1", "-1", "@x", "\tx", "%2F", "?a=b#c",
		"a b", "\u65e5\u672c", "x\ny", "metrics", strings.Repeat("long ", 2000),
	}
}

func textDatabase(t *testing.T, ids ...string) *pgtest.DB {
	t.Helper()
	db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Text, TimeZone: "UTC"})
	for _, id := range ids {
		metrics(t, db, id, "2026-03-01", 2, `{"share": 3, "<b>\"bold\"": 1}`)
		metrics(t, db, id, "2026-03-03", 1000, `{}`)
	}
	return db
}

// metrics writes a row for an entity of a complete date.
func metrics(t *testing.T, db *pgtest.DB, id, day string, views int, other string) {
	t.Helper()
	_, err := db.Exec(t.Context(), `INSERT INTO analytics.daily_entity_metrics (entity_id, metric_date, views_count, clicks_count, other_counts)
		VALUES ($1::text::analytics.entity_id, $2::text::date, $3, 1, $4::text::jsonb)`, id, day, views, other)
	require.NoError(t, err)
	_, err = db.Exec(t.Context(), `INSERT INTO analytics.rollup_dates AS d
		(metric_date, state, run_id, scan_run_id, completed_at, complete_run_id, events, entities)
		VALUES ($1::text::date, 'complete', 1, 1, now(), 1, 1, 1)
		ON CONFLICT (metric_date) DO UPDATE SET entities = d.entities + 1`, day)
	require.NoError(t, err)
}

func TestAPIMetrics(t *testing.T) {
	t.Parallel()

	t.Run("CSV", func(t *testing.T) {
		t.Parallel()
		a := newAPI(t, textDatabase(t, "=HYPERLINK(\"x\"),1"), nil)
		path := "/api/entities/" + url.PathEscape("=HYPERLINK(\"x\"),1") + "/metrics"
		answer := a.call(t, "GET", path+"?format=csv", "")
		require.Equal(t, http.StatusOK, answer.status)
		require.Contains(t, answer.header.Get("Content-Type"), "text/csv")
		require.Equal(t, `attachment; filename="daymill-_HYPERLINK__x___1-2026-02-08-2026-03-09.csv"`, answer.header.Get("Content-Disposition"))
		require.Equal(t, "metric_date,entity_id,views_count,clicks_count,saves_count,skips_count,other_counts\n"+
			`2026-03-01,"'=HYPERLINK(""x""),1",2,1,0,0,"{""<b>\""bold\"""":1,""share"":3}"`+"\n"+
			`2026-03-03,"'=HYPERLINK(""x""),1",1000,1,0,0,{}`+"\n", answer.body)
		require.Equal(t, answer.body, a.call(t, "GET", path, "", header("Accept", "text/csv")).body)
		require.Contains(t, a.call(t, "GET", path, "", header("Accept", "application/json, text/csv")).body, `"entity_id"`)
		require.Contains(t, a.call(t, "GET", path+"?format=json", "", header("Accept", "text/csv")).body, `"entity_id"`)
		// An empty range is a file with only the header.
		answer = a.call(t, "GET", path+"?format=csv&from=2020-01-01&to=2020-01-02", "")
		require.Equal(t, 1, strings.Count(answer.body, "\n"))
	})

	t.Run("HostileIDs", func(t *testing.T) {
		t.Parallel()
		a := newAPI(t, textDatabase(t, hostile()...), nil)
		for _, id := range hostile() {
			escaped := url.PathEscape(id)
			if strings.Trim(id, ".") == "" {
				escaped = strings.ReplaceAll(id, ".", "%2E")
			}
			answer := a.call(t, "GET", "/api/entities/"+escaped+"/metrics", "")
			require.Equal(t, http.StatusOK, answer.status, "%.40q: %s", id, answer.body)
			var got struct {
				EntityID string `json:"entity_id"`
				Totals   struct {
					Views int `json:"views"`
				} `json:"totals"`
				Metrics []struct {
					Other map[string]int `json:"other"`
				} `json:"metrics"`
			}
			require.NoError(t, json.Unmarshal([]byte(answer.body), &got))
			require.Equal(t, id, got.EntityID)
			require.Equal(t, 1002, got.Totals.Views)
			require.Len(t, got.Metrics, 2)
			require.Equal(t, map[string]int{"share": 3, `<b>"bold"`: 1}, got.Metrics[0].Other)
			require.NotContains(t, answer.body, "<")
		}
		for escaped, status := range map[string]int{
			"a%00b": 422, "%FF": 422, "unknown": 404, strings.Repeat("y", 10_000): 404, "%27%20OR%201%3D1": 404,
		} {
			require.Equal(t, status, a.call(t, "GET", "/api/entities/"+escaped+"/metrics", "").status, "%.40s", escaped)
		}
	})

	t.Run("Mistakes", func(t *testing.T) {
		t.Parallel()
		a := newAPI(t, database(t), nil)
		metrics(t, a.db, "-7", "2026-03-01", 1, "{}")
		require.Equal(t, http.StatusOK, a.call(t, "GET", "/api/entities/-7/metrics?from=2026-03-01&to=2026-03-01", "").status)
		require.Contains(t, a.call(t, "GET", "/api/entities/-7/metrics?format=csv", "").body, "2026-03-01,-7,1,")
		for _, path := range []string{
			"x/metrics", "7x/metrics", "7%2F/metrics", "-7/metrics?from=2026-03-01", "-7/metrics?from=2026-03-02&to=2026-03-01",
			"-7/metrics?from=2000-03-02&to=2026-03-01", "-7/metrics?format=xml", "-7/metrics?from=x&to=y",
		} {
			require.Equal(t, http.StatusUnprocessableEntity, a.call(t, "GET", "/api/entities/"+path, "").status, path)
		}
	})
}
