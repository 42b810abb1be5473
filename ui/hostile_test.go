package ui_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/alert"
	"github.com/daymill/daymill/internal/alert/channel"
	"github.com/daymill/daymill/internal/archive/standing"
	"github.com/daymill/daymill/internal/archive/store"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/ui"
)

// hostileTexts returns texts that somebody may send instead of valid values.
func hostileTexts() []string {
	return []string{
		"", "'", `"`, `';DROP TABLE public.canary;--`, `1);DROP TABLE public.canary;--`, `' OR '1'='1`, `1 OR 1=1`, "$1", "$$", `\`, `\'`,
		"/*", "--", "%", "_", "%s%n%d", "\x00", "a\x00b", "\xff\xfe", "\xc0\xaf", "a\u202eb", "\u0661\u0662", "\uff11", "\U0001d7d9",
		strings.Repeat("9", 3_000), strings.Repeat("x", 3_000), strings.Repeat("é", 1_500), strings.Repeat("(", 200),
		`<script>alert(1)</script>`, `" onmouseover="alert(1)`, "x\r\nSet-Cookie: evil=1", "../../etc/passwd", "//evil.example", `/\evil.example`,
		"javascript:alert(1)", "-1", "0", "9223372036854775807", "9223372036854775808", "-9223372036854775808", "1e309", "NaN",
		"-Infinity", "infinity", "epoch", "now", "0000-00-00", "2026-02-30", "99999-01-01", "0001-01-01 BC", "2026-03-01' ::text",
		"a & !b <-> c", `"a`, "{}", "null", "{{.}}", "${7*7}",
	}
}

// route is an address and the values that it accepts. Values in braces are in the path, the others in the query, the form or the JSON.
type route struct {
	method, path string
	values       map[string]string
}

