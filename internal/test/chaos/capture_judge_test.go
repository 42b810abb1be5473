package chaos_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// pendingSQL returns what is left to do; nothing if all is done.
const pendingSQL = `
SELECT format('stream %s is %s: %s', s.name, s.state, s.reason) FROM capture.stream AS s WHERE s.name = $1 AND s.state <> 'running'
UNION ALL SELECT format('gap %s is not repaired: %s %s', g.id, g.kind, g.reason) FROM capture.gap AS g WHERE g.repaired_at IS NULL
UNION ALL SELECT format('snapshot %s of %s.%s for %s is %s: %s', n.id, n.schema_name, n.table_name, n.consumer, n.state, n.reason)
	FROM capture.snapshot AS n WHERE n.state NOT IN ('complete', 'cancelled')
UNION ALL SELECT format('a snapshot of %2$s is requested by %1$s', r.consumer, r.tables) FROM capture.snapshot_request AS r
UNION ALL SELECT format('shard %s of %s is at %s of %s: %s', h.shard, h.consumer, h.position, s.position, h.error)
	FROM capture.shard AS h INNER JOIN capture.consumer AS c ON c.name = h.consumer INNER JOIN capture.stream AS s ON s.name = c.stream
	WHERE h.position < s.position
UNION ALL SELECT format('%s is paused: %s', c.name, c.paused_because) FROM capture.consumer AS c WHERE c.paused_at IS NOT NULL
UNION ALL SELECT format('%s has %s dead letters, such as %s: %s', l.consumer, count(*), min(l.key), min(l.reason)) FROM capture.letter AS l GROUP BY l.consumer
UNION ALL SELECT format('request %s of %s is open', q.id, q.metric_date) FROM analytics.rollup_requests AS q WHERE q.resolved_at IS NULL
UNION ALL SELECT format('a job of %s is %s', j.args ->> 'date', j.state) FROM river.river_job AS j WHERE j.kind = 'rollup_day' AND j.finalized_at IS NULL
LIMIT 20`

// rests reports whether requests of late events wait for 19 times as long as the last run of their date took. A run whose worker is stopped
// takes long.
func (x *captureTrial) rests(ctx context.Context) (is bool) {
	err := x.db.QueryRow(ctx, `SELECT EXISTS(
		SELECT FROM analytics.rollup_requests AS q INNER JOIN analytics.rollup_dates AS d USING (metric_date) INNER JOIN analytics.rollup_runs AS n ON n.id = d.run_id
		WHERE q.resolved_at IS NULL AND n.finished_at + 19 * (n.finished_at - n.started_at) > now() - interval '30 seconds')`).Scan(&is)
	return err == nil && is
}

// judge waits until everything is delivered and equal, and returns what is wrong otherwise.
func (x *captureTrial) judge(ctx context.Context) (wrong []string) {
	begun, replayed, accepted := time.Now(), time.Time{}, time.Time{}
	for {
		wrong = x.pending(ctx)
		if len(wrong) == 0 {
			if wrong = x.differences(ctx); len(wrong) == 0 {
				break
			}
		}
		if time.Since(begun) > max(patience, x.patience) && !x.rests(ctx) {
			break
		}
		if x.schedule.views && time.Since(accepted) > time.Second {
			accepted = time.Now()
			x.accept(ctx)
		}
		if time.Since(replayed) > time.Second && slices.ContainsFunc(wrong, func(one string) bool { return strings.Contains(one, "dead letters") }) {
			replayed = time.Now()
			for _, name := range []string{"hook", "copy", "twin", "cache"} {
				err := x.daymill(ctx, "deadletter", "replay", name, "--all")
				x.note(err)
			}
		}
		sleep(ctx, 200*time.Millisecond)
	}
	r := x.hook.received()
	wrong = append(wrong, r.wrong[:min(len(r.wrong), 5)]...)
	if x.schedule.rollup {
		if _, err := pgtest.Exact(ctx, x.db); err != nil {
			wrong = append(wrong, err.Error())
		}
	}
	for _, name := range []string{"copy", "twin"} {
		if err := x.daymill(ctx, "sink", "verify", name, "--pace", "0"); err != nil && len(wrong) == 0 {
			wrong = append(wrong, err.Error())
		}
	}
	return wrong
}

