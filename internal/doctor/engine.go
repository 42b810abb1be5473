package doctor

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/schema"
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
		// Tried with Citus 13.2: https://github.com/citusdata/citus/pull/5705
		{
			"citus", "Citus", Note, "a distributed table of events takes no triggers, so late events are not noticed",
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
		// Tried with TimescaleDB 2.26: https://github.com/timescale/timescaledb/pull/6901
		{
			"timescaledb", "TimescaleDB", Note, "the chunks of a hypertable take no triggers with transition tables, so late events are not noticed",
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
	if slices.Contains(there, "citus") {
		return checkCitus(ctx, e, tx)
	}
	return nil
}

// mayBeDistributed is the only one of Daymill's tables that Citus may distribute. The others refer to each other, and the fence of a run is a lock
// on a row.
const mayBeDistributed = "analytics.daily_entity_metrics"

// checkCitus says which of Daymill's own tables Citus distributes.
func checkCitus(ctx context.Context, e *Examination, tx pgx.Tx) error {
	elsewhere, err := postgres.Elsewhere(ctx, tx)
	if err != nil {
		return err
	}
	var own []string
	err = tx.QueryRow(ctx, `
		SELECT coalesce(array_agg(format('%I.%I', n.nspname, c.relname) ORDER BY n.nspname, c.relname), '{}')
		FROM pg_catalog.pg_class AS c INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
		WHERE n.nspname = ANY($1) AND c.oid = ANY($2)`, schema.Reserved(), slices.Collect(maps.Keys(elsewhere))).Scan(&own)
	if err != nil {
		return fmt.Errorf("look at what Citus distributes: %w", err)
	}
	for _, table := range own {
		if table == mayBeDistributed {
			e.Addf(OK, "Citus distributes the metrics, and Daymill's other tables are not affected")
			continue
		}
		e.Addf(Warning, "Citus distributes %s, which must be local, because Daymill locks its rows", table).
			Fixf("SELECT undistribute_table('%s');", strings.ReplaceAll(table, "'", "''"))
	}
	if len(own) == 0 {
		e.Addf(OK, "Daymill's own tables are local, and Citus distributes none of them")
	}
	return nil
}