// routes returns all routes. TestHostile/Complete compares them with the source.
func routes() []route {
	jobFilter := map[string]string{"state": "completed", "kind": "rollup_day", "q": "rollup", "from": "2026-03-01", "to": "2026-03-02"}
	bulk := maps.Clone(jobFilter)
	maps.Copy(bulk, map[string]string{
		"action": "retry", "max_id": "100", "at": "2026-03-10T12:00:00Z", "shown": "1", "before": "90", "done": "0", "skip_changed": "1",
	})
	form := map[string]string{"from": "2026-02-01", "to": "2026-02-03", "which": "all", "order": "newest", "in_flight": "1", "pause": "0"}
	page := func(more map[string]string) map[string]string {
		values := map[string]string{"before": "5"}
		maps.Copy(values, more)
		return values
	}
	return []route{
		{"GET", "/{$}", map[string]string{"year": "2026"}},
		{"GET", "/alerts", nil},
		{"POST", "/alerts/{channel}/test", map[string]string{"{channel}": "ops"}},
		{"GET", "/archive", nil},
		{"POST", "/archive", map[string]string{"action": "base"}},
		{"GET", "/audit", page(map[string]string{"actor": "admin", "via": "web", "action": "request dates", "after": "5"})},
		{"GET", "/backfills", page(form)},
		{"POST", "/backfills", form},
		{"GET", "/backfills/{id}", map[string]string{"{id}": "1", "state": "waiting", "cancel": "1", "after": "2026-02-01"}},
		{"POST", "/backfills/{id}", map[string]string{"{id}": "1", "action": "pause"}},
		{"GET", "/builder", page(nil)},
		{"POST", "/builder", map[string]string{
			"name": "b", "t": "app/public/canary", "as.0": "c", "c.0.0": "1", "n.0.0": "x", "x.0.0": "1 = one", "where": "alive > 0", "search": "x", "add": "app/public/canary",
			"action": "show", "remove": "",
		}},
		{"GET", "/capture", page(nil)},
		{"POST", "/capture", map[string]string{"repair": "1", "new": ""}},
		{"POST", "/capture/snapshots/{id}", map[string]string{"{id}": "1", "action": "pause"}},
		{"GET", "/changes", page(map[string]string{
			"database": "app", "table": "public.orders", "key": `{"id": 1}`, "op": "update", "until": "2026-03-10T11:00", "after": "5",
		})},
		{"GET", "/changes/{database}/{id}", map[string]string{"{database}": "app", "{id}": "1"}},
		{"GET", "/consumers", page(nil)},
		{"POST", "/consumers", map[string]string{"repair": "1", "new": ""}},
		{"GET", "/consumers/{name}", page(map[string]string{"{name}": "events"})},
		{"POST", "/consumers/{name}", map[string]string{"{name}": "events", "action": "rewind", "to": "1", "because": "x", "confirm": "1"}},
		{"GET", "/definition", map[string]string{"view": "a"}},
		{"POST", "/definition", map[string]string{"definition": "name: b\ntables: [{table: canary, columns: [alive]}]", "action": "plan", "change": "b"}},
		{"GET", "/deadletters", page(nil)},
		{"GET", "/deadletters/{name}", page(map[string]string{"{name}": "events", "state": "refused", "reason": "no", "after": "5"})},
		{"POST", "/deadletters/{name}", map[string]string{
			"{name}": "events", "action": "replay", "position": "2", "all": "1", "state": "refused", "reason": "no", "confirm": "1",
		}},
		{"GET", "/deadletters/{name}/{id}", map[string]string{"{name}": "events", "{id}": "2"}},
		{"GET", "/dates", page(map[string]string{"state": "complete", "from": "2026-03-01", "to": "2026-03-02"})},
		{"GET", "/dates/{date}", map[string]string{
			"{date}": "2026-03-01", "top": "views", "runs_before": "1", "requests_before": "1", "jobs_before": "1", "before": "1", "after": "1",
		}},
		{"POST", "/dates/{date}/request", map[string]string{"{date}": "2026-03-01", "back": "overview"}},
		{"GET", "/doctor", map[string]string{"after": "1"}},
		{"GET", "/help", nil},
		{"GET", "/totals", map[string]string{"from": "2026-03-01", "to": "2026-03-09", "by": "week", "days": "30"}},
		{"GET", "/totals.csv", map[string]string{"from": "2026-03-01", "to": "2026-03-09", "days": "30"}},
		{"GET", "/attention", map[string]string{"sort": "-date"}},
		{"POST", "/attention", map[string]string{"group": "0123456789ab", "which": "ticked", "date": "2026-03-01"}},
		{"GET", "/entities", map[string]string{"id": "7", "metric": "clicks", "period": "30"}},
		{"GET", "/entity", map[string]string{
			"id": "7", "from": "2026-03-01", "to": "2026-03-02", "days": "30", "range": "30", "before": "2026-03-02", "metric": "views",
		}},
		{"GET", "/entity.csv", map[string]string{"id": "7", "from": "2026-03-01", "to": "2026-03-02"}},
		{"GET", "/jobs", page(maps.Clone(jobFilter))},
		{"GET", "/jobs/{id}", map[string]string{"{id}": "1", "errors": "1"}},
		{"POST", "/jobs/{id}", map[string]string{"{id}": "1", "action": "retry"}},
		{"GET", "/jobs/bulk", bulk},
		{"POST", "/jobs/bulk", bulk},
		{"GET", "/jobs/bulk/result", bulk},
		{"GET", "/schedule", page(nil)},
		{"POST", "/schedule", map[string]string{"action": "pause-queue", "queue": "daymill"}},
		{"GET", "/verifications", page(map[string]string{"result": "exact", "date": "2026-03-01"})},
		{"GET", "/views", page(nil)},
		{"GET", "/views/{name}/search", map[string]string{"{name}": "a", "q": "x"}},
		{"GET", "/views/{name}", page(map[string]string{"{name}": "a"})},
		{"POST", "/views/{name}", map[string]string{
			"{name}": "a", "action": "refresh", "keys": "1", "all": "", "because": "x", "drift": "1", "repair": "1", "confirm": "",
		}},
		{"GET", "/views/{name}/definition.yaml", map[string]string{"{name}": "a"}},
		{"POST", "/verifications", map[string]string{"from": "2026-03-01", "to": "2026-03-02", "sample": "", "repair": "", "back": "date"}},

		{"GET", "/api/archive", map[string]string{"x": "1"}},
		{"POST", "/api/archive/bases", map[string]string{"x": "1"}},
		{"POST", "/api/archive/proofs", map[string]string{"x": "1"}},
		{"POST", "/api/backfills", map[string]string{
			"from": "2026-02-01", "to": "2026-02-03", "in_flight": "1", "pause_seconds": "0", "newest_first": "true", "every_date": "true",
		}},
		{"GET", "/api/backfills", map[string]string{"limit": "5", "cursor": "9"}},
		{"GET", "/api/backfills/{id}", map[string]string{"{id}": "1"}},
		{"POST", "/api/backfills/{id}/cancel", map[string]string{"{id}": "9", "x": "1"}},
		{"POST", "/api/backfills/{id}/pause", map[string]string{"{id}": "9", "x": "1"}},
		{"POST", "/api/backfills/{id}/resume", map[string]string{"{id}": "9", "x": "1"}},
		{"GET", "/api/changes", map[string]string{
			"database": "app", "table": "public.orders", "key": `{"id": 1}`, "op": "update", "until": "2026-03-10T11:00:00Z", "limit": "5", "cursor": "9",
		}},
		{"GET", "/api/changes/{database}/{id}", map[string]string{"{database}": "app", "{id}": "1"}},
		{"GET", "/api/consumers", map[string]string{"x": "1"}},
		{"GET", "/api/consumers/{name}", map[string]string{"{name}": "events"}},
		{"PUT", "/api/consumers/{name}", map[string]string{"{name}": "hook", "kind": "webhook", "url": "$HOOK_URL", "from": "5", "condition": "new.id > 3"}},
		{"PUT", "/api/streams/{database}", map[string]string{"{database}": "app", "tables": `["public.orders"]`}},
		{"DELETE", "/api/consumers/{name}", map[string]string{"{name}": "none"}},
		{"GET", "/api/consumers/{name}/deadletters", map[string]string{"{name}": "events", "state": "refused", "reason": "no", "limit": "5", "cursor": "1"}},
		{"POST", "/api/consumers/{name}/deadletters/discard", map[string]string{"{name}": "none", "all": "true", "state": "refused", "reason": "no"}},
		{"POST", "/api/consumers/{name}/deadletters/replay", map[string]string{"{name}": "events", "positions": "[2]", "all": "true", "state": "refused", "reason": "no"}},
		{"GET", "/api/consumers/{name}/deadletters/{id}", map[string]string{"{name}": "events", "{id}": "2"}},
		{"POST", "/api/consumers/{name}/pause", map[string]string{"{name}": "events", "because": "x"}},
		{"POST", "/api/consumers/{name}/resume", map[string]string{"{name}": "events"}},
		{"POST", "/api/consumers/{name}/rewind", map[string]string{"{name}": "events", "to": "1"}},
		{"POST", "/api/consumers/{name}/snapshot", map[string]string{"{name}": "events", "tables": "[]"}},
		{"GET", "/api/deadletters", map[string]string{"x": "1"}},
		{"GET", "/api/snapshots", map[string]string{"database": "app", "consumer": "events"}},
		{"POST", "/api/snapshots/{id}", map[string]string{"{id}": "1", "action": "pause"}},
		{"GET", "/api/streams", map[string]string{"x": "1"}},
		{"POST", "/api/consumers/{name}/ack", map[string]string{"{name}": "pull", "position": "5", "poller": "p"}},
		{"POST", "/api/consumers/{name}/poll", map[string]string{"{name}": "pull", "limit": "5", "lease_seconds": "5", "wait_seconds": "0", "poller": "p"}},
		{"GET", "/api/cron/daily-rollup", map[string]string{"x": "1"}},
		{"GET", "/api/dates", map[string]string{"from": "2026-03-01", "to": "2026-03-02", "state": "complete", "limit": "5"}},
		{"GET", "/api/doctor", map[string]string{"x": "1"}},
		{"GET", "/api/entities", map[string]string{"days": "7", "metric": "", "event_type": "share", "limit": "5"}},
		{"GET", "/api/totals", map[string]string{"days": "7", "x": "1"}},
		{"GET", "/api/trends", map[string]string{"by": "hour", "number": "24"}},
		{"GET", "/trends", map[string]string{"span": "24h"}},
		{"GET", "/api/entities/{id}/metrics", map[string]string{"{id}": "7", "from": "2026-03-01", "to": "2026-03-02", "format": "csv"}},
		{"GET", "/api/jobs", map[string]string{
			"state": "completed", "kind": "rollup_day", "q": "x", "from": "2026-03-01", "to": "2026-03-02", "limit": "5", "cursor": "9",
		}},
		{"POST", "/api/jobs/cancel", map[string]string{
			"all": "true", "state": "completed", "kind": "rollup_day", "q": "x", "from": "2026-03-01", "to": "2026-03-02", "cursor": "9", "dry_run": "true",
		}},
		{"POST", "/api/jobs/delete", map[string]string{"ids": "[999]", "dry_run": "true"}},
		{"POST", "/api/jobs/retry", map[string]string{"ids": "[999]", "all": "true", "q": "x"}},
		{"GET", "/api/jobs/{id}", map[string]string{"{id}": "1"}},
		{"DELETE", "/api/jobs/{id}", map[string]string{"{id}": "999"}},
		{"POST", "/api/jobs/{id}/cancel", map[string]string{"{id}": "999", "x": "1"}},
		{"POST", "/api/jobs/{id}/retry", map[string]string{"{id}": "999", "x": "1"}},
		{"GET", "/api/openapi.json", map[string]string{"x": "1"}},
		{"GET", "/api/view.schema.json", map[string]string{"x": "1"}},
		{"GET", "/api/queues", map[string]string{"x": "1"}},
		{"POST", "/api/queues/{name}/pause", map[string]string{"{name}": "none", "x": "1"}},
		{"POST", "/api/queues/{name}/resume", map[string]string{"{name}": "none", "x": "1"}},
		{"GET", "/api/schedules", map[string]string{"x": "1"}},
		{"POST", "/api/schedules/daily_rollup/pause", map[string]string{"x": "1"}},
		{"POST", "/api/schedules/daily_rollup/resume", map[string]string{"x": "1"}},
		{"POST", "/api/schedules/daily_rollup/run", map[string]string{"x": "1"}},
		{"GET", "/api/status", map[string]string{"x": "1"}},
		{"POST", "/api/rollups", map[string]string{"from": "2026-03-01", "to": "2026-03-02", "date": "2026-03-01"}},
		{"GET", "/api/verifications", map[string]string{"date": "2026-03-01", "result": "exact", "limit": "5", "cursor": "9"}},
		{"GET", "/api/views", map[string]string{"x": "1"}},
		{"POST", "/api/views", map[string]string{"definition": "name: a", "dry_run": "true"}},
		{"GET", "/api/views/{name}", map[string]string{"{name}": "a", "x": "1"}},
		{"DELETE", "/api/views/{name}", map[string]string{"{name}": "a"}},
		{"POST", "/api/views/{name}/drift", map[string]string{"{name}": "a", "decision": "accept", "ids": "1"}},
		{"POST", "/api/views/{name}/pause", map[string]string{"{name}": "a", "because": "x"}},
		{"POST", "/api/views/{name}/rebuild", map[string]string{"{name}": "a"}},
		{"POST", "/api/views/{name}/refresh", map[string]string{"{name}": "a", "keys": "1"}},
		{"POST", "/api/views/{name}/resume", map[string]string{"{name}": "a"}},
		{"GET", "/api/views/{name}/sql", map[string]string{"{name}": "a", "x": "1"}},
		{"POST", "/api/views/{name}/verify", map[string]string{"{name}": "a", "repair": "true"}},
		{"GET", "/api/tasks/{id}", map[string]string{"{id}": "1", "x": "1"}},
		{"POST", "/api/verifications", map[string]string{"from": "2026-03-01", "to": "2026-03-02", "date": "2026-03-01", "sample": "7", "repair": "true"}},
	}
}

