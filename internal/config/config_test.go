package config_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v4"

	"github.com/daymill/daymill/internal/alert"
	"github.com/daymill/daymill/internal/alert/channel"
	"github.com/daymill/daymill/internal/capture/sink/kind"
	"github.com/daymill/daymill/internal/config"
	"github.com/daymill/daymill/internal/document"
)

const example = `# daymill.yaml
databases: {app: $DATABASE_URL, crm: $CRM_URL}
capture:
  tables: [public.orders, public.order_items, public.order_status_history]
sinks:
  - {name: search,  kind: search,  url: $SEARCH_URL, tables: [public.orders], index: orders}
  - {name: cache,   kind: redis,   url: $REDIS_URL,  tables: [public.orders], delete: ["order-count:{{ .new.user_id }}"]}
  - {name: events,  kind: webhook, url: $EVENTS_URL, secret: $EVENTS_SECRET, tables: [public.order_status_history], from: snapshot,
     allow_private: true}
  - name: copy
    kind: postgres
    url: $CRM_URL
    database: crm
    shards: 4
    from: 81213
    schema: copies
    ops: [insert, update, delete]
    without: [card]
    condition: new.total > 100 or op == "delete"
    rename: {user_id: customer}
  - {name: reader, kind: poll, tables: [public.orders], ops: [insert]}
  - {name: bus, kind: nats, url: $NATS_URL, stream: changes}
  - {name: log, kind: kafka, url: $KAFKA_URL, topic: "{{ .table }}", create_topics: true}
`

func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(config.Schema))
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	require.NoError(t, compiler.AddResource("daymill.json", document))
	compiled, err := compiler.Compile("daymill.json")
	require.NoError(t, err)
	return compiled
}

// valid checks a file against the schema.
func valid(t *testing.T, content string) error {
	t.Helper()
	var value any
	if err := yaml.Unmarshal([]byte(content), &value); err != nil {
		return err
	}
	document, err := json.Marshal(value)
	require.NoError(t, err)
	instance, err := jsonschema.UnmarshalJSON(strings.NewReader(string(document)))
	require.NoError(t, err)
	return schema(t).Validate(instance)
}

func TestParse(t *testing.T) {
	t.Parallel()
	file, err := config.Parse("daymill.yaml", []byte(example))
	require.NoError(t, err)
	require.NoError(t, valid(t, example))
	require.Equal(t, map[string]string{"app": "$DATABASE_URL", "crm": "$CRM_URL"}, file.Databases)
	require.Equal(t, map[string][]string{"app": {"public.orders", "public.order_items", "public.order_status_history"}}, file.Tables)
	require.Len(t, file.Sinks, 7)
	events := file.Sinks[2]
	require.Equal(t, []string{"events", "webhook", "snapshot", "app"}, []string{events.Name, events.Kind, events.From, events.Database})
	require.Equal(t, "$EVENTS_SECRET", events.Settings.Secret)
	require.True(t, events.Settings.AllowPrivate)
	require.Equal(t, []string{"order-count:{{ .new.user_id }}"}, file.Sinks[1].Settings.Delete)
	replica := file.Sinks[3]
	require.Equal(t, 4, replica.Shards)
	require.Equal(t, "81213", replica.From)
	require.Equal(t, map[string]string{"user_id": "customer"}, replica.Settings.Rename)
}

// TestParse_Captured: captured tables are listed for one database, or by database.
func TestParse_Captured(t *testing.T) {
	t.Parallel()
	content := "databases: {crm: $CRM_URL}\ncapture:\n  tables:\n    app: public.orders\n    crm: [sales, '!sales.draft']\n"
	file, err := config.Parse("f", []byte(content))
	require.NoError(t, err)
	require.NoError(t, valid(t, content))
	require.Equal(t, map[string][]string{"app": {"public.orders"}, "crm": {"sales", "!sales.draft"}}, file.Tables)
	_, err = config.Parse("f", []byte("capture: {tables: {nowhere: public.orders, app: a.b.c}}"))
	require.ErrorContains(t, err, `f:1:20: capture.tables names database "nowhere", which is not listed under databases`)
	require.ErrorContains(t, err, `f:1:49: the pattern of tables cannot be read`)
}

