package e2e_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestCapture builds the command once, and captures in each mode from beginning to end.
func TestCapture(t *testing.T) {
	t.Parallel()
	binary := build(t)
	for mode, level := range map[string]string{"trigger": "replica", "wal": "logical"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			testCapture(t, binary, mode, level)
		})
	}
}

// received is what a webhook received: for each key the values in the order of their first arrival, and the number of repeats.
type received struct {
	mu      sync.Mutex
	last    map[string]int64 // position by key
	values  map[string][]int
	repeats int
	wrong   []string
}

func (r *received) ServeHTTP(_ http.ResponseWriter, request *http.Request) {
	body, _ := io.ReadAll(request.Body)
	var change struct {
		Position int64  `json:"position"`
		Stream   string `json:"stream"`
		Table    string `json:"table"`
		Snapshot bool   `json:"snapshot"`
		Key      struct {
			ID int `json:"id"`
		} `json:"key"`
		New struct {
			N int `json:"n"`
		} `json:"new"`
	}
	err := json.Unmarshal(body, &change)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil || change.Stream != "app" {
		r.wrong = append(r.wrong, string(body))
		return
	}
	key := change.Table + " " + strconv.Itoa(change.Key.ID)
	if change.Position <= r.last[key] {
		r.repeats++
		return
	}
	r.last[key] = change.Position
	// A snapshot may read a row after its last change was delivered. It must not bring an older value.
	if values := r.values[key]; change.Snapshot && len(values) > 0 && values[len(values)-1] == change.New.N {
		return
	}
	r.values[key] = append(r.values[key], change.New.N)
}

func (r *received) of(key string) []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]int(nil), r.values[key]...)
}

// testCapture applies a file, starts a worker, changes rows, and waits for their changes. The worker is killed in the middle, and another one
// continues: no change is missing, and the changes of each key arrive in order.
func testCapture(t *testing.T, binary, mode, level string) {
	t.Helper()
	server := pgtest.Server(t, map[string]string{"wal_level": level})
	const before = 500 // rows
	b := &testBundle{db: pgtest.On(t, server, installed), binary: binary}
	b.db.Do(t, "CREATE TABLE public.counter (id integer PRIMARY KEY, n integer NOT NULL)")
	b.db.Do(t, "INSERT INTO public.counter SELECT i, 0 FROM generate_series(1000, 1000 + $1 - 1) AS i", before)
	b.db.Do(t, `CREATE TABLE public.later (id integer PRIMARY KEY, n integer NOT NULL)`)
	got := &received{last: map[string]int64{}, values: map[string][]int{}}
	hook := httptest.NewServer(got)
	t.Cleanup(hook.Close)
	b.env = []string{"HOOK_URL=" + hook.URL}
	file := filepath.Join(t.TempDir(), "daymill.yaml")
	write := func(tables string, args ...string) {
		require.NoError(t, os.WriteFile(file, []byte("capture: {tables: ["+tables+"]}\nsinks:\n  - {name: hook, kind: webhook, url: $HOOK_URL, allow_private: true, from: snapshot}\n"), 0o600))
		output, code := b.run(t, append([]string{"apply", "-f", file, "--database-url", b.db.URL}, args...)...)
		require.Zero(t, code, output)
	}
	write("public.counter")
	first := b.worker(t)
	running := "(SELECT state = 'running' AND mode = $1 FROM capture.stream WHERE name = 'app')"
	b.db.Wait(t, running, mode)

	const keys, each = 5, 60
	b.db.Do(t, "INSERT INTO public.counter SELECT i, 0 FROM generate_series(1, $1) AS i", keys)
	var writers sync.WaitGroup
	for id := range keys {
		writers.Go(func() {
			for range each {
				_, err := b.db.Exec(t.Context(), "UPDATE public.counter SET n = n + 1 WHERE id = $1", id+1)
				require.NoError(t, err)
			}
		})
	}
	require.Eventually(t, func() bool { return len(got.of("counter 1")) > each/4 }, patience, 20*time.Millisecond)
	first.kill(t)
	second := b.worker(t)
	writers.Wait()

	var want []int
	for n := range each + 1 {
		want = append(want, n)
	}
	for id := range keys {
		key := "counter " + strconv.Itoa(id+1)
		require.Eventually(t, func() bool { return len(got.of(key)) >= len(want) }, patience, 20*time.Millisecond, key)
		require.Equal(t, want, got.of(key), key)
	}

	for id := range before { // They were delivered by the snapshot, whichever worker read it.
		key := "counter " + strconv.Itoa(1000+id)
		require.Eventually(t, func() bool { return len(got.of(key)) >= 1 }, patience, 20*time.Millisecond, key)
	}

	// A table that the file adds is captured, and one that it removes is no longer captured.
	write("public.later", "--remove")
	b.db.Wait(t, "(SELECT array_agg(table_name) = '{later}' FROM capture.captured)")
	b.db.Do(t, "INSERT INTO public.counter VALUES (99, 1)")
	b.db.Do(t, "INSERT INTO public.later VALUES (1, 7)")
	require.Eventually(t, func() bool { return len(got.of("later 1")) == 1 }, patience, 20*time.Millisecond)
	require.Empty(t, got.of("counter 99"))
	output, code := b.run(t, "capture", "status", "--database-url", b.db.URL)
	require.Zero(t, code, output)
	require.Contains(t, output, mode)
	output, code = b.run(t, "capture", "tail", "--after", "0", "--no-follow", "--table", "public.later", "--database-url", b.db.URL)
	require.Zero(t, code, output)
	require.Contains(t, output, "insert public.later")

	// When nothing is captured, none of Daymill's objects stays in the source.
	output, code = b.run(t, "capture", "remove", "public.later", "--database-url", b.db.URL)
	require.Zero(t, code, output)
	b.db.Wait(t, "(SELECT mode IS NULL FROM capture.stream WHERE name = 'app')")
	require.Zero(t, pgtest.Value[int](t, b.db, "SELECT count(*) FROM pg_replication_slots"))
	require.Zero(t, pgtest.Value[int](t, b.db, "SELECT count(*) FROM pg_publication"))
	require.Zero(t, pgtest.Value[int](t, b.db, "SELECT count(*) FROM pg_trigger AS g WHERE g.tgrelid = 'public.later'::regclass"))
	require.True(t, second.running())
	require.Empty(t, got.wrong)
	t.Logf("%d repeats", got.repeats)
}
