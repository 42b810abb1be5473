package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/consumer"
	"github.com/daymill/daymill/internal/capture/report"
	"github.com/daymill/daymill/internal/config"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
)

const shopFile = `
capture: {tables: [public.orders]}
sinks:
  - {name: cache, kind: redis, url: $REDIS_URL, set: "order:{{ .key.id }}"}
  - {name: events, kind: webhook, url: $EVENTS_URL, secret: $EVENTS_SECRET, from: 17, allow_private: true}
`

type applyBundle struct {
	db   *pgtest.DB
	file string
}

func newApplyBundle(t *testing.T) *applyBundle {
	t.Helper()
	return &applyBundle{
		db:   pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"}),
		file: filepath.Join(t.TempDir(), "daymill.yaml"),
	}
}

func (b *applyBundle) write(t *testing.T, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(b.file, []byte(content), 0o600))
}

// run runs a command that must succeed, and returns what it prints.
func (b *applyBundle) run(t *testing.T, args ...string) string {
	t.Helper()
	code, stdout, stderr := command(t.Context(), b.db.URL, args...)
	require.Equal(t, exitOK, code, "%v: %s", args, stderr)
	return stdout
}

func (b *applyBundle) count(t *testing.T, sql string) (count int64) {
	t.Helper()
	require.NoError(t, b.db.QueryRow(t.Context(), sql).Scan(&count))
	return count
}

func (b *applyBundle) refused(t *testing.T, args ...string) string {
	t.Helper()
	code, _, stderr := command(t.Context(), b.db.URL, args...)
	require.Equal(t, exitUsage, code, "%v: %s", args, stderr)
	return stderr
}

// TestApply: the sinks match the file, a second run does nothing, and changes that would lose a position are refused.
func TestApply(t *testing.T) {
	t.Parallel()
	b := newApplyBundle(t)
	b.write(t, shopFile)
	require.Equal(t, "create  capture of app: public.orders\ncreate  sink cache: from now\ncreate  sink events: from 17\n", b.run(t, "apply", "-f", b.file, "--dry-run"))
	require.Contains(t, b.run(t, "sink", "list"), "there are no sinks")
	require.Equal(t, "create  capture of app: public.orders\ncreate  sink cache: from now\ncreate  sink events: from 17\n", b.run(t, "apply", "-f", b.file))
	require.Equal(t, "keep    capture of app\nkeep    sink cache\nkeep    sink events\n", b.run(t, "apply", "-f", b.file))

	var sinks []report.Sink
	require.NoError(t, json.Unmarshal([]byte(b.run(t, "sink", "list", "--json")), &sinks))
	require.Len(t, sinks, 2)
	require.Equal(t, []any{"events", "webhook", "app", "active", int64(17)}, []any{sinks[1].Name, sinks[1].Kind, sinks[1].Database, sinks[1].State, sinks[1].Position})
	require.Contains(t, b.run(t, "sink", "show", "events"), `"url": "$EVENTS_URL"`)

	b.write(t, "sinks: [{name: events, kind: webhook, url: $OTHER_URL, batch: true, from: 99}]")
	require.Equal(t, "change  sink events: allow_private, batch, secret, url\nleave   sink cache: it is not in the file: --remove removes it\n",
		b.run(t, "apply", "-f", b.file))
	require.Contains(t, b.run(t, "sink", "show", "events"), "position 17")
	require.Contains(t, b.run(t, "apply", "-f", b.file, "--remove"), "remove  sink cache: its position (0) and 0 dead letters are lost")
	require.NotContains(t, b.run(t, "sink", "list"), "cache")

	for _, content := range []string{
		"sinks: [{name: events, kind: nats, url: $OTHER_URL}]", "sinks: [{name: events, kind: webhook, url: $OTHER_URL, shards: 2}]",
		"databases: {crm: $CRM_URL}\nsinks: [{name: events, kind: webhook, url: $OTHER_URL, database: crm}]",
	} {
		b.write(t, content)
		require.Contains(t, b.refused(t, "apply", "-f", b.file, "--dry-run"), "remove it first, or give the new one another name")
		require.Contains(t, b.refused(t, "apply", "-f", b.file), "remove it first, or give the new one another name")
	}
	rows, err := b.db.Query(t.Context(), "SELECT concat_ws(' ', via, action, target) FROM daymill.audit ORDER BY id")
	require.NoError(t, err)
	entries, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.Equal(t, []string{
		"cli capture tables app", "cli create consumer cache", "cli create consumer events", "cli apply file file", "cli change consumer events",
		"cli apply file file", "cli remove consumer cache", "cli apply file file",
	}, entries)
}