// TestParse_Mistakes: all mistakes are reported at once, each with its place and what would be right.
func TestParse_Mistakes(t *testing.T) {
	t.Parallel()
	_, err := config.Parse("daymill.yaml", []byte(`databases:
  crm: postgres://user:hunter2secret@host/db
  Big: $X
capture:
  table: [a]
  tables: [public.orders, "a.b.c"]
sinks:
  - {name: search, kind: serch, url: $SEARCH_URL, index: orders}
  - {name: search, kind: search, url: $SEARCH_URL}
  - {name: cache, kind: redis, url: redis://:hunter2secret@host, delete: ["{{ range .new }}x{{ end }}"], index: 7}
  - {name: hook, kind: webhook, url: $U, form: now, from: yesterday, shards: many, allow_private: maybe, ops: [drop]}
  - {kind: webhook, condition: "new.", url: $U, tables: {a: b}}
  - just a text
  - {name: a, name: b, kind: nats, url: $U, database: nowhere}
`))
	var mistakes document.Mistakes
	require.ErrorAs(t, err, &mistakes)
	require.NotContains(t, err.Error(), "hunter2secret")
	lines := strings.Split(err.Error(), "\n")
	for i, want := range []string{
		`daymill.yaml:2:8: write the name of an environment variable, such as $CRM_URL: settings are stored, so they must not contain secrets`,
		`daymill.yaml:3:3: "Big" cannot be the name of a database: use small letters, digits, - and _, 63 at most, and a letter first`,
		`daymill.yaml:5:3: capture has no "table": did you mean tables?`,
		`daymill.yaml:6:27: the pattern of tables cannot be read: "a.b.c" has more than a schema and a table: put names with a dot into double quotes`,
		`daymill.yaml:8:26: there is no kind "serch": use webhook, redis, search, postgres, clickhouse, kafka, nats, poll`,
		`daymill.yaml:9:5: there is another sink "search": give each a different name`,
		`daymill.yaml:9:26: say which index: index: orders`,
		`daymill.yaml:10:37: write the name of an environment variable, such as $REDIS_URL: settings are stored, so they must not contain secrets`,
		`daymill.yaml:10:74: the template cannot be used: {{range is not allowed: use if, with, fields and functions`,
		`daymill.yaml:10:113: a sink of kind redis has no index, which is for search: it has delete, set, hash, stream, max_len`,
		`daymill.yaml:11:42: a sink has no "form": did you mean from?`,
		`daymill.yaml:11:59: write from: now, from: snapshot, or a position such as from: 81213, and not "yesterday"`,
		`daymill.yaml:11:78: shards must be a number from 1 to 64`,
		`daymill.yaml:11:99: write true or false`,
		`daymill.yaml:11:111: the filter cannot be used: "drop" is not an operation: use insert, update, delete or truncate`,
		`daymill.yaml:12:5: the sink has no name: it needs name, kind and url`,
		`daymill.yaml:12:32: the filter cannot be used: the condition: `,
		`daymill.yaml:12:57: this must be a list, not a mapping: begin each item with a dash`,
		`daymill.yaml:13:5: a sink must be a mapping with `,
		`daymill.yaml:14:5: sink "a" names database "nowhere", which is not listed under databases`,
		`daymill.yaml:14:15: name appears twice: the first is on line 14`,
	} {
		require.Contains(t, strings.Join(lines, "\n"), want, i)
	}
	require.Len(t, mistakes, 21, err.Error())
}