// address returns the path of a route with values, and the values that are not in the path.
func (r route) address(values map[string]string) (path string, rest url.Values) {
	path, rest = strings.TrimSuffix(r.path, "{$}"), url.Values{}
	for name, value := range values {
		if strings.HasPrefix(name, "{") {
			path = strings.ReplaceAll(path, name, url.PathEscape(value))
		} else {
			rest.Set(name, value)
		}
	}
	return path, rest
}

// routed returns a request to a route with values.
func (s *site) routed(t *testing.T, r route, values map[string]string) *http.Request {
	t.Helper()
	path, rest := r.address(values)
	request := s.request(t, "admin", r.method, path+"?"+rest.Encode(), "")
	if r.method != http.MethodPost && r.method != http.MethodPut {
		return request
	}
	body, kind := rest.Encode(), "application/x-www-form-urlencoded"
	if strings.HasPrefix(r.path, "/api/") {
		object := make(map[string]any)
		for name := range rest {
			object[name] = rest.Get(name)
			var plain any // Numbers and booleans keep their type.
			if json.Unmarshal([]byte(rest.Get(name)), &plain) == nil {
				object[name] = plain
			}
		}
		text, err := json.Marshal(object)
		require.NoError(t, err)
		body, kind = string(text), "application/json"
	}
	request = s.request(t, "admin", r.method, path, body)
	request.Header.Set("Content-Type", kind)
	return request
}

