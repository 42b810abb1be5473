package schema_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/schema"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// before0037 is the last migration that knows one table of metrics only.
const before0037 = 36

type partitionBundle struct {
	db             *pgtest.DB
	reader, worker string
}

// down reverts to before partitions.
func (b *partitionBundle) down(t *testing.T) {
	t.Helper()
	all, err := schema.All()
	require.NoError(t, err)
	_, err = schema.Down(t.Context(), b.db.DB, len(all)-before0037, true, false, audit.Who{})
	require.NoError(t, err)
}

func (b *partitionBundle) up(t *testing.T) {
	t.Helper()
	_, err := schema.Up(t.Context(), b.db.DB, options(b.db.DB, entity.Bigint, "UTC"))
	require.NoError(t, err)
}

func (b *partitionBundle) partition(t *testing.T) {
	t.Helper()
	made, err := schema.Partition(t.Context(), b.db.DB, false, audit.Who{})
	require.NoError(t, err)
	require.True(t, made)
}

// kind returns what the metrics are: r for one table, p for a partitioned one.
func (b *partitionBundle) kind(t *testing.T) string {
	t.Helper()
	return pgtest.Value[string](t, b.db, "SELECT relkind::text FROM pg_class WHERE oid = 'analytics.daily_entity_metrics'::regclass")
}

// rights returns the owner of the metrics, and all grants on them, on their columns and on the live view.
func (b *partitionBundle) rights(t *testing.T) []string {
	t.Helper()
	return pgtest.Column[string](t, b.db, `
		SELECT concat_ws(' ', a.place, g.privilege_type, g.grantee::regrole, g.is_grantable)
		FROM (
			SELECT c.relname || ' ' || c.relowner::regrole AS place, c.relacl AS acl FROM pg_class AS c
			WHERE c.oid IN ('analytics.daily_entity_metrics'::regclass, 'analytics.daily_entity_metrics_live'::regclass)
			UNION ALL
			SELECT a.attname, a.attacl FROM pg_attribute AS a WHERE a.attrelid = 'analytics.daily_entity_metrics'::regclass AND a.attnum > 0
		) AS a
		CROSS JOIN LATERAL aclexplode(a.acl) AS g
		ORDER BY 1`)
}

