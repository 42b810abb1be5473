package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestMonths: what people read about the partitions of the metrics.
func TestMonths(t *testing.T) {
	t.Parallel()

	// Citus can do one or the other. The verb finds that out before it migrates.
	t.Run("Distributed", func(t *testing.T) {
		t.Parallel()
		db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
		requireOK(t, db.URL, "migrate", "--down")
		db.Do(t, `SET allow_system_table_mods = on; CREATE TABLE pg_catalog.pg_dist_partition AS SELECT 'analytics.daily_entity_metrics'::regclass AS logicalrelid;
			RESET allow_system_table_mods`)
		for _, arguments := range [][]string{{"migrate", "--partition-metrics", "month", "--dry-run"}, {"migrate", "--partition-metrics", "month"}} {
			code, stdout, stderr := command(t.Context(), db.URL, arguments...)
			require.Equal(t, exitFailed, code)
			require.Empty(t, stdout)
			require.Equal(t, "daymill: analytics.daily_entity_metrics is distributed by Citus and cannot also be partitioned by month: leave out --partition-metrics, "+
				"or run SELECT undistribute_table('analytics.daily_entity_metrics') first\n", stderr)
		}
		_, status, _ := command(t.Context(), db.URL, "migrate", "status")
		require.Contains(t, status, "pending")
	})

	t.Run("Detached", func(t *testing.T) {
		t.Parallel()
		db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
		db.RawEvents(t)
		require.Contains(t, requireOK(t, db.URL, "migrate", "--partition-metrics", "month"), "partitioned the metrics by month")
		db.InsertDate(t, date.MustParse("2026-03-01"), 100, 10)
		requireOK(t, db.URL, "rollup", "2026-03-01")
		db.Do(t, "ALTER TABLE analytics.daily_entity_metrics DETACH PARTITION analytics.daily_entity_metrics_2026_03")
		const said = "analytics.daily_entity_metrics_2026_03 is detached from the metrics: nobody sees the metrics of its month, and runs of its dates fail"
		const attach = "ALTER TABLE analytics.daily_entity_metrics ATTACH PARTITION analytics.daily_entity_metrics_2026_03 FOR VALUES FROM ('2026-03-01') TO ('2026-04-01');"
		for _, verb := range []string{"doctor", "migrate"} {
			_, stdout, _ := command(t.Context(), db.URL, verb)
			require.Contains(t, stdout, said, verb)
			require.Contains(t, stdout, attach+" to keep these metrics, or DROP TABLE analytics.daily_entity_metrics_2026_03;", verb)
		}
		db.Do(t, attach)
		require.NotContains(t, requireOK(t, db.URL, "migrate"), "detached")
		pgtest.RequireExact(t, db, date.MustParse("2026-03-01"))
	})

	// A month that is no longer kept cannot be rolled up with --erase either, so nothing says that it can.
	t.Run("NotKept", func(t *testing.T) {
		t.Parallel()
		db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
		db.RawEvents(t)
		requireOK(t, db.URL, "migrate", "--partition-metrics", "month")
		db.InsertDate(t, date.MustParse("2020-03-01"), 100, 10)
		requireOK(t, db.URL, "rollup", "2020-03-01")
		requireOK(t, db.URL, "migrate", "retention", "1", "--drop")
		for _, arguments := range [][]string{{"rollup", "2020-03-01"}, {"rollup", "2020-03-01", "--erase"}} {
			code, stdout, stderr := command(t.Context(), db.URL, arguments...)
			require.Equal(t, exitFailed, code)
			require.Contains(t, stdout, "2020-03-01: protected: its metrics stay unchanged, because metrics of its month are no longer kept")
			require.Regexp(t, "^daymill: 1 date not rolled up, because `daymill migrate retention` keeps metrics only from [0-9-]+ on: set it to more months first, "+
				"if the events of these dates are still there\n$", stderr)
		}
		require.Regexp(t, "^1 date requested; 1 date ended before [0-9-]+, from which on `daymill migrate retention` keeps metrics, so no run changes it\n$",
			requireOK(t, db.URL, "enqueue", "2020-03-01", "--erase"))
		db.Do(t, "DELETE FROM public.raw_events")
		said := requireOK(t, db.URL, "backfill", "start", "2020-03-01..2020-03-01", "--every-date", "--erase", "--dry-run")
		require.Contains(t, said, "so no run changes it")
		require.NotContains(t, said, "erased")
		// The same if a worker is faster than the verb.
		db.Do(t, `CREATE FUNCTION public.faster() RETURNS trigger LANGUAGE plpgsql AS $$
			BEGIN NEW.resolved_at := clock_timestamp(); NEW.resolution := 'protected'; RETURN NEW; END $$;
			CREATE TRIGGER aaa_faster BEFORE INSERT ON analytics.rollup_requests FOR EACH ROW EXECUTE FUNCTION public.faster()`)
		code, stdout, stderr := command(t.Context(), db.URL, "rollup", "2020-03-01", "--erase")
		require.Equal(t, exitFailed, code)
		require.Contains(t, stdout, "2020-03-01: protected: its metrics stay unchanged, because metrics of its month are no longer kept")
		require.NotContains(t, stdout+stderr, "rolled it up")
		require.Contains(t, stderr, "keeps metrics only from")
	})
}

// TestCaptureAdd: a table that cannot be captured is not called captured.
func TestCaptureAdd(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	db.Do(t, "CREATE TABLE public.keyless (id bigint); CREATE TABLE public.keyed (id bigint PRIMARY KEY)")
	code, stdout, stderr := command(t.Context(), db.URL, "capture", "add", "public.keyless")
	require.Equal(t, exitOK, code)
	require.Equal(t, "tables of app to capture: public.keyless; the notes say why 1 table is not captured\n", stdout)
	require.Contains(t, stderr, "note: public.keyless of app is not captured: it has no primary key")
	db.Do(t, "ALTER TABLE public.keyless ADD PRIMARY KEY (id)")
	require.Equal(t, "captured tables of app: public.keyless, public.keyed\n", requireOK(t, db.URL, "capture", "add", "public.keyed"))
}
