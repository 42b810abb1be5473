package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// shopTable is a table of the application. The tables differ in what identifies their rows.
type shopTable struct {
	name string // unquoted
	sql  string
	key  []string
}

var shopTables = []shopTable{
	{"plain", "shop.plain", []string{"id"}},
	{"whole", "shop.whole", []string{"id"}},
	{"pair", "shop.pair", []string{"k", "id"}},
	{"parts", "shop.parts", []string{"id"}},
	{"We ird", `shop."We ird"`, []string{"id"}},
}

// shopColumns are the columns of each table. n grows with every change of every row.
const shopColumns = ` (id integer NOT NULL, k text NOT NULL DEFAULT 'k', n bigint NOT NULL DEFAULT nextval('truth.n'), v text, body text,
	amount numeric, at timestamptz NOT NULL DEFAULT clock_timestamp(), tags text[], `

// shopSQL creates the application's tables, and the truth: what was done to each row in order, recorded by the same transaction.
const shopSQL = `
CREATE SCHEMA truth;
CREATE SEQUENCE truth.n;
CREATE TABLE truth.note (seq bigserial PRIMARY KEY, name text NOT NULL, key text NOT NULL, op text NOT NULL, n bigint NOT NULL);
CREATE FUNCTION truth.note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
	before text := CASE WHEN TG_OP <> 'INSERT' THEN CASE TG_ARGV[0] WHEN 'pair' THEN OLD.k || '/' ELSE '' END || OLD.id END;
	after text := CASE WHEN TG_OP <> 'DELETE' THEN CASE TG_ARGV[0] WHEN 'pair' THEN NEW.k || '/' ELSE '' END || NEW.id END;
BEGIN
	IF before <> after OR after IS NULL THEN
		INSERT INTO truth.note (name, key, op, n) VALUES (TG_ARGV[0], before, 'delete', 0);
	END IF;
	IF after IS NOT NULL THEN
		INSERT INTO truth.note (name, key, op, n) VALUES (TG_ARGV[0], after, CASE WHEN before = after THEN 'update' ELSE 'insert' END, NEW.n);
	END IF;
	RETURN NULL;
END
$$;
CREATE SCHEMA shop AUTHORIZATION daymill;`

// tableSQL creates one table, owned by the workers' role, because triggers and publications require that.
func (t shopTable) tableSQL() []string {
	of := shopColumns + "PRIMARY KEY (" + strings.Join(t.key, ", ") + "))"
	statements := []string{"CREATE TABLE " + t.sql + of}
	if t.name == "parts" {
		statements = []string{
			"CREATE TABLE " + t.sql + of + " PARTITION BY RANGE (id)",
			"CREATE TABLE shop.parts_1 PARTITION OF shop.parts FOR VALUES FROM (MINVALUE) TO (150)",
			"CREATE TABLE shop.parts_2 PARTITION OF shop.parts FOR VALUES FROM (150) TO (MAXVALUE)",
			"ALTER TABLE shop.parts_1 OWNER TO daymill", "ALTER TABLE shop.parts_2 OWNER TO daymill",
		}
	} else {
		statements = append(statements, "ALTER TABLE "+t.sql+" ALTER body SET STORAGE EXTERNAL")
	}
	if t.name == "whole" {
		statements = append(statements, "ALTER TABLE "+t.sql+" REPLICA IDENTITY FULL")
	}
	return append(statements,
		"CREATE TRIGGER truth AFTER INSERT OR UPDATE OR DELETE ON "+t.sql+" FOR EACH ROW EXECUTE FUNCTION truth.note('"+t.name+"')",
		"ALTER TABLE "+t.sql+" OWNER TO daymill")
}

// again creates a table again, empty. The truth does not have the deletion of its rows, because the schedule has a gap there.
func (t shopTable) again() []string {
	return append([]string{"SET lock_timeout = '2s'", "BEGIN", "DROP TABLE " + t.sql}, append(t.tableSQL(), "COMMIT")...)
}

// shopper is a process of the application.
type shopper struct {
	*captureTrial

	number int
	random *rand.Rand
	done   int // transactions
}

// write changes rows until ctx is done.
func (w *shopper) write(ctx context.Context) {
	for i := 0; sleep(ctx, time.Duration(w.random.Int64N(int64(w.schedule.rest)))); i++ {
		statements := w.statements()
		hold := time.Duration(0)
		if w.random.IntN(4) == 0 {
			hold = time.Duration(w.random.Int64N(int64(300 * time.Millisecond)))
		}
		end := w.random.IntN(20)
		prepared := ""
		if end < 3 {
			prepared = fmt.Sprintf("seed_%d_%d_%d", w.schedule.seed, w.number, i)
		}
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		err := w.transaction(within, statements, hold, prepared, end%3 == 2)
		cancel()
		if err == nil {
			w.done++
		}
		w.note(err)
	}
}