// TestParse_Hostile: no file makes Parse crash or run for long, and each mistake is on a line of its own.
func TestParse_Hostile(t *testing.T) {
	t.Parallel()
	for _, content := range []string{
		"", "#", "- a", "a", "{", "\t", "sinks: {a: b}", "sinks: &a [*a]", "a: &a [x,x]\nb: &b [*a,*a]\nsinks: [*b]", "? [a, b]\n: c",
		"databases: [a]", "databases: {a: {b: c}}", "sinks: [{name: &x a, kind: *x, url: *x}]", strings.Repeat("a: ", 10000),
		strings.Repeat("[", 20000), "sinks: " + strings.Repeat("x", config.MaxFile), "sinks: [{name: \"\\u0000\", kind: redis, url: $A}]",
		"sinks: [null]", "null", "capture: null", "sinks: [{name: 1.5, kind: [], url: {}}]", "\xff\xfe", "sinks:\n  - name: a\n   kind: b",
		"sinks: [{<<: {a: b}}]", "sinks: [{name: a, kind: webhook, url: $A, rename: {a: null}}]",
	} {
		_, err := config.Parse("f", []byte(content))
		var mistakes document.Mistakes
		require.ErrorAs(t, err, &mistakes, content[:min(len(content), 50)])
		for _, mistake := range mistakes {
			require.GreaterOrEqual(t, mistake.Line, 1)
			require.GreaterOrEqual(t, mistake.Column, 1)
		}
	}
}

// TestSchema: the schema has every setting of every kind, and refuses what Parse refuses.
func TestSchema(t *testing.T) {
	t.Parallel()
	for _, name := range kind.Names() {
		for _, field := range kind.Fields(name) {
			require.Contains(t, config.Schema, `"`+field+`": {`)
		}
	}
	for _, content := range []string{
		"sinks: [{name: a, kind: b, url: $A}]", "sinks: [{name: A, kind: redis, url: $A}]", "sinks: [{name: a, kind: redis, url: redis://x}]",
		"sinks: [{name: a, kind: redis}]", "sink: []", "databases: {crm: x}", "capture: {table: [a]}", "sinks: [{name: a, kind: nats, url: $A, from: x}]",
		"sinks: [{name: a, kind: nats, url: $A, shards: 0}]", "sinks: [{name: a, kind: poll, shards: 2}]", "sinks: [{name: a, kind: poll, url: $A}]",
		"sinks: [{name: a, kind: poll, condition: new.id > 1}]", "sinks: [{name: a, kind: nats}]",
	} {
		require.Error(t, valid(t, content), content)
		_, err := config.Parse("f", []byte(content))
		require.Error(t, err, content)
	}
}

// TestParse_Syntax: what is not YAML is a mistake with its place, as is a second document.
func TestParse_Syntax(t *testing.T) {
	t.Parallel()
	for content, want := range map[string]string{
		"sinks: []\nalerts: b: c":   "f:2:10: this is not YAML: mapping values are not allowed",
		"sinks: [a,\n  b\n":         "f:3:1: this is not YAML: while parsing a flow sequence: did not find expected ',' or ']'",
		"sinks: [}":                 "f:1:9: this is not YAML: ",
		"sinks: *x":                 "f:1:8: this is not YAML: unknown anchor",
		"\xff":                      "f:1:1: this is not YAML: invalid leading UTF-8 octet",
		"sinks: []\n---\nviews: []": "f:2:1: another document begins here: write it into a file of its own",
		"sinks: []\n---\nviews: [":  "f:4:1: this is not YAML: ",
		"---\n":                     "f:2:1: the file must be a mapping",
		"# nothing":                 "f:1:1: the file is empty",
	} {
		_, err := config.Parse("f", []byte(content))
		require.ErrorContains(t, err, want, content)
	}
}

// TestParse_Zero: a text that Postgres cannot store is a mistake with its place.
func TestParse_Zero(t *testing.T) {
	t.Parallel()
	_, err := config.Parse("f", []byte(`sinks: [{name: a, kind: webhook, url: $A, tables: ["a\u0000"], rename: {"b\u0000": c, d: "e\u0000"}}]`))
	for _, place := range []string{"f:1:52: ", "f:1:73: ", "f:1:90: "} {
		require.ErrorContains(t, err, place+"the text has a character with the code 0")
	}
}

