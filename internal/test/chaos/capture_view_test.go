package chaos_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// shopView is a view of the application's tables. Its definition and its query say the same independently of each other.
type shopView struct {
	name       string
	definition string // %[1]s is the database
	query      string
	columns    string
}

var shopViews = []shopView{
	{
		"chain", `
  - name: chain
    tables:
      - {database: %[1]s, table: shop.plain, columns: [{column: id, key: true}, n, at, {column: v, as: word, map: {before: old}, keep: true}]}
      - {database: %[1]s, table: shop.whole, left: true, join: {id: id}, columns: [{n: whole_n}, {body: whole_body}]}
      - {database: %[1]s, table: shop.pair, left: true, join: {id: id}, columns: [{k: pair_k}, {n: pair_n}, {tags: pair_tags}]}
`, `SELECT p.id, p.n, p.at, CASE p.v WHEN 'before' THEN 'old' ELSE p.v END AS word, w.n AS whole_n, w.body AS whole_body, r.k AS pair_k, r.n AS pair_n, r.tags AS pair_tags
		FROM shop.plain AS p LEFT JOIN shop.whole AS w ON w.id = p.id LEFT JOIN shop.pair AS r ON r.id = p.id`,
		"id, n, at, word, whole_n, whole_body, pair_k, pair_n, pair_tags",
	},
	{
		"weird", `
  - name: weird
    search: {columns: [v]}
    where: id <> 7
    tables:
      - {database: %[1]s, schema: shop, table: We ird, columns: [{column: id, key: true}, n, v, {expression: "amount * 2", as: twice}]}
      - {database: %[1]s, table: shop.parts, join: {id: id}, columns: [{n: part_n}, {amount: part_amount}]}
`, `SELECT q.id, q.n, q.v, q.amount * 2 AS twice, p.n AS part_n, p.amount AS part_amount
		FROM shop."We ird" AS q INNER JOIN shop.parts AS p ON p.id = q.id WHERE q.id <> 7`,
		"id, n, v, twice, part_n, part_amount",
	},
}

// viewsFile returns the part of daymill.yaml that defines the views.
func (x *captureTrial) viewsFile() string {
	var file strings.Builder
	file.WriteString("views:")
	for _, v := range shopViews {
		fmt.Fprintf(&file, v.definition, x.stream())
	}
	return file.String()
}

// rebuild asks for views to be built again, compared or refreshed during the faults, as an operator does. It is apart from the schedule's steps, so
// that these are the same with views and without.
func (x *captureTrial) rebuild(ctx context.Context) {
	random := rand.New(rand.NewPCG(x.schedule.seed, 3))
	for range 3 {
		if !sleep(ctx, time.Duration(random.Int64N(int64(x.schedule.length/2)))) {
			return
		}
		name := shopViews[random.IntN(len(shopViews))].name
		err := x.daymill(context.WithoutCancel(ctx), [][]string{
			{"view", "rebuild", name}, {"view", "refresh", name}, {"view", "refresh", name, "--key", "1", "--key", "20"}, {"view", "rebuild", name},
		}[random.IntN(4)]...)
		x.note(err)
	}
}

// viewsPendingSQL returns what views have left to do.
const viewsPendingSQL = `
SELECT format('task %s (%s) of view %s is %s: %s', t.id, t.kind, v.name, t.state, t.error) FROM view.task AS t INNER JOIN view.view AS v ON v.id = t.view_id
WHERE t.state IN ('queued', 'running')
	OR t.state = 'failed' AND NOT EXISTS (SELECT FROM view.task AS l WHERE l.view_id = t.view_id AND l.id > t.id AND l.kind = 'build' AND l.state = 'done')
UNION ALL SELECT format('table %s of view %s is %s %s', n.table_name, v.name, n.state, n.stale) FROM view.version AS n INNER JOIN view.view AS v ON v.id = n.view_id
WHERE n.state <> 'serving' OR n.stale <> ''
LIMIT 20`

// accept accepts drift that has paused views: a table was dropped and created again.
func (x *captureTrial) accept(ctx context.Context) {
	rows, err := x.db.Query(ctx, "SELECT v.name FROM view.view AS v WHERE v.paused_at IS NOT NULL ORDER BY v.name")
	var paused []string
	if err == nil {
		paused, err = pgx.CollectRows(rows, pgx.RowTo[string])
	}
	x.note(err)
	for _, name := range paused {
		x.note(x.daymill(ctx, "view", "drift", "accept", name))
	}
}

// viewed compares each view with its query in the application's database.
func (x *captureTrial) viewed(ctx context.Context) (wrong []string) {
	for _, v := range shopViews {
		wanted, err := x.bag(ctx, x.source.url(), "SELECT "+v.columns+" FROM ("+v.query+") AS q")
		if err != nil {
			return append(wrong, err.Error())
		}
		got, err := x.bag(ctx, x.lane.server.URL(x.name), "SELECT "+v.columns+" FROM views."+v.name)
		if err != nil {
			return append(wrong, err.Error())
		}
		wrong = append(wrong, compare("view "+v.name, wanted, got)...)
	}
	return wrong
}

// bag returns how often each row of a query is there.
func (x *captureTrial) bag(ctx context.Context, url, sql string) (map[string]string, error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, "SET timezone = 'UTC'"); err != nil {
		return nil, err
	}
	rows, err := conn.Query(ctx, "SELECT left(whole, 150) || ' ' || md5(whole), count(*)::text FROM (SELECT x::text AS whole FROM ("+sql+") AS x) AS y GROUP BY whole")
	if err != nil {
		return nil, fmt.Errorf("read a view: %w", err)
	}
	all := map[string]string{}
	var row, count string
	_, err = pgx.ForEachRow(rows, []any{&row, &count}, func() error {
		all[row] = count
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read a view: %w", err)
	}
	return all, nil
}
