package search_test

import (
	"bufio"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/sink"
	"github.com/daymill/daymill/internal/capture/sink/search"
	"github.com/daymill/daymill/internal/capture/sink/sinktest"
	"github.com/daymill/daymill/internal/capture/template"
)

type document struct {
	version int64
	source  json.RawMessage // nil if it was deleted
}

// server implements the documented rules of _bulk and _mget: external versions, ids of at most 512 bytes, a result for each item.
type server struct {
	address string
	http    *httptest.Server

	mu        sync.Mutex
	documents map[string]document // by index and id
	most      int                 // bytes of a request; no limit if 0
	block     string              // type of an error that every item gets
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{documents: map[string]document{}, address: "127.0.0.1:0"}
	s.Start(t)
	t.Cleanup(func() { s.http.Close() })
	return s
}

func (s *server) Start(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("tcp", s.address)
	require.NoError(t, err)
	s.address = listener.Addr().String()
	s.http = &httptest.Server{Listener: listener, Config: &http.Server{Handler: s}}
	s.http.Start()
}

func (s *server) Stop(*testing.T) { s.http.Close() }

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if user, password, _ := r.BasicAuth(); user != "elastic" || password != sinktest.Password {
		http.Error(w, `{"error": "security_exception"}`, http.StatusUnauthorized)
		return
	}
	if s.most > 0 && r.ContentLength > int64(s.most) {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	var answer any
	switch r.URL.Path {
	case "/_bulk":
		answer = map[string]any{"took": 1, "errors": true, "items": s.bulk(r)}
	case "/_mget":
		answer = s.mget(r)
	default:
		http.NotFound(w, r)
		return
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func (s *server) bulk(r *http.Request) []any {
	lines := bufio.NewScanner(r.Body)
	lines.Buffer(nil, 64<<20)
	var items []any
	for lines.Scan() {
		var action map[string]struct {
			Index       string `json:"_index"`
			ID          string `json:"_id"`
			Version     int64  `json:"version"`
			VersionType string `json:"version_type"`
		}
		if err := json.Unmarshal(lines.Bytes(), &action); err != nil {
			panic(err)
		}
		for verb, meta := range action {
			var source json.RawMessage
			if verb == "index" {
				lines.Scan()
				source = json.RawMessage(strings.Clone(lines.Text()))
			}
			status, kind := s.write(meta.Index+"/"+meta.ID, document{version: meta.Version, source: source}, meta.ID)
			result := map[string]any{"_index": meta.Index, "_id": meta.ID, "status": status}
			if kind != "" {
				result["error"] = map[string]any{"type": kind, "reason": "no"}
			}
			items = append(items, map[string]any{verb: result})
		}
	}
	return items
}

func (s *server) write(key string, d document, id string) (status int, kind string) {
	var row struct {
		Note any `json:"note"`
	}
	_ = json.Unmarshal(d.source, &row)
	_, object := row.Note.(map[string]any)
	before, has := s.documents[key]
	switch {
	case s.block != "":
		return http.StatusForbidden, s.block
	case len(id) > 512:
		return http.StatusBadRequest, "illegal_argument_exception"
	case object:
		return http.StatusBadRequest, "mapper_parsing_exception"
	case has && before.version > d.version:
		return http.StatusConflict, "version_conflict_engine_exception"
	}
	s.documents[key] = d
	if d.source == nil && (!has || before.source == nil) {
		return http.StatusNotFound, ""
	}
	return http.StatusOK, ""
}

func (s *server) mget(r *http.Request) any {
	var request struct {
		Docs []struct {
			Index string `json:"_index"`
			ID    string `json:"_id"`
		} `json:"docs"`
	}
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		panic(err)
	}
	docs := []any{}
	for _, asked := range request.Docs {
		found := s.documents[asked.Index+"/"+asked.ID].source
		docs = append(docs, map[string]any{"found": found != nil, "_source": found})
	}
	return map[string]any{"docs": docs}
}

func (s *server) Open(t *testing.T) sink.Sink {
	t.Helper()
	index, err := template.Parse("{{ .table }}")
	require.NoError(t, err)
	opened, err := search.Open(search.Config{URL: "http://elastic:" + sinktest.Password + "@" + s.address, Index: index})
	require.NoError(t, err)
	t.Cleanup(func() { _ = opened.Close() })
	return opened
}

func (s *server) Rows(*testing.T) map[string]int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	rows := map[string]int64{}
	for key, d := range s.documents {
		if d.source != nil {
			rows[strings.TrimPrefix(key, "orders/")] = d.version
		}
	}
	return rows
}

