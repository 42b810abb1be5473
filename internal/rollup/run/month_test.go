package run_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/rollup/metric"
	"github.com/daymill/daymill/internal/rollup/run"
	"github.com/daymill/daymill/internal/rollup/schedule"
	"github.com/daymill/daymill/internal/rollup/verification"
	"github.com/daymill/daymill/internal/schema"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestRunMonths: metrics in a partition for each month are the same as in one table, and a statement about a date reads one partition.
func TestRunMonths(t *testing.T) {
	t.Parallel()
	b := setup(t, pgtest.Installed{EntityType: entity.UUID, TimeZone: "America/Sao_Paulo"})
	who := audit.Who{Via: audit.ViaCLI}
	b.db.InsertDate(t, day, 500, 100)
	b.rollup(t, day)
	_, err := schema.Partition(t.Context(), b.db.DB, false, who)
	require.ErrorIs(t, err, schema.ErrHasMetrics)
	b.db.Do(t, "CREATE TABLE public.kept AS TABLE analytics.daily_entity_metrics; TRUNCATE analytics.daily_entity_metrics")
	b.db.Do(t, `CREATE VIEW public.yours AS SELECT count(*) FROM analytics.daily_entity_metrics;
		CREATE INDEX yours_index ON analytics.daily_entity_metrics (views_count);
		CREATE STATISTICS public.yours_statistics ON entity_id, metric_date FROM analytics.daily_entity_metrics;
		ALTER TABLE analytics.daily_entity_metrics ADD CONSTRAINT yours_check CHECK (views_count >= 0);
		CREATE POLICY yours_policy ON analytics.daily_entity_metrics;
		CREATE PUBLICATION yours_publication FOR TABLE analytics.daily_entity_metrics;
		CREATE TRIGGER yours_trigger BEFORE UPDATE ON analytics.daily_entity_metrics FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
		CREATE TABLE public.yours_table (d date, e uuid, CONSTRAINT yours_key FOREIGN KEY (d, e) REFERENCES analytics.daily_entity_metrics (metric_date, entity_id))`)
	_, err = schema.Partition(t.Context(), b.db.DB, false, who)
	require.ErrorContains(t, err, "(the constraint yours_check, the foreign key yours_key, the index analytics.yours_index, the policy yours_policy, "+
		"the publication yours_publication, the statistics yours_statistics, the trigger yours_trigger, the view public.yours): drop it, and create it again afterwards")
	b.db.Do(t, `DROP VIEW public.yours; DROP INDEX analytics.yours_index; DROP STATISTICS public.yours_statistics; DROP TABLE public.yours_table;
		DROP PUBLICATION yours_publication; DROP POLICY yours_policy ON analytics.daily_entity_metrics;
		DROP TRIGGER yours_trigger ON analytics.daily_entity_metrics; ALTER TABLE analytics.daily_entity_metrics DROP CONSTRAINT yours_check;
		CREATE ROLE months_reader; GRANT SELECT ON analytics.daily_entity_metrics, analytics.daily_entity_metrics_live TO months_reader;
		CREATE ROLE months_worker; GRANT USAGE ON SCHEMA analytics TO months_worker; GRANT EXECUTE ON FUNCTION analytics.metric_month TO months_worker`)
	for _, dry := range []bool{true, false} {
		made, err := schema.Partition(t.Context(), b.db.DB, dry, who)
		require.NoError(t, err)
		require.True(t, made)
	}
	made, err := schema.Partition(t.Context(), b.db.DB, false, who)
	require.NoError(t, err)
	require.False(t, made, "it is partitioned already")
	created, err := schema.Months(t.Context(), b.db.DB)
	require.NoError(t, err)
	require.EqualValues(t, 3, created)

	// A worker's role needs no right to create tables.
	b.db.Do(t, "SET ROLE months_worker; SELECT analytics.metric_month('2031-05-01'); RESET ROLE")
	b.db.Do(t, "DROP TABLE analytics.daily_entity_metrics_2031_05")

	// The rows that were there before, and those of other months.
	_, err = db.New(b.db).MetricMonth(t.Context(), day)
	require.NoError(t, err)
	b.db.Do(t, "INSERT INTO analytics.daily_entity_metrics SELECT * FROM public.kept")
	pgtest.RequireExact(t, b.db, day)
	months := []date.Date{date.MustParse("2025-12-31"), date.MustParse("2026-01-01"), day}
	for _, d := range months[:2] {
		b.db.InsertDate(t, d, 500, 100)
		require.Positive(t, b.rollup(t, d).Inserted)
	}
	b.db.Insert(t, pgtest.Event{Entity: b.db.Entity(t, 7), Type: "a kind of its own", At: atNoon(t, b)})
	require.Equal(t, int64(1), b.rollup(t, day).Updated+b.rollup(t, day).Inserted)
	pgtest.RequireExact(t, b.db)
	faults, err := schema.Faults(t.Context(), b.db.DB, b.db.Installation)
	require.NoError(t, err)
	require.Empty(t, faults)
	var mayRead bool
	require.NoError(t, b.db.QueryRow(t.Context(), `SELECT has_table_privilege('months_reader', 'analytics.daily_entity_metrics', 'SELECT')
		AND has_table_privilege('months_reader', 'analytics.daily_entity_metrics_live', 'SELECT')`).Scan(&mayRead))
	require.True(t, mayRead)
	var rows, live int64
	require.NoError(t, b.db.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM analytics.daily_entity_metrics),
		(SELECT count(*) FROM analytics.daily_entity_metrics_live)`).Scan(&rows, &live))
	require.Equal(t, rows, live)
	verifier := &verification.Verifier{Primary: b.db.DB, Source: b.db.DB, Type: b.db.Installation.EntityType, Clock: pace.SystemClock{}}
	for _, d := range months {
		result, err := verifier.Verify(t.Context(), verification.Order{Date: d})
		require.NoError(t, err)
		require.Equal(t, verification.Exact, result.Result)
	}

	// reads returns how many partitions a query locks, which are those that its plan reads.
	reads := func(do func(queries *db.Queries) error) (partitions int) {
		t.Helper()
		require.NoError(t, b.db.ReadTx(t.Context(), func(tx pgx.Tx) error {
			if err := do(db.New(tx)); err != nil {
				return err
			}
			return tx.QueryRow(t.Context(), `SELECT count(DISTINCT l.relation) FROM pg_locks AS l INNER JOIN pg_inherits AS i ON i.inhrelid = l.relation
				WHERE l.pid = pg_backend_pid() AND i.inhparent = 'analytics.daily_entity_metrics'::regclass`).Scan(&partitions)
		}))
		return partitions
	}
	id := b.db.Entity(t, 7)
	require.Equal(t, 1, reads(func(queries *db.Queries) error {
		_, err := queries.MetricRange(t.Context(), db.MetricRangeParams{MetricDate: day, MaxRows: 10})
		return err
	}))
	require.Equal(t, 1, reads(func(queries *db.Queries) error {
		_, err := queries.MetricSums(t.Context(), db.MetricSumsParams{MetricDate: day, MaxRows: 10})
		return err
	}))
	require.Equal(t, 2, reads(func(queries *db.Queries) error {
		_, err := queries.MetricReadTop(t.Context(), db.MetricReadTopParams{Metric: "views", MetricDates: months[:2], MaxRows: 10})
		return err
	}))
	require.Equal(t, 2, reads(func(queries *db.Queries) error {
		_, err := queries.MetricReadRange(t.Context(), db.MetricReadRangeParams{EntityID: id, FirstDate: months[0], LastDate: months[1], MaxRows: 10})
		return err
	}))
	bounds, known, err := metric.Bounds(t.Context(), b.db, id)
	require.NoError(t, err)
	require.True(t, known)
	require.Equal(t, date.Range{First: months[0], Last: day}, bounds)

	// The daily job makes the partitions of the months ahead.
	b.db.Do(t, "DROP TABLE analytics.daily_entity_metrics_"+day.String()[:4]+"_03")
	b.db.Do(t, `DO $$ BEGIN EXECUTE 'DROP TABLE analytics.daily_entity_metrics_' || to_char(analytics.date_of(now()) + interval '1 month', 'YYYY_MM'); END $$`)
	planner := &schedule.Planner{
		Primary: b.db.DB, Source: b.db.DB, Daily: schedule.Daily{Zone: b.db.Installation.Zone, Hour: 2}, Clock: pace.SystemClock{},
	}
	_, err = planner.PlanNow(t.Context())
	require.NoError(t, err)
	created, err = schema.Months(t.Context(), b.db.DB)
	require.NoError(t, err)
	require.Zero(t, created)

	// A month that was detached and not dropped.
	b.db.Do(t, "ALTER TABLE analytics.daily_entity_metrics DETACH PARTITION analytics.daily_entity_metrics_2026_01")
	b.request(t, months[1])
	_, err = b.runner.Run(t.Context(), run.Order{Date: months[1]})
	require.ErrorContains(t, err, "analytics.daily_entity_metrics_2026_01 is detached, so no metrics of 2026-01 can be written: drop it, or attach it again")
}