// TestPartition: metrics keep their rights, of columns too, when they are partitioned and when the migration is reverted. A role that works without
// owning the tables may create months, and drop old ones.
func TestPartition(t *testing.T) {
	t.Parallel()

	// setup returns an installation that was migrated from before partitions, with the grants of a reader and of a worker.
	setup := func(t *testing.T) *partitionBundle {
		t.Helper()
		db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
		b := &partitionBundle{db: db, reader: "reads_" + db.Name, worker: "works_" + db.Name}
		b.down(t)
		db.Do(t, "CREATE ROLE "+b.reader+"; CREATE ROLE "+b.worker+"; GRANT USAGE ON SCHEMA analytics TO "+b.worker+
			"; GRANT UPDATE ON analytics.rollup_dates TO "+b.worker+
			"; GRANT SELECT (metric_date, views_count), UPDATE (views_count) ON analytics.daily_entity_metrics TO "+b.reader+
			"; GRANT SELECT ON analytics.daily_entity_metrics TO "+b.worker+" WITH GRANT OPTION"+
			"; GRANT REFERENCES ON analytics.daily_entity_metrics TO PUBLIC; GRANT SELECT ON analytics.daily_entity_metrics_live TO "+b.reader)
		t.Cleanup(func() {
			_, err := db.Exec(context.WithoutCancel(t.Context()), "DROP OWNED BY "+b.reader+", "+b.worker+"; DROP ROLE "+b.reader+", "+b.worker)
			require.NoError(t, err)
		})
		b.up(t)
		return b
	}

	t.Run("Down", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		before := b.rights(t)
		const metrics = "SELECT to_jsonb(m)::text FROM analytics.daily_entity_metrics_live AS m ORDER BY metric_date, entity_id"
		b.partition(t)
		b.db.Do(t, `SELECT analytics.metric_month('2026-01-01'), analytics.metric_month('2026-02-01');
			INSERT INTO analytics.daily_entity_metrics (entity_id, metric_date, views_count, other_counts)
			SELECT e, d::date, e, jsonb_build_object('share', e) FROM generate_series(1, 50) AS e, generate_series(date '2026-01-20', '2026-02-10', '1 day') AS d`)
		rows := pgtest.Column[string](t, b.db, metrics)
		require.Len(t, rows, 1_100)
		all, err := schema.All()
		require.NoError(t, err)
		_, err = schema.Down(t.Context(), b.db.DB, len(all)-before0037, false, false, audit.Who{})
		require.ErrorIs(t, err, schema.ErrLoss)

		b.down(t)
		require.Equal(t, "r", b.kind(t))
		require.Equal(t, rows, pgtest.Column[string](t, b.db, metrics))
		require.Equal(t, before, b.rights(t))
		b.up(t)
		faults, err := schema.Faults(t.Context(), b.db.DB, b.db.Installation)
		require.NoError(t, err)
		require.Empty(t, faults)
		b.db.Do(t, "ANALYZE analytics.daily_entity_metrics")
	})

	t.Run("DownToNothing", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.partition(t)
		b.db.Do(t, "SELECT analytics.metric_month('2026-01-01'); INSERT INTO analytics.daily_entity_metrics (entity_id, metric_date) VALUES (1, '2026-01-20')")
		_, err := schema.Down(t.Context(), b.db.DB, 0, true, false, audit.Who{})
		require.NoError(t, err)
		require.Empty(t, objects(t, b.db.DB))
	})

	t.Run("Rights", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		before := b.rights(t)
		require.Subset(t, before, []string{"daily_entity_metrics postgres SELECT " + b.worker + " t", "views_count UPDATE " + b.reader + " f"})
		b.partition(t)
		require.Equal(t, "p", b.kind(t))
		require.Equal(t, before, b.rights(t))
	})

	t.Run("Worker", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.partition(t)
		_, err := schema.SetRetention(t.Context(), b.db.DB, 1, false, audit.Who{})
		require.NoError(t, err)
		b.db.Do(t, "SET ROLE "+b.worker+"; SELECT analytics.metric_month('2020-05-01'); RESET ROLE")
		require.True(t, pgtest.Value[bool](t, b.db, "SELECT to_regclass('analytics.daily_entity_metrics_2020_05') IS NOT NULL"))
		b.db.Do(t, "SET ROLE "+b.worker+"; SELECT analytics.drop_metric_month('analytics.daily_entity_metrics_2020_05'); RESET ROLE")
		require.False(t, pgtest.Value[bool](t, b.db, "SELECT to_regclass('analytics.daily_entity_metrics_2020_05') IS NOT NULL"))
		require.False(t, pgtest.Value[bool](t, b.db, `SELECT has_function_privilege($1, 'analytics.metric_month(date)', 'EXECUTE')
			OR has_function_privilege($1, 'analytics.drop_metric_month(text)', 'EXECUTE')`, b.reader), "only workers may")
	})

	// Citus can do one or the other with a table. A server without Citus has its catalog here.
	t.Run("Distributed", func(t *testing.T) {
		t.Parallel()
		db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
		db.Do(t, `SET allow_system_table_mods = on; CREATE TABLE pg_catalog.pg_dist_partition AS SELECT 'analytics.daily_entity_metrics'::regclass AS logicalrelid;
			RESET allow_system_table_mods`)
		for _, dryRun := range []bool{true, false} {
			_, err := schema.Partition(t.Context(), db.DB, dryRun, audit.Who{})
			require.ErrorContains(t, err, "analytics.daily_entity_metrics is distributed by Citus")
		}
		db.Do(t, "DELETE FROM pg_catalog.pg_dist_partition")
		made, err := schema.Partition(t.Context(), db.DB, false, audit.Who{})
		require.NoError(t, err)
		require.True(t, made)
	})

	t.Run("Detached", func(t *testing.T) {
		t.Parallel()
		db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
		detached := func() []schema.Month {
			all, err := schema.DetachedMonths(t.Context(), db)
			require.NoError(t, err)
			return all
		}
		db.Do(t, "CREATE TABLE analytics.daily_entity_metrics_2025_12 (LIKE analytics.daily_entity_metrics)")
		require.Empty(t, detached(), "without partitions, it is not a month")
		db.Do(t, "DROP TABLE analytics.daily_entity_metrics_2025_12")
		_, err := schema.Partition(t.Context(), db.DB, false, audit.Who{})
		require.NoError(t, err)
		db.Do(t, "SELECT analytics.metric_month('2025-12-01'), analytics.metric_month('2026-01-01'); CREATE TABLE analytics.daily_entity_metrics_copy ()")
		require.Empty(t, detached())
		db.Do(t, "ALTER TABLE analytics.daily_entity_metrics DETACH PARTITION analytics.daily_entity_metrics_2025_12")
		all := detached()
		require.Len(t, all, 1)
		require.Equal(t, "analytics.daily_entity_metrics_2025_12", all[0].Part)
		require.Equal(t, "2025-12-01..2025-12-31", all[0].Dates.String())
		// What the words say brings it back.
		db.Do(t, all[0].AttachSQL())
		require.Empty(t, detached())
	})
}