// TestApply_Captures: the captured tables match the file, and do not change if the file has none. The same can be done step by step.
func TestApply_Captures(t *testing.T) {
	t.Parallel()
	b := newApplyBundle(t)
	_, err := b.db.Exec(t.Context(), "CREATE TABLE public.keyless (n integer); CREATE TABLE IF NOT EXISTS public.orders (id bigint PRIMARY KEY); INSERT INTO public.orders (id) VALUES (1)")
	require.NoError(t, err)
	b.write(t, "capture: {tables: [public.orders, public.keyless]}")
	code, stdout, stderr := command(t.Context(), b.db.URL, "apply", "-f", b.file, "--dry-run")
	require.Equal(t, exitOK, code)
	require.Equal(t, "create  capture of app: public.orders public.keyless\n", stdout)
	require.Contains(t, stderr, "note: triggers capture the changes of app")
	require.Contains(t, stderr, "note: public.keyless of app is not captured: it has no primary key")
	require.Regexp(t, `note: measured on a copy, the triggers make an INSERT of one row into public.orders take [\d,]+ µs instead of [\d,]+, and `, stderr)
	require.NotContains(t, stderr, "into public.keyless")
	captured := func() (patterns []string) {
		require.NoError(t, b.db.QueryRow(t.Context(), "SELECT coalesce(min(tables), '{}') FROM capture.stream").Scan(&patterns))
		return patterns
	}
	require.Empty(t, captured())
	b.run(t, "apply", "-f", b.file)
	require.Equal(t, []string{"public.orders", "public.keyless"}, captured())
	b.write(t, "capture: {tables: [public.orders, sales]}")
	require.Equal(t, "change  capture of app: +sales -public.keyless\n", b.run(t, "apply", "-f", b.file))
	b.write(t, "sinks: []")
	b.run(t, "apply", "-f", b.file)
	require.Equal(t, []string{"public.orders", "sales"}, captured())

	// A worker has recorded what it captures: a typo does not end that.
	b.db.Do(t, `INSERT INTO capture.captured (stream_id, schema_name, table_name, oid, identity, reason)
		SELECT id, 'public', t, 0, 'd', CASE t WHEN 'secret' THEN 'it has no primary key' ELSE '' END FROM capture.stream, unnest(ARRAY['orders', 'secret']) AS t`)
	b.write(t, "capture: {tables: [public.ordres, sales]}\nalerts: {channels: [{name: ops, kind: webhook, url: $OPS_URL}]}\nsinks: [{name: cache, kind: redis, url: $REDIS_URL, set: a}]")
	for _, dryRun := range [][]string{nil, {"--dry-run"}} {
		require.Contains(t, b.refused(t, append([]string{"apply", "-f", b.file}, dryRun...)...),
			"capture of app: it would stop capturing public.orders: name what is missing in the file, or use --remove")
	}
	require.Equal(t, []string{"public.orders", "sales"}, captured())
	require.Contains(t, b.run(t, "sink", "list"), "there are no sinks", "nothing of a refused file is applied")
	require.Contains(t, b.run(t, "alert", "list"), "nobody is told")
	require.Contains(t, b.run(t, "apply", "-f", b.file, "--remove", "--dry-run"), "change  capture of app: +public.ordres -public.orders\n")
	b.write(t, `capture: {tables: ["public.order*", sales]}`)
	require.Equal(t, "change  capture of app: +public.order* -public.orders\n", b.run(t, "apply", "-f", b.file, "--dry-run"), "it is still captured")

	require.Contains(t, b.run(t, "capture", "remove", "sales"), "captured tables of app: public.orders")
	require.Contains(t, b.run(t, "capture", "add", "public.items", "!public.secret"), "captured tables of app: public.orders, public.items, !public.secret")
	require.Contains(t, b.refused(t, "capture", "remove", "sales"), "sales is not in the list of captured tables")
	require.Contains(t, b.refused(t, "capture", "add", "a.b.c"), "the pattern of tables cannot be read")
	require.Contains(t, b.refused(t, "capture", "add", "a.b", "--database", "crm"), "database crm is unknown: give the environment variable with its URL, as --url '$NAME'")
	require.Contains(t, b.refused(t, "capture", "add", "a.b", "--database", "crm", "--url", "postgres://u:hunter2secret@h"), "settings are stored and must not contain secrets")
	b.run(t, "capture", "add", "a.b", "--database", "crm", "--url", "$CRM_URL")

	require.Contains(t, b.run(t, "sink", "add", "cache", "kind=redis", "url=$REDIS_URL", "set=order:{{ .key.id }}", "tables=[public.orders, public.items]", "database=crm"),
		"sink cache is added: from now")
	require.Contains(t, b.run(t, "sink", "show", "cache"), `"set": "order:{{ .key.id }}"`)
	require.Contains(t, b.refused(t, "sink", "add", "cache", "kind=redis", "url=$REDIS_URL", "set=a"), "the sink cache already exists")
	refused := b.refused(t, "sink", "add", "other", "kind=redis", "url=redis://:hunter2secret@host", "colour=red")
	require.Contains(t, refused, "write the name of an environment variable")
	require.Contains(t, refused, `a sink has no "colour"`)
	require.NotContains(t, refused, "hunter2secret")
}

