package source

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/postgres"
)

// WatchCost is what the triggers cost statements that insert, measured on a temporary copy of the table's columns with two indexes.
// Times are in microseconds per statement, or per row for Bulk, without the network and without the commit.
type WatchCost struct {
	Single Cost `json:"single"` // one row of today
	Bulk   Cost `json:"bulk"`   // one of 10,000 rows of today in one statement
	Late   Cost `json:"late"`   // one row of a past date, which causes a request
}

// Cost is a time without the triggers and with them, in microseconds.
type Cost struct {
	Without float64 `json:"without_us"`
	With    float64 `json:"with_us"`
}

// Ratio returns how many times longer a statement takes with the triggers.
func (c Cost) Ratio() float64 { return c.With / max(c.Without, 0.001) }

// How many rows and rounds to measure. The lowest of the rounds counts, because other work of the machine only adds time.
const (
	costSingles = 300
	costBulk    = 10_000
	costRounds  = 3
)

// ErrNotMeasured says that this role may not create the temporary copy.
var ErrNotMeasured = fmt.Errorf("%w: measuring needs the right to create temporary tables", ErrRefused)

// MeasureWatch inserts into a temporary copy of a watched table, without and with triggers, and rolls back. It only reads some rows
// of the table itself. It takes about a second.
func MeasureWatch(ctx context.Context, conn *postgres.DB, name string) (WatchCost, error) {
	var cost WatchCost
	err := conn.Tx(ctx, func(tx pgx.Tx) error {
		return inSavepoint(ctx, tx, func(tx pgx.Tx) (err error) {
			cost, err = measureWatch(ctx, tx, name)
			return err
		})
	})
	switch postgres.Code(err) {
	case pgerrcode.InsufficientPrivilege, pgerrcode.ReadOnlySQLTransaction:
		return WatchCost{}, ErrNotMeasured
	default:
		return cost, err
	}
}

func measureWatch(ctx context.Context, tx pgx.Tx, name string) (WatchCost, error) {
	table, err := find(ctx, tx, name)
	if err != nil {
		return WatchCost{}, err
	}
	function, err := functionOf(ctx, tx, table)
	if err != nil {
		return WatchCost{}, err
	}
	all, err := watches(ctx, tx)
	if err != nil {
		return WatchCost{}, err
	}
	i := slices.IndexFunc(all, func(w Watched) bool { return w.Table == table.Quoted })
	if i < 0 {
		return WatchCost{}, refusef("%s is not watched", table.Quoted)
	}
	// A timestamp without time zone gets the local time of the session's zone.
	if zone := all[i].zone; zone != "" {
		if err := postgres.SetLocal(ctx, tx, postgres.Local{"TimeZone": zone}); err != nil {
			return WatchCost{}, err
		}
	}
	if err := copyTable(ctx, tx, table, all[i].Time); err != nil {
		return WatchCost{}, err
	}

	var cost WatchCost
	for round := range costRounds {
		for _, with := range []bool{false, true} {
			if err := costTriggers(ctx, tx, function, with); err != nil {
				return WatchCost{}, err
			}
			for _, m := range []struct {
				cost *Cost
				call string
				per  float64
			}{
				{&cost.Single, "daymill_singles('daymill_today')", costSingles},
				{&cost.Bulk, "daymill_bulk()", costBulk},
				{&cost.Late, "daymill_singles('daymill_late')", costSingles},
			} {
				var took float64
				if err := tx.QueryRow(ctx, "SELECT pg_temp."+m.call).Scan(&took); err != nil {
					return WatchCost{}, fmt.Errorf("measure: %w", err)
				}
				took /= m.per
				to := &m.cost.Without
				if with {
					to = &m.cost.With
				}
				if round == 0 || took < *to {
					*to = took
				}
			}
		}
	}
	return cost, nil
}

