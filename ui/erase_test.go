package ui_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/ui"
)

// TestErase makes requests that erase metrics whose events no longer exist, and requests that must not.
func TestErase(t *testing.T) {
	t.Parallel()

	// setup creates a date with four of the ten events that its last run counted.
	setup := func(t *testing.T) *api {
		t.Helper()
		db := database(t)
		db.RawEvents(t)
		a := newAPI(t, db, func(config *ui.Config) { config.Access.EraseToken = "a token that erases" })
		a.db.Do(t, `INSERT INTO public.raw_events (entity_id, event_type, created_at)
			SELECT i, 'view', '2026-03-02 12:00Z' FROM generate_series(1, 4) AS i`)
		a.db.Do(t, `INSERT INTO analytics.rollup_dates (metric_date, state, run_id, scan_run_id, completed_at, complete_run_id, events, entities)
			VALUES ('2026-03-02', 'complete', 1, 1, now(), 1, 10, 10)`)
		return a
	}
	const lastRequest = "SELECT concat_ws(' ', requested_by, requested_via, may_lose, erase) FROM analytics.rollup_requests ORDER BY id DESC LIMIT 1"

	t.Run("API", func(t *testing.T) {
		t.Parallel()
		a := setup(t)
		erase := bearer("a token that erases")
		for path, body := range map[string]string{
			"/api/backfills": `{"from":"2026-03-01","to":"2026-03-05","erase":true}`, "/api/rollups": `{"date":"2026-03-02","erase":true}`,
		} {
			answer := a.call(t, http.MethodPost, path, body)
			require.Equal(t, http.StatusForbidden, answer.status, path)
			require.Contains(t, answer.body, "DAYMILL_ERASE_TOKEN")
			require.Equal(t, http.StatusForbidden, a.call(t, http.MethodPost, path, body, basic("viewer", viewerPassword)).status, path)
			require.Less(t, a.call(t, http.MethodPost, path, body, erase).status, 300, path)
			require.Less(t, a.call(t, http.MethodPost, path, body, basic("admin", adminPassword)).status, 300, path)
			require.Less(t, a.call(t, http.MethodPost, path, strings.Replace(body, ",\"erase\":true", "", 1), erase).status, 300, path)
		}
		require.EqualValues(t, 2, a.count(t, "SELECT count(*) FROM analytics.rollup_requests WHERE erase"))
		require.EqualValues(t, 2, a.count(t, "SELECT count(*) FROM analytics.backfills WHERE erase"))
		require.EqualValues(t, 2, a.count(t, "SELECT count(*) FROM daymill.audit WHERE action = 'request erasing' AND target = '2026-03-02'"))
		require.EqualValues(t, 2, a.count(t, "SELECT count(*) FROM daymill.audit WHERE action = 'start backfill' AND (detail ->> 'erase')::boolean"))
		require.Equal(t, http.StatusUnauthorized, a.call(t, http.MethodPost, "/api/rollups", `{"date":"2026-03-02"}`, bearer("")).status)
	})

	t.Run("Backfill", func(t *testing.T) {
		t.Parallel()
		a := setup(t)
		const form = "from=2026-03-01&to=2026-03-05&which=all&order=oldest&in_flight=1&pause=0"
		body := a.get(t, "/backfills?"+form).body
		require.Contains(t, body, "1 date has fewer events than the last run counted")
		require.Contains(t, body, `<a href="/dates/2026-03-02">2026-03-02</a>: 4 events of 10, 6 would be erased`)
		require.Contains(t, body, `<input type="checkbox" name="erase" value="1"> Erase the metrics of 6 events`)
		a.post(t, "/backfills", form)
		a.post(t, "/backfills", form+"&erase=1")
		require.Equal(t, "false true", pgtest.Value[string](t, a.db, "SELECT string_agg(erase::text, ' ' ORDER BY id) FROM analytics.backfills"))
		a.db.Do(t, "UPDATE analytics.rollup_dates SET events = 4")
		require.NotContains(t, a.get(t, "/backfills?"+form).body, "fewer events")
	})

	t.Run("Date", func(t *testing.T) {
		t.Parallel()
		a := setup(t)
		a.db.Do(t, "UPDATE analytics.rollup_dates SET state = 'stale'")
		const verified = `INSERT INTO analytics.verifications (metric_date, run_id, result, entities, drifted_entities, events_counted,
			events_stored, events_recorded, started_at, requested_via) VALUES ('2026-03-02', 1, 'drifted', 10, 3, $1, $2, 10, now(), 'cli')`
		a.db.Do(t, verified, 10, 17)
		body := a.get(t, "/dates/2026-03-02").body
		require.Contains(t, body, "its metrics were edited since")
		require.NotContains(t, body, "would erase")
		require.Contains(t, body, ">Repair <span")
		a.db.Do(t, verified, 4, 10)
		body = a.get(t, "/dates/2026-03-02").body
		require.NotContains(t, body, "edited")
		require.NotContains(t, body, ">Repair <span", "one click should not erase")
		require.Contains(t, body, "a repair would erase the metrics of 6 events")
		require.Contains(t, body, `<input type="checkbox" name="erase" value="1" required> Erase the metrics of 6 events`)

		a.post(t, "/dates/2026-03-02/request", "repair=1")
		require.Equal(t, "admin web none f", pgtest.Value[string](t, a.db, lastRequest))
		a.post(t, "/dates/2026-03-02/request", "erase=1")
		require.Equal(t, "admin web all t", pgtest.Value[string](t, a.db, lastRequest))
		a.post(t, "/dates/2026-03-02/request", "")
		require.Equal(t, "admin web all f", pgtest.Value[string](t, a.db, lastRequest))
	})
}
