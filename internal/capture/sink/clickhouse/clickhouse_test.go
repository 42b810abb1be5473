package clickhouse_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/sink"
	"github.com/daymill/daymill/internal/capture/sink/clickhouse"
	"github.com/daymill/daymill/internal/capture/sink/sinktest"
	"github.com/daymill/daymill/internal/test/clickhousetest"
)

type target struct{ *clickhousetest.Server }

func newTarget(t *testing.T) *target {
	t.Helper()
	return &target{clickhousetest.Start(t, sinktest.Password)}
}

func columns(context.Context, change.Change) ([]sink.Column, error) {
	return []sink.Column{{Name: "id", Type: "text"}, {Name: "status", Type: "text"}, {Name: "note", Type: "character varying(1000)"}, {Name: "small", Type: "smallint"}}, nil
}

func (s *target) open(t *testing.T, config clickhouse.Config) *clickhouse.ClickHouse {
	t.Helper()
	config.URL = s.URL
	opened, err := clickhouse.Open(config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, opened.Close()) })
	return opened
}

func (s *target) Open(t *testing.T) sink.Sink {
	t.Helper()
	return s.open(t, clickhouse.Config{Database: "copy", Columns: columns})
}

func (s *target) Rows(t *testing.T) map[string]int64 {
	t.Helper()
	rows := map[string]int64{}
	for line := range strings.Lines(s.Query(t, "SELECT id, _daymill_position AS position FROM copy.orders FINAL WHERE NOT _daymill_deleted FORMAT JSONEachRow")) {
		var row struct {
			ID       string      `json:"id"`
			Position json.Number `json:"position"`
		}
		require.NoError(t, json.Unmarshal([]byte(strings.ReplaceAll(line, `"position":"`, `"position": "`)), &row))
		position, err := row.Position.Int64()
		require.NoError(t, err)
		rows[row.ID] = position
	}
	return rows
}

func (*target) Poisoned(c change.Change) change.Change {
	c.New = sinktest.Object(map[string]any{"id": sinktest.Poison, "small": "not a number"})
	return c
}

func TestClickHouse(t *testing.T) {
	t.Parallel()
	sinktest.Run(t, func(t *testing.T) sinktest.Target { return newTarget(t) })
}

// TestClickHouse_Table: the table's types hold every value, it gets new columns, and all kinds of names work.
func TestClickHouse_Table(t *testing.T) {
	t.Parallel()
	s := newTarget(t)
	described := []sink.Column{{Name: "id", Type: "bigint"}, {Name: "n`\\'", Type: "integer"}}
	opened := s.open(t, clickhouse.Config{Columns: func(context.Context, change.Change) ([]sink.Column, error) { return described, nil }})
	deliver := func(position int64, row string) {
		c := sinktest.Insert(position, 1)
		c.Schema, c.Table, c.New, c.SchemaVersion = "a `b`", "o'rders", json.RawMessage(row), int(position)
		sinktest.Deliver(t, opened, c)
	}
	deliver(1, "{\"id\": 1, \"n`\\\\'\": 7}")
	described = append(described, sink.Column{Name: "total", Type: "numeric(30,2)"}, sink.Column{Name: "rate", Type: "double precision"},
		sink.Column{Name: "paid", Type: "boolean"}, sink.Column{Name: "any", Type: "numeric"}, sink.Column{Name: "tags", Type: "text[]"},
		sink.Column{Name: "ref", Type: "uuid"}, sink.Column{Name: "at", Type: "timestamp with time zone"})
	deliver(2, `{"id": 1, "total": 12345678901234567890.10, "rate": "-Infinity", "paid": true, "any": 1234567890123456789012345678901234567890.5,
		"tags": ["a", "b\"c"], "ref": "c56a4180-65aa-42ec-a945-5fd21dec0538", "at": "2026-03-01T10:00:00.123456+00:00", "surprise": {"a": 1}}`)
	answer := s.Query(t, "SELECT total, rate = -1 / 0 AS low, paid, any, tags, ref, at, surprise FROM `a \\`b\\``.`o'rders` FINAL FORMAT JSONEachRow")
	require.JSONEq(t, `{"total":12345678901234567890.10,"low":1,"paid":1,"any":"1234567890123456789012345678901234567890.5","tags":"[\"a\", \"b\\\"c\"]",
		"ref":"c56a4180-65aa-42ec-a945-5fd21dec0538","at":"2026-03-01T10:00:00.123456+00:00","surprise":"{\"a\": 1}"}`, answer)
	types := s.Query(t, "SELECT name, type FROM system.columns WHERE table = 'o\\'rders' FORMAT TSVRaw")
	require.Contains(t, types, "id\tInt64\n")
	require.Contains(t, types, "total\tNullable(Decimal(30, 2))\n")
}

