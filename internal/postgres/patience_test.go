package postgres_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// patient opens a patient session.
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

// A session that gives up waiting for a lock says what is locked, who holds the lock, and how to end that.
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

// A session that does not try again says so, too.
func TestSession_LockedAtOnce(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	_, err := db.Exec(t.Context(), "CREATE TABLE public.locked ()")
	require.NoError(t, err)
	tx, err := db.Begin(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) })
	_, err = tx.Exec(t.Context(), "LOCK TABLE public.locked")
	require.NoError(t, err)
	session, err := db.Session(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { session.Release(context.WithoutCancel(t.Context())) })
	err = session.Look(t.Context(), 2*time.Second, func(ctx context.Context, on postgres.DBTX) error {
		_, err := on.Exec(ctx, "SELECT count(*) FROM public.locked")
		return err
	})
	require.ErrorIs(t, err, postgres.ErrLocked)
	require.ErrorContains(t, err, "waited too long for a lock on public.locked (accesssharelock), which is held by process ")
}

// slow forwards what is sent to a server, and makes the first statement of a kind sleep before or after it runs.
func slow(t *testing.T, to, statement, before, after string) (address string) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	var slept atomic.Bool
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", to)
			if err != nil {
				_ = client.Close()
				continue
			}
			go func() {
				_, _ = io.Copy(client, server)
				_ = client.Close()
			}()
			go func() {
				defer server.Close()
				buffer := make([]byte, 1<<16)
				for {
					n, err := client.Read(buffer)
					if err != nil {
						return
					}
					sent := buffer[:n]
					if text := string(sent[min(5, n):]); strings.HasPrefix(text, statement) && slept.CompareAndSwap(false, true) {
						text = before + strings.TrimSuffix(text, "\x00") + after + "\x00"
						sent = binary.BigEndian.AppendUint32([]byte{'Q'}, uint32(len(text)+4))
						sent = append(sent, text...)
					} else if sent[0] == 'P' && bytes.Contains(sent, []byte("\x00"+statement)) && slept.CompareAndSwap(false, true) {
						// The extended protocol: after an error, the server leaves out everything up to the next Sync.
						var sleep []byte
						for _, message := range []pgproto3.FrontendMessage{&pgproto3.Parse{Query: strings.Trim(before+after, "; ")}, &pgproto3.Bind{}, &pgproto3.Execute{}} {
							if sleep, err = message.Encode(sleep); err != nil {
								return
							}
						}
						sent = append(sleep, sent...)
					}
					if _, err := server.Write(sent); err != nil {
						return
					}
				}
			}()
		}
	}()
	return listener.Addr().String()
}

// A cancellation of the previous statement arrives while the next transaction begins or commits.
func TestSession_Stray(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	_, err := db.Exec(t.Context(), "CREATE TABLE public.written (who text)")
	require.NoError(t, err)
	const sleep = "SELECT pg_catalog.pg_sleep(600)"
	for name, test := range map[string]struct {
		statement, before, after string
		calls                    int
	}{
		"Begin":  {"BEGIN ISOLATION", "", "; " + sleep, 2},
		"Commit": {"COMMIT", sleep + "; ", "", 2},
		// This statement belongs to the caller.
		"Statement": {"INSERT", sleep + "; ", "", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u, err := url.Parse(db.URL)
			require.NoError(t, err)
			u.Host = slow(t, net.JoinHostPort("127.0.0.1", strconv.Itoa(db.Server.Port)), test.statement, test.before, test.after)
			session := patient(t, postgres.Config{URL: u.String(), Pooler: postgres.PoolerNone, ApplicationName: name})
			ended := make(chan error, 1)
			calls := 0
			go func() {
				ended <- session.Tx(t.Context(), time.Hour, func(ctx context.Context, on postgres.DBTX) error {
					calls++
					_, err := on.Exec(ctx, "INSERT INTO public.written VALUES ('"+name+"')")
					return err
				})
			}()
			require.Eventually(t, func() bool {
				var cancelled bool
				require.NoError(t, db.QueryRow(t.Context(), `SELECT coalesce(bool_or(pg_cancel_backend(pid)), false) FROM pg_stat_activity
					WHERE application_name = $1 AND datname = current_database() AND wait_event = 'PgSleep'`, name).Scan(&cancelled))
				return cancelled
			}, time.Minute, 10*time.Millisecond)
			err = <-ended
			require.Equal(t, test.calls, calls)
			if name == "Statement" {
				require.True(t, postgres.IsTimeout(err))
				return
			}
			require.NoError(t, err)
			var written int
			require.NoError(t, db.QueryRow(t.Context(), "SELECT count(*) FROM public.written WHERE who = $1", name).Scan(&written))
			require.Equal(t, 1, written)
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
			// Any cause will do: a statement of this connection fails with 25006.
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