const alerts = `alerts:
  after: 90s
  no_worker: 10m
  pages: https://daymill.example.com/daymill
  channels:
    - {name: ops, kind: webhook, url: $OPS_URL, secret: $OPS_SECRET, allow_private: true, level: bad}
    - {name: team, kind: slack, url: $SLACK_URL}
    - {name: mail, kind: mail, url: $SMTP_URL, from: daymill@example.com, to: [a@example.com, b@example.com], plain: true}
`

func TestParse_Alerts(t *testing.T) {
	t.Parallel()
	require.NoError(t, valid(t, alerts))
	file, err := config.Parse("f", []byte(alerts))
	require.NoError(t, err)
	require.Equal(t, &alert.Wanted{
		Lasting: 90 * time.Second, NoWorker: 10 * time.Minute, Pages: "https://daymill.example.com/daymill",
		Channels: []alert.Channel{
			{Name: "ops", Kind: "webhook", Level: "bad", Settings: channel.Settings{URL: "$OPS_URL", Secret: "$OPS_SECRET", AllowPrivate: true}},
			{Name: "team", Kind: "slack", Level: "wait", Settings: channel.Settings{URL: "$SLACK_URL"}},
			{Name: "mail", Kind: "mail", Level: "wait", Settings: channel.Settings{
				URL: "$SMTP_URL", From: "daymill@example.com", To: []string{"a@example.com", "b@example.com"}, Plain: true,
			}},
		},
	}, file.Alerts)
	file, err = config.Parse("f", []byte("sinks: []"))
	require.NoError(t, err)
	require.Nil(t, file.Alerts, "a file that does not mention alerts changes none")

	for content, want := range map[string]string{
		"alerts: {after: soon}":                                 "f:1:17: write a time from 0s to 24h, such as 5m",
		"alerts: {no_worker: 1s}":                               "f:1:21: write a time from 2m0s to 24h",
		"alerts: {pages: daymill.example.com}":                  "f:1:17: write the address of the pages",
		"alerts: {chanels: []}":                                 "f:1:10: alerts has no \"chanels\": did you mean channels?",
		"alerts: {channels: [{name: a, kind: pager, url: $A}]}": "f:1:37: there is no kind \"pager\" of channels: use webhook, slack, mail",
		"alerts: {channels: [{name: a, kind: slack}]}":          "f:1:21: the channel has no url",
		"alerts: {channels: [{name: a, kind: slack, url: 'https://hooks.example/hunter2secret'}]}": "f:1:49: write the name of an environment variable",
		"alerts: {channels: [{name: a, kind: slack, url: $A, secret: $B}]}":                        "f:1:61: a channel of kind slack has no secret",
		"alerts: {channels: [{name: a, kind: webhook, url: $A, level: good}]}":                     "f:1:62: write bad",
		"alerts: {channels: [{name: a, kind: mail, url: $A, to: [b@c]}]}":                          "f:1:21: say who sends the mail",
		"alerts: {channels: [{name: a, kind: mail, url: $A, from: b@c, to: []}]}":                  "f:1:67: say who receives the mail",
	} {
		_, err := config.Parse("f", []byte(content))
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "hunter2secret")
		if !strings.Contains(content, "no_worker") { // A schema cannot compare times.
			require.Error(t, valid(t, content), content)
		}
	}
	_, err = config.Parse("f", []byte("alerts: {channels: [{name: a, kind: slack, url: $A}, {name: a, kind: slack, url: $A}]}"))
	require.ErrorContains(t, err, `f:1:54: there is another channel "a"`)
	_, err = config.Parse("f", []byte("alerts: {channels: [{name: a, kind: mail, url: $A, from: b@c, to: [nobody]}]}"))
	require.ErrorContains(t, err, `f:1:67: "nobody" is not an address for mail`)
}
