package redis_test

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/sink"
	"github.com/daymill/daymill/internal/capture/sink/redis"
	"github.com/daymill/daymill/internal/capture/sink/sinktest"
	"github.com/daymill/daymill/internal/capture/template"
	"github.com/daymill/daymill/internal/test/redistest"
)

func parse(t *testing.T, source string) *template.Template {
	t.Helper()
	parsed, err := template.Parse(source)
	require.NoError(t, err)
	return parsed
}

func open(t *testing.T, config redis.Config) *redis.Redis {
	t.Helper()
	s, err := redis.Open(config)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// rows is a Redis that holds rows as strings or hashes.
type rows struct {
	*redistest.Server

	hash bool
}

func (r *rows) Open(t *testing.T) sink.Sink {
	t.Helper()
	config := redis.Config{URL: r.URL}
	name := parse(t, "order:{{ .key.id }}")
	if r.hash {
		config.Hash = name
		require.NoError(t, r.Client.RPush(t.Context(), "order:"+strconv.Itoa(sinktest.Poison), "a list").Err())
	} else {
		config.Set = parse(t, "{{ if .new }}{{ if .new.id }}order:{{ .key.id }}{{ end }}{{ else }}order:{{ .key.id }}{{ end }}")
	}
	return open(t, config)
}

func (r *rows) Poisoned(c change.Change) change.Change {
	if !r.hash {
		c.New = sinktest.Object(map[string]any{"note": "no id"})
	}
	return c
}

func (r *rows) Rows(t *testing.T) map[string]int64 {
	t.Helper()
	found := map[string]int64{}
	keys, err := r.Client.Keys(t.Context(), "order:*").Result()
	require.NoError(t, err)
	for _, key := range keys {
		if strings.HasSuffix(key, ":daymill-position") {
			continue
		}
		var id any
		if r.hash {
			row, err := r.Client.HGetAll(t.Context(), key).Result()
			if goredis.HasErrorPrefix(err, "WRONGTYPE") {
				continue
			}
			require.NoError(t, err)
			id = row["id"]
		} else {
			value, err := r.Client.Get(t.Context(), key).Bytes()
			require.NoError(t, err)
			row, err := sink.Row(value)
			require.NoError(t, err)
			id = row["id"]
		}
		require.Equal(t, "order:"+sink.Text(id), key)
		position, err := r.Client.Get(t.Context(), "{"+key+"}:daymill-position").Int64()
		if err != nil {
			position, err = r.Client.Get(t.Context(), key+":daymill-position").Int64()
		}
		require.NoError(t, err)
		found[sink.Text(id)] = position
	}
	return found
}

// events is a Redis that holds a stream of changes.
type events struct{ *redistest.Server }

func (e *events) Open(t *testing.T) sink.Sink {
	t.Helper()
	return open(t, redis.Config{URL: e.URL, Stream: parse(t, "{{ if .new }}{{ if .new.id }}orders{{ end }}{{ else }}orders{{ end }}")})
}

func (*events) Poisoned(c change.Change) change.Change {
	c.New = sinktest.Object(map[string]any{"id": nil})
	return c
}

func (e *events) received(t *testing.T) []change.Change {
	t.Helper()
	messages, err := e.Client.XRange(t.Context(), "orders", "-", "+").Result()
	require.NoError(t, err)
	changes := make([]change.Change, len(messages))
	for i, message := range messages {
		require.NoError(t, json.Unmarshal([]byte(message.Values["event"].(string)), &changes[i]))
	}
	return changes
}

func (e *events) Rows(t *testing.T) map[string]int64 {
	t.Helper()
	return sinktest.Fold(t, e.received(t))
}

func TestRedis(t *testing.T) {
	t.Parallel()

	t.Run("Hash", func(t *testing.T) {
		t.Parallel()
		sinktest.Run(t, func(t *testing.T) sinktest.Target {
			return &rows{Server: redistest.Start(t, sinktest.Password), hash: true}
		})
	})
	t.Run("Set", func(t *testing.T) {
		t.Parallel()
		sinktest.Run(t, func(t *testing.T) sinktest.Target {
			return &rows{Server: redistest.Start(t, sinktest.Password)}
		})
	})
	t.Run("Stream", func(t *testing.T) {
		t.Parallel()
		sinktest.Run(t, func(t *testing.T) sinktest.Target {
			return &events{Server: redistest.Start(t, sinktest.Password)}
		})
	})
}

// TestRedis_Delete: the keys of the old and the new row are deleted. If the old row is not known, no other row's key is deleted in its
// place.
func TestRedis_Delete(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, sinktest.Password)
	s := open(t, redis.Config{URL: server.URL, Delete: []*template.Template{parse(t, "order-count:{{ .new.user_id }}")}})
	fill := func() {
		for _, user := range []string{"1", "2", "3"} {
			require.NoError(t, server.Client.Set(t.Context(), "order-count:"+user, "7", 0).Err())
		}
	}
	left := func() []string {
		keys, err := server.Client.Keys(t.Context(), "*").Result()
		require.NoError(t, err)
		return keys
	}
	row := func(user int) json.RawMessage { return sinktest.Object(map[string]any{"id": 1, "user_id": user}) }

	fill()
	insert := sinktest.Insert(1, 1)
	insert.New = row(1)
	sinktest.Deliver(t, s, insert)
	require.ElementsMatch(t, []string{"order-count:2", "order-count:3"}, left())

	fill()
	update := sinktest.Update(2, 1)
	update.Old, update.New = row(1), row(2)
	sinktest.Deliver(t, s, update)
	require.ElementsMatch(t, []string{"order-count:3"}, left())

	fill()
	gone := sinktest.Delete(3, 1)
	gone.Old = row(3)
	sinktest.Deliver(t, s, gone)
	require.ElementsMatch(t, []string{"order-count:1", "order-count:2"}, left())

	fill()
	refusals, err := s.Deliver(t.Context(), []change.Change{sinktest.Delete(4, 1), sinktest.Update(5, 1)})
	require.NoError(t, err)
	require.Len(t, refusals, 2)
	require.Contains(t, refusals[0].Reason, `run ALTER TABLE "public"."orders" REPLICA IDENTITY FULL`)
	require.Len(t, left(), 3)
}

