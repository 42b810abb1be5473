package trigger_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/table"
	"github.com/daymill/daymill/internal/capture/trigger"
	"github.com/daymill/daymill/internal/test/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// TestInstall: while Install waits for a lock of the application, it holds none on another table or partition.
func TestInstall(t *testing.T) {
	t.Parallel()
	db := pgtest.Empty(t)
	ctx := t.Context()
	db.Do(t, `CREATE TABLE public.a (id integer PRIMARY KEY); CREATE TABLE public.b (id integer PRIMARY KEY);
		CREATE TABLE public.p (id integer PRIMARY KEY) PARTITION BY LIST (id);
		CREATE TABLE public.p1 PARTITION OF public.p FOR VALUES IN (1); CREATE TABLE public.p2 PARTITION OF public.p FOR VALUES IN (2)`)
	schema := trigger.Schema("app")
	triggers := func() (functions []string) {
		require.NoError(t, db.QueryRow(ctx, `
			SELECT array_agg(format('%s %s', g.tgrelid::regclass, (SELECT c.relname FROM pg_class AS c WHERE c.oid::text = split_part(p.proname, '_', 2))) ORDER BY g.tgrelid::regclass::text)
			FROM pg_trigger AS g JOIN pg_proc AS p ON p.oid = g.tgfoid WHERE g.tgname = 'daymill_capture_insert' AND g.tgenabled = 'A'`).Scan(&functions))
		return functions
	}
	// install calls Install while a transaction of the application has written to one table, and then writes to another one.
	install := func(first, then string, patterns ...string) {
		t.Helper()
		tables, err := table.Find(ctx, db.DB, patterns)
		require.NoError(t, err)
		tx, err := db.Begin(ctx)
		require.NoError(t, err)
		defer func() { _ = tx.Rollback(ctx) }()
		_, err = tx.Exec(ctx, first)
		require.NoError(t, err)
		installed := make(chan error, 1)
		go func() { installed <- trigger.Install(ctx, db.DB, schema, tables, nil) }()
		require.Eventually(t, func() bool {
			var waits bool
			return db.QueryRow(ctx, "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND locktype = 'relation'").Scan(&waits) == nil && waits
		}, time.Minute, time.Millisecond)
		_, err = tx.Exec(ctx, then)
		require.NoError(t, err, "it waits for Install, which waits for it")
		require.NoError(t, tx.Commit(ctx))
		require.NoError(t, <-installed)
	}
	install("INSERT INTO public.b VALUES (1)", "INSERT INTO public.a VALUES (1)", "public.a", "public.b")
	install("INSERT INTO public.p2 VALUES (2)", "INSERT INTO public.p VALUES (1)", "public.a", "public.b", "public.p")
	require.Equal(t, []string{"a a", "b b", "p p", "p1 p", "p2 p"}, triggers())
	db.Do(t, `ALTER TABLE public.b DISABLE TRIGGER USER; ALTER TABLE public.p DETACH PARTITION public.p1`)
	install("INSERT INTO public.b VALUES (2)", "INSERT INTO public.a VALUES (2)", "public.a", "public.b", "public.p", "public.p1")
	require.Equal(t, []string{"a a", "b b", "p p", "p1 p1", "p2 p"}, triggers())
	install("INSERT INTO public.b VALUES (3)", "INSERT INTO public.a VALUES (3)", "public.p")
	require.Equal(t, []string{"p p", "p2 p"}, triggers())
}