// leaks matches internal messages of Postgres and Go, which no answer may contain.
var leaks = regexp.MustCompile(`SQLSTATE|goroutine \d|runtime error|invalid input syntax|syntax error at|conn busy|\.go:\d|pgx|/home/|postgres://`)

// noticeOnly is the one cookie that these pages set for a user with basic credentials.
var noticeOnly = regexp.MustCompile(`^daymill_notice=[a-z-]+; Path=/; Max-Age=60; HttpOnly; SameSite=Lax$`)

// harm returns what is wrong with an answer; empty if nothing is.
func harm(answer response) (all []string) {
	is := func(bad bool, what string) {
		if bad {
			all = append(all, what)
		}
	}
	is(answer.status >= 500, fmt.Sprintf("status %d", answer.status))
	is(leaks.MatchString(answer.body), "says "+leaks.FindString(answer.body))
	is(len(answer.body) > 400<<10, "has a very long answer")
	for _, cookie := range answer.header.Values("Set-Cookie") {
		is(!noticeOnly.MatchString(cookie), "has a cookie that is not a notice")
	}
	is(answer.header.Get("Evil") != "", "has a header from the sender's text")
	is(answer.header.Get("X-Content-Type-Options") != "nosniff", "lacks the headers that every answer has")
	to := answer.header.Get("Location")
	path, _, _ := strings.Cut(to, "?")
	is(to != "" && (!ownAddress.MatchString(to) || strings.Contains(path, "evil.example")), "leads to "+to)
	begin := answer.body[:min(40, len(answer.body))]
	public := strings.Contains(begin, `"openapi"`) || strings.Contains(begin, `"$schema"`) // The documents are the same for everybody.
	html := strings.HasPrefix(answer.header.Get("Content-Type"), "text/html")
	is(html && (strings.Contains(answer.body, "<script>alert") || strings.Contains(answer.body, `" onmouseover="alert`)), "has the sender's HTML")
	is(answer.status == http.StatusOK && !public && !strings.Contains(answer.header.Get("Cache-Control"), "no-store"), "may be kept by a cache")
	return all
}

