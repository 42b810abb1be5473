package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
)

func TestVerify(t *testing.T) {
	t.Parallel()

	setup := func(t *testing.T) *pgtest.DB {
		t.Helper()
		db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Text, TimeZone: "UTC"})
		db.RawEvents(t)
		for _, d := range []string{"2026-03-01", "2026-03-02", "2026-03-03"} {
			db.InsertDate(t, date.MustParse(d), 300, 40)
		}
		requireOK(t, db.URL, "rollup", "2026-03-01..2026-03-03", "--pace", "0")
		return db
	}
	exec := func(t *testing.T, db *pgtest.DB, sql string) {
		t.Helper()
		_, err := db.Exec(t.Context(), sql)
		require.NoError(t, err)
	}

	t.Run("Drift", func(t *testing.T) {
		t.Parallel()
		db := setup(t)
		require.Contains(t, requireOK(t, db.URL, "verify", "2026-03-01..2026-03-03"), "2026-03-02: exact: 300 events of 40 entities in ")
		exec(t, db, `UPDATE analytics.daily_entity_metrics SET views_count = 70 WHERE metric_date = '2026-03-02' AND entity_id LIKE '#%'`)
		exec(t, db, `INSERT INTO analytics.daily_entity_metrics (entity_id, metric_date, saves_count)
			VALUES (E'\x1b[31m' || repeat('x', 300), '2026-03-02', 1)`)
		code, stdout, stderr := command(t.Context(), db.URL, "verify", "2026-03-01..2026-03-05", "--show", "2")
		require.Equal(t, exitDrift, code)
		require.Equal(t, "daymill: 1 date of 3: metrics have drifted from the events; "+
			"unless events were dropped by retention, `daymill enqueue DATE` fixes a date\n", stderr)
		require.Contains(t, stdout, "2026-03-01: exact: ")
		require.Contains(t, stdout, "2026-03-02: drifted: 11 of 41 entities; 300 events counted, ")
		require.Contains(t, stdout, "\uFFFD[31mxxx")
		require.NotContains(t, stdout, "\x1b")
		require.Contains(t, stdout, "0 views, 0 clicks, 1 saves, 0 skips, {}   nothing\n")
		require.Contains(t, stdout, "  and 9 more\n")
		require.Contains(t, stdout, "2 dates not compared: no run has completed them, or one is requested\n")
		require.Contains(t, statusText(t, db.URL), "2026-03-02 no longer matches its events: request it again.")

		code, stdout, _ = command(t.Context(), db.URL, "verify", "2026-03-02", "--json", "--repair")
		require.Equal(t, exitDrift, code)
		var report verified
		require.NoError(t, json.Unmarshal([]byte(stdout), &report), stdout)
		require.EqualValues(t, 1, report.Drifted)
		require.EqualValues(t, 11, report.Dates[0].DriftedEntities)
		require.Len(t, report.Dates[0].Drifts, 11)
		require.Nil(t, report.Dates[0].Drifts[0].Counted)
		require.True(t, report.Dates[0].Repair)
		startWorker(t, db.URL, "--pace", "0", "--lookback", "0")
		awaitQuiet(t, db)
		requireOK(t, db.URL, "verify", "2026-03-02")
		pgtest.RequireExact(t, db, date.MustParse("2026-03-02"))
	})

	t.Run("Protected", func(t *testing.T) {
		t.Parallel()
		db := setup(t)
		exec(t, db, "DELETE FROM public.raw_events WHERE created_at < '2026-03-02 00:00+00'")
		require.Contains(t, requireOK(t, db.URL, "verify", "2026-03-01"), "2026-03-01: protected: ")
		code, stdout, stderr := command(t.Context(), db.URL, "rollup", "2026-03-01..2026-03-02")
		require.Equal(t, exitFailed, code)
		require.Contains(t, stdout, "2026-03-01: protected: its metrics stay unchanged")
		require.Contains(t, stdout, "2026-03-02: 300 events")
		require.Contains(t, stderr, "1 date not rolled up, because that would erase metrics whose events no longer exist")
		require.Regexp(t, `protected +1 date\n`, statusText(t, db.URL))
		require.Contains(t, statusText(t, db.URL), "2026-03-01 was skipped, because a rollup would erase metrics whose events are gone")
		requireOK(t, db.URL, "rollup", "2026-03-01", "--erase")
		require.Zero(t, pgtest.RequireExact(t, db, date.MustParse("2026-03-01")).Rows)
		// The same through the queue.
		exec(t, db, "DELETE FROM public.raw_events WHERE created_at < '2026-03-03 00:00+00'")
		requireOK(t, db.URL, "enqueue", "2026-03-02", "--erase")
		startWorker(t, db.URL, "--pace", "0", "--lookback", "0")
		awaitQuiet(t, db)
		require.Zero(t, pgtest.RequireExact(t, db, date.MustParse("2026-03-02")).Rows)
	})

	t.Run("Retention", func(t *testing.T) {
		t.Parallel()
		db := setup(t)
		require.Contains(t, requireOK(t, db.URL, "source", "retention"), "no retention is recorded")
		require.Equal(t, "events are kept for 30d: metrics of dates that begin earlier stay unchanged\n",
			requireOK(t, db.URL, "source", "retention", "30d"))
		require.Contains(t, requireOK(t, db.URL, "verify", "2026-03-01"), "2026-03-01: protected: ")
		set := []string{"source", "set", "--table", "raw_events", "--entity", "entity_id", "--type", "event_type", "--time", "created_at"}
		requireOK(t, db.URL, set...)
		require.Regexp(t, `keeps +events for 30d`, requireOK(t, db.URL, "source", "show"))
		requireOK(t, db.URL, append(set, "--retention", "36h")...)
		require.Regexp(t, `keeps +events for 36h0m0s`, requireOK(t, db.URL, "source", "show"))
		requireOK(t, db.URL, append(set, "--retention", "0")...)
		require.Contains(t, requireOK(t, db.URL, "verify", "2026-03-01"), "2026-03-01: exact: ")
		for _, wrong := range []string{"90", "-90d", "1h", "90000d", "d"} {
			code, _, stderr := command(t.Context(), db.URL, "source", "retention", "--", wrong)
			require.Equal(t, exitUsage, code, wrong)
			require.Contains(t, stderr, "90d", wrong)
		}
	})

	t.Run("Sample", func(t *testing.T) {
		t.Parallel()
		db := setup(t)
		first, _, _ := strings.Cut(requireOK(t, db.URL, "verify"), "\n")
		require.Regexp(t, `^3 of 3 finished dates, drawn with --seed \d+$`, first)
		var one, two verified
		require.NoError(t, json.Unmarshal([]byte(requireOK(t, db.URL, "verify", "--sample", "2", "--seed", "5", "--json")), &one))
		require.NoError(t, json.Unmarshal([]byte(requireOK(t, db.URL, "verify", "--sample", "2", "--seed", "5", "--json")), &two))
		require.Len(t, one.Dates, 2)
		require.EqualValues(t, 3, one.Of)
		require.EqualValues(t, 5, *one.Seed)
		for i := range one.Dates {
			require.Equal(t, one.Dates[i].Date, two.Dates[i].Date)
		}
	})

	t.Run("Usage", func(t *testing.T) {
		t.Parallel()
		db := setup(t)
		for wrong, want := range map[string]string{
			"--sample=0": "--sample is 0", "--show=0": "--show is 0", "2026-03-01 --seed=1": "--seed draws a sample", "2026-13-01": "is not a date",
		} {
			code, _, stderr := command(t.Context(), db.URL, append([]string{"verify"}, strings.Fields(wrong)...)...)
			require.Equal(t, exitUsage, code)
			require.Contains(t, stderr, want)
		}
	})
}