func (*server) Poisoned(c change.Change) change.Change {
	c.New = sinktest.Object(map[string]any{"id": sinktest.Poison, "note": map[string]any{"not": "a text"}})
	return c
}

func TestSearch(t *testing.T) {
	t.Parallel()
	sinktest.Run(t, func(t *testing.T) sinktest.Target { return newServer(t) })
}

// TestSearch_Blocked: errors of the cluster or the index do not refuse documents.
func TestSearch_Blocked(t *testing.T) {
	t.Parallel()
	target := newServer(t)
	s := target.Open(t)
	for _, kind := range []string{"cluster_block_exception", "index_not_found_exception"} {
		target.block = kind
		refusals, err := s.Deliver(t.Context(), []change.Change{sinktest.Insert(1, 1)})
		require.ErrorContains(t, err, kind)
		require.Empty(t, refusals)
	}
}

// TestSearch_Refused: if a key is refused, none of its changes is written, and all are returned in order.
func TestSearch_Refused(t *testing.T) {
	t.Parallel()
	target := newServer(t)
	long := sinktest.Insert(2, strings.Repeat("x", 513))
	refusals, err := target.Open(t).Deliver(t.Context(), []change.Change{
		sinktest.Insert(1, sinktest.Poison), long, target.Poisoned(sinktest.Update(3, sinktest.Poison)),
	})
	require.NoError(t, err)
	require.Len(t, refusals, 3)
	require.Empty(t, target.Rows(t))
	for i, refusal := range refusals {
		require.Equal(t, i, refusal.Index)
	}
	require.Contains(t, refusals[0].Answer, "mapper_parsing_exception")
}

// TestSearch_TooLarge: a request that is too large is sent in parts, and a document that is too large is refused.
func TestSearch_TooLarge(t *testing.T) {
	t.Parallel()
	target := newServer(t)
	target.most = 1000
	large := sinktest.Insert(50, 50)
	large.New = sinktest.Object(map[string]any{"id": 50, "note": strings.Repeat("x", 2000)})
	changes := []change.Change{large}
	want := map[string]int64{}
	for i := range 40 {
		changes = append(changes, sinktest.Insert(int64(i+1), i))
		want[strconv.Itoa(i)] = int64(i + 1)
	}
	refusals, err := target.Open(t).Deliver(t.Context(), changes)
	require.NoError(t, err)
	require.Len(t, refusals, 1)
	require.Equal(t, 0, refusals[0].Index)
	require.Equal(t, want, target.Rows(t))
}

// TestSearch_Unchanged: a column that an update did not touch keeps its value.
func TestSearch_Unchanged(t *testing.T) {
	t.Parallel()
	target := newServer(t)
	s := target.Open(t)
	insert := sinktest.Insert(1, 1)
	insert.New = json.RawMessage(`{"id": 1, "body": "long", "total": 12345678901234567890.10}`)
	update := sinktest.Update(2, 1)
	update.New, update.Unchanged = json.RawMessage(`{"id": 1, "total": 2}`), []string{"body"}
	later := update
	later.Position, later.New = 3, json.RawMessage(`{"id": 1, "total": 12345678901234567890.30}`)
	sinktest.Deliver(t, s, insert, update)
	require.JSONEq(t, `{"id": 1, "body": "long", "total": 2}`, string(target.documents["orders/1"].source))
	sinktest.Deliver(t, s, later)
	require.JSONEq(t, `{"id": 1, "body": "long", "total": 12345678901234567890.30}`, string(target.documents["orders/1"].source))
	require.Contains(t, string(target.documents["orders/1"].source), "67890.30")
}

func TestOpen_Refused(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"", "ftp://x", "http://", "http://" + sinktest.Password + ":x@[::"} {
		_, err := search.Open(search.Config{URL: url})
		require.ErrorIs(t, err, search.ErrConfig)
		require.NotContains(t, err.Error(), sinktest.Password)
	}
}
