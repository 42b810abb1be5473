package ui_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAudit(t *testing.T) {
	t.Parallel()
	rows := regexp.MustCompile(`<tr><td class="fixed">`)

	t.Run("Empty", func(t *testing.T) {
		t.Parallel()
		answer := serve(t, database(t), nil).get(t, "/audit")
		require.Equal(t, http.StatusOK, answer.status)
		require.Contains(t, answer.body, "There are no entries yet.")
	})

	t.Run("Filter", func(t *testing.T) {
		t.Parallel()
		b := setupJobs(t)
		b.db.Do(t, `INSERT INTO daymill.audit (actor, via, action, target, detail) VALUES
			('anna', 'cli', 'set source', 'app.events', '{"entity": "product_id", "in_flight": 2}'),
			('anna', 'web', 'cancel backfill', '7', '{"dates": 31}'),
			('bert', 'web', 'cancel backfill', '8', '{"dates": 1}')`)
		body := b.get(t, "/audit").body
		for _, part := range []string{
			"the command line", "this page", "31 dates", "1 date<", "entity product_id, in flight 2", `href="/backfills/7"`,
		} {
			require.Contains(t, body, part)
		}
		require.Less(t, strings.Index(body, "/backfills/8"), strings.Index(body, "app.events"), "newest first")
		for query, wanted := range map[string]int{
			"": 3, "actor=anna": 2, "via=web": 2, "action=cancel+backfill": 2, "actor=anna&action=cancel+backfill": 1,
			"actor=anna&via=web": 1, "actor=bert&via=cli": 0, "actor=nobody": 0,
		} {
			require.Len(t, rows.FindAllString(b.get(t, "/audit?"+query).body, -1), wanted, query)
		}
	})

	t.Run("Hostile", func(t *testing.T) {
		t.Parallel()
		b := setupJobs(t)
		evil := `<script>alert(1)</script>"'` + strings.Repeat("x", 10_000)
		b.db.Do(t, "INSERT INTO daymill.audit (actor, via, action, target, detail) VALUES (left($1, 2000), left($1, 2000), left($1, 2000), $1, jsonb_build_object($1, $1))", evil)
		b.db.Do(t, `INSERT INTO daymill.audit (via, action, detail) VALUES ('sql', 'x', '[1, null]')`)
		answer := b.get(t, "/audit")
		require.Equal(t, http.StatusOK, answer.status)
		require.NotContains(t, answer.body, "<script>alert")
		require.Contains(t, answer.body, "&lt;script&gt;")
		for _, query := range []string{"actor=%00", "via=%ff", "action=" + strings.Repeat("x", 300), "before=x"} {
			require.Equal(t, http.StatusUnprocessableEntity, b.get(t, "/audit?"+query).status, query)
		}
		require.Equal(t, http.StatusOK, b.get(t, "/audit?actor="+url.QueryEscape(`<script>alert(1)</script>`)).status)
	})

	t.Run("Pages", func(t *testing.T) {
		t.Parallel()
		b := setupJobs(t)
		b.db.Do(t, "INSERT INTO daymill.audit (actor, via, action, target) SELECT 'anna', 'web', 'act', 'n' || i || '.' FROM generate_series(1, 123) AS i")
		targets := regexp.MustCompile(`n(\d+)\.`)
		for _, query := range []string{"", "action=act&actor=anna"} {
			path, seen := "/audit?"+query, []string{}
			for range 4 {
				body := b.get(t, path).body
				for _, match := range targets.FindAllStringSubmatch(body, -1) {
					seen = append(seen, match[1])
				}
				if path = followed(body, "next"); path == "" {
					break
				}
			}
			require.Len(t, seen, 123)
			require.Equal(t, "123", seen[0])
			require.Equal(t, "1", seen[122])
		}
		require.Contains(t, b.get(t, followed(b.get(t, "/audit?before=24").body, "prev")).body, "n24.")
	})

	t.Run("Viewer", func(t *testing.T) {
		t.Parallel()
		b := setupJobs(t)
		require.Equal(t, http.StatusOK, b.do(t, b.request(t, "viewer", http.MethodGet, "/audit", "")).status)
	})
}
