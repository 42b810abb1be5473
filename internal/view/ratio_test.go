package view_test

import (
	"context"
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/stream"
)

var ratioRows = flag.Int("view.rows", 2000, "how many rows TestRatio joins")

// TestRatio measures the cost of a view in comparison with manual alternatives, with -v and -view.rows. It asserts only that the view is
// correct.
func TestRatio(t *testing.T) {
	t.Parallel()
	b := setup(t, stream.ModeTrigger, fmt.Sprintf(`
		CREATE TABLE public.customers (id integer PRIMARY KEY, name text, city text);
		CREATE TABLE public.orders (id integer PRIMARY KEY, customer_id integer, total numeric, at timestamptz);
		INSERT INTO public.customers SELECT i, 'customer ' || i, 'city ' || i %% 100 FROM generate_series(1, %[1]d / 10) AS i;
		INSERT INTO public.orders SELECT i, 1 + (i::bigint * 7919) %% (%[1]d / 10), i %% 1000, now() FROM generate_series(1, %[1]d) AS i;
		CREATE INDEX ON public.orders (customer_id)`, *ratioRows))
	b.Do(t, "VACUUM ANALYZE public.orders, public.customers")
	b.capture(t, stream.ModeTrigger)
	took := func(do func()) time.Duration {
		began := time.Now()
		do()
		return time.Since(began)
	}
	wal := func() (at int64) {
		require.NoError(t, b.QueryRow(t.Context(), "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint").Scan(&at))
		return at
	}
	const joined = "SELECT o.id AS order_id, o.total, o.at, c.name AS customer, c.city, c.id AS customer_id FROM public.orders AS o JOIN public.customers AS c ON c.id = o.customer_id"
	conn, err := b.Acquire(t.Context()) // A connection without the pool's limits.
	require.NoError(t, err)
	defer conn.Release()
	_, err = conn.Exec(t.Context(), "SET statement_timeout = 0")
	require.NoError(t, err)
	by := func(sql string) {
		_, err := conn.Exec(t.Context(), sql)
		require.NoError(t, err, sql)
	}
	for round := range 3 {
		table := took(func() { by("CREATE TABLE public.plain AS " + joined) })
		indexes := took(func() { by("CREATE INDEX ON public.plain (order_id); CREATE INDEX ON public.plain (customer_id)") })
		by("DROP TABLE public.plain")
		if round == 0 {
			b.apply(t, read(t, `
name: report
tables:
  - {table: orders, columns: [{id: order_id}, total, at]}
  - {table: customers, join: {customer_id: id}, columns: [{name: customer}, city, {column: id, as: customer_id}]}`))
		} else {
			_, err := b.engine.Rebuild(t.Context(), "report", who)
			require.NoError(t, err)
		}
		build := took(func() { b.finish(t.Context(), t) })
		t.Logf("%d rows: build %v, CREATE TABLE AS %v: %.2f; with CREATE INDEX %v: %.2f", *ratioRows, build, table, build.Seconds()/table.Seconds(), table+indexes, build.Seconds()/(table+indexes).Seconds())
	}
	b.quiet(t)
	b.exact(t, "report")

	by("CREATE MATERIALIZED VIEW public.whole AS " + joined)
	by("CREATE UNIQUE INDEX ON public.whole (order_id)")
	for _, changed := range []int{1, 100, 10_000} {
		changed = min(changed, *ratioRows/2)
		for range 3 {
			b.Do(t, "UPDATE public.orders SET total = total + 1 WHERE id <= $1", changed)
			began := wal()
			whole := took(func() { by("REFRESH MATERIALIZED VIEW CONCURRENTLY public.whole") })
			wholeWAL := wal() - began
			began = wal()
			kept := took(func() { b.quiet(t) })
			keptWAL := wal() - began
			t.Logf("%d changed: view %v, REFRESH MATERIALIZED VIEW CONCURRENTLY %v: %.3f; WAL %d and %d: %.3f", changed, kept, whole, kept.Seconds()/whole.Seconds(), keptWAL, wholeWAL, float64(keptWAL)/float64(wholeWAL))
			b.exact(t, "report")
		}
	}
}

// finish works on all tasks until none is due.
func (b *testBundle) finish(ctx context.Context, t *testing.T) {
	t.Helper()
	for {
		due, err := b.engine.Due(ctx)
		require.NoError(t, err)
		if len(due) == 0 {
			return
		}
		for _, id := range due {
			_, err := b.engine.Work(ctx, id)
			require.NoError(t, err)
		}
	}
}
