package postgres_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// patient opens a session that tries again.
func patient(t *testing.T, config postgres.Config) *postgres.Session {
	t.Helper()
	db, err := postgres.Open(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(db.Close)
	session, err := db.Session(t.Context())
	require.NoError(t, err)
	session.Patient(func(context.Context) error { return nil })
	t.Cleanup(func() { session.Release(context.WithoutCancel(t.Context())) })
	return session
}

// A session that gives up a lock says what the lock is on, who holds it, and what ends that.
func TestSession_Locked(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	_, err := db.Exec(t.Context(), "CREATE TABLE public.held (id int PRIMARY KEY); INSERT INTO public.held VALUES (1); CREATE TABLE public.locked ()")
	require.NoError(t, err)

	for name, test := range map[string]struct{ lock, statement, says string }{
		"Row": {
			"SELECT FROM public.held WHERE id = 1 FOR UPDATE", "UPDATE public.held SET id = 1 WHERE id = 1",
			"waited too long for a lock on a row, which is held by process ",
		},
		"Table": {
			"LOCK TABLE public.locked", "SELECT count(*) FROM public.locked",
			"waited too long for a lock on public.locked (accesssharelock), which is held by process ",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			holder, err := pgx.Connect(t.Context(), db.URL+"&application_name=nightly%20report")
			require.NoError(t, err)
			t.Cleanup(func() { _ = holder.Close(context.WithoutCancel(t.Context())) })
			tx, err := holder.Begin(t.Context())
			require.NoError(t, err)
			_, err = tx.Exec(t.Context(), test.lock)
			require.NoError(t, err)

			session := patient(t, postgres.Config{URL: db.URL, LockPatience: 2 * time.Second})
			err = session.Tx(t.Context(), 400*time.Millisecond, func(ctx context.Context, on postgres.DBTX) error {
				_, err := on.Exec(ctx, test.statement)
				return err
			})
			require.ErrorIs(t, err, postgres.ErrLocked)
			require.ErrorContains(t, err, test.says)
			require.ErrorContains(t, err, "(nightly report of user ")
			require.ErrorContains(t, err, "in a transaction since ")
			require.ErrorContains(t, err, "pg_terminate_backend")
			require.NoError(t, tx.Rollback(t.Context()))
		})
	}
}

// A connection that was opened while the database was read-only, as during a failover, is not kept.
func TestSession_ReadOnly(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	_, err := db.Exec(t.Context(), "CREATE TABLE public.written (id int)")
	require.NoError(t, err)

	session := patient(t, postgres.Config{URL: db.URL})
	pids := map[int]bool{}
	require.NoError(t, session.Tx(t.Context(), time.Second, func(ctx context.Context, on postgres.DBTX) error {
		var pid int
		if err := on.QueryRow(ctx, "SELECT pg_backend_pid()").Scan(&pid); err != nil {
			return err
		}
		if pids[pid] = true; len(pids) == 1 {
			// Whatever makes it so: a statement of this connection is answered with 25006.
			if _, err := on.Exec(ctx, "SET TRANSACTION READ ONLY"); err != nil {
				return err
			}
		}
		_, err := on.Exec(ctx, "INSERT INTO public.written VALUES (1)")
		return err
	}))
	require.Len(t, pids, 2, "the second try is on another connection")
	var written int
	require.NoError(t, db.QueryRow(t.Context(), "SELECT count(*) FROM public.written").Scan(&written))
	require.Equal(t, 1, written)
}
