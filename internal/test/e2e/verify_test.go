package e2e_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestSinkVerify builds the command once, and compares a Postgres sink with its source in each mode.
func TestSinkVerify(t *testing.T) {
	t.Parallel()
	binary := build(t)
	for mode, level := range map[string]string{"trigger": "replica", "wal": "logical"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			testSinkVerify(t, binary, level)
		})
	}
}

// compared is what `daymill sink verify --json` prints for a table.
type compared struct {
	Table     string `json:"table"`
	Rows      int64  `json:"rows"`
	Missing   int64  `json:"missing"`
	Extra     int64  `json:"extra"`
	Different int64  `json:"different"`
	Moving    int64  `json:"moving"`
	Repaired  int64  `json:"repaired"`
}

// testSinkVerify compares tables while they are written, which gives no false differences. It finds what was done to the copy, and repairs it.
// Later changes still arrive.
func testSinkVerify(t *testing.T, binary, level string) {
	t.Helper()
	server := pgtest.Server(t, map[string]string{"wal_level": level})
	b := &testBundle{db: pgtest.On(t, server, installed), binary: binary}
	b.db.Do(t, `CREATE DATABASE copies`)
	copies, err := pgx.Connect(t.Context(), server.URL("copies"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = copies.Close(t.Context()) })
	b.db.Do(t, `CREATE TYPE public.mood AS ENUM ('sad', 'happy');
		CREATE TABLE public.account (id bigint, "sub ""x""" text, PRIMARY KEY (id, "sub ""x"""), balance numeric(20,4), tags text[], mood public.mood,
			at timestamptz DEFAULT now(), secret text DEFAULT 's', body text);
		CREATE TABLE public.empty (id bigint PRIMARY KEY);
		INSERT INTO public.account (id, "sub ""x""", balance, mood) SELECT i, 'old', i, 'happy' FROM generate_series(1, 3000) AS i`)
	b.env = []string{"COPY_URL=" + server.URL("copies")}
	command := func(arguments ...string) (string, int) {
		cmd := exec.CommandContext(t.Context(), binary, arguments...)
		cmd.Env = append(environment(), "COPY_URL="+server.URL("copies"), "DATABASE_URL="+b.db.URL)
		output, _ := cmd.CombinedOutput()
		return string(output), cmd.ProcessState.ExitCode()
	}
	ok := func(arguments ...string) string {
		t.Helper()
		output, code := command(arguments...)
		require.Zero(t, code, output)
		return output
	}
	verify := func(code int, arguments ...string) compared {
		t.Helper()
		output, got := command(append([]string{"sink", "verify", "copy", "--pace", "0", "--json"}, arguments...)...)
		require.Equal(t, code, got, output)
		document, _, _ := strings.Cut(output, "\ndaymill: ")
		var tables []compared
		require.NoError(t, json.Unmarshal([]byte(document), &tables), output)
		require.Len(t, tables, 2)
		require.Zero(t, tables[1].Rows)
		return tables[0]
	}
	ok("capture", "add", "public.account", "public.empty")
	ok("sink", "add", "copy", "kind=postgres", "url=$COPY_URL", "schema=kept", "without=secret", "rename={body: text}", "shards=2")
	worker := b.worker(t)
	b.db.Wait(t, "(SELECT state = 'running' FROM capture.stream WHERE name = 'app')")

	// Rows from before the sink was added are missing, and a repair adds them like a snapshot.
	require.Equal(t, int64(3000), verify(4).Missing)
	require.Equal(t, compared{Table: "public.account", Rows: 3000, Missing: 3000, Repaired: 3000}, verify(0, "--repair"))
	require.Equal(t, compared{Table: "public.account", Rows: 3000}, verify(0))

	stop := make(chan struct{})
	var writers sync.WaitGroup
	for range 3 {
		writers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				id := rand.IntN(4000) + 1
				statement := fmt.Sprintf(`INSERT INTO public.account AS a (id, "sub ""x""", balance, tags, mood, body) VALUES (%d, 'old', 0, '{a,"b,c"}', 'sad', repeat('x', 3000))
					ON CONFLICT (id, "sub ""x""") DO UPDATE SET balance = a.balance + 1`, id)
				switch rand.IntN(4) {
				case 0:
					statement = fmt.Sprintf("DELETE FROM public.account WHERE id = %d", id)
				case 1: // A change and its reversal, after which the row looks as before.
					statement = fmt.Sprintf("UPDATE public.account SET balance = -balance WHERE id = %d; UPDATE public.account SET balance = -balance WHERE id = %d", id, id)
				}
				// Write at the speed of an application, not as fast as possible, so that the sink can keep up.
				_, err := b.db.Exec(t.Context(), statement+"; SELECT pg_sleep(0.01)", pgx.QueryExecModeSimpleProtocol)
				require.NoError(t, err)
			}
		})
	}
	for range 3 {
		got := verify(0)
		require.Zero(t, got.Missing+got.Extra+got.Different)
	}
	close(stop)
	writers.Wait()
	whole := verify(0)
	require.Zero(t, whole.Moving)

	exec := func(sql string) {
		t.Helper()
		_, err := copies.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	exec(`DELETE FROM kept.account WHERE id IN (SELECT id FROM kept.account ORDER BY id LIMIT 2)`)
	exec(`UPDATE kept.account SET balance = balance + 0.0001 WHERE id IN (SELECT id FROM kept.account ORDER BY id DESC LIMIT 3)`)
	exec(`INSERT INTO kept.account (id, "sub ""x""", _daymill_position) VALUES (1000000, 'x', 1)`)
	want := whole
	want.Missing, want.Different, want.Extra = 2, 3, 1
	require.Equal(t, want, verify(4))
	want.Repaired = 6
	require.Equal(t, want, verify(0, "--repair"))
	require.Equal(t, whole, verify(0))
	b.db.Do(t, `UPDATE public.account SET balance = 7`)
	require.Equal(t, whole, verify(0))

	// While changes are not read, or not delivered, rows cannot be compared.
	if level == "logical" {
		ok("sink", "pause", "copy")
	} else {
		worker.stop(t)
	}
	b.db.Do(t, `INSERT INTO public.account (id, "sub ""x""") VALUES (2000000, 'late')`)
	output, code := command("sink", "verify", "copy")
	require.Equal(t, 1, code, output)
	require.Contains(t, output, "the sink is behind")
}