// TestClickHouse_Foreign: Daymill does not write to a table that it did not create, and refuses no change because of it.
func TestClickHouse_Foreign(t *testing.T) {
	t.Parallel()
	s := newTarget(t)
	s.Query(t, "CREATE DATABASE copy")
	s.Query(t, "CREATE TABLE copy.orders (id String) ENGINE = MergeTree ORDER BY id")
	_, err := s.Open(t).Deliver(t.Context(), []change.Change{sinktest.Insert(1, 1)})
	require.ErrorIs(t, err, clickhouse.ErrTable)
}

// TestClickHouse_Truncate: rows from before a truncate are deleted, and do not come back when they are delivered again.
func TestClickHouse_Truncate(t *testing.T) {
	t.Parallel()
	s := newTarget(t)
	opened := s.Open(t)
	truncate := sinktest.Delete(3, 1)
	truncate.Op, truncate.Key, truncate.Old = change.Truncate, nil, nil
	changes := []change.Change{sinktest.Insert(1, 1), sinktest.Insert(2, 2), truncate, sinktest.Insert(4, 2), sinktest.Insert(5, 3)}
	sinktest.Deliver(t, opened, truncate) // There is no table yet.
	sinktest.Deliver(t, opened, changes[:2]...)
	sinktest.Deliver(t, s.Open(t), truncate)
	require.Empty(t, s.Rows(t))
	sinktest.Deliver(t, opened, changes[3:]...)
	require.Equal(t, map[string]int64{"2": 4, "3": 5}, s.Rows(t))
	sinktest.Deliver(t, opened, changes...)
	sinktest.Deliver(t, opened, changes[:2]...)
	require.Equal(t, map[string]int64{"2": 4, "3": 5}, s.Rows(t))
}

// TestClickHouse_Sweep: rows that a snapshot did not find are deleted, also if another shard delivers rows of that snapshot after the
// sweep.
func TestClickHouse_Sweep(t *testing.T) {
	t.Parallel()
	s := newTarget(t)
	opened := s.Open(t)
	sweep := sinktest.Sweep(9, 3)
	sinktest.Deliver(t, opened, sweep) // There is no table yet.
	sinktest.Deliver(t, opened, sinktest.Insert(1, 1), sinktest.Insert(2, 2), sinktest.Insert(3, 3), sinktest.Insert(4, 4))
	sinktest.Deliver(t, opened, sinktest.Insert(7, 1), sweep, sinktest.Insert(10, 5))
	require.Equal(t, map[string]int64{"1": 7, "4": 4, "5": 10}, s.Rows(t))
	sinktest.Deliver(t, opened, sinktest.Insert(8, 2))
	sinktest.Deliver(t, s.Open(t), sweep)
	require.Equal(t, map[string]int64{"1": 7, "2": 8, "4": 4, "5": 10}, s.Rows(t))
}

// TestClickHouse_Unchanged: a column that an update did not touch keeps its value.
func TestClickHouse_Unchanged(t *testing.T) {
	t.Parallel()
	s := newTarget(t)
	opened := s.Open(t)
	sinktest.Deliver(t, opened, sinktest.Insert(1, "it's\\"), sinktest.Insert(2, "b"))
	var updates []change.Change
	for i, id := range []string{"it's\\", "b", "c"} {
		update := sinktest.Update(int64(3+i), id)
		update.New, update.Unchanged = sinktest.Object(map[string]any{"id": id, "status": "x"}), []string{"note"}
		updates = append(updates, update)
	}
	sinktest.Deliver(t, opened, updates...)
	require.Equal(t, "b\tx\ta\nc\tx\tnothing\nit's\\\tx\ta\n",
		s.Query(t, "SELECT id, status, coalesce(note, 'nothing') FROM copy.orders FINAL ORDER BY id FORMAT TSVRaw"))
}