func (x *captureTrial) pending(ctx context.Context) []string {
	rows, err := x.db.Query(ctx, pendingSQL, x.stream())
	if err != nil {
		return []string{err.Error()}
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || !x.schedule.views {
		return append(found, errorTexts(err)...)
	}
	rows, err = x.db.Query(ctx, viewsPendingSQL)
	if err != nil {
		return []string{err.Error()}
	}
	more, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return append(append(found, more...), errorTexts(err)...)
}

func errorTexts(err error) []string {
	if err == nil {
		return nil
	}
	return []string{err.Error()}
}

// gapped reports whether changes were missing.
func (x *captureTrial) gapped(ctx context.Context) (is bool, err error) {
	err = x.db.QueryRow(ctx, "SELECT EXISTS (SELECT FROM capture.gap)").Scan(&is)
	return is || x.schedule.has(tableAgain), err
}

// differences compares the rows of each sink with the application's.
func (x *captureTrial) differences(ctx context.Context) (wrong []string) {
	gapped, err := x.gapped(ctx)
	if err != nil {
		return []string{err.Error()}
	}
	if gapped && !x.schedule.has(gaps...) {
		wrong = append(wrong, "there is a gap that nothing in the schedule makes")
	}
	if x.schedule.views {
		wrong = append(wrong, x.viewed(ctx)...)
	}
	r := x.hook.received()
	for _, t := range shopTables {
		source, err := x.rows(ctx, x.source.url(), t.sql, t)
		if err != nil {
			return append(wrong, err.Error())
		}
		for name, to := range map[string]struct{ url, table string }{
			"copy": {x.lane.server.URL(x.name + "_target"), t.sql},
			"twin": {x.lane.server.URL(x.name), "twin" + strings.TrimPrefix(t.sql, "shop")},
		} {
			rows, err := x.rows(ctx, to.url, to.table, t)
			if len(source) == 0 && postgres.Code(err) == pgerrcode.UndefinedTable {
				continue // A sink makes a table when it receives the first row.
			}
			if err != nil {
				return append(wrong, err.Error())
			}
			wrong = append(wrong, compare(name+" of "+t.name, source, rows)...)
		}
		if x.schedule.redis && (t.name == "plain" || t.name == "whole") {
			wrong = append(wrong, x.cached(ctx, t, source, gapped)...)
		}
		wrong = append(wrong, x.told(ctx, t, source, r, gapped)...)
	}
	return wrong
}

// rows returns a table's rows by key, without the columns that the sink adds.
func (x *captureTrial) rows(ctx context.Context, url, table string, t shopTable) (map[string]string, error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, "SET timezone = 'UTC'"); err != nil {
		return nil, err
	}
	rows, err := conn.Query(ctx, "SELECT "+strings.Join(t.key, " || '/' || ")+" || '', (to_jsonb(t) - '_daymill_position')::text FROM "+table+" AS t")
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", table, err)
	}
	all := map[string]string{}
	var key, row string
	_, err = pgx.ForEachRow(rows, []any{&key, &row}, func() error {
		all[key] = row
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", table, err)
	}
	return all, nil
}

// compare returns at most three differences between rows.
func compare(name string, wanted, got map[string]string) (wrong []string) {
	for key, row := range wanted {
		if got[key] != row {
			wrong = append(wrong, fmt.Sprintf("%s: row %s is %.200s and not %.200s", name, key, got[key], row))
		}
	}
	for key, row := range got {
		if _, has := wanted[key]; !has {
			wrong = append(wrong, fmt.Sprintf("%s: row %s is there, %.200s, and should not be", name, key, row))
		}
	}
	if count := len(wrong); count > 3 {
		wrong = append(wrong[:3], fmt.Sprintf("%s: %d rows differ of %d", name, count, len(wanted)))
	}
	return wrong
}

// cached compares the keys in Redis. Redis does not learn of rows that were deleted during a gap.
func (x *captureTrial) cached(ctx context.Context, t shopTable, source map[string]string, gapped bool) (wrong []string) {
	keys, err := x.lane.redis.Client.Keys(ctx, t.name+":*").Result()
	if err != nil {
		return []string{err.Error()}
	}
	got := map[string]string{}
	for _, key := range keys {
		id := strings.TrimPrefix(key, t.name+":")
		if strings.Contains(id, ":") {
			continue // The key of a row's position.
		}
		text, err := x.lane.redis.Client.Get(ctx, key).Result()
		if err != nil {
			return []string{err.Error()}
		}
		if _, has := source[id]; gapped && !has {
			continue
		}
		got[id] = normal(text)
	}
	wanted := map[string]string{}
	for key, row := range source {
		wanted[key] = normal(row)
	}
	return compare("cache of "+t.name, wanted, got)
}

// normal returns JSON in a normal form.
func normal(text string) string {
	var value map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		return text
	}
	written, err := json.Marshal(value)
	if err != nil {
		return text
	}
	return string(written)
}

// told compares the changes that the webhook received of each row with what was done to the row: they must be the same, in the same order. If
// there was a gap, the last change must be the row's last state.
func (x *captureTrial) told(ctx context.Context, t shopTable, source map[string]string, r received, gapped bool) (wrong []string) {
	events := map[string][]string{}
	last := map[string]string{}
	for _, of := range r.keys {
		if of[0].Table != t.name || of[0].Op == change.Truncate {
			continue
		}
		key := keyText(t, of[0])
		for _, c := range of {
			n := numberOf(c)
			if !c.Snapshot {
				events[key] = append(events[key], string(c.Op)+" "+n)
			}
			if !slices.Contains(c.Unchanged, "n") { // It is not in the rest of a snapshot's row that has newer changes.
				last[key] = n
			}
		}
	}
	if gapped {
		for key, row := range source {
			if n := numberOf(change.Change{New: json.RawMessage(row)}); last[key] != n {
				wrong = append(wrong, fmt.Sprintf("hook: the last of row %s of %s is %s and not %s", key, t.name, last[key], n))
			}
		}
		return wrong[:min(len(wrong), 3)]
	}
	truth, err := x.truth(ctx, t)
	if err != nil {
		return []string{err.Error()}
	}
	for _, key := range slices.Sorted(maps.Keys(truth)) {
		if !slices.Equal(truth[key], events[key]) {
			wrong = append(wrong, fmt.Sprintf("hook: row %s of %s had %v, and not %v", key, t.name, events[key], truth[key]))
		}
	}
	for key := range events {
		if truth[key] == nil {
			wrong = append(wrong, fmt.Sprintf("hook: row %s of %s had %v, and nothing was done to it", key, t.name, events[key]))
		}
	}
	return wrong[:min(len(wrong), 3)]
}

