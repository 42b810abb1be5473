package source

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

const timestamptz = pgtype.TimestamptzOID

// sentinel is an instant that is easy to find in a plan's text. It is before all events, so that the plan has all partitions.
const sentinel = "2001-02-03 04:05:06.789+00"

const manyRows = 10_000

// checkInstant looks for an index on the instant of every relation that has events. It makes sequential scans as expensive as
// possible, so if the plan has one, no index can be used. The expression that the plan compares with the instant is exactly what
// must be indexed. This also works for unions, joins and expressions in views that were written by hand.
func checkInstant(ctx context.Context, tx pgx.Tx) (Report, error) {
	if tables, err := distributed(ctx, tx); err != nil || len(tables) > 0 {
		if err != nil {
			return nil, err
		}
		return checkDistributed(ctx, tx, tables)
	}
	report, plan, err := probe(ctx, tx, sentinel)
	if err != nil || len(report) > 0 {
		return report, err
	}
	// TimescaleDB leaves the condition out where a whole chunk satisfies it. Right after an event, none does.
	at, has, err := within(ctx, tx)
	if err != nil {
		return nil, err
	}
	if has {
		if report, _, err = probe(ctx, tx, at); err != nil || len(report) > 0 {
			return report, err
		}
	}
	report.unreached(plan)
	return report, nil
}

// within returns an instant right after an event, unless there is none or it takes long to find. The event itself may be at a chunk's beginning.
func within(ctx context.Context, tx pgx.Tx) (at string, has bool, err error) {
	err = inSavepoint(ctx, tx, func(tx pgx.Tx) error {
		if err := postgres.SetLocal(ctx, tx, postgres.Local{"statement_timeout": "2s"}); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `
			SELECT (e.created_at + interval '1 microsecond')::text FROM analytics.events AS e
			WHERE e.created_at < timestamptz '9999-12-31 00:00+00' LIMIT 1`).Scan(&at)
	})
	if errors.Is(err, pgx.ErrNoRows) || postgres.IsTimeout(err) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("read an event: %w", err)
	}
	return at, true, nil
}

// probe looks at the plan of a slice from an instant on. The report is empty if the plan compares no relation with it.
func probe(ctx context.Context, tx pgx.Tx, at string) (Report, node, error) {
	var plan node
	err := inSavepoint(ctx, tx, func(tx pgx.Tx) (err error) {
		if err = postgres.SetLocal(ctx, tx, postgres.Local{"enable_seqscan": "off"}); err != nil {
			return err
		}
		plan, err = explain(ctx, tx, "SELECT e.entity_id, e.event_type FROM analytics.events AS e WHERE e.created_at >= '"+at+"'")
		return err
	})
	if err != nil {
		return nil, plan, err
	}

	var report Report
	type instant struct { // one per table, or more if a union reads two columns of the same table
		root       int64
		expression string
	}
	var instants []instant
	parts := map[instant][]indexed{}
	for _, s := range plan.scans() {
		compared := ""
		for _, condition := range s.conditions() {
			if compared == "" {
				compared = operand(condition, at)
			}
		}
		switch {
		case s.Type == nodeForeignScan && (compared != "" || strings.Contains(s.RemoteSQL, at)):
			if err := report.foreign(ctx, tx, s, at); err != nil {
				return nil, plan, err
			}
		case compared == "":
			// A joined table may be read completely: checkSlice says whether it is too large for that.
		case s.Type == nodeCustomScan:
			report.addf(Warning, "an extension reads %s.%s with its own scan, which cannot be checked here", s.Schema, s.Relation).
				fix("measure the query of one day by hand")
		default:
			x, err := examine(ctx, tx, s, compared)
			if err != nil {
				return nil, plan, err
			}
			of := instant{x.RootID, x.expression}
			if !slices.Contains(instants, of) {
				instants = append(instants, of)
			}
			parts[of] = append(parts[of], x)
		}
	}
	for _, of := range instants {
		if err := report.instant(ctx, tx, parts[of]); err != nil {
			return nil, plan, err
		}
	}
	return report, plan, nil
}

// foreign reports what can be found out about a table on another server.
func (r *Report) foreign(ctx context.Context, tx pgx.Tx, s scan, at string) error {
	table, err := lookup(ctx, tx, s.Schema, s.Relation)
	if err != nil {
		return err
	}
	if operand(s.Filter, at) != "" {
		r.addf(Failure, "each slice would fetch the whole foreign table %s, because its wrapper does not send the condition on the instant",
			table.Quoted).fix("copy the events into a table of this database")
		return nil
	}
	r.addf(Warning, "%s is a foreign table: this server cannot see whether its instant is indexed", table.Quoted).
		fix("check on the other server that the table has an index on the instant")
	return nil
}

