package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/consumer"
	"github.com/daymill/daymill/internal/capture/log"
	"github.com/daymill/daymill/internal/capture/sink/sinktest"
	"github.com/daymill/daymill/internal/test/redistest"
)

// TestWorker_Delivers: a worker delivers the log's changes to the sinks of a file: a webhook, a Redis, and a schema of the same database. A
// change that the webhook refuses is a dead letter, and arrives when it is replayed.
func TestWorker_Delivers(t *testing.T) {
	b := newApplyBundle(t)
	var mu sync.Mutex
	var received []int64
	refusing := true
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var c change.Change
		_ = json.Unmarshal(body, &c)
		mu.Lock()
		defer mu.Unlock()
		if refusing && c.Position == 2 {
			http.Error(w, "no such order", http.StatusUnprocessableEntity)
			return
		}
		received = append(received, c.Position)
	}))
	t.Cleanup(hook.Close)
	redis := redistest.Start(t, sinktest.Password)
	t.Setenv("TEST_HOOK_URL", hook.URL)
	t.Setenv("TEST_REDIS_URL", redis.URL)
	t.Setenv("TEST_SAME_URL", b.db.URL)
	b.write(t, `
sinks:
  - {name: hook, kind: webhook, url: $TEST_HOOK_URL, allow_private: true}
  - {name: cache, kind: redis, url: $TEST_REDIS_URL, set: "order:{{ .key.id }}"}
  - {name: copy, kind: postgres, url: $TEST_SAME_URL, schema: copy, shards: 2}
  - {name: lost, kind: webhook, url: $TEST_UNSET_URL}
`)
	b.run(t, "apply", "-f", b.file)
	writer, err := log.Take(t.Context(), log.Config{DB: b.db.DB, Stream: "app", Owner: "test"})
	require.NoError(t, err)
	startWorker(t, b.db.URL)

	land := func(changes ...change.Change) {
		require.NoError(t, writer.Land(t.Context(), changes, log.Mark{LSN: "0/1"}))
	}
	hooked := func() []int64 {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(received)
	}
	until := func(condition func() bool) {
		t.Helper()
		require.Eventually(t, condition, time.Minute, 20*time.Millisecond)
	}
	land(sinktest.Insert(0, 1), sinktest.Insert(0, 2), sinktest.Insert(0, 3), sinktest.Update(0, 2), sinktest.Delete(0, 3))
	until(func() bool { return slices.Equal(hooked(), []int64{1, 3, 5}) })
	until(func() bool {
		letters, err := consumer.Letters(t.Context(), b.db.DB, "hook", 0)
		require.NoError(t, err)
		return len(letters) == 2
	})
	until(func() bool {
		keys, err := redis.Client.Keys(t.Context(), "order:*").Result()
		require.NoError(t, err)
		slices.Sort(keys)
		return slices.Equal(keys, []string{"order:1", "order:2"})
	})
	until(func() bool {
		var ids string
		err := b.db.QueryRow(t.Context(), "SELECT coalesce(string_agg(id::text, ' ' ORDER BY id), '') FROM copy.orders").Scan(&ids)
		return err == nil && ids == "1 2"
	})
	until(func() bool {
		shards, err := consumer.Shards(t.Context(), b.db.DB, "lost")
		require.NoError(t, err)
		return shards[0].Error != ""
	})
	require.Contains(t, b.run(t, "sink", "show", "lost"), "the environment variable TEST_UNSET_URL is not set")

	mu.Lock()
	refusing = false
	mu.Unlock()
	b.run(t, "deadletter", "replay", "hook", "--all")
	until(func() bool { return slices.Equal(hooked(), []int64{1, 3, 5, 2, 4}) })
	until(func() bool { return b.run(t, "deadletter", "list", "hook") == "there are no dead letters\n" })
}