// TestRedis_Replay: a change that is replayed after later ones of other keys is appended once.
func TestRedis_Replay(t *testing.T) {
	t.Parallel()
	target := &events{Server: redistest.Start(t, sinktest.Password)}
	s := target.Open(t)
	sinktest.Deliver(t, s, sinktest.Insert(10, 1), sinktest.Insert(20, 2))
	sinktest.Deliver(t, s, sinktest.Insert(5, 3))
	sinktest.Deliver(t, s, sinktest.Insert(20, 2), sinktest.Insert(30, 4))
	var positions []int64
	for _, c := range target.received(t) {
		positions = append(positions, c.Position)
	}
	require.Equal(t, []int64{10, 20, 5, 30}, positions)
}

// TestRedis_Unchanged: a column that an update did not touch keeps its value.
func TestRedis_Unchanged(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, sinktest.Password)
	s := open(t, redis.Config{URL: server.URL, Set: parse(t, "s:{{ .key.id }}"), Hash: parse(t, "h:{{ .key.id }}")})
	insert := sinktest.Insert(1, 1)
	insert.New = json.RawMessage(`{"id": 1, "body": "long <&> \"text\"", "total": 12345678901234567890.10, "note": "a"}`)
	update := sinktest.Update(2, 1)
	update.New, update.Unchanged = json.RawMessage(`{"id": 1, "total": 2.50, "note": null}`), []string{"body"}
	later := update
	later.Position, later.New = 3, json.RawMessage(`{"id": 1, "total": 12345678901234567890.20, "note": null}`)
	sinktest.Deliver(t, s, insert, update)
	sinktest.Deliver(t, s, later)
	value, err := server.Client.Get(t.Context(), "s:1").Result()
	require.NoError(t, err)
	require.Contains(t, value, "12345678901234567890.20")
	require.JSONEq(t, `{"id": 1, "body": "long <&> \"text\"", "total": 12345678901234567890.20, "note": null}`, value)
	fields, err := server.Client.HGetAll(t.Context(), "h:1").Result()
	require.NoError(t, err)
	require.Equal(t, map[string]string{"id": "1", "body": `long <&> "text"`, "total": "12345678901234567890.20"}, fields)
}

func TestOpen_Refused(t *testing.T) {
	t.Parallel()
	for _, config := range []redis.Config{
		{}, {URL: "http://" + sinktest.Password}, {URL: "redis://:" + sinktest.Password + "@localhost:x"}, {URL: "redis://localhost"},
	} {
		_, err := redis.Open(config)
		require.ErrorIs(t, err, redis.ErrConfig)
		require.NotContains(t, err.Error(), sinktest.Password)
	}
}
