package schema

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

//go:embed partition.sql
var partitionSQL string

// ErrHasMetrics says that the metrics cannot be partitioned, because there are some.
var ErrHasMetrics = errors.New("analytics.daily_entity_metrics has rows, and only an empty table can be partitioned: " +
	"docs/scale.md (Partitions of the metrics) has the statements that move them")

// ErrDistributed says that the metrics cannot be partitioned, because Citus has their rows.
var ErrDistributed = errors.New("analytics.daily_entity_metrics is distributed by Citus and cannot also be partitioned by month: " +
	"leave out --partition-metrics, or run SELECT undistribute_table('analytics.daily_entity_metrics') first")

// Partition makes analytics.daily_entity_metrics a table with a partition for each month, which is only possible while it is empty. It
// reports whether it did; a table that is partitioned already stays as it is.
func Partition(ctx context.Context, conn *postgres.DB, dryRun bool, who audit.Who) (made bool, err error) {
	err = locked(ctx, conn, func(tx pgx.Tx) error {
		already, err := partitioned(ctx, tx)
		if err != nil || already {
			return err
		}
		if err := undistributed(ctx, tx); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "LOCK TABLE analytics.daily_entity_metrics"); err != nil {
			return fmt.Errorf("lock the metrics: %w", err)
		}
		if err := convertible(ctx, tx); err != nil {
			return err
		}
		made = true
		if dryRun {
			return nil
		}
		if _, err := tx.Exec(ctx, partitionSQL); err != nil {
			return fmt.Errorf("partition the metrics: %w", err)
		}
		return audit.Record(ctx, tx, audit.Entry{Who: who, Action: "partition metrics", Target: "analytics.daily_entity_metrics"})
	})
	return made, err
}

// CheckPartition returns the error that Partition would return, so that a migration can find it before it changes anything. Before the first
// installation there is none.
func CheckPartition(ctx context.Context, conn *postgres.DB) error {
	var installed bool
	err := conn.Read(ctx, func(on postgres.DBTX) error {
		return on.QueryRow(ctx, "SELECT pg_catalog.to_regclass('analytics.daily_entity_metrics') IS NOT NULL").Scan(&installed)
	})
	if err != nil {
		return fmt.Errorf("look for the metrics: %w", err)
	}
	if !installed {
		return nil
	}
	_, err = Partition(ctx, conn, true, audit.Who{})
	return err
}

// undistributed returns ErrDistributed if Citus has the rows of the metrics.
func undistributed(ctx context.Context, tx pgx.Tx) error {
	elsewhere, err := postgres.Elsewhere(ctx, tx)
	if err != nil || len(elsewhere) == 0 {
		return err
	}
	var oid uint32
	if err := tx.QueryRow(ctx, "SELECT 'analytics.daily_entity_metrics'::regclass::oid").Scan(&oid); err != nil {
		return fmt.Errorf("look at the metrics: %w", err)
	}
	if elsewhere[oid] == postgres.Citus {
		return ErrDistributed
	}
	return nil
}

// Months creates the partitions of this month and the next two, if metrics are partitioned and they are missing. It returns how many it
// has created.
func Months(ctx context.Context, conn *postgres.DB) (created int64, err error) {
	err = conn.Tx(ctx, func(tx pgx.Tx) error {
		created, err = db.New(tx).MetricMonths(ctx)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("create the partitions of the next months: %w", err)
	}
	return created, nil
}

func partitioned(ctx context.Context, tx pgx.Tx) (is bool, err error) {
	err = tx.QueryRow(ctx, "SELECT c.relkind = 'p' FROM pg_class AS c WHERE c.oid = 'analytics.daily_entity_metrics'::regclass").Scan(&is)
	if err != nil {
		return false, fmt.Errorf("look at the metrics: %w", err)
	}
	return is, nil
}

// convertible returns an error if the table has rows, or if something would be lost with the table that Daymill has not created.
func convertible(ctx context.Context, tx pgx.Tx) error {
	var has bool
	if err := tx.QueryRow(ctx, "SELECT EXISTS(SELECT 1 FROM analytics.daily_entity_metrics LIMIT 1)").Scan(&has); err != nil {
		return fmt.Errorf("look for metrics: %w", err)
	}
	if has {
		return ErrHasMetrics
	}
	var others []string
	err := tx.QueryRow(ctx, `
		SELECT coalesce(array_agg(o.name ORDER BY o.name), '{}') FROM (
			SELECT 'the trigger ' || quote_ident(g.tgname) AS name FROM pg_trigger AS g
			WHERE g.tgrelid = 'analytics.daily_entity_metrics'::regclass AND NOT g.tgisinternal
			UNION ALL
			SELECT 'the publication ' || quote_ident(p.pubname) FROM pg_publication_rel AS r
			INNER JOIN pg_publication AS p ON p.oid = r.prpubid
			WHERE r.prrelid = 'analytics.daily_entity_metrics'::regclass
			UNION ALL
			SELECT 'the policy ' || quote_ident(p.polname) FROM pg_policy AS p
			WHERE p.polrelid = 'analytics.daily_entity_metrics'::regclass
			UNION ALL
			SELECT 'the index ' || i.indexrelid::regclass::text FROM pg_index AS i
			WHERE i.indrelid = 'analytics.daily_entity_metrics'::regclass
				AND i.indexrelid::regclass::text NOT IN ('analytics.daily_entity_metrics_pkey', 'analytics.daily_entity_metrics_entity')
			UNION ALL
			SELECT 'the view ' || w.ev_class::regclass::text FROM pg_depend AS d
			INNER JOIN pg_rewrite AS w ON w.oid = d.objid AND d.classid = 'pg_rewrite'::regclass
			WHERE d.refobjid = 'analytics.daily_entity_metrics'::regclass AND d.refclassid = 'pg_class'::regclass
				AND w.ev_class <> 'analytics.daily_entity_metrics_live'::regclass
			GROUP BY w.ev_class
			UNION ALL
			SELECT 'the constraint ' || quote_ident(k.conname) FROM pg_constraint AS k
			WHERE k.conrelid = 'analytics.daily_entity_metrics'::regclass AND k.contype IN ('c', 'f')
			UNION ALL
			SELECT 'the statistics ' || quote_ident(s.stxname) FROM pg_statistic_ext AS s
			WHERE s.stxrelid = 'analytics.daily_entity_metrics'::regclass
			UNION ALL
			SELECT 'the foreign key ' || quote_ident(k.conname) FROM pg_constraint AS k
			WHERE k.confrelid = 'analytics.daily_entity_metrics'::regclass AND k.conparentid = 0
		) AS o`).Scan(&others)
	switch {
	case err != nil:
		return fmt.Errorf("look for what depends on the metrics: %w", err)
	case len(others) > 0:
		return fmt.Errorf("analytics.daily_entity_metrics cannot be partitioned while something that Daymill did not create belongs to it (%s): "+
			"drop it, and create it again afterwards", strings.Join(others, ", "))
	default:
		return nil
	}
}