// TestCapture: the status of a stream, and the changes of some of its tables.
func TestCapture(t *testing.T) {
	t.Parallel()
	b := newApplyBundle(t)
	require.Contains(t, b.run(t, "capture", "status"), "nothing is captured")
	writer, err := log.Take(t.Context(), log.Config{DB: b.db.DB, Stream: "app", Owner: "test"})
	require.NoError(t, err)
	other := sinktest.Insert(0, 2)
	other.Table, other.New = "notes", sinktest.Object(map[string]any{"id": 2, "text": "\x1b[31m"})
	require.NoError(t, writer.Land(t.Context(), []change.Change{sinktest.Insert(0, 1), other, sinktest.Delete(0, 1)}, log.Mark{LSN: "0/1"}))
	require.Contains(t, b.run(t, "capture", "status", "--json"), `"position": 3`)
	require.Contains(t, b.run(t, "capture", "status", "--json"), `"unread": false`)
	b.db.Do(t, "UPDATE capture.stream SET mode = 'trigger', beat_at = now() - interval '1 hour'")
	require.Contains(t, b.run(t, "capture", "status", "--json"), `"unread": true`)
	require.Contains(t, b.run(t, "capture", "status"), "nobody reads it: start a worker")
	require.Contains(t, b.run(t, "capture", "status"), "app")
	_, err = b.db.Exec(t.Context(), "UPDATE capture.stream SET warn_at = 1000, drop_at = 2000")
	require.NoError(t, err)
	require.Contains(t, b.run(t, "capture", "status", "--json"), `"drop_at_bytes": 2000`)
	require.Contains(t, b.run(t, "capture", "status"), "app: the worker warns at 1,000 bytes of WAL retained, and drops the slot at 2,000\n")

	tail := func(args ...string) string {
		return b.run(t, append([]string{"capture", "tail", "--no-follow", "--after", "0"}, args...)...)
	}
	lines := strings.Split(strings.TrimSpace(tail("--json", "--table", "public.orders")), "\n")
	require.Len(t, lines, 2)
	var c change.Change
	require.NoError(t, json.Unmarshal([]byte(lines[1]), &c))
	require.Equal(t, []any{int64(3), change.Delete}, []any{c.Position, c.Op})
	require.Contains(t, tail(), "2 2026-03-01T10:00:00.123456Z insert public.notes")
	require.NotContains(t, tail()+tail("--json"), "\x1b")
	require.Contains(t, b.refused(t, "capture", "tail", "--table", "a.b.c"), "the pattern of tables cannot be read")
}

// TestCapture_TailWaits: a tail that has nothing to print says that it waits.
func TestCapture_TailWaits(t *testing.T) {
	t.Parallel()
	b := newApplyBundle(t)
	writer, err := log.Take(t.Context(), log.Config{DB: b.db.DB, Stream: "app", Owner: "test"})
	require.NoError(t, err)
	require.NoError(t, writer.Land(t.Context(), []change.Change{sinktest.Insert(0, 1), sinktest.Insert(0, 2)}, log.Mark{LSN: "0/1"}))
	for _, one := range []struct {
		args []string
		want string
	}{
		{nil, "waiting for changes after position 2: --after 0 shows earlier ones\n"},
		{[]string{"--after", "0", "--table", "public.other"}, "waiting for changes after position 3\nnote: no captured table of app matches public.other yet\n"},
	} {
		tail := start(t, append([]string{"--database-url", b.db.URL, "capture", "tail"}, one.args...)...)
		require.Eventually(t, func() bool { return tail.stderr.String() == one.want }, waitFor, tick)
		require.NoError(t, writer.Land(t.Context(), []change.Change{sinktest.Insert(0, 3)}, log.Mark{LSN: "0/2"}))
		if one.args == nil {
			require.Eventually(t, func() bool { return strings.HasPrefix(tail.stdout.String(), "3 ") }, waitFor, tick)
		}
		tail.cancel()
		require.Equal(t, exitOK, <-tail.code)
		require.Equal(t, one.want, tail.stderr.String(), "once")
	}
}