func TestApply_Mistakes(t *testing.T) {
	t.Parallel()
	b := newApplyBundle(t)
	require.Contains(t, b.refused(t, "apply", "-f", b.file), "there is no file")
	b.write(t, "sinks:\n  - {name: a, kind: redis, url: redis://:hunter2secret@host}\n  - {nam: b}\n")
	stderr := b.refused(t, "apply", "-f", b.file)
	require.Contains(t, stderr, b.file+":2:21: say what to do in Redis")
	require.Contains(t, stderr, b.file+":2:33: write the name of an environment variable")
	require.Contains(t, stderr, b.file+`:3:6: a sink has no "nam": did you mean name?`)
	require.NotContains(t, stderr, "hunter2secret")
	require.JSONEq(t, config.Schema, b.run(t, "apply", "--schema"))

	// What only the database knows comes next: all of it, and before anything is changed.
	b.db.Do(t, "CREATE TABLE IF NOT EXISTS public.orders (id bigint PRIMARY KEY)")
	b.write(t, shopFile)
	b.run(t, "apply", "-f", b.file)
	b.write(t, `capture: {tables: [public.orders, sales]}
alerts: {channels: [{name: ops, kind: webhook, url: $OPS_URL}]}
sinks: [{name: cache, kind: nats, url: $NATS_URL}, {name: other, kind: nats, url: $NATS_URL}]
views:
  - {name: one, tables: [{table: orders, columns: [id, totl]}]}
  - {name: two, tables: [{table: ordres, columns: [id]}]}
`)
	stderr = b.refused(t, "apply", "-f", b.file)
	require.Contains(t, stderr, "2 mistakes:")
	require.Regexp(t, `daymill.yaml:5:\d+: .*totl`, stderr)
	require.Regexp(t, `daymill.yaml:6:\d+: database app has no table public.ordres`, stderr)
	require.Contains(t, stderr, "sink cache: its kind would change from redis to nats")
	require.NotContains(t, b.run(t, "sink", "list"), "other")
	require.Contains(t, b.run(t, "alert", "list"), "nobody is told")
}

