package postgres_test

import (
	"context"
	"net"
	"net/url"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// counted returns a database's URL through a proxy that counts round trips: how often the client sends after the server has answered.
func counted(t *testing.T, db *pgtest.DB) (through string, trips *atomic.Int64) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	trips = &atomic.Int64{}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(db.Server.Port)))
			if err != nil {
				_ = client.Close()
				continue
			}
			var answered atomic.Bool
			relay := func(to, from net.Conn, each func()) {
				defer to.Close()
				buffer := make([]byte, 1<<16)
				for {
					n, err := from.Read(buffer)
					if err != nil {
						return
					}
					each()
					if _, err := to.Write(buffer[:n]); err != nil {
						return
					}
				}
			}
			answered.Store(true)
			go relay(client, server, func() { answered.Store(true) })
			go relay(server, client, func() {
				if answered.Swap(false) {
					trips.Add(1)
				}
			})
		}
	}()
	u, err := url.Parse(db.URL)
	require.NoError(t, err)
	u.Host = listener.Addr().String()
	return u.String(), trips
}

// A transaction begins in the round trip of its first statement, whatever kind of statement that is, once the connection has prepared it.
func TestSession_Opening(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	_, err := db.Exec(t.Context(), "CREATE TABLE public.written (id int PRIMARY KEY)")
	require.NoError(t, err)
	through, trips := counted(t, db)
	session := patient(t, postgres.Config{URL: through, Pooler: postgres.PoolerNone})
	var is []string
	const anyTrips = -1 // The server may answer COPY before the client sends the rows, or after.
	for _, test := range []struct {
		name  string
		trips int64
		do    func(ctx context.Context, on postgres.DBTX) error
	}{
		{"Exec", 2, func(ctx context.Context, on postgres.DBTX) error {
			tag, err := on.Exec(ctx, "INSERT INTO public.written VALUES ($1) ON CONFLICT DO NOTHING", 1)
			is = append(is, tag.String())
			return err
		}},
		{"Query", 3, func(ctx context.Context, on postgres.DBTX) error {
			for range 2 { // The connection is free again after the last row.
				rows, err := on.Query(ctx, "SELECT current_setting('statement_timeout') FROM generate_series(1, $1)", 2)
				if err != nil {
					return err
				}
				for rows.Next() {
					var text string
					if err := rows.Scan(&text); err != nil {
						return err
					}
					is = append(is, text)
				}
				if err := rows.Err(); err != nil {
					return err
				}
			}
			return nil
		}},
		{"QueryInFormats", 3, func(ctx context.Context, on postgres.DBTX) error {
			rows, err := on.Query(ctx, "SELECT $1::int", pgx.QueryResultFormats{pgx.BinaryFormatCode}, 7)
			if err != nil {
				return err
			}
			id, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[int])
			is = append(is, strconv.Itoa(id))
			return err
		}},
		{"QueryRow", 2, func(ctx context.Context, on postgres.DBTX) error {
			var text string
			err := on.QueryRow(ctx, "SELECT current_setting('transaction_read_only') || $1", "!").Scan(&text)
			is = append(is, text)
			return err
		}},
		{"CopyFrom", anyTrips, func(ctx context.Context, on postgres.DBTX) error {
			is = append(is, "")
			_, err := on.CopyFrom(ctx, pgx.Identifier{"public", "written"}, []string{"id"}, pgx.CopyFromRows([][]any{{len(is) + 1}}))
			return err
		}},
		{"Nothing", 0, func(context.Context, postgres.DBTX) error { return nil }},
	} {
		require.NoError(t, session.Tx(t.Context(), 7*time.Second, test.do), test.name)
		is = nil
		before := trips.Load()
		require.NoError(t, session.Tx(t.Context(), 7*time.Second, test.do), test.name)
		if test.trips != anyTrips {
			require.Equal(t, test.trips, trips.Load()-before, test.name)
		}
		switch test.name {
		case "Exec":
			require.Equal(t, []string{"INSERT 0 0"}, is)
		case "Query":
			require.Equal(t, []string{"7s", "7s", "7s", "7s"}, is, "the first statement has the limit, too")
		case "QueryInFormats":
			require.Equal(t, []string{"7"}, is)
		case "QueryRow":
			require.Equal(t, []string{"off!"}, is)
		}
	}
	require.Equal(t, []int{1, 2, 3}, pgtest.Column[int](t, db, "SELECT id FROM public.written ORDER BY id"))

	// An error of the first statement is the caller's, and the session can be used again.
	fails := func(ctx context.Context, on postgres.DBTX) error {
		_, err := on.Exec(ctx, "INSERT INTO public.written SELECT 10 / $1::int", 0)
		return err
	}
	none := func(ctx context.Context, on postgres.DBTX) error {
		var id int
		return on.QueryRow(ctx, "SELECT id FROM public.written WHERE id = $1", 99).Scan(&id)
	}
	for range 2 {
		require.Equal(t, "22012", postgres.Code(session.Tx(t.Context(), time.Second, fails)))
		require.ErrorIs(t, session.Tx(t.Context(), time.Second, none), pgx.ErrNoRows)
	}

	// A connection prepares a statement within the limits of its transaction, also if it has prepared the statement before and it has failed since.
	for name, reads := range map[string]func(ctx context.Context, on postgres.DBTX) error{
		"Exec": func(ctx context.Context, on postgres.DBTX) error {
			_, err := on.Exec(ctx, "SELECT FROM public.written WHERE id = $1", 1)
			return err
		},
		"Query": none,
	} {
		endless := patient(t, postgres.Config{URL: db.URL, LockTimeout: time.Hour, StatementTimeout: time.Hour, LockPatience: time.Millisecond})
		fresh := patient(t, postgres.Config{URL: db.URL, LockTimeout: time.Hour, StatementTimeout: time.Hour, LockPatience: time.Millisecond})
		for range 2 {
			if err := endless.Tx(t.Context(), time.Second, reads); name == "Exec" {
				require.NoError(t, err)
			}
		}
		tx, err := db.Begin(t.Context())
		require.NoError(t, err)
		_, err = tx.Exec(t.Context(), "LOCK TABLE public.written")
		require.NoError(t, err)
		for _, session := range []*postgres.Session{fresh, endless} {
			before := pidOf(t, session)
			for range 2 {
				require.ErrorIs(t, session.Tx(t.Context(), 100*time.Millisecond, reads), postgres.ErrLocked, name)
			}
			require.Equal(t, before, pidOf(t, session), "the server has ended the statement, and not the client its connection")
		}
		require.NoError(t, tx.Rollback(t.Context()))
	}
}

// pidOf returns the process id of a session's server process.
func pidOf(t *testing.T, session *postgres.Session) (pid int) {
	t.Helper()
	require.NoError(t, session.Tx(t.Context(), time.Second, func(ctx context.Context, on postgres.DBTX) error {
		return on.QueryRow(ctx, "SELECT pg_backend_pid()").Scan(&pid)
	}))
	return pid
}