// unreached explains a plan that compares no relation with the instant.
func (r *Report) unreached(plan node) {
	scans := plan.scans()
	if len(scans) == 0 {
		r.addf(Warning, "the planner finds no table behind analytics.events, for example because a partitioned table has no partition yet").
			fix("run `daymill source check` again once there is a table")
		return
	}
	var names []string
	for _, s := range scans {
		if name := s.Schema + "." + s.Relation; !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	r.addf(Failure, "a condition on created_at reaches none of the tables, so each slice would read all of %s", strings.Join(names, ", ")).
		fix("compute created_at from one row of one table: a condition does not reach through DISTINCT ON, LIMIT, window " +
			"functions, aggregates or WITH … AS MATERIALIZED")
}

// instant reports on the index of one table: a relation, or all its scanned partitions.
func (r *Report) instant(ctx context.Context, tx pgx.Tx, parts []indexed) error {
	var missing []indexed
	var found db.SourceIndexesRow
	for _, x := range parts {
		if index, ok := x.serving(); ok {
			found = index
		} else if !slices.ContainsFunc(missing, func(m indexed) bool { return m.ID == x.ID }) {
			missing = append(missing, x)
		}
	}
	first := parts[0]
	if len(missing) == 0 {
		of := ""
		if first.RootID != first.ID {
			of = ", and similar indexes on the other partitions of " + first.RootQuoted
		}
		r.addf(OK, "the index %s (%s) on %s finds a slice's events%s", found.Quoted, found.Method, first.expression, of)
		return nil
	}

	first = missing[0]
	can, err := first.indexable(ctx, tx)
	if err != nil {
		return err
	}
	if !can {
		r.addf(Failure, "created_at is computed from %s as %s, which Postgres cannot index because it depends on settings",
			first.RootQuoted, first.expression).
			fix("compute it with an immutable expression: AT TIME ZONE 'UTC' converts a timestamp to timestamptz, and to_timestamp(…) a number")
		return nil
	}
	partitioned := first.RootID != first.ID
	finding := r.addf(Failure, "%s has no index that finds a span of %s: each slice would read the whole table",
		first.RootQuoted, first.expression)
	for _, x := range missing {
		for _, index := range x.broken() {
			finding.fix("DROP INDEX CONCURRENTLY " + index + "; -- invalid: its creation failed")
		}
		finding.fix("CREATE INDEX CONCURRENTLY ON " + x.Quoted + " " + x.key() + ";")
	}
	if partitioned {
		finding.fix("CREATE INDEX ON " + first.RootQuoted + " " + first.key() + "; -- after those: it attaches them, and is quick")
	}
	finding.fix("if rows arrive in the order of time and are not updated, a far smaller index is enough: USING brin " + first.key() +
		" WITH (autosummarize = on)")
	return nil
}

// checkSlice plans a slice as a run does, for an hour of yesterday, and checks whether it would still read a large relation
// completely: because statistics are missing, or because a BRIN index is on rows in random order.
func checkSlice(ctx context.Context, tx pgx.Tx) (Report, error) {
	if tables, err := distributed(ctx, tx); err != nil || len(tables) > 0 {
		return nil, err // The plan has nothing of the parts.
	}
	bounds, err := db.New(tx).SourceSlice(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the bounds of yesterday: %w", err)
	}
	plan, err := explain(ctx, tx, `
		SELECT e.entity_id, coalesce(e.event_type, 'unknown'), count(*)
		FROM analytics.events AS e
		WHERE e.created_at >= '`+bounds.FromInstant+`' AND e.created_at < '`+bounds.ToInstant+`' AND e.entity_id IS NOT NULL
		GROUP BY e.entity_id, coalesce(e.event_type, 'unknown')`)
	if err != nil {
		return nil, err
	}
	var report Report
	for _, s := range plan.scans() {
		if !s.whole() {
			continue
		}
		table, err := lookup(ctx, tx, s.Schema, s.Relation)
		if err != nil {
			return nil, err
		}
		if table.RowEstimate <= manyRows {
			continue
		}
		finding := report.addf(Warning, "a slice of an hour would read all of %s, about %d rows", table.Quoted, table.RowEstimate)
		switch {
		case !table.Analyzed:
			finding.fix("ANALYZE " + table.Quoted + ";")
		default:
			finding.fix("ANALYZE "+table.Quoted+"; if that changes nothing, replace a BRIN index, which cannot find rows that are not in "+
				"order of time, by a B-tree", "a joined table needs an index on the column by which it is joined")
		}
	}
	if len(report) == 0 {
		report.addf(OK, "the plan of a slice reads no large table completely")
	}
	return report, nil
}