// TestApply_JSON: one document has all parts of the file.
func TestApply_JSON(t *testing.T) {
	t.Parallel()
	b := newApplyBundle(t)
	b.db.Do(t, "CREATE TABLE IF NOT EXISTS public.orders (id bigint PRIMARY KEY)")
	b.write(t, shopFile+`
alerts: {channels: [{name: ops, kind: webhook, url: $OPS_URL}]}
views: [{name: order_list, tables: [{table: orders, columns: [id]}]}]
`)
	type step struct {
		Verb    string `json:"verb"`
		Capture string `json:"capture"`
		Sink    string `json:"sink"`
		View    string `json:"view"`
	}
	var got struct {
		DryRun  bool     `json:"dry_run"`
		Capture []step   `json:"capture"`
		Sinks   []step   `json:"sinks"`
		Alerts  []string `json:"alerts"`
		Views   []step   `json:"views"`
	}
	require.NoError(t, json.Unmarshal([]byte(b.run(t, "apply", "-f", b.file, "--json", "--dry-run")), &got))
	require.True(t, got.DryRun)
	require.Equal(t, []step{{Verb: "create", Capture: "app"}}, got.Capture)
	require.Equal(t, []step{{Verb: "create", Sink: "cache"}, {Verb: "create", Sink: "events"}}, got.Sinks)
	require.Equal(t, []string{"set channel ops"}, got.Alerts)
	require.Equal(t, []step{{Verb: "create", View: "order_list"}}, got.Views)
	b.run(t, "apply", "-f", b.file, "--json")
	require.Contains(t, b.run(t, "view", "list"), "order_list")

	b.write(t, "capture: {tables: [public.orders]}")
	require.JSONEq(t, `{"dry_run": false, "capture": [{"verb": "keep", "capture": "app"}], "alerts": null, "views": [], "sinks": [
		{"verb": "leave", "sink": "cache", "why": "it is not in the file: --remove removes it"},
		{"verb": "leave", "sink": "events", "why": "it is not in the file: --remove removes it"}]}`, b.run(t, "apply", "-f", b.file, "--json"))
	var refused map[string]any
	b.write(t, "sinks: [{name: cache, kind: nats, url: $NATS_URL}]")
	code, stdout, _ := command(t.Context(), b.db.URL, "apply", "-f", b.file, "--json")
	require.Equal(t, exitUsage, code)
	require.NoError(t, json.Unmarshal([]byte(stdout), &refused))
}

// TestSink: pause, resume, rewind and remove, and their errors for an unknown sink.
func TestSink(t *testing.T) {
	t.Parallel()
	b := newApplyBundle(t)
	b.write(t, shopFile)
	b.run(t, "apply", "-f", b.file)
	require.Equal(t, "sink cache is paused\n", b.run(t, "sink", "pause", "cache", "--because", "Redis \x1b[31m moves"))
	shown := b.run(t, "sink", "show", "cache")
	require.Contains(t, shown, "moves")
	require.NotContains(t, shown, "\x1b")
	require.Equal(t, "sink cache continues\n", b.run(t, "sink", "resume", "cache"))
	require.Contains(t, b.refused(t, "sink", "rewind", "cache", "--to", "5"), "it ends at position 0", "the sink would never receive later changes")
	_, err := b.db.Exec(t.Context(), "UPDATE capture.stream SET position = 9, forgotten = 3")
	require.NoError(t, err)
	require.Contains(t, b.refused(t, "sink", "rewind", "cache", "--to", "2"), "it begins after position 3")
	require.Equal(t, "sink cache continues after position 5\n", b.run(t, "sink", "rewind", "cache", "--to", "5"))
	require.Contains(t, b.run(t, "sink", "show", "cache", "--json"), `"position": 5`)
	require.Equal(t, "sink cache is removed\n", b.run(t, "sink", "remove", "cache"))
	for _, args := range [][]string{
		{"sink", "show", "cache"},
		{"sink", "pause", "cache"},
		{"sink", "resume", "cache"},
		{"sink", "rewind", "cache", "--to", "1"},
		{"sink", "remove", "cache"},
		{"sink", "show", attack},
	} {
		require.Contains(t, b.refused(t, args...), "there is no consumer of that name")
	}
	require.Contains(t, b.refused(t, "sink", "rewind", "events", "--to", "-1"), "--to")
}

