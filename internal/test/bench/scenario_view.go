package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Names of contenders of views.
const (
	ofTableAs    = "CREATE TABLE AS"
	ofTableIndex = "CREATE TABLE AS, with the indexes"
	ofRefresh    = "REFRESH MATERIALIZED VIEW CONCURRENTLY"
	ofTrigger    = "a trigger written by hand"
	ofNothing    = "floor: the application's UPDATE alone"
)

// viewScenarios compare views with what people do without them. Each database has a table of orders, or several with the same rows, and a table
// of customers.
func viewScenarios() []scenario {
	rounds := func(each int) func(*bench) int { return func(b *bench) int { return each * (b.rounds + 1) } }
	return []scenario{
		{"viewbuild", "First build of a view", rounds(3), viewBuild},
		{"viewchange", "A view that keeps up with changes", rounds(12), viewChange},
		{"viewlatency", "From commit to a view that is right", func(b *bench) int { return viewOrders * b.requests }, viewLatency},
		{"viewdimension", "A row on which many rows of a view depend", rounds(1), viewDimension},
	}
}

// joinedSQL is what all contenders make of a table of orders.
func joinedSQL(orders string) string {
	return "SELECT o.id AS order_id, o.total, o.at, c.id AS customer_id, c.name AS customer, c.city FROM public." + orders +
		" AS o JOIN public.customers AS c ON c.id = o.customer_id"
}

// shop creates a database with tables of orders, the first of which a view joins with customers, and starts a worker. The caller kills the worker.
func (b *bench) shop(ctx context.Context, name string, rows int, others ...string) (db *database, w *worker, err error) {
	if db, err = b.install(ctx, name); err != nil {
		return nil, nil, err
	}
	b.meter.say("make orders")
	err = db.exec(ctx, fmt.Sprintf(`CREATE TABLE public.customers (id integer PRIMARY KEY, name text NOT NULL, city text NOT NULL);
		INSERT INTO public.customers SELECT i, 'customer ' || i, 'city ' || i %% 100 FROM generate_series(1, greatest(%d / 10, 1)) AS i`, rows))
	for _, orders := range append([]string{"orders"}, others...) {
		if err == nil {
			err = db.exec(ctx, fmt.Sprintf(`CREATE TABLE public.%[1]s (id bigint PRIMARY KEY, customer_id integer NOT NULL, total numeric NOT NULL, at timestamptz NOT NULL);
				INSERT INTO public.%[1]s SELECT i, 1 + (i * 7919) %% greatest(%[2]d / 10, 1), i %% 1000, now() FROM generate_series(1, %[2]d::bigint) AS i;
				CREATE INDEX ON public.%[1]s (customer_id)`, orders, rows))
		}
	}
	if err == nil {
		err = db.exec(ctx, "VACUUM ANALYZE")
	}
	file := filepath.Join(b.dir, name+".yaml")
	if err == nil {
		err = os.WriteFile(file, []byte(`
name: report
tables:
  - {table: orders, columns: [{id: order_id}, total, at]}
  - {table: customers, join: {customer_id: id}, columns: [{column: id, as: customer_id}, {name: customer}, city]}
`), 0o600)
	}
	if err == nil {
		_, err = b.daymill(ctx, db.url, "view", "apply", "-f", file)
	}
	if err != nil {
		return nil, nil, err
	}
	b.meter.say("build the view")
	if w, err = b.worker(ctx, db.url, "--pace", "0"); err == nil {
		err = db.await(ctx, "SELECT to_regclass('views.report') IS NOT NULL AND NOT EXISTS (SELECT FROM view.task WHERE state IN ('queued', 'running'))")
	}
	return db, w, err
}

// await waits until a query returns true.
func (db *database) await(ctx context.Context, sql string, arguments ...any) error {
	return await(ctx, time.Hour, 2*time.Millisecond, func() (is bool, err error) {
		err = db.QueryRow(ctx, sql, arguments...).Scan(&is)
		return is, err
	})
}

// right returns an error unless the view has the rows of its SELECT.
func (db *database) right(ctx context.Context) error {
	var differ int64
	const view = "SELECT order_id, total, at, customer_id, customer, city FROM views.report"
	err := db.QueryRow(ctx, "SELECT count(*) FROM (("+joinedSQL("orders")+" EXCEPT ALL "+view+") UNION ALL ("+view+" EXCEPT ALL "+joinedSQL("orders")+")) AS d").Scan(&differ)
	if err == nil && differ > 0 {
		err = fmt.Errorf("%d rows of the view differ from its SELECT", differ)
	}
	return err
}

