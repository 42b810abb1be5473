package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/test/recount"
)

// Names of contenders.
const (
	ofDaymill     = "Daymill"
	ofStatement   = "one statement"
	ofCareful     = "one statement, only rows that differ"
	ofView        = "materialized view"
	ofPages       = "pages by DISTINCT … LIMIT"
	ofFloor       = "floor: bare aggregate"
	ofFloorSpread = "bare aggregate, parallel"
)

// within returns the condition for events of a date.
func within(d date.Date) string {
	return fmt.Sprintf("created_at >= '%s 00:00Z' AND created_at < '%s 00:00Z'", d, d.AddDays(1))
}

// countsSQL returns the query that counts the events for a condition, per entity and date.
func countsSQL(condition string) string {
	return `SELECT
    entity_id, metric_date,
    coalesce(sum(n) FILTER (WHERE event_type = 'view'), 0) AS views_count,
    coalesce(sum(n) FILTER (WHERE event_type = 'click'), 0) AS clicks_count,
    coalesce(sum(n) FILTER (WHERE event_type = 'save'), 0) AS saves_count,
    coalesce(sum(n) FILTER (WHERE event_type = 'skip'), 0) AS skips_count,
    coalesce(jsonb_object_agg(event_type, n) FILTER (WHERE event_type NOT IN ('view', 'click', 'save', 'skip')), '{}') AS other_counts
FROM (
    SELECT entity_id, date(created_at AT TIME ZONE 'UTC') AS metric_date, event_type, count(*) AS n FROM raw_events
    WHERE ` + condition + `
    GROUP BY 1, 2, 3
) AS t
GROUP BY 1, 2`
}

// statementSQL is the statement that most people start with. The date is a constant, as in a cron job.
func statementSQL(d date.Date, condition string) string {
	counts := countsSQL(condition)
	counts = strings.ReplaceAll(counts, "date(created_at AT TIME ZONE 'UTC') AS metric_date, ", "")
	counts = strings.Replace(counts, "entity_id, metric_date,", "entity_id, DATE '"+d.String()+"',", 1)
	counts = strings.ReplaceAll(counts, "GROUP BY 1, 2, 3\n", "GROUP BY 1, 2\n")
	counts = strings.TrimSuffix(counts, ", 2")
	return `INSERT INTO one (entity_id, metric_date, views_count, clicks_count, saves_count, skips_count, other_counts)
` + counts + `
ON CONFLICT (metric_date, entity_id) DO UPDATE SET
    views_count = excluded.views_count, clicks_count = excluded.clicks_count, saves_count = excluded.saves_count,
    skips_count = excluded.skips_count, other_counts = excluded.other_counts, last_updated_at = now()`
}

// carefulSQL is the end of the statement that skips rows that are already right.
const carefulSQL = `
WHERE (one.views_count, one.clicks_count, one.saves_count, one.skips_count, one.other_counts)
    IS DISTINCT FROM
    (excluded.views_count, excluded.clicks_count, excluded.saves_count, excluded.skips_count, excluded.other_counts)`

// viewSQL creates a materialized view of some dates, with what REFRESH … CONCURRENTLY needs.
func viewSQL(condition string) string {
	return "DROP MATERIALIZED VIEW IF EXISTS public.by_view; CREATE MATERIALIZED VIEW public.by_view AS\n" + countsSQL(condition) +
		";\nCREATE UNIQUE INDEX by_view_key ON public.by_view (metric_date, entity_id)"
}

// floorSQL reads the events of a date and counts them per entity and type, as every contender has to, and does nothing with the counts.
func floorSQL(d date.Date) string {
	return "SELECT count(*), sum(n) FROM (\n    SELECT entity_id, event_type, count(*) AS n FROM raw_events\n    WHERE " +
		within(d) + "\n    GROUP BY 1, 2\n) AS t"
}

// rolls returns the contender Daymill: a process of `daymill rollup`.
func (b *bench) rolls(db *database, d date.Date, pace string, prepare func(ctx context.Context) error) contender {
	return contender{
		name: ofDaymill, table: recount.Metrics(), prepare: prepare,
		run: func(ctx context.Context, url string) (sample, error) {
			p, err := b.rollup(ctx, url, d, pace)
			if err != nil {
				return nil, err
			}
			took, err := db.longestStatement(ctx, d)
			return sample{wall: milliseconds(p.took), lasted: took}.with(p.memory), err
		},
	}
}

// longestStatement returns the longest statement of the last run of a date, from the ledger, in milliseconds.
func (db *database) longestStatement(ctx context.Context, d date.Date) (took float64, err error) {
	var state string
	err = db.QueryRow(ctx, "SELECT state, longest_statement_ms FROM analytics.rollup_runs WHERE metric_date = $1 ORDER BY id DESC LIMIT 1", d).
		Scan(&state, &took)
	if err == nil && state != "complete" {
		err = fmt.Errorf("the run is %s", state)
	}
	return took, err
}

// runs returns a contender that runs one statement on a new connection, as psql does in a cron job.
func runs(name, sql string, table pgx.Identifier, prepare func(ctx context.Context) error, before ...string) contender {
	return contender{
		name: name, table: table, prepare: prepare,
		run: func(ctx context.Context, url string) (sample, error) {
			conn, err := pgx.Connect(ctx, url)
			if err != nil {
				return nil, err
			}
			defer conn.Close(context.WithoutCancel(ctx))
			for _, setting := range before {
				if _, err := conn.Exec(ctx, setting); err != nil {
					return nil, err
				}
			}
			began := now()
			_, err = conn.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol)
			return sample{lasted: milliseconds(now().Sub(began))}, err
		},
	}
}