// ownAddress matches addresses on this server: paths that no browser takes for a host.
var ownAddress = regexp.MustCompile(`^/([^/\\].*)?$`)

// errorsLogged counts log lines at level error, which mean a fault of Daymill.
type errorsLogged struct {
	slog.Handler

	count *atomic.Int64
}

func (h errorsLogged) Handle(ctx context.Context, record slog.Record) error {
	if record.Level >= slog.LevelError {
		h.count.Add(1)
	}
	return h.Handler.Handle(ctx, record)
}

// hostileSite serves the pages over a database that has rows in every table.
func hostileSite(t *testing.T, kind entity.Type) (s *site, faults *atomic.Int64) {
	t.Helper()
	faults = new(atomic.Int64)
	db := pgtest.Database(t, pgtest.Installed{EntityType: kind, TimeZone: "UTC"})
	db.RawEvents(t)
	place, err := store.Directory(t.TempDir())
	require.NoError(t, err)
	archived(t, place)
	s = serve(t, db, func(c *ui.Config) {
		c.Logger, c.Archive = slog.New(errorsLogged{c.Logger.Handler(), faults}), &standing.Source{Store: place}
		c.Alerts = &alert.Keeper{DB: db.DB, Env: channel.Environment{Lookup: func(string) (string, bool) { return "", false }}}
	})
	s.clock.set(time.Date(2026, time.March, 10, 12, 0, 0, 0, time.UTC))
	for _, sql := range []string{
		"CREATE TABLE public.canary AS SELECT 1 AS alive",
		`INSERT INTO analytics.backfills (first_date, last_date, requested_by) VALUES ('2026-02-01', '2026-02-03', 'a')`,
		"SELECT analytics.enqueue_rollup('2026-03-01'::date, '2026-03-05')",
		`INSERT INTO daymill.alert_channels (name, kind, settings) VALUES ('ops', 'slack', '{"url": "$OPS"}')`,
		"INSERT INTO capture.stream (name, position) VALUES ('app', 0)",
		"INSERT INTO capture.snapshot (stream_id, schema_name, table_name, state) SELECT s.id, 'public', 'orders', 'waiting' FROM capture.stream AS s",
		"INSERT INTO capture.consumer (name, stream, kind) VALUES ('events', 'app', 'webhook'), ('pull', 'app', 'poll')",
		"INSERT INTO capture.shard (consumer, shard, position) VALUES ('events', 0, 0), ('pull', 0, 0)",
		`INSERT INTO capture.letter (consumer, shard, position, key_hash, key, change, state, reason)
			VALUES ('events', 0, 2, '\x00', 'k', '{"position": 2, "stream": "app", "op": "insert"}', 'refused', 'no')`,
		`INSERT INTO river_job (kind, args, max_attempts, queue) SELECT 'rollup_day', jsonb_build_object('date', '2026-03-0' || i), 10, 'daymill'
			FROM generate_series(1, 5) AS i`,
	} {
		_, err := db.Exec(t.Context(), sql)
		require.NoError(t, err, sql)
	}
	_, err = s.db.Exec(t.Context(), "ALTER TABLE public.canary ADD PRIMARY KEY (alive)")
	require.NoError(t, err)
	answer := s.post(t, "/definition", fields("action", "apply", "definition", "name: a\ntables: [{table: canary, columns: [alive]}]"))
	require.Equal(t, http.StatusSeeOther, answer.status, answer.body)
	return s, faults
}