// TestClickHouse_Concurrent: several shards create the same missing table, and refuse no change because of it.
func TestClickHouse_Concurrent(t *testing.T) {
	t.Parallel()
	s := newTarget(t)
	var group errgroup.Group
	for i := range 4 {
		opened := s.Open(t)
		group.Go(func() error {
			refusals, err := opened.Deliver(t.Context(), []change.Change{sinktest.Insert(int64(i+1), i)})
			if err == nil && len(refusals) > 0 {
				err = fmt.Errorf("%s: %s", refusals[0].Reason, refusals[0].Answer)
			}
			return err
		})
	}
	require.NoError(t, group.Wait())
	require.Len(t, s.Rows(t), 4)
}

// TestClickHouse_Versions: a newer server, simulated by one that records its requests, is asked to leave out deleted rows and to drop a
// block that it already has.
func TestClickHouse_Versions(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]struct {
		engine string
		token  bool
	}{
		"19.1.6": {"ENGINE = ReplacingMergeTree(_daymill_position) ORDER BY (`id`)", false},
		"22.8.1": {"ENGINE = ReplacingMergeTree(_daymill_position) ORDER BY (`id`) SETTINGS non_replicated_deduplication_window = 1000", true},
		"25.3.2": {"ENGINE = ReplacingMergeTree(_daymill_position, _daymill_deleted) ORDER BY (`id`) SETTINGS non_replicated_deduplication_window = 1000", true},
	} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			var asked []url.Values
			made := false
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				query := r.URL.Query()
				asked = append(asked, query)
				made = made || strings.HasPrefix(query.Get("query"), "CREATE TABLE")
				switch {
				case query.Get("query") != "":
				case made:
					_, _ = w.Write([]byte(`{"name":"id","type":"Int64"}{"name":"status","type":"String"}{"name":"note","type":"String"}{"name":"_daymill_position","type":"UInt64"}`))
				case len(asked) == 1:
					_, _ = w.Write([]byte(version + "\n"))
				}
			}))
			t.Cleanup(server.Close)
			opened, err := clickhouse.Open(clickhouse.Config{URL: server.URL})
			require.NoError(t, err)
			sinktest.Deliver(t, opened, sinktest.Insert(1, 1))
			require.NoError(t, opened.Close())
			mu.Lock()
			defer mu.Unlock()
			var statements string
			for _, query := range asked {
				statements += query.Get("query") + "\n"
				if strings.HasPrefix(query.Get("query"), "INSERT") {
					require.Equal(t, want.token, query.Get("insert_deduplication_token") != "")
				}
			}
			require.Contains(t, statements, want.engine)
			require.Contains(t, statements, "INSERT INTO `public`.`orders` FORMAT JSONEachRow")
		})
	}
}

// TestClickHouse_Busy: a server that is too busy gets no requests for a while.
func TestClickHouse_Busy(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Clickhouse-Exception-Code", "202")
		w.WriteHeader(http.StatusInternalServerError)
	}))
	t.Cleanup(server.Close)
	opened, err := clickhouse.Open(clickhouse.Config{URL: server.URL})
	require.NoError(t, err)
	_, err = opened.Deliver(t.Context(), []change.Change{sinktest.Insert(1, 1)})
	var busy *sink.RetryError
	require.ErrorAs(t, err, &busy)
}

func TestOpen(t *testing.T) {
	t.Parallel()
	for _, wrong := range []string{"", "clickhouse://host", "http://", "\x7f://u:" + sinktest.Password + "@%zz"} {
		_, err := clickhouse.Open(clickhouse.Config{URL: wrong})
		require.ErrorIs(t, err, clickhouse.ErrConfig)
		require.NotContains(t, err.Error(), sinktest.Password)
	}
}
