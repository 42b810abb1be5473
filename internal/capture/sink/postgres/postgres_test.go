package postgres_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/sink"
	"github.com/daymill/daymill/internal/capture/sink/postgres"
	"github.com/daymill/daymill/internal/capture/sink/sinktest"
	database "github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/test/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

type target struct {
	*pgtest.DB

	pool  *database.DB
	admin *pgx.Conn
}

func newTarget(t testing.TB) *target {
	t.Helper()
	db := pgtest.Empty(t)
	pool, err := database.Open(t.Context(), database.Config{URL: db.URL})
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	admin, err := pgx.Connect(t.Context(), db.Server.URL("postgres"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = admin.Close(context.WithoutCancel(t.Context())) })
	return &target{DB: db, pool: pool, admin: admin}
}

func columns(context.Context, pgx.Tx, change.Change) ([]postgres.Column, error) {
	return []postgres.Column{
		{Name: "id", Type: "text"}, {Name: "status", Type: "text"}, {Name: "note", Type: "character varying(1000)"}, {Name: "small", Type: "smallint"},
	}, nil
}

func (p *target) open() *postgres.Postgres {
	return postgres.New(postgres.Config{DB: p.pool, Schema: "copy", Columns: columns})
}

func (p *target) Open(*testing.T) sink.Sink { return p.open() }

func (p *target) Stop(t *testing.T) {
	t.Helper()
	_, err := p.admin.Exec(t.Context(), "ALTER DATABASE "+p.Name+" ALLOW_CONNECTIONS false")
	require.NoError(t, err)
	_, err = p.admin.Exec(t.Context(), "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = $1", p.Name)
	require.NoError(t, err)
}

func (p *target) Start(t *testing.T) {
	t.Helper()
	_, err := p.admin.Exec(t.Context(), "ALTER DATABASE "+p.Name+" ALLOW_CONNECTIONS true")
	require.NoError(t, err)
}

func (p *target) Rows(t *testing.T) map[string]int64 {
	t.Helper()
	rows, err := p.pool.Query(t.Context(), `SELECT id, _daymill_position FROM copy.orders`)
	require.NoError(t, err)
	found := map[string]int64{}
	var id string
	var position int64
	_, err = pgx.ForEachRow(rows, []any{&id, &position}, func() error { found[id] = position; return nil })
	require.NoError(t, err)
	return found
}

func (*target) Poisoned(c change.Change) change.Change {
	c.New = sinktest.Object(map[string]any{"id": sinktest.Poison, "small": 1_000_000})
	return c
}

func TestPostgres(t *testing.T) {
	t.Parallel()
	sinktest.Run(t, func(t *testing.T) sinktest.Target { return newTarget(t) })
}

// TestPostgres_Tombstones: after deletions of a row, a change that is older than the last deletion has no effect.
func TestPostgres_Tombstones(t *testing.T) {
	t.Parallel()
	p := newTarget(t)
	s := p.Open(t)
	for _, one := range []change.Change{sinktest.Insert(1, 1), sinktest.Delete(2, 1), sinktest.Insert(5, 1), sinktest.Delete(10, 1)} {
		sinktest.Deliver(t, s, one) // Changes of the same key in one batch are collapsed.
	}
	sinktest.Deliver(t, s, sinktest.Insert(5, 1)) // It is delivered again.
	require.Empty(t, p.Rows(t))
	sinktest.Deliver(t, s, sinktest.Delete(2, 1)) // And so is the first deletion.
	sinktest.Deliver(t, s, sinktest.Insert(5, 1))
	require.Empty(t, p.Rows(t))
	sinktest.Deliver(t, s, sinktest.Insert(11, 1))
	require.Equal(t, map[string]int64{"1": 11}, p.Rows(t))
}

// TestPostgres_Foreign: Daymill does not write to a table that it did not create, and refuses no change because of it.
func TestPostgres_Foreign(t *testing.T) {
	t.Parallel()
	p := newTarget(t)
	_, err := p.Exec(t.Context(), `CREATE TABLE public.orders (id text PRIMARY KEY, status text, note text)`)
	require.NoError(t, err)
	_, err = postgres.New(postgres.Config{DB: p.pool}).Deliver(t.Context(), []change.Change{sinktest.Insert(1, 1)})
	require.ErrorIs(t, err, postgres.ErrTable)
	require.ErrorContains(t, err, `"public"."orders" was not created by Daymill`)
}