// longestOf returns the longest statement on the view's tables since the turn began, but for those that create indexes; 0 without
// pg_stat_statements.
func (db *database) longestOf(ctx context.Context) (took float64, err error) {
	if !db.tracks {
		return 0, nil
	}
	err = db.QueryRow(ctx, `SELECT coalesce(max(max_exec_time), 0) FROM pg_stat_statements
		WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND query ~ '"views"' AND query !~ '^CREATE '`).Scan(&took)
	return took, err
}

// viewBuild builds the view again and again, with an application beside it.
func viewBuild(ctx context.Context, b *bench) (Result, error) {
	db, w, err := b.shop(ctx, "viewbuild", b.viewRows)
	if w != nil {
		defer w.kill()
	}
	if err != nil {
		return Result{}, err
	}
	application, err := makeLoad(ctx, db, b.loadClients, b.loadRate)
	if err != nil {
		return Result{}, err
	}
	beside := func(name string, do func(ctx context.Context, url string) error, longest func(ctx context.Context) (float64, error)) contender {
		return contender{name: name, prepare: func(ctx context.Context) error { return db.exec(ctx, "DROP TABLE IF EXISTS public.plain") }, run: func(ctx context.Context, url string) (sample, error) {
			one, err := application.during(ctx, func(ctx context.Context) error { return do(ctx, url) })
			if err != nil || longest == nil {
				return one, err
			}
			one[lasted], err = longest(ctx)
			return one, err
		}}
	}
	create := func(more ...string) func(ctx context.Context, url string) error {
		return func(ctx context.Context, url string) error {
			conn, err := pgx.Connect(ctx, url)
			if err != nil {
				return err
			}
			defer conn.Close(context.WithoutCancel(ctx))
			for _, sql := range append([]string{"CREATE TABLE public.plain AS " + joinedSQL("orders")}, more...) {
				if _, err := conn.Exec(ctx, sql); err != nil {
					return err
				}
			}
			return nil
		}
	}
	got, err := b.turns(ctx, db, nil,
		beside(ofDaymill, func(ctx context.Context, url string) error {
			_, err := b.daymill(ctx, url, "view", "rebuild", "report", "--wait", "--pace", "0")
			return err
		}, db.longestOf),
		beside(ofTableAs, create(), nil),
		beside(ofTableIndex, create("CREATE INDEX ON public.plain (order_id)", "CREATE INDEX ON public.plain (customer_id)"), nil))
	if err == nil {
		err = db.right(ctx)
	}
	return Result{
		Notes: []string{
			fmt.Sprintf("%s orders joined with %s customers. `daymill view rebuild --wait --pace 0`; an application makes %d requests a second meanwhile, whose latencies are p50 and p99.",
				thousands(int64(b.viewRows)), thousands(int64(b.viewRows/10)), b.loadRate),
			"The longest statement is without those that create indexes, on a table that nobody uses yet. Ends with a comparison of the view with its SELECT.",
		},
		Rows: got.rows(ofDaymill, ofTableAs, ofTableIndex),
		Ratios: []Ratio{
			{ID: "viewbuild.time", What: "time, against CREATE TABLE AS", Value: got.ratio(wall, ofDaymill, ofTableAs), Target: 1.5},
			{ID: "viewbuild.indexed", What: "time, against CREATE TABLE AS and CREATE INDEX", Value: got.ratio(wall, ofDaymill, ofTableIndex)},
			{ID: "viewbuild.longest_ms", What: "longest statement", Value: got.of(ofDaymill, lasted), Unit: "ms", Target: 250, Worst: true},
			{ID: "viewbuild.p99", What: "the application's p99, against that beside CREATE TABLE AS", Value: got.ratio(p99, ofDaymill, ofTableAs)},
		},
	}, err
}

// changesSQL updates the first orders.
func changesSQL(orders string, changed int) string {
	return fmt.Sprintf("UPDATE public.%s SET total = total + 1 WHERE id <= %d", orders, changed)
}