// TestHostile sends hostile texts as every value of every route.
func TestHostile(t *testing.T) {
	t.Parallel()

	t.Run("Complete", func(t *testing.T) {
		t.Parallel()
		var found, listed []string
		files, err := filepath.Glob("*/*.go")
		require.NoError(t, err)
		for _, file := range files {
			source, err := os.ReadFile(file)
			require.NoError(t, err)
			for _, match := range regexp.MustCompile(`mux\.Handle\("([A-Z]+ /[^"]*)", s\.Page|\{http\.Method(\w+), "(/api/[^"]+)"`).FindAllSubmatch(source, -1) {
				found = append(found, string(match[1])+strings.TrimSpace(strings.ToUpper(string(match[2]))+" "+string(match[3])))
			}
		}
		for _, r := range routes() {
			listed = append(listed, r.method+" "+r.path)
		}
		slices.Sort(found)
		slices.Sort(listed)
		require.Equal(t, found, listed)
	})

	for _, kind := range []entity.Type{entity.Bigint, entity.Text, entity.UUID} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			s, faults := hostileSite(t, kind)
			sent, harms := 0, []string{}
			for _, r := range routes() {
				if kind != entity.Text && !strings.Contains(r.path, "entit") {
					continue // Other routes do not depend on the type of entities.
				}
				for name := range r.values {
					for _, text := range hostileTexts() {
						values := maps.Clone(r.values)
						values[name] = text
						for _, what := range harm(s.do(t, s.routed(t, r, values))) {
							if name == "where" && what == "says syntax error at" {
								continue // The field is SQL, and Postgres says what is wrong with it.
							}
							harms = append(harms, fmt.Sprintf("%s %s %s=%.60q: %s", r.method, r.path, name, text, what))
						}
						sent++
					}
				}
			}
			require.Empty(t, strings.Join(harms, "\n"))
			require.Zero(t, faults.Load(), "errors in the log")
			var alive int
			require.NoError(t, s.db.QueryRow(t.Context(), "SELECT alive FROM public.canary").Scan(&alive))
			t.Logf("%d requests", sent)
		})
	}
}