// TestReader_Rotate: a resting queue is not emptied while it has a change that was committed after the last turn.
// TestInstall_Names: a column may have any name that the triggers use themselves.
func TestInstall_Names(t *testing.T) {
	t.Parallel()
	names := strings.Fields("t o n a b p e c k j x g f op key key_changed old new number place same old_key new_key active new_rows old_rows r s d tg_op row value")
	for name, kind := range map[string]string{"Plain": "integer", "Types": "public.small"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.Empty(t)
			ctx := t.Context()
			columns := make([]string, len(names))
			for i, name := range names {
				columns[i] = pgx.Identifier{name}.Sanitize() + " " + kind
			}
			db.Do(t, "CREATE DOMAIN public.small AS integer; CREATE TABLE public.named (id integer, "+strings.Join(columns, ", ")+", PRIMARY KEY (id, t, o, n))")
			tables, err := table.Find(ctx, db.DB, []string{"public.named"})
			require.NoError(t, err)
			schema := trigger.Schema("app")
			require.NoError(t, trigger.Install(ctx, db.DB, schema, tables, nil))
			db.Do(t, `INSERT INTO public.named (id, t, o, n) VALUES (1, 2, 3, 4), (2, 2, 3, 4); UPDATE public.named SET t = 5, a = 6 WHERE id = 1;
				UPDATE public.named SET c = 7 WHERE id = 2; DELETE FROM public.named`)
			var failed bool
			require.NoError(t, db.QueryRow(ctx, "SELECT is_called FROM "+schema+".failures").Scan(&failed))
			require.False(t, failed)
			keys := pgtest.Column[string](t, db, "SELECT q.op::text || ' ' || q.key::text FROM "+schema+".queue_0 AS q ORDER BY q.seq")
			require.Equal(t, []string{
				`i {"id": 1, "t": 2, "o": 3, "n": 4}`, `i {"id": 2, "t": 2, "o": 3, "n": 4}`,
				`d {"id": 1, "t": 2, "o": 3, "n": 4}`, `i {"id": 1, "t": 5, "o": 3, "n": 4}`,
				`u {"id": 2, "t": 2, "o": 3, "n": 4}`,
				`d {"id": 1, "t": 5, "o": 3, "n": 4}`, `d {"id": 2, "t": 2, "o": 3, "n": 4}`,
			}, keys)
		})
	}
}

func TestReader_Rotate(t *testing.T) {
	t.Parallel()
	db := pgtest.Empty(t)
	ctx := t.Context()
	db.Do(t, "CREATE TABLE public.t (id integer PRIMARY KEY)")
	tables, err := table.Find(ctx, db.DB, []string{"public.t"})
	require.NoError(t, err)
	schema := trigger.Schema("app")
	require.NoError(t, trigger.Install(ctx, db.DB, schema, tables, nil))
	begun, err := trigger.Begin(ctx, db.DB, schema)
	require.NoError(t, err)
	var landed []change.Change
	reader := trigger.New(trigger.Config{
		Schema: schema, Source: db.DB, Mark: begun, Version: func(string, string, []table.Column) int { return 1 },
		Table: func(context.Context, uint32) (table.Table, bool, error) { return tables[0], true, nil },
		Land: func(_ context.Context, batch trigger.Batch) error {
			landed = append(landed, batch.Changes...)
			return nil
		},
	})
	late, err := db.Begin(ctx)
	require.NoError(t, err)
	_, err = late.Exec(ctx, "INSERT INTO public.t VALUES (1)")
	require.NoError(t, err)
	db.Do(t, "UPDATE daymill_capture.control SET active = 1")
	_, err = reader.Turn(ctx)
	require.NoError(t, err)
	require.NoError(t, reader.Rotate(ctx), "somebody writes to it")
	require.NoError(t, late.Commit(ctx))
	require.NoError(t, reader.Rotate(ctx), "nobody writes to it")
	require.Empty(t, landed)
	_, err = reader.Turn(ctx)
	require.NoError(t, err)
	require.Len(t, landed, 1)
	require.NoError(t, reader.Rotate(ctx))
	var size int64
	require.NoError(t, db.QueryRow(ctx, "SELECT pg_relation_size('daymill_capture.queue_0')").Scan(&size))
	require.Zero(t, size)
}