// handSQL is the trigger that a person writes.
const handSQL = `
CREATE TABLE public.by_hand AS ` + "%s" + `;
CREATE INDEX ON public.by_hand (order_id);
CREATE FUNCTION public.by_hand() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	DELETE FROM public.by_hand AS h USING changed AS o WHERE h.order_id = o.id;
	INSERT INTO public.by_hand SELECT o.id, o.total, o.at, c.id, c.name, c.city FROM changed AS o JOIN public.customers AS c ON c.id = o.customer_id;
	RETURN NULL;
END $$;
CREATE TRIGGER by_hand AFTER UPDATE ON public.hand_orders REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION public.by_hand()`

// viewChange updates 1, 100 and 10,000 rows. Every contender has its own orders, so that none pays for another.
func viewChange(ctx context.Context, b *bench) (Result, error) {
	db, w, err := b.shop(ctx, "viewchange", b.viewRows, "whole_orders", "hand_orders", "plain_orders")
	if w != nil {
		defer w.kill()
	}
	if err != nil {
		return Result{}, err
	}
	err = db.exec(ctx, "CREATE MATERIALIZED VIEW public.whole AS "+joinedSQL("whole_orders")+"; CREATE UNIQUE INDEX ON public.whole (order_id)")
	if err == nil {
		err = db.exec(ctx, strings.Replace(handSQL, "%s", joinedSQL("hand_orders"), 1))
	}
	if err != nil {
		return Result{}, err
	}
	result := Result{Notes: []string{
		fmt.Sprintf("%s orders joined with %s customers. The time is from the commit of the application's UPDATE until the view is right. The write is the UPDATE itself, to which triggers add. WAL is that of both.",
			thousands(int64(b.viewRows)), thousands(int64(b.viewRows/10))),
		"Ends with a comparison of the view with its SELECT.",
	}}
	for i, changed := range []int{1, 100, 10_000} {
		changed = min(changed, b.viewRows/2)
		// turn updates orders, and then does what makes a view right.
		turn := func(name, orders string, then func(ctx context.Context, conn *pgx.Conn) error) contender {
			return contender{name: name, run: func(ctx context.Context, url string) (sample, error) {
				conn, err := pgx.Connect(ctx, url)
				if err != nil {
					return nil, err
				}
				defer conn.Close(context.WithoutCancel(ctx))
				// A generic plan of the query that waits would read whole tables.
				if _, err := conn.Exec(ctx, "SET plan_cache_mode = force_custom_plan"); err != nil {
					return nil, err
				}
				began := now()
				if _, err := conn.Exec(ctx, changesSQL(orders, changed)); err != nil {
					return nil, err
				}
				committed := now()
				if err := then(ctx, conn); err != nil {
					return nil, err
				}
				return sample{written: milliseconds(committed.Sub(began)), wall: milliseconds(now().Sub(committed))}, nil
			}}
		}
		nothing := func(context.Context, *pgx.Conn) error { return nil }
		got, err := b.turns(ctx, db, nil,
			turn(ofDaymill, "orders", func(ctx context.Context, conn *pgx.Conn) error {
				return await(ctx, time.Hour, time.Millisecond, func() (is bool, err error) {
					err = conn.QueryRow(ctx, `SELECT NOT EXISTS (SELECT FROM public.orders AS o JOIN views.report AS v ON v.order_id = o.id
						WHERE o.id <= $1 AND v.order_id <= $1 AND v.total <> o.total)`, changed).Scan(&is)
					return is, err
				})
			}),
			turn(ofRefresh, "whole_orders", func(ctx context.Context, conn *pgx.Conn) error {
				_, err := conn.Exec(ctx, "REFRESH MATERIALIZED VIEW CONCURRENTLY public.whole")
				return err
			}),
			turn(ofTrigger, "hand_orders", nothing), turn(ofNothing, "plain_orders", nothing))
		if err != nil {
			return Result{}, err
		}
		name := thousands(int64(changed)) + " changed: "
		for _, row := range got.rows(ofDaymill, ofRefresh, ofTrigger, ofNothing) {
			row.Contender = name + row.Contender
			result.Rows = append(result.Rows, row)
		}
		target := []float64{0.01, 0.05, 0.5}[i]
		result.Ratios = append(result.Ratios,
			Ratio{ID: fmt.Sprintf("viewchange.time_%d", changed), What: name + "time, against REFRESH", Value: got.ratio(wall, ofDaymill, ofRefresh), Target: target},
			Ratio{ID: fmt.Sprintf("viewchange.wal_%d", changed), What: name + "WAL, against REFRESH", Value: got.ratio(wal, ofDaymill, ofRefresh), Target: target},
			Ratio{ID: fmt.Sprintf("viewchange.write_%d", changed), What: name + "the application's UPDATE, against that with a trigger by hand", Value: got.ratio(written, ofDaymill, ofTrigger)})
	}
	return result, db.right(ctx)
}