// copyTable creates the copy, rows to insert, and functions that insert them and return how many microseconds it took.
func copyTable(ctx context.Context, tx pgx.Tx, table relation, instant string) error {
	quoted := pgx.Identifier{instant}.Sanitize()
	first := quoted
	columns := make([]string, len(table.columns))
	for i, column := range table.columns {
		columns[i] = "s." + column.Quoted
		// A second index takes the place of the primary key. Not every type can be indexed.
		if column.Name != instant && first == quoted && (isWhole(column) || isText(column) || column.BaseName == "uuid") {
			first = column.Quoted
		}
	}
	// If the table is empty, the rows to insert have only an instant. A column's name may contain a %, so the
	// names are not part of a format.
	rows := func(name, at string, count int) string {
		values := slices.Clone(columns)
		for i, column := range table.columns {
			if column.Name == instant {
				values[i] = at + " AS " + column.Quoted
			}
		}
		return "CREATE TEMPORARY TABLE " + name + " ON COMMIT DROP AS SELECT " + strings.Join(values, ", ") + `
			FROM (SELECT n, n % greatest(1, (SELECT count(*) FROM daymill_sample)) AS place FROM generate_series(0, ` + strconv.Itoa(count-1) + `) AS n) AS g
			LEFT JOIN daymill_sample AS s ON s.daymill_place = g.place`
	}
	for _, statement := range []string{
		"CREATE TEMPORARY TABLE daymill_copy ON COMMIT DROP AS SELECT * FROM " + table.Quoted + " WITH NO DATA",
		"CREATE INDEX ON daymill_copy (" + quoted + ")",
		"CREATE INDEX ON daymill_copy (" + first + ")",
		fmt.Sprintf(`CREATE TEMPORARY TABLE daymill_sample ON COMMIT DROP AS
			SELECT t.*, row_number() OVER () - 1 AS daymill_place FROM (SELECT * FROM %s LIMIT %d) AS t`, table.Quoted, costSingles),
		rows("daymill_today", "clock_timestamp()", costBulk),
		rows("daymill_late", "timestamptz '2001-02-03 12:00+00'", costSingles),
		fmt.Sprintf(`CREATE FUNCTION pg_temp.daymill_singles(source regclass) RETURNS double precision LANGUAGE plpgsql AS $$
			DECLARE
				r record;
				started timestamptz;
				took double precision := 0;
			BEGIN
				FOR r IN EXECUTE format('SELECT t.ctid AS place FROM %%s AS t LIMIT %d', source) LOOP
					started := clock_timestamp();
					IF source = 'pg_temp.daymill_late'::regclass THEN
						INSERT INTO daymill_copy SELECT t.* FROM daymill_late AS t WHERE t.ctid = r.place;
					ELSE
						INSERT INTO daymill_copy SELECT t.* FROM daymill_today AS t WHERE t.ctid = r.place;
					END IF;
					took := took + extract(epoch FROM clock_timestamp() - started);
				END LOOP;
				TRUNCATE daymill_copy;
				RETURN took * 1000000;
			END
		$$`, costSingles),
		`CREATE FUNCTION pg_temp.daymill_bulk() RETURNS double precision LANGUAGE plpgsql AS $$
			DECLARE
				started timestamptz := clock_timestamp();
				took double precision;
			BEGIN
				INSERT INTO daymill_copy SELECT t.* FROM daymill_today AS t;
				took := extract(epoch FROM clock_timestamp() - started);
				TRUNCATE daymill_copy;
				RETURN took * 1000000;
			END
		$$`,
	} {
		if err := execute(ctx, tx, statement); err != nil {
			return fmt.Errorf("copy %s: %w", table.Quoted, err)
		}
	}
	return nil
}

// costTriggers creates the triggers of inserts on the copy, or drops them.
func costTriggers(ctx context.Context, tx pgx.Tx, function string, with bool) error {
	statement := "DROP TRIGGER IF EXISTS daymill_watch_insert ON daymill_copy"
	if with {
		statement = "CREATE TRIGGER daymill_watch_insert AFTER INSERT ON daymill_copy REFERENCING NEW TABLE AS inserted " +
			"FOR EACH STATEMENT EXECUTE FUNCTION analytics." + function + "()"
	}
	if err := execute(ctx, tx, statement); err != nil {
		return fmt.Errorf("create the triggers on the copy: %w", err)
	}
	return nil
}