// TestDeadletter: dead letters are listed, shown with the sink's answer, replayed and discarded.
func TestDeadletter(t *testing.T) {
	t.Parallel()
	b := newApplyBundle(t)
	b.write(t, shopFile)
	b.run(t, "apply", "-f", b.file)
	require.Equal(t, "there are no dead letters\n", b.run(t, "deadletter", "list"))
	_, err := b.db.Exec(t.Context(), `
		INSERT INTO capture.letter (consumer, shard, position, key_hash, key, change, state, reason, answer)
		SELECT 'events', 0, p, decode(CASE WHEN p < 3 THEN '00' ELSE '01' END, 'hex'), '"public"."orders"{"id":1}',
			json_build_object('position', p, 'op', 'insert', 'new', json_build_object('note', E'\x1b[31m')),
			CASE WHEN p = 2 THEN 'waiting' ELSE 'refused' END, 'the webhook answered 422', E'no such \x1b]0;order'
		FROM generate_series(1, 3) AS p`)
	require.NoError(t, err)
	list := b.run(t, "deadletter", "list", "events")
	require.Contains(t, list, "the webhook answered 422")
	shown := b.run(t, "deadletter", "show", "events", "1")
	require.Contains(t, shown, "no such")
	require.Contains(t, shown, `"position": 1`)
	require.NotContains(t, list+shown, "\x1b")
	require.Equal(t, "2 dead letters will be delivered again, in order, by a worker\n", b.run(t, "deadletter", "replay", "events", "2"))
	letters, err := consumer.Letters(t.Context(), b.db.DB, "events", 0)
	require.NoError(t, err)
	require.NotNil(t, letters[0].ReplayAt)
	require.Nil(t, letters[2].ReplayAt)
	require.Equal(t, "1 dead letter discarded\n", b.run(t, "deadletter", "discard", "events", "3"))
	require.Equal(t, "2 dead letters discarded\n", b.run(t, "deadletter", "discard", "events", "--all"))
	for _, args := range [][]string{{"show", "events", "1"}, {"replay", "events", "1"}, {"discard", "events", "--all"}, {"replay", "nobody", "--all"}} {
		require.Contains(t, b.refused(t, append([]string{"deadletter"}, args...)...), "there is no such dead letter")
	}
	for _, args := range [][]string{{"replay", "events"}, {"discard", "events"}, {"discard", "events", "1", "--all"}} {
		require.Contains(t, b.refused(t, append([]string{"deadletter"}, args...)...), "give positions, or --all")
	}
}

