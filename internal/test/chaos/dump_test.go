package chaos_test

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

// installation returns the template's installation.
func installation(ctx context.Context, db *postgres.DB) schema.Installation {
	installed, err := schema.Get(ctx, db)
	if err != nil {
		return schema.Installation{}
	}
	return installed
}

// figures returns how much has happened.
func (x *trial) figures(ctx context.Context, writers []*writer) string {
	var text string
	err := x.db.QueryRow(ctx, `
		SELECT format('%s requests, %s runs (%s lost, %s failed, %s interrupted, %s resumed)',
			(SELECT count(*) FROM analytics.rollup_requests), count(*), count(*) FILTER (WHERE r.state = 'lost'),
			count(*) FILTER (WHERE r.state = 'failed'), count(*) FILTER (WHERE r.state = 'interrupted'), count(r.resumed_run_id))
		FROM analytics.rollup_runs AS r`).Scan(&text)
	if err != nil {
		return err.Error()
	}
	transactions, starts := 0, 0
	for _, w := range writers {
		for _, n := range w.done {
			transactions += n
		}
	}
	for _, s := range x.slots {
		starts += s.starts
	}
	return fmt.Sprintf("%d transactions, %s, %d processes", transactions, text, starts)
}

// dump returns the ledger, the queue, and the ends of the workers' logs.
func (x *trial) dump(ctx context.Context) string {
	var text strings.Builder
	for _, sql := range []string{
		"SELECT to_jsonb(v)::text FROM chaos.violations AS v ORDER BY id LIMIT 20",
		"SELECT to_jsonb(d)::text FROM analytics.rollup_dates AS d ORDER BY metric_date",
		"SELECT jsonb_strip_nulls(to_jsonb(r))::text FROM analytics.rollup_runs AS r ORDER BY id",
		"SELECT jsonb_strip_nulls(to_jsonb(q))::text FROM analytics.rollup_requests AS q ORDER BY id",
		`SELECT jsonb_strip_nulls(to_jsonb(j) - 'unique_key' - 'unique_states' - 'tags')::text
			FROM river.river_job AS j ORDER BY id`,
	} {
		rows, err := x.db.Query(ctx, sql)
		var all []string
		if err == nil {
			all, err = pgx.CollectRows(rows, pgx.RowTo[string])
		}
		fmt.Fprintf(&text, "%s (error: %v)\n  %s\n", sql, err, strings.Join(all, "\n  "))
	}
	for i, slot := range x.slots {
		fmt.Fprintf(&text, "worker %d wrote:\n%s\n", i, slot.log.String())
	}
	for _, note := range slices.Sorted(maps.Keys(x.notes)) {
		fmt.Fprintf(&text, "%d times: %s\n", x.notes[note], note)
	}
	return text.String()
}