func (w *shopper) transaction(ctx context.Context, statements []string, hold time.Duration, prepared string, abort bool) error {
	conn, err := pgx.Connect(ctx, w.sourceURL())
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for _, statement := range append([]string{"SET lock_timeout = '1s'", "BEGIN"}, statements...) {
		if _, err := conn.Exec(ctx, statement, pgx.QueryExecModeSimpleProtocol); err != nil {
			return fmt.Errorf("%.60s: %w", statement, err)
		}
	}
	sleep(ctx, hold)
	switch {
	case prepared != "" && abort:
		_, err = conn.Exec(ctx, "PREPARE TRANSACTION '"+prepared+"'; ROLLBACK PREPARED '"+prepared+"'", pgx.QueryExecModeSimpleProtocol)
	case prepared != "":
		if _, err = conn.Exec(ctx, "PREPARE TRANSACTION '"+prepared+"'"); err == nil {
			sleep(ctx, hold)
			_, err = conn.Exec(ctx, "COMMIT PREPARED '"+prepared+"'")
		}
	case abort:
		return errors.New("rolled back")
	default:
		_, err = conn.Exec(ctx, "COMMIT")
	}
	return err
}

// statements returns a random transaction.
func (w *shopper) statements() []string {
	var all []string
	for range 1 + w.random.IntN(4) {
		all = append(all, w.statement())
		if w.random.IntN(10) == 0 {
			all = append(all, "SAVEPOINT s", w.statement(), "ROLLBACK TO s")
		}
	}
	if w.schedule.rollup && w.random.IntN(3) == 0 {
		all = append(all, w.events())
	}
	return all
}

func (w *shopper) statement() string {
	t := shopTables[w.random.IntN(len(shopTables))]
	first := 1 + w.random.IntN(300)
	last := first + []int{0, 0, 2, 10, 40}[w.random.IntN(5)]
	value := fmt.Sprintf("v%d", w.random.IntN(1000))
	if w.schedule.poison && w.random.IntN(40) == 0 {
		value, last = poisonous, first
	}
	where := fmt.Sprintf(" WHERE id BETWEEN %d AND %d", first, last)
	conflict := " ON CONFLICT (" + strings.Join(t.key, ", ") + ") DO UPDATE SET n = excluded.n, v = excluded.v"
	insert := func(first, last int) string {
		return fmt.Sprintf(`INSERT INTO %s (id, k, v, body, amount, tags)
			SELECT g, 'k' || g %% 3, '%s', CASE WHEN g %% 4 = 0 THEN repeat(md5(g::text), 100) END, g / 7.0, ARRAY['a', NULL, '"q"']
			FROM generate_series(%d, %d) AS g%s`, t.sql, value, first, last, conflict)
	}
	switch n := w.random.IntN(100); {
	case n < 30:
		return insert(first, last)
	case n < 60:
		return fmt.Sprintf("UPDATE %s SET n = nextval('truth.n'), v = '%s'%s", t.sql, value, where)
	case n < 68:
		return fmt.Sprintf("UPDATE %s SET n = nextval('truth.n'), body = repeat(md5(random()::text), 100)%s", t.sql, where)
	case n < 83:
		return "DELETE FROM " + t.sql + where
	case n < 94:
		return fmt.Sprintf("UPDATE %s SET n = nextval('truth.n'), id = %d WHERE id = %d AND NOT EXISTS (SELECT FROM %s AS o WHERE o.id = %d)",
			t.sql, 1+w.random.IntN(300), first, t.sql, first+1)
	case n < 95 && !w.schedule.redis: // Redis cannot tell which keys a truncate affects.
		return "TRUNCATE " + t.sql
	case n < 97:
		return insert(10_000, 10_000+w.random.IntN(2_000))
	default:
		return fmt.Sprintf("UPDATE %s SET n = nextval('truth.n') WHERE id > 10000", t.sql)
	}
}

// events changes the rollup's events of past dates.
func (w *shopper) events() string {
	entity, day := 1+w.random.IntN(entities), w.random.IntN(dates)
	at := fmt.Sprintf("analytics.date_start('%s'::date + %d) + interval '1 hour' * %.3f", w.rollup.first, day, 22*w.random.Float64())
	pick := fmt.Sprintf("(SELECT x.id FROM app.events AS x WHERE x.entity_id = %d ORDER BY x.id LIMIT %d)", entity, 1+w.random.IntN(3))
	switch w.random.IntN(4) {
	case 0:
		return "DELETE FROM app.events WHERE id IN " + pick
	case 1:
		return "UPDATE app.events SET created_at = " + at + " WHERE id IN " + pick
	default:
		return fmt.Sprintf("INSERT INTO app.events (entity_id, event_type, created_at) SELECT %d, 'view', %s FROM generate_series(1, %d)",
			entity, at, 1+w.random.IntN(4))
	}
}