// TestApply_Notes: a pattern that matches no table may be a typo, so there is a note on each, in a dry run too.
func TestApply_Notes(t *testing.T) {
	t.Parallel()
	b := newApplyBundle(t)
	b.db.Do(t, `CREATE TABLE IF NOT EXISTS public.orders (id bigint PRIMARY KEY);
		ALTER TABLE public.orders ADD IF NOT EXISTS total numeric, ADD twice numeric GENERATED ALWAYS AS (total * 2) STORED;
		CREATE TABLE public.customers (id bigint PRIMARY KEY, tax numeric); CREATE SCHEMA empty`)
	notes := func(args ...string) string {
		t.Helper()
		code, _, stderr := command(t.Context(), b.db.URL, args...)
		require.Equal(t, exitOK, code, "%v: %s", args, stderr)
		return stderr
	}
	b.write(t, `
capture: {tables: [public.orders, public.ordersx, orders, empty, "!public.secret"]}
sinks:
  - {name: events, kind: webhook, url: $EVENTS_URL, tables: [public.orders, public.oders, "!public.none"]}
  - {name: other, kind: webhook, url: $EVENTS_URL, tables: [public.customers]}
  - {name: all, kind: webhook, url: $EVENTS_URL, without: [total, totl], rename: {id: order, ID: order2}}
  - {name: some, kind: webhook, url: $EVENTS_URL, columns: [twice, total, tax]}
  - {name: large, kind: webhook, url: $EVENTS_URL, condition: 'new.total > 10 || old?.twice > 1 || new["sum"] > 1 || lower(string(old.statu)) == "b"'}
`)
	for _, dryRun := range [][]string{{"--dry-run"}, nil} {
		got := notes(append([]string{"apply", "-f", b.file}, dryRun...)...)
		require.Contains(t, got, "note: no table of app matches public.ordersx yet\n")
		require.Contains(t, got, "note: no table of app matches orders yet: orders means the schema orders: write public.orders for a table\n")
		require.Contains(t, got, "note: no table of app matches empty yet\n")
		require.Contains(t, got, "note: sink events: no table of app matches public.oders yet\n")
		require.Contains(t, got, "note: sink other: public.customers is not captured: add it to the captured tables\n")
		for _, note := range []string{"all: without names totl", "all: rename names ID", "some: columns names tax", "large: condition names sum", "large: condition names statu"} {
			require.Contains(t, got, "note: sink "+note+", and none of the sink's tables has this column\n")
		}
		for _, silent := range []string{"matches public.orders yet", "secret", "public.none", "events: public.orders", "names id", "names total", "names twice"} {
			require.NotContains(t, got, silent)
		}
	}
	require.Contains(t, notes("capture", "add", "public.itemsx"), "note: no table of app matches public.itemsx yet\n")
	require.Contains(t, notes("sink", "add", "third", "kind=webhook", "url=$EVENTS_URL", "tables=[orders]"), "note: sink third: no table of app matches orders yet: orders means the schema orders")
}

// TestSink_Snapshot: a table that the sink does not receive is a mistake, once a worker has recorded what is captured.
func TestSink_Snapshot(t *testing.T) {
	t.Parallel()
	b := newApplyBundle(t)
	b.write(t, `
capture: {tables: [public]}
sinks: [{name: events, kind: webhook, url: $EVENTS_URL, tables: [public.orders]}]
`)
	b.run(t, "apply", "-f", b.file)
	require.Contains(t, b.run(t, "sink", "snapshot", "events", "--table", "public.later"), "gets the existing rows", "a worker may find it")
	b.db.Do(t, `INSERT INTO capture.captured (stream_id, schema_name, table_name, oid, identity, reason)
		SELECT id, 'public', t, 0, 'd', '' FROM capture.stream, unnest(ARRAY['orders', 'customers']) AS t`)
	b.run(t, "sink", "snapshot", "events", "--table", "public.later")
	b.db.Do(t, "UPDATE capture.stream SET followed = tables || view_tables")
	for _, table := range []string{"public.nosuch", "public.customers"} {
		require.Contains(t, b.refused(t, "sink", "snapshot", "events", "--table", "public.orders", "--table", table),
			"sink events receives no captured table that matches "+table)
	}
	require.Contains(t, b.run(t, "sink", "snapshot", "events", "--table", "public.orders"), "gets the existing rows")
	require.Contains(t, b.run(t, "sink", "snapshot", "events"), "gets the existing rows")
	require.EqualValues(t, 4, b.count(t, "SELECT count(*) FROM capture.snapshot_request"))
}