// truth returns what was done to each row since its table was captured.
func (x *captureTrial) truth(ctx context.Context, t shopTable) (map[string][]string, error) {
	conn, err := pgx.Connect(ctx, x.source.url())
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rows, err := conn.Query(ctx, "SELECT key, op || ' ' || n FROM truth.note WHERE name = $1 AND seq > $2 ORDER BY seq", t.name, x.begun)
	if err != nil {
		return nil, err
	}
	truth := map[string][]string{}
	var key, text string
	_, err = pgx.ForEachRow(rows, []any{&key, &text}, func() error {
		truth[key] = append(truth[key], text)
		return nil
	})
	return truth, err
}

func keyText(t shopTable, c change.Change) string {
	var values map[string]any
	_ = json.Unmarshal(c.Key, &values) // Missing values are not found.
	parts := make([]string, len(t.key))
	for i, name := range t.key {
		switch value := values[name].(type) {
		case float64:
			parts[i] = strconv.FormatInt(int64(value), 10)
		default:
			parts[i] = fmt.Sprint(value)
		}
	}
	return strings.Join(parts, "/")
}

// numberOf returns n of a change's row, 0 if it has none.
func numberOf(c change.Change) string {
	var row struct {
		N int64 `json:"n"`
	}
	_ = json.Unmarshal(c.New, &row) // A delete has no row.
	return strconv.FormatInt(row.N, 10)
}

// figures returns how much has happened.
func (x *captureTrial) figures(ctx context.Context, writers []*shopper) string {
	var text string
	err := x.db.QueryRow(ctx, `
		SELECT format('%s changes landed, %s gaps, %s snapshots, %s delivered', s.position % 1000000000, (SELECT count(*) FROM capture.gap),
			(SELECT count(*) FROM capture.snapshot), (SELECT sum(h.delivered) FROM capture.shard AS h))
		FROM capture.stream AS s WHERE s.name = $1`, x.stream()).Scan(&text)
	if err != nil {
		text = err.Error()
	}
	transactions, starts := 0, 0
	for _, w := range writers {
		transactions += w.done
	}
	for _, s := range x.slots {
		starts += s.starts
	}
	r := x.hook.received()
	return fmt.Sprintf("%d transactions, %s, %d requests (%d events again), %d processes", transactions, text, x.hook.requests, r.repeats, starts)
}

// dump returns the state of streams and consumers.
func (x *captureTrial) dump(ctx context.Context) string {
	var text strings.Builder
	for _, sql := range []string{
		"SELECT jsonb_strip_nulls(to_jsonb(s))::text FROM capture.stream AS s ORDER BY id",
		"SELECT jsonb_strip_nulls(to_jsonb(g))::text FROM capture.gap AS g ORDER BY id",
		"SELECT jsonb_strip_nulls(to_jsonb(n))::text FROM capture.snapshot AS n ORDER BY id",
		"SELECT jsonb_strip_nulls(to_jsonb(h))::text FROM capture.shard AS h ORDER BY consumer, shard",
		"SELECT (to_jsonb(c))::text FROM capture.captured AS c ORDER BY 1",
		"SELECT jsonb_strip_nulls(to_jsonb(t))::text FROM view.task AS t ORDER BY id DESC LIMIT 20",
		"SELECT jsonb_strip_nulls(to_jsonb(d))::text FROM view.drift AS d ORDER BY id",
		"SELECT left((to_jsonb(l) - 'change')::text, 300) FROM capture.letter AS l ORDER BY consumer, position LIMIT 20",
		`SELECT jsonb_strip_nulls(to_jsonb(j) - 'unique_key' - 'unique_states' - 'tags' - 'metadata')::text
			FROM river.river_job AS j WHERE j.queue = 'daymill_capture' AND (j.finalized_at IS NULL OR errors IS NOT NULL) ORDER BY j.id LIMIT 40`,
	} {
		rows, err := x.db.Query(ctx, sql)
		var all []string
		if err == nil {
			all, err = pgx.CollectRows(rows, pgx.RowTo[string])
		}
		fmt.Fprintf(&text, "%s (error: %v)\n  %s\n", sql, err, strings.Join(all, "\n  "))
	}
	for _, note := range slices.Sorted(maps.Keys(x.notes)) {
		fmt.Fprintf(&text, "%d times: %s\n", x.notes[note], note)
	}
	return text.String()
}
