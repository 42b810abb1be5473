package trigger

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/table"
	"github.com/daymill/daymill/internal/postgres"
)

// Cost is how long a captured table's INSERT takes without the triggers and with them, without the network and without the commit.
type Cost struct {
	Single, SingleWith time.Duration // one row
	Bulk, BulkWith     time.Duration // a row of a statement with many
}

// ErrNoRows says that a table has no rows to measure with.
var ErrNoRows = errors.New("the table has no rows to measure with")

// costSchema is where the queue is while Measure measures. It is rolled back.
const costSchema = base + "_cost"

// How many rows of the table to insert, how often a statement with many rows inserts each of them, and how many rounds to measure. The
// lowest of the rounds counts, because other work of the machine only adds time.
const (
	costRows   = 200
	costTimes  = 10
	costRounds = 3
)

// errMeasured rolls the transaction back.
var errMeasured = errors.New("measured")

// Measure inserts rows of a table into a temporary copy, without and with the triggers, and rolls back. The copy has an index on the
// key, and neither defaults nor other triggers. It takes about a tenth of a second.
func Measure(ctx context.Context, source *postgres.DB, t table.Table) (Cost, error) {
	var cost Cost
	err := source.Tx(ctx, func(tx pgx.Tx) error {
		if err := measure(ctx, tx, t, &cost); err != nil {
			return err
		}
		return errMeasured
	})
	if err != nil && !errors.Is(err, errMeasured) {
		return Cost{}, fmt.Errorf("measure the triggers on %s: %w", t, err)
	}
	return cost, nil
}

func measure(ctx context.Context, tx pgx.Tx, t table.Table, cost *Cost) error {
	keys := make([]string, len(t.Key))
	for i, name := range t.Key {
		keys[i] = pgx.Identifier{name}.Sanitize()
	}
	rows, times := strconv.Itoa(costRows), strconv.Itoa(costTimes)
	statements := []string{
		"CREATE TEMPORARY TABLE daymill_cost ON COMMIT DROP AS SELECT * FROM " + t.SQL() + " WITH NO DATA",
		"CREATE TEMPORARY TABLE daymill_cost_rows ON COMMIT DROP AS SELECT * FROM " + t.SQL() + " LIMIT " + rows,
		`CREATE FUNCTION pg_temp.daymill_cost_single() RETURNS double precision LANGUAGE plpgsql AS $$
			DECLARE
				r record;
				began timestamptz;
				took interval := '0';
			BEGIN
				FOR r IN SELECT s.ctid AS place FROM pg_temp.daymill_cost_rows AS s LOOP
					began := pg_catalog.clock_timestamp();
					INSERT INTO pg_temp.daymill_cost SELECT s.* FROM pg_temp.daymill_cost_rows AS s WHERE s.ctid = r.place;
					took := took + (pg_catalog.clock_timestamp() - began);
				END LOOP;
				RETURN EXTRACT(epoch FROM took) / (SELECT pg_catalog.count(*) FROM pg_temp.daymill_cost_rows);
			END $$`,
		`CREATE FUNCTION pg_temp.daymill_cost_bulk() RETURNS double precision LANGUAGE plpgsql AS $$
			DECLARE
				began timestamptz := pg_catalog.clock_timestamp();
			BEGIN
				INSERT INTO pg_temp.daymill_cost SELECT s.* FROM pg_temp.daymill_cost_rows AS s CROSS JOIN pg_catalog.generate_series(1, ` + times + `);
				RETURN EXTRACT(epoch FROM pg_catalog.clock_timestamp() - began) / ` + times + ` / (SELECT pg_catalog.count(*) FROM pg_temp.daymill_cost_rows);
			END $$`,
	}
	if len(keys) > 0 && !t.Full() { // All columns may be too much for an index.
		statements = append(statements, "CREATE INDEX ON pg_temp.daymill_cost ("+strings.Join(keys, ", ")+")")
	}
	if err := run(ctx, tx, statements); err != nil {
		return err
	}
	var some bool
	copied := t
	copied.Parts = nil
	err := tx.QueryRow(ctx, "SELECT 'pg_temp.daymill_cost'::regclass::oid, EXISTS (SELECT FROM pg_temp.daymill_cost_rows)").Scan(&copied.OID, &some)
	if err != nil {
		return err
	}
	if !some {
		return ErrNoRows
	}
	if err := shortest(ctx, tx, &cost.Single, &cost.Bulk); err != nil {
		return err
	}
	none := &installed{schema: costSchema}
	statements = append([]string{in(costSchema, installSQL)}, none.outdated(copied)...)
	if err := run(ctx, tx, append(statements, none.attach(copied, "pg_temp.daymill_cost", kinds)...)); err != nil {
		return err
	}
	if err := shortest(ctx, tx, &cost.SingleWith, &cost.BulkWith); err != nil {
		return err
	}
	var failed bool
	if err := tx.QueryRow(ctx, "SELECT is_called FROM "+costSchema+".failures").Scan(&failed); err != nil {
		return err
	}
	if failed {
		return ErrFailed
	}
	return nil
}

// shortest measures both statements some times, and keeps the shortest time of each.
func shortest(ctx context.Context, tx pgx.Tx, single, bulk *time.Duration) error {
	for range costRounds {
		var one, many float64
		if err := tx.QueryRow(ctx, "SELECT pg_temp.daymill_cost_single(), pg_temp.daymill_cost_bulk()").Scan(&one, &many); err != nil {
			return err
		}
		for to, seconds := range map[*time.Duration]float64{single: one, bulk: many} {
			took := time.Duration(seconds * float64(time.Second))
			if *to == 0 || took < *to {
				*to = took
			}
		}
	}
	return nil
}
