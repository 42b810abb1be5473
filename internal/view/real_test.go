package view_test

import (
	"encoding/csv"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
)

var realRows = flag.Int("view.real", 10_000, "how many rows of each real log TestReal reads")

// realSet is a log of events that becomes the tables of an application: the log's rows, and dimensions that are made from it.
type realSet struct {
	logs   []pgtest.Log
	tables string
	define string
	// query says the same as the definition, independently of it.
	query   string
	columns string
	// work are statements of the application with a random number.
	work []string
}

func realSets(t *testing.T) map[string]realSet {
	t.Helper()
	return map[string]realSet{
		"articles": {
			logs: pgtest.Articles(t),
			tables: `
				CREATE TABLE public.people AS SELECT DISTINCT r."personId"::bigint AS id, 'person ' || r."personId" AS name, (r."personId"::bigint % 2 = 0) AS is_author FROM public.raw AS r;
				CREATE TABLE public.contents AS SELECT r."contentId"::bigint AS id, 'article ' || min(r."contentId") AS title, to_timestamp(min(r.timestamp::bigint)) AS seen_at FROM public.raw AS r GROUP BY r."contentId";
				CREATE TABLE public.events AS SELECT row_number() OVER () AS id, r."contentId"::bigint AS content_id, r."personId"::bigint AS person_id, r."eventType" AS kind, to_timestamp(r.timestamp::bigint) AS at FROM public.raw AS r;
				ALTER TABLE public.people ADD PRIMARY KEY (id); ALTER TABLE public.contents ADD PRIMARY KEY (id); ALTER TABLE public.events ADD PRIMARY KEY (id);
				CREATE INDEX ON public.events (content_id); CREATE INDEX ON public.events (person_id)`,
			define: `
name: report
tables:
  - {table: events, columns: [{column: id, key: true}, at, {column: kind, as: verb, map: {VIEW: saw, LIKE: liked, BOOKMARK: kept}, keep: true}]}
  - {table: contents, join: {content_id: id}, columns: [title, seen_at]}
  - {table: people, left: true, to: events, join: {person_id: id}, columns: [{name: person}, is_author]}`,
			query: `SELECT e.id, e.at, CASE e.kind WHEN 'VIEW' THEN 'saw' WHEN 'LIKE' THEN 'liked' WHEN 'BOOKMARK' THEN 'kept' ELSE e.kind END AS verb, c.title, c.seen_at, p.name AS person, p.is_author
				FROM public.events AS e JOIN public.contents AS c ON c.id = e.content_id LEFT JOIN public.people AS p ON p.id = e.person_id`,
			columns: "id, at, verb, title, seen_at, person, is_author",
			work: []string{
				"UPDATE public.contents SET title = title || '!' WHERE id IN (SELECT content_id FROM public.events WHERE id = $1)",
				"DELETE FROM public.people WHERE id IN (SELECT person_id FROM public.events WHERE id = $1)",
				"INSERT INTO public.people SELECT person_id, 'back', false FROM public.events WHERE id BETWEEN $1 AND $1 + 50 ON CONFLICT DO NOTHING",
				"UPDATE public.events SET content_id = (SELECT o.content_id FROM public.events AS o WHERE o.id = $1), kind = 'LIKE' WHERE id BETWEEN $1 + 1 AND $1 + 20",
				"DELETE FROM public.events WHERE id = $1 OR id = $1 + 7",
				"INSERT INTO public.events SELECT max(id) + 1, min(content_id), min(person_id), 'FOLLOW', now() FROM public.events WHERE $1::bigint > 0",
				"DELETE FROM public.contents WHERE id IN (SELECT content_id FROM public.events WHERE id = $1) AND title LIKE '%!!%'",
			},
		},
		"sales": {
			logs: pgtest.Sales(t),
			tables: `
				CREATE TABLE public.customers AS SELECT r."CustomerID"::numeric::integer AS id, min(r."Country") AS country, min(r."InvoiceDate")::timestamp AS since FROM public.raw AS r WHERE r."CustomerID" <> '' GROUP BY 1;
				CREATE TABLE public.orders AS SELECT r."InvoiceNo" AS no, min(r."InvoiceDate")::timestamp AS at, min(nullif(r."CustomerID", ''))::numeric::integer AS customer_id, min(r."Country") AS country FROM public.raw AS r GROUP BY 1;
				CREATE TABLE public.lines AS SELECT r."InvoiceNo" AS order_no, (row_number() OVER (PARTITION BY r."InvoiceNo"))::integer AS line, r."StockCode" AS item, r."Quantity"::integer AS quantity FROM public.raw AS r;
				ALTER TABLE public.customers ADD PRIMARY KEY (id); ALTER TABLE public.orders ADD PRIMARY KEY (no); ALTER TABLE public.lines ADD PRIMARY KEY (order_no, line);
				CREATE INDEX ON public.orders (customer_id)`,
			define: `
name: report
where: quantity <> 0
search: {columns: [item, country]}
tables:
  - {table: lines, columns: [{column: order_no, key: true}, {column: line, key: true}, item, quantity, {expression: "abs(quantity)", as: moved}]}
  - {table: orders, join: {order_no: no}, columns: [at, {column: country, map: {EIRE: Ireland}, keep: true}]}
  - {table: customers, left: true, to: orders, join: {customer_id: id}, columns: [{id: customer}, since]}`,
			query: `SELECT l.order_no, l.line, l.item, l.quantity, abs(l.quantity) AS moved, o.at, CASE o.country WHEN 'EIRE' THEN 'Ireland' ELSE o.country END AS country, c.id AS customer, c.since
				FROM public.lines AS l JOIN public.orders AS o ON o.no = l.order_no LEFT JOIN public.customers AS c ON c.id = o.customer_id WHERE l.quantity <> 0`,
			columns: "order_no, line, item, quantity, moved, at, country, customer, since",
			work: []string{
				"UPDATE public.customers SET since = since + interval '1 microsecond' WHERE id IN (SELECT id FROM public.customers ORDER BY id OFFSET $1 % 50 LIMIT 5)",
				"DELETE FROM public.customers WHERE id = (SELECT id FROM public.customers ORDER BY id OFFSET $1 % 50 LIMIT 1)",
				"UPDATE public.orders SET customer_id = (SELECT id FROM public.customers ORDER BY id OFFSET $1 % 40 LIMIT 1), country = 'EIRE' WHERE no IN (SELECT no FROM public.orders ORDER BY no OFFSET $1 % 1000 LIMIT 9)",
				"DELETE FROM public.orders WHERE no = (SELECT no FROM public.orders ORDER BY no OFFSET $1 % 1000 LIMIT 1)",
				"UPDATE public.lines SET quantity = $1 % 3 WHERE order_no IN (SELECT no FROM public.orders ORDER BY no OFFSET $1 % 1000 LIMIT 3)",
				"UPDATE public.lines SET line = line + 1000 WHERE order_no = (SELECT no FROM public.orders ORDER BY no OFFSET $1 % 1000 LIMIT 1) AND line < 1000",
				"INSERT INTO public.orders VALUES ('N' || $1::bigint, now()::timestamp, NULL, 'France') ON CONFLICT DO NOTHING",
				"INSERT INTO public.lines VALUES ('N' || $1::bigint, 1, 'new', 1) ON CONFLICT DO NOTHING",
			},
		},
	}
}