// TestWorker_SchemaChange: a Postgres sink has the source's column types and gets new columns automatically. Other changes of columns pause it,
// until somebody follows the instructions. A JSON sink continues.
func TestWorker_SchemaChange(t *testing.T) {
	b := newApplyBundle(t)
	t.Setenv("TEST_SAME_URL", b.db.URL)
	redis := redistest.Start(t, sinktest.Password)
	t.Setenv("TEST_REDIS_URL", redis.URL)
	b.write(t, `
sinks:
  - {name: copy, kind: postgres, url: $TEST_SAME_URL, schema: copy, without: [secret], rename: {state: status}}
  - {name: cache, kind: redis, url: $TEST_REDIS_URL, set: "order:{{ .key.id }}"}
`)
	b.run(t, "apply", "-f", b.file)
	writer, err := log.Take(t.Context(), log.Config{DB: b.db.DB, Stream: "app", Owner: "test"})
	require.NoError(t, err)
	version := func(number int, columns, row string) {
		_, err := b.db.Exec(t.Context(), `INSERT INTO capture.schema_version (stream_id, schema_name, table_name, version, position, columns)
			SELECT id, 'public', 'orders', $1, position + 1, $2::json FROM capture.stream`, number, columns)
		require.NoError(t, err)
		c := sinktest.Insert(0, number)
		c.SchemaVersion, c.New = number, json.RawMessage(row)
		require.NoError(t, writer.Land(t.Context(), []change.Change{c}, log.Mark{LSN: "0/1"}))
	}
	until := func(condition string) {
		t.Helper()
		require.Eventually(t, func() bool {
			var is bool
			return b.db.QueryRow(t.Context(), "SELECT "+condition).Scan(&is) == nil && is
		}, time.Minute, 20*time.Millisecond, condition)
	}
	startWorker(t, b.db.URL)
	version(1, `[{"name": "id", "type": "bigint", "number": 1}, {"name": "state", "type": "character varying(9)", "number": 2},
		{"name": "secret", "type": "text", "number": 3}]`, `{"id": 1, "state": "new", "secret": "s"}`)
	version(2, `[{"name": "id", "type": "bigint", "number": 1}, {"name": "state", "type": "character varying(9)", "number": 2},
		{"name": "at", "type": "timestamp with time zone", "number": 4}]`, `{"id": 2, "state": "new", "at": "2026-03-01T10:00:00+00:00"}`)
	until("count(*) = 2 FROM copy.orders")
	var types string
	require.NoError(t, b.db.QueryRow(t.Context(), `SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum)
		FROM pg_attribute WHERE attrelid = 'copy.orders'::regclass AND attnum > 0`).Scan(&types))
	require.Equal(t, "id bigint, status character varying(9), _daymill_position bigint, at timestamp with time zone", types)

	version(3, `[{"name": "id", "type": "bigint", "number": 1}, {"name": "state", "type": "text", "number": 2},
		{"name": "at", "type": "timestamp with time zone", "number": 4}]`, `{"id": 3, "state": "longer than that", "at": null}`)
	until("paused_at IS NOT NULL FROM capture.consumer WHERE name = 'copy'")
	const statement = `ALTER TABLE "copy"."orders" ALTER COLUMN "status" TYPE text USING "status"::text`
	require.Contains(t, b.run(t, "sink", "show", "copy"), "of public.orders, column state is now text, and was character varying(9): run "+
		statement+" in the target, then run `daymill sink resume copy`")
	require.Contains(t, b.run(t, "sink", "list"), "paused")
	require.Eventually(t, func() bool { return redis.Client.Exists(t.Context(), "order:3").Val() == 1 }, time.Minute, 20*time.Millisecond)
	_, err = b.db.Exec(t.Context(), statement)
	require.NoError(t, err)
	b.run(t, "sink", "resume", "copy")
	until("count(*) = 1 FROM copy.orders WHERE status = 'longer than that'")
	require.Equal(t, "there are no dead letters\n", b.run(t, "deadletter", "list", "copy"))
}