// viewOrders is how many orders viewLatency times for each of the other scenarios' requests, which take longer.
const viewOrders = 8

// viewLatency measures the time from the commit of one order until the view has it.
func viewLatency(ctx context.Context, b *bench) (Result, error) {
	db, w, err := b.shop(ctx, "viewlatency", min(b.viewRows, 100_000))
	if w != nil {
		defer w.kill()
	}
	if err != nil {
		return Result{}, err
	}
	var all []float64
	for i := range viewOrders * b.requests {
		b.meter.step("order")
		// A random pause, so that orders are not in step with what the worker does.
		if err := sleep(ctx, time.Duration(rand.IntN(200))*time.Millisecond); err != nil {
			return Result{}, err
		}
		if err := db.exec(ctx, "INSERT INTO public.orders VALUES ($1, 1, 1, now())", -1-i); err != nil {
			return Result{}, err
		}
		committed := now()
		if err := db.await(ctx, "SELECT EXISTS (SELECT FROM views.report WHERE order_id = $1)", -1-i); err != nil {
			return Result{}, err
		}
		all = append(all, milliseconds(now().Sub(committed)))
	}
	slices.Sort(all)
	one := sample{p50: quantile(all, 0.5), p99: quantile(all, 0.99), worst: quantile(all, 1)}
	return Result{
		Notes: []string{fmt.Sprintf("%d orders, one after another; a worker with --pace 0. Ends with a comparison of the view with its SELECT.", viewOrders*b.requests)},
		Rows:  samples{ofDaymill: {one}}.rows(ofDaymill),
		Ratios: []Ratio{
			{ID: "viewlatency.p50", What: "order committed → in the view, p50", Value: spread([]float64{one[p50]}), Unit: "ms", Target: 100},
			{ID: "viewlatency.p99", What: "order committed → in the view, p99", Value: spread([]float64{one[p99]}), Unit: "ms", Target: 500},
		},
	}, db.right(ctx)
}

// viewDimension changes a customer who has most of the orders.
func viewDimension(ctx context.Context, b *bench) (Result, error) {
	db, w, err := b.shop(ctx, "viewdimension", b.viewRows)
	if w != nil {
		defer w.kill()
	}
	if err != nil {
		return Result{}, err
	}
	dependants := min(b.viewDependants, b.viewRows)
	err = db.exec(ctx, "UPDATE public.orders SET customer_id = 1 WHERE id <= $1", dependants)
	if err == nil {
		err = db.await(ctx, "SELECT count(*) >= $1 FROM views.report WHERE customer_id = 1", dependants)
	}
	if err != nil {
		return Result{}, err
	}
	got, err := b.turns(ctx, db, nil, contender{name: ofDaymill, run: func(ctx context.Context, url string) (sample, error) {
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			return nil, err
		}
		defer conn.Close(context.WithoutCancel(ctx))
		if _, err := conn.Exec(ctx, "UPDATE public.customers SET name = name || '!' WHERE id = 1"); err != nil {
			return nil, err
		}
		committed := now()
		err = await(ctx, time.Hour, 20*time.Millisecond, func() (is bool, err error) {
			err = conn.QueryRow(ctx, "SELECT NOT EXISTS (SELECT FROM views.report WHERE customer_id = 1 AND customer <> (SELECT name FROM public.customers WHERE id = 1))").Scan(&is)
			return is, err
		})
		if err != nil {
			return nil, err
		}
		one := sample{wall: milliseconds(now().Sub(committed))}
		one[lasted], err = db.longestOf(ctx)
		return one, err
	}})
	if err == nil {
		err = db.right(ctx)
	}
	return Result{
		Notes:  []string{fmt.Sprintf("A customer with %s orders gets another name. A task refreshes the rows in chunks. Ends with a comparison of the view with its SELECT.", thousands(int64(dependants)))},
		Rows:   got.rows(ofDaymill),
		Ratios: []Ratio{{ID: "viewdimension.longest_ms", What: "longest statement", Value: got.of(ofDaymill, lasted), Unit: "ms", Target: 250, Worst: true}},
	}, err
}