// TestPostgres_Evolve: a new column is added with its type if that is known; a type that the target does not have becomes text.
func TestPostgres_Evolve(t *testing.T) {
	t.Parallel()
	p := newTarget(t)
	described := []postgres.Column{{Name: "id", Type: "bigint"}}
	s := postgres.New(postgres.Config{DB: p.pool, Schema: "a \"copy\"", Columns: func(context.Context, pgx.Tx, change.Change) ([]postgres.Column, error) {
		return described, nil
	}})
	c := sinktest.Insert(1, 1)
	c.New = json.RawMessage(`{"id": 1}`)
	sinktest.Deliver(t, s, c)
	described = append(described,
		postgres.Column{Name: "tags", Type: "text[]"}, postgres.Column{Name: "total", Type: "numeric(30,2)"},
		postgres.Column{Name: `x" int); DROP TABLE "orders`, Type: "mood"}, postgres.Column{Name: "evil", Type: "int); DROP SCHEMA public; --"},
		postgres.Column{Name: "raw", Type: "bytea"})
	later := sinktest.Update(2, 1)
	later.SchemaVersion = 2
	later.New = json.RawMessage(`{"id": 1, "tags": ["a", "b,\"c"], "total": 12345678901234567890.10, "x\" int); DROP TABLE \"orders": "happy",
		"evil": "1", "raw": "\\xdeadbeef", "surprise": {"a": [1]}}`)
	sinktest.Deliver(t, s, later)
	var tags []string
	var total, mood, evil, surprise string
	var raw []byte
	require.NoError(t, p.pool.QueryRow(t.Context(),
		`SELECT tags, total::text, "x"" int); DROP TABLE ""orders", evil, raw, surprise::text FROM "a ""copy""".orders WHERE id = 1::bigint`).
		Scan(&tags, &total, &mood, &evil, &raw, &surprise))
	require.Equal(t, []string{"a", `b,"c`}, tags)
	require.Equal(t, "12345678901234567890.10", total)
	require.Equal(t, "happy", mood)
	require.Equal(t, "1", evil)
	require.Equal(t, []byte{0xde, 0xad, 0xbe, 0xef}, raw)
	require.JSONEq(t, `{"a": [1]}`, surprise)
}

// TestPostgres_Index: a target that an earlier release created gets the indexes of a new one.
func TestPostgres_Index(t *testing.T) {
	t.Parallel()
	p := newTarget(t)
	sinktest.Deliver(t, p.open(), sinktest.Insert(1, 1))
	_, err := p.pool.Exec(t.Context(), "DROP INDEX copy._daymill_tombstone_position")
	require.NoError(t, err)
	sinktest.Deliver(t, p.open(), sinktest.Insert(2, 2))
	var exists bool
	require.NoError(t, p.pool.QueryRow(t.Context(), "SELECT to_regclass('copy._daymill_tombstone_position') IS NOT NULL").Scan(&exists))
	require.True(t, exists)
}

// TestPostgres_Once: rows are committed or rolled back with the rest of the caller's transaction.
func TestPostgres_Once(t *testing.T) {
	t.Parallel()
	p := newTarget(t)
	s := p.open()
	deliver := func(fail error, changes ...change.Change) error {
		return p.pool.Tx(t.Context(), func(tx pgx.Tx) error {
			refusals, err := s.DeliverTx(t.Context(), tx, changes)
			require.NoError(t, err)
			require.Empty(t, refusals)
			return fail
		})
	}
	require.NoError(t, deliver(nil, sinktest.Insert(1, 1)))
	require.Error(t, deliver(fmt.Errorf("fenced"), sinktest.Insert(2, 2), sinktest.Delete(3, 1)))
	require.Equal(t, map[string]int64{"1": 1}, p.Rows(t))
}

// TestPostgres_Truncate: rows from before a truncate are deleted, and do not come back when they are delivered again.
func TestPostgres_Truncate(t *testing.T) {
	t.Parallel()
	p := newTarget(t)
	s := p.open()
	truncate := sinktest.Delete(3, 1)
	truncate.Op, truncate.Key, truncate.Old = change.Truncate, nil, nil
	changes := []change.Change{sinktest.Insert(1, 1), sinktest.Insert(2, 2), truncate, sinktest.Insert(4, 2), sinktest.Insert(5, 3)}
	sinktest.Deliver(t, s, changes[:2]...)
	sinktest.Deliver(t, s, changes[2:]...)
	require.Equal(t, map[string]int64{"2": 4, "3": 5}, p.Rows(t))
	sinktest.Deliver(t, s, changes...)
	sinktest.Deliver(t, s, changes[:2]...)
	require.Equal(t, map[string]int64{"2": 4, "3": 5}, p.Rows(t))

	again := p.open() // It has not read the table yet, and a truncate has no key.
	truncate.Position = 6
	sinktest.Deliver(t, again, truncate, sinktest.Insert(7, 1))
	sinktest.Deliver(t, again, sinktest.Update(8, 1))
	require.Equal(t, map[string]int64{"1": 8}, p.Rows(t))
}

// TestPostgres_Unchanged: a column that an update did not touch keeps its value.
func TestPostgres_Unchanged(t *testing.T) {
	t.Parallel()
	p := newTarget(t)
	s := p.open()
	update := sinktest.Update(2, 1)
	update.New, update.Unchanged = json.RawMessage(`{"id": 1, "status": "b"}`), []string{"note"}
	later := update
	later.Position, later.New = 3, json.RawMessage(`{"id": 1, "status": "c"}`)
	sinktest.Deliver(t, s, sinktest.Insert(1, 1), update)
	sinktest.Deliver(t, s, later)
	var status, note string
	require.NoError(t, p.pool.QueryRow(t.Context(), `SELECT status, note FROM copy.orders`).Scan(&status, &note))
	require.Equal(t, []string{"c", "a"}, []string{status, note})
}

// TestPostgres_Concurrent: several shards create the same missing table, and refuse no change because of it.
func TestPostgres_Concurrent(t *testing.T) {
	t.Parallel()
	p := newTarget(t)
	var group errgroup.Group
	for i := range 4 {
		group.Go(func() error {
			refusals, err := p.open().Deliver(t.Context(), []change.Change{sinktest.Insert(int64(i+1), i)})
			if err == nil && len(refusals) > 0 {
				err = fmt.Errorf("%s: %s", refusals[0].Reason, refusals[0].Answer)
			}
			return err
		})
	}
	require.NoError(t, group.Wait())
	require.Len(t, p.Rows(t), 4)
}