// TestReader_Keys: rows that are looked up land in batches of about 4 MiB and one lookup, also if all rows were small before, and each once.
func TestReader_Keys(t *testing.T) {
	t.Parallel()
	db := pgtest.Empty(t)
	ctx := t.Context()
	db.Do(t, "CREATE TABLE public.t (id integer PRIMARY KEY, body text)")
	tables, err := table.Find(ctx, db.DB, []string{"public.t"})
	require.NoError(t, err)
	require.NoError(t, table.OnlyKeys(ctx, db.DB, tables, []string{"public.t"}))
	schema := trigger.Schema("app")
	require.NoError(t, trigger.Install(ctx, db.DB, schema, tables, nil))
	begun, err := trigger.Begin(ctx, db.DB, schema)
	require.NoError(t, err)
	const rows, large = 2000, 20_000
	most, bytes, batches := 0, 0, 0 // rows of a lookup, bytes of a batch
	landed := map[string]int{}      // changes by key
	var mark trigger.Mark
	var stopped error
	config := trigger.Config{
		Schema: schema, Source: db.DB, Mark: begun, Version: func(string, string, []table.Column) int { return 1 },
		Table: func(context.Context, uint32) (table.Table, bool, error) { return tables[0], true, nil },
		Lookup: func(ctx context.Context, tx pgx.Tx, _ table.Table, keys []json.RawMessage) (map[string]json.RawMessage, error) {
			most = max(most, len(keys))
			found := map[string]json.RawMessage{}
			var key, row string
			rows, err := tx.Query(ctx, "SELECT k.key, row_to_json(t)::text FROM unnest($1::text[]) AS k (key) INNER JOIN public.t ON t.id = (k.key::json ->> 'id')::integer", texts(keys))
			require.NoError(t, err)
			_, err = pgx.ForEachRow(rows, []any{&key, &row}, func() error {
				found[key] = json.RawMessage(row)
				return nil
			})
			return found, err
		},
		Land: func(_ context.Context, batch trigger.Batch) error {
			if batches++; stopped != nil && batches > 1 {
				return stopped
			}
			size := 0
			for _, c := range batch.Changes {
				size += len(c.New)
				landed[string(c.Key)]++
			}
			bytes, mark = max(bytes, size), batch.Mark
			return nil
		},
	}
	turn := func(wanted error) {
		t.Helper()
		_, err := trigger.New(config).Turn(ctx)
		require.ErrorIs(t, err, wanted)
		config.Mark = mark
	}
	reader := trigger.New(config)
	_, err = db.Exec(ctx, "INSERT INTO public.t SELECT i, '' FROM generate_series(1, $1::integer) AS i", rows)
	require.NoError(t, err)
	_, err = reader.Turn(ctx)
	require.NoError(t, err)
	require.Len(t, landed, rows)
	require.Equal(t, 500, most, "small rows are looked up many at a time")

	_, err = db.Exec(ctx, "UPDATE public.t SET body = repeat('x', $1::integer)", large)
	require.NoError(t, err)
	clear(landed)
	bytes = 0
	_, err = reader.Turn(ctx)
	require.NoError(t, err)
	require.Len(t, landed, rows)
	require.Greater(t, bytes, 4<<20)
	require.Less(t, bytes, 4<<20+500*(large+100))

	// A reader that ends after a batch has marked what has landed: another one continues after it.
	_, err = db.Exec(ctx, "UPDATE public.t SET body = body || 'x'")
	require.NoError(t, err)
	clear(landed)
	config.Mark, batches, stopped = mark, 0, errors.New("it ends")
	turn(stopped)
	require.NotEmpty(t, landed)
	require.Less(t, len(landed), rows)
	stopped = nil
	turn(nil)
	require.Len(t, landed, rows)
	for key, count := range landed {
		require.Equal(t, 1, count, key)
	}
}

func texts(documents []json.RawMessage) []string {
	all := make([]string, len(documents))
	for i, document := range documents {
		all[i] = string(document)
	}
	return all
}
