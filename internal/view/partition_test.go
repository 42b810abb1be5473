package view_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
)

const partitioned = `
	CREATE TABLE public.orders (id integer, region integer, total integer, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
	CREATE TABLE public.orders_1 PARTITION OF public.orders FOR VALUES IN (1);
	CREATE TABLE public.orders_2 PARTITION OF public.orders FOR VALUES IN (2);
	CREATE TABLE public.orders_3 PARTITION OF public.orders FOR VALUES IN (3, 4) PARTITION BY LIST (region);
	CREATE TABLE public.orders_3_3 PARTITION OF public.orders_3 FOR VALUES IN (3);
	INSERT INTO public.orders SELECT i, 1 + i % 3, i FROM generate_series(1, 9) AS i`

// TestPartitions: a view notices partitions that are attached, detached, dropped, or truncated by themselves. A partition that gets its
// rows by changes causes no comparison.
func TestPartitions(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{stream.ModeTrigger, stream.ModeWAL} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			testPartitions(t, mode)
		})
	}
}

func testPartitions(t *testing.T, mode string) {
	t.Helper()
	const buyers = `CREATE TABLE public.buyers (id integer PRIMARY KEY, order_id integer, region integer); CREATE INDEX ON public.buyers (order_id, region);
		INSERT INTO public.buyers SELECT i, i, 1 + i % 3 FROM generate_series(1, 9) AS i`
	installed := pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"}
	server := pgtest.Server(t, map[string]string{"wal_level": "logical", "max_replication_slots": "50", "max_wal_senders": "50"})
	for _, in := range []string{"app", "crm"} {
		start := func(t *testing.T) (b *testBundle, do func(sql string)) {
			t.Helper()
			if in == "app" {
				b = setupOn(t, pgtest.On(t, server, installed), buyers+";"+partitioned)
				b.capture(t, mode)
				do = func(sql string) { b.Do(t, sql) }
			} else {
				b = setupOn(t, pgtest.On(t, server, installed), buyers)
				b.sources[in] = pgtest.On(t, server, installed)
				b.database(in, b.sources[in])
				do = func(sql string) {
					_, err := b.sources[in].Exec(t.Context(), sql)
					require.NoError(t, err, sql)
				}
				do(partitioned + marks)
				b.capture(t, mode)
			}
			b.engine.Clock = pauses{do: func() {}} // Comparisons do not wait before they look again.
			b.apply(t, read(t, "name: totals\ntables: [{database: "+in+", table: orders, columns: [id, region, total]}]"))
			b.apply(t, read(t, `
name: buyers
tables:
  - {table: buyers, columns: [id]}
  - {database: `+in+`, table: orders, left: true, join: {order_id: id, region: region}, columns: [total]}`))
			if in != "app" {
				b.own(t, mode, in)
			}
			b.quiet(t)
			b.exact(t, "totals")
			b.exact(t, "buyers")
			return b, do
		}
		// notice waits until the views know all partitions, and checks them. It returns how many comparisons there were.
		notice := func(t *testing.T, b *testBundle) (compared int) {
			t.Helper()
			var parts int
			require.NoError(t, b.sources[in].QueryRow(t.Context(), "SELECT count(*) FROM pg_partition_tree('public.orders') WHERE isleaf").Scan(&parts))
			require.Eventually(t, func() bool {
				require.NoError(t, b.engine.Maintain(t.Context()))
				return b.quietly(t, "SELECT count(*) = 2 FROM view.version AS v, json_array_elements(v.plan::json -> 'sources') AS s WHERE s ->> 'name' = 'orders' AND json_array_length(s -> 'parts') = $1", parts)
			}, time.Minute, 10*time.Millisecond)
			b.quiet(t)
			b.exact(t, "totals")
			b.exact(t, "buyers")
			for _, name := range []string{"totals", "buyers"} {
				b.mirrored(t, name)
			}
			require.NoError(t, b.QueryRow(t.Context(), "SELECT count(*) FROM view.task WHERE kind = 'verify' AND repair AND state = 'done'").Scan(&compared))
			return compared
		}
		t.Run(in, func(t *testing.T) {
			t.Parallel()

			t.Run("Attached", func(t *testing.T) {
				t.Parallel()
				b, do := start(t)
				do("CREATE TABLE public.more (LIKE public.orders INCLUDING ALL); INSERT INTO public.more VALUES (1, 7, 70), (2, 7, 71)")
				do("ALTER TABLE public.orders ATTACH PARTITION public.more FOR VALUES IN (7)")
				require.Equal(t, 2, notice(t, b))
				do("INSERT INTO public.more VALUES (3, 7, 72); UPDATE public.orders SET total = total + 1")
				require.Equal(t, 2, notice(t, b), "what it got later are changes")
			})

			t.Run("Detached", func(t *testing.T) {
				t.Parallel()
				b, do := start(t)
				do("ALTER TABLE public.orders DETACH PARTITION public.orders_1")
				require.Equal(t, 2, notice(t, b))
				do("UPDATE public.orders_1 SET total = 0")
				require.Equal(t, 2, notice(t, b))
			})

			t.Run("Truncated", func(t *testing.T) {
				t.Parallel()
				b, do := start(t)
				do("TRUNCATE public.orders_2")
				require.Equal(t, 2, notice(t, b))
				do("INSERT INTO public.orders VALUES (1, 2, 5); TRUNCATE public.orders_3; INSERT INTO public.orders_3_3 VALUES (1, 3, 5)")
				require.Equal(t, 4, notice(t, b))
			})
			if in != "app" {
				return // These are about what is noticed, which does not depend on where the table is.
			}

			t.Run("AttachedAgain", func(t *testing.T) {
				t.Parallel()
				b, do := start(t)
				do("ALTER TABLE public.orders DETACH PARTITION public.orders_1")
				do("DELETE FROM public.orders_1 WHERE id = 3; UPDATE public.orders_1 SET total = 0 WHERE id = 6")
				do("ALTER TABLE public.orders ATTACH PARTITION public.orders_1 FOR VALUES IN (1)")
				require.Equal(t, 2, notice(t, b))
			})

			t.Run("AttachedEmpty", func(t *testing.T) {
				t.Parallel()
				b, do := start(t)
				do("CREATE TABLE public.more (LIKE public.orders INCLUDING ALL); ALTER TABLE public.orders ATTACH PARTITION public.more FOR VALUES IN (7)")
				require.Equal(t, 0, notice(t, b))
				do("INSERT INTO public.orders VALUES (1, 7, 70); INSERT INTO public.more VALUES (2, 7, 71)")
				require.Equal(t, 0, notice(t, b))
			})

			t.Run("AttachedInOneTransaction", func(t *testing.T) {
				t.Parallel()
				b, do := start(t)
				do("BEGIN; CREATE TABLE public.more (LIKE public.orders INCLUDING ALL); INSERT INTO public.more VALUES (1, 7, 70); ALTER TABLE public.orders ATTACH PARTITION public.more FOR VALUES IN (7); COMMIT")
				require.Equal(t, 2, notice(t, b))
			})

			t.Run("AttachedWithItsPartitions", func(t *testing.T) {
				t.Parallel()
				b, do := start(t)
				do("CREATE TABLE public.more (LIKE public.orders INCLUDING ALL) PARTITION BY LIST (region); CREATE TABLE public.more_7 PARTITION OF public.more FOR VALUES IN (7); INSERT INTO public.more VALUES (1, 7, 70)")
				do("ALTER TABLE public.orders ATTACH PARTITION public.more FOR VALUES IN (7, 8)")
				require.Equal(t, 2, notice(t, b))
				do("CREATE TABLE public.more_8 PARTITION OF public.more FOR VALUES IN (8); INSERT INTO public.more VALUES (1, 8, 80)")
				require.Equal(t, 2, notice(t, b), "its rows are changes")
			})

			t.Run("Created", func(t *testing.T) {
				t.Parallel()
				b, do := start(t)
				do("CREATE TABLE public.more PARTITION OF public.orders FOR VALUES IN (7); CREATE TABLE public.orders_3_4 PARTITION OF public.orders_3 FOR VALUES IN (4)")
				do("INSERT INTO public.orders VALUES (1, 7, 70), (2, 4, 71)")
				require.Equal(t, 0, notice(t, b))
			})

			t.Run("CreatedAndTruncated", func(t *testing.T) {
				t.Parallel()
				b, do := start(t)
				deliver := b.opened(t, "totals", in)
				do("CREATE TABLE public.more PARTITION OF public.orders FOR VALUES IN (7); INSERT INTO public.orders VALUES (1, 7, 70)")
				// The view shows the row before it knows the partition.
				b.until(t, "SELECT count(*) > 0 FROM capture.log WHERE table_name = 'orders' AND key ->> 'region' = '7'")
				result, err := deliver()
				require.NoError(t, errors.Join(err, result.Err))
				require.Equal(t, []int{1}, pgtest.Column[int](t, b.DB, "SELECT id FROM views.totals WHERE region = 7"))
				do("TRUNCATE public.more")
				notice(t, b)
			})

			t.Run("DetachedConcurrently", func(t *testing.T) {
				t.Parallel()
				b, do := start(t)
				do("ALTER TABLE public.orders DETACH PARTITION public.orders_1 CONCURRENTLY")
				require.Equal(t, 2, notice(t, b))
			})

			t.Run("Dropped", func(t *testing.T) {
				t.Parallel()
				b, do := start(t)
				do("DROP TABLE public.orders_3")
				require.Equal(t, 2, notice(t, b))
			})
		})
	}
}

// TestPartitions_Untriggered: until a new partition has triggers, rows can be written to it that nobody captures.
func TestPartitions_Untriggered(t *testing.T) {
	t.Parallel()
	b := setup(t, stream.ModeTrigger, partitioned)
	stop := b.capture(t, stream.ModeTrigger)
	b.apply(t, read(t, "name: totals\ntables: [{table: orders, columns: [id, region, total]}]"))
	b.quiet(t)
	stop()
	b.Do(t, "CREATE TABLE public.more (LIKE public.orders INCLUDING ALL); ALTER TABLE public.orders ATTACH PARTITION public.more FOR VALUES IN (7)")
	require.NoError(t, b.engine.Maintain(t.Context()))
	b.Do(t, "INSERT INTO public.more VALUES (1, 7, 70)")
	b.capture(t, stream.ModeTrigger)
	b.until(t, "SELECT count(*) > 0 FROM pg_trigger WHERE tgrelid = 'public.more'::regclass")
	b.quiet(t)
	b.exact(t, "totals")
}
