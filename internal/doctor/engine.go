package doctor

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
)

// engine is an extension or a provider's Postgres with limits that concern Daymill.
type engine struct {
	id, name string
	level    Level
	sentence string
	fix      string
}

// engines returns the engines that the doctor recognises. The comment above each names the page, or the test,
// that shows its limits.
func engines() []engine {
	return []engine{
		// https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/AuroraPostgreSQL.Replication.Logical.Configure.html
		{
			"aurora", "Amazon Aurora", Note, "rollups work as on Postgres; capture reads the WAL only with rds.logical_replication = 1, and otherwise uses triggers",
			"set rds.logical_replication to 1 in the cluster's parameter group and restart the writer, if triggers cost too much",
		},
		// Tried with Citus 13.2: https://docs.citusdata.com/en/stable/develop/reference_ddl.html
		{
			"citus", "Citus", Note, "a distributed table of events takes no triggers, so late events are not noticed; Daymill's own tables stay local",
			"request a rollup of the dates that late events touch: SELECT analytics.enqueue_rollup('2026-03-01');",
		},
		// https://neon.com/docs/guides/logical-replication-neon
		{
			"neon", "Neon", Note, "Neon removes replication slots that nobody has read for about 40 hours, and a branch that is restored loses all: " +
				"capture notices the gap and repairs it with a snapshot; a stream that is read keeps the compute from scaling to zero",
			"keep a worker running if capture is in use",
		},
		// https://supabase.com/docs/guides/database/connecting-to-postgres
		{
			"supabase", "Supabase", Note, "the shared pooler on port 6543 is in transaction mode: a worker sees requests within a second through it, and at once through a direct connection",
			"give the worker the direct URL, or the pooler's on port 5432",
		},
		// Tried with TimescaleDB 2.26: https://github.com/timescale/timescaledb/issues/1084
		{
			"timescaledb", "TimescaleDB", Note, "a hypertable of events takes no triggers with transition tables, so late events are not noticed",
			"request a rollup of the dates that late events touch: SELECT analytics.enqueue_rollup('2026-03-01');",
		},
	}
}

// checkEngine says which engine or provider it recognises and what holds there. Plain Postgres gives no finding.
func checkEngine(ctx context.Context, e *Examination, tx pgx.Tx) error {
	var there []string
	err := tx.QueryRow(ctx, `
		SELECT coalesce(array_agg(n.name), '{}')
		FROM (
			SELECT x.extname::text AS name FROM pg_catalog.pg_extension AS x WHERE x.extname IN ('citus', 'timescaledb')
			UNION ALL
			SELECT 'aurora' WHERE EXISTS (SELECT FROM pg_catalog.pg_proc AS p WHERE p.proname = 'aurora_version')
			UNION ALL
			SELECT 'neon' WHERE pg_catalog.current_setting('neon.timeline_id', true) IS NOT NULL
			UNION ALL
			SELECT 'supabase' WHERE EXISTS (SELECT FROM pg_catalog.pg_roles AS r WHERE r.rolname = 'supabase_admin')
		) AS n`).Scan(&there)
	if err != nil {
		return fmt.Errorf("recognise the engine: %w", err)
	}
	for _, one := range engines() {
		if slices.Contains(there, one.id) {
			e.Addf(one.level, "%s: %s", one.name, one.sentence).Fixf("%s", one.fix)
		}
	}
	return nil
}
