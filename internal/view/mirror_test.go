package view_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/internal/view"
)

const orders = `
	CREATE TABLE public.orders (id bigint PRIMARY KEY, customer_id bigint NOT NULL, total numeric(12,2), placed_at timestamptz DEFAULT now(), state smallint NOT NULL);
	CREATE INDEX ON public.orders (customer_id);
	INSERT INTO public.orders VALUES (1, 7, 12.50, '2026-01-01 10:00:00.123456+00', 0), (2, 7, NULL, '2026-01-02', 9), (3, 8, 3, '2026-01-03', 5), (4, 99, 4, '2026-01-03', 1)`

const customers = `
	CREATE SCHEMA sales;
	CREATE TABLE sales."Customer" (id bigint PRIMARY KEY, "Full Name" text, tags text[], profile jsonb, secret text);
	ALTER TABLE sales."Customer" ALTER profile SET STORAGE EXTERNAL;
	INSERT INTO sales."Customer" VALUES
		(7, 'Ann "A" O''Neil', '{"a\\b","c,\"d","NULL",NULL}', '{"city": "X", "o''clock": "y", "limit": 12.5, "since": "2020-01-01T00:00:00.123456Z"}', 'hush'),
		(8, 'Bob', NULL, '{"limit": "much", "since": "now", "o''clock": {"a": 1}}', 'hush')`

// TestOrderReport: two databases, names with capitals and blanks, quotes in labels and keys of JSON, arrays with backslashes, and
// microseconds. The mirror has only the needed columns, and keeps values that an update does not touch.
func TestOrderReport(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{stream.ModeTrigger, stream.ModeWAL} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			b := setup(t, mode, orders)
			b.sources["crm"] = pgtest.On(t, b.Server, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
			b.database("shop", b.DB)
			b.database("crm", b.sources["crm"])
			crm := func(sql string) {
				_, err := b.sources["crm"].Exec(t.Context(), sql)
				require.NoError(t, err, sql)
			}
			crm(customers + marks + "; CREATE TABLE public.river_basins (id integer PRIMARY KEY)")
			crm(`UPDATE sales."Customer" SET profile = profile || jsonb_build_object('long', repeat('x', 5000)) WHERE id = 7`)
			b.capture(t, mode)
			b.apply(t, file(t, "order_report.json"))
			b.own(t, mode, "crm")
			b.quiet(t)
			b.exact(t, "order_report")
			const report = `SELECT concat_ws('|', order_id, customer_id, total, extract(microseconds FROM placed_at), state_name, coalesce(note, '-'), customer_key, customer_name, tags, city, odd_key, credit_limit, customer_since AT TIME ZONE 'UTC')
				FROM views.order_report ORDER BY order_id`
			require.Equal(t, []string{
				`1|7|12.50|123456|new|-|7|Ann "A" O'Neil|{"a\\b","c,\"d","NULL",NULL}|X|y|12.5|2020-01-01 00:00:00.123456`,
				`2|7|0|it's "lost"|-|7|Ann "A" O'Neil|{"a\\b","c,\"d","NULL",NULL}|X|y|12.5|2020-01-01 00:00:00.123456`,
				`3|8|3.00|0|-|8|Bob|{"a": 1}`,
			}, pgtest.Column[string](t, b.DB, report))
			require.Equal(t, []string{"id", "Full Name", "tags", "profile", "_daymill_position"}, pgtest.Column[string](t, b.DB, `
				SELECT a.attname FROM pg_attribute AS a WHERE a.attrelid = (SELECT c.oid FROM pg_class AS c WHERE c.relname LIKE '%Customer' AND relnamespace = 'view_mirror'::regnamespace)
					AND a.attnum > 0 ORDER BY a.attnum`), "the secret is not copied")

			crm(`UPDATE sales."Customer" SET "Full Name" = 'Ann B' WHERE id = 7`)
			crm(`INSERT INTO sales."Customer" VALUES (99, 'late', '{}', '{"limit": 1}')`)
			crm(`DELETE FROM sales."Customer" WHERE id = 8`)
			b.Do(t, "UPDATE public.orders SET total = 1 WHERE id = 4")
			b.quiet(t)
			b.exact(t, "order_report")
			require.Equal(t, []string{"Ann B X", "Ann B X", "late "}, pgtest.Column[string](t, b.DB, "SELECT customer_name || ' ' || coalesce(city, '') FROM views.order_report ORDER BY order_id"))
			crm(`TRUNCATE sales."Customer"`)
			b.quiet(t)
			b.exact(t, "order_report")
			require.Empty(t, pgtest.Column[string](t, b.DB, "SELECT customer_name FROM views.order_report"))
			tables, problems, err := b.engine.Tables(t.Context())
			require.NoError(t, err)
			require.Empty(t, problems)
			require.Equal(t, []view.TableName{
				{Database: "app", Schema: "marks", Name: "mark"},
				{Database: "app", Schema: "public", Name: "orders"},
				{Database: "crm", Schema: "marks", Name: "mark"},
				{Database: "crm", Schema: "public", Name: "river_basins"},
				{Database: "crm", Schema: "sales", Name: "Customer"},
			}, tables)
			require.Empty(t, pgtest.Column[string](t, b.DB, "SELECT table_name FROM capture.captured WHERE schema_name LIKE 'view%'"), "mirrors are not captured")
			require.NoError(t, b.engine.Remove(t.Context(), "order_report", who))
			require.Equal(t, []string{"_daymill_tombstone"}, pgtest.Column[string](t, b.DB, "SELECT tablename FROM pg_tables WHERE schemaname IN ('views', 'view_mirror')"))
		})
	}
}