// load creates the table raw with a log's rows, at most realRows of them, and the application's tables.
func (b *testBundle) load(t *testing.T, log pgtest.Log, tables string) {
	t.Helper()
	file, err := os.Open(log.Path)
	require.NoError(t, err)
	defer file.Close()
	plain, err := zstd.NewReader(file)
	require.NoError(t, err)
	defer plain.Close()
	rows := csv.NewReader(plain)
	header, err := rows.Read()
	require.NoError(t, err)
	sql := ""
	for i, name := range header {
		sql += map[bool]string{true: "", false: ", "}[i == 0] + pgx.Identifier{name}.Sanitize() + " text"
	}
	b.Do(t, "CREATE TABLE public.raw ("+sql+")")
	left := *realRows
	_, err = b.CopyFrom(t.Context(), pgx.Identifier{"public", "raw"}, header, pgx.CopyFromFunc(func() ([]any, error) {
		row, err := rows.Read()
		if left--; err != nil || left < 0 {
			return nil, nil //nolint:nilerr // The end.
		}
		values := make([]any, len(row))
		for i, value := range row {
			values[i] = value
		}
		return values, nil
	}))
	require.NoError(t, err)
	b.Do(t, tables+"; DROP TABLE public.raw; ANALYZE")
}

// TestReal: views of the tables of real applications equal their SELECTs, written by hand, while the applications write: a site with articles and
// readers, and a shop with orders, lines and customers.
func TestReal(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t, map[string]string{"wal_level": "logical", "max_replication_slots": "10", "max_wal_senders": "10"})
	for name, set := range realSets(t) {
		for i, log := range set.logs {
			mode := []string{stream.ModeTrigger, stream.ModeWAL}[i%2]
			t.Run(fmt.Sprintf("%s_%s", name, log.Name), func(t *testing.T) {
				t.Parallel()
				b := setupOn(t, pgtest.On(t, server, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"}), "SELECT 1")
				b.load(t, log, set.tables)
				b.capture(t, mode)
				b.apply(t, read(t, set.define))
				work := func(seed uint64, count int) {
					random := rand.New(rand.NewPCG(seed, 11))
					for range count {
						b.Do(t, set.work[random.IntN(len(set.work))], random.IntN(20_000))
					}
				}
				var wg sync.WaitGroup
				wg.Go(func() { work(1, 60) })
				b.step(t.Context(), t) // It builds while rows change.
				wg.Wait()
				b.quiet(t)
				b.same(t, set)
				work(2, 60)
				b.quiet(t)
				b.same(t, set)
				b.exact(t, "report")
				t.Log(pgtest.Column[string](t, b.DB, "SELECT count(*)::text FROM views.report"))
			})
		}
	}
}

// same fails unless the view equals the query that was written by hand.
func (b *testBundle) same(t *testing.T, set realSet) {
	t.Helper()
	require.Equal(t, []string{"0 0 true"}, pgtest.Column[string](t, b.DB, fmt.Sprintf(`WITH wanted AS (%s), got AS (SELECT %s FROM views.report)
		SELECT (SELECT count(*) FROM (TABLE wanted EXCEPT ALL TABLE got) AS x) || ' ' || (SELECT count(*) FROM (TABLE got EXCEPT ALL TABLE wanted) AS y) || ' ' || (SELECT count(*) > 1000 FROM got)`, set.query, set.columns)))
}
