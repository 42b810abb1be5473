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

func TestMain(m *testing.M) { pgtest.Main(m) }

// settings selects the settings that decide how long a statement may take, and what it may do.
type settings struct {
	Statement, Lock, Idle, SearchPath, Isolation, ReadOnly, SeqScan string
}

const settingsSQL = `SELECT current_setting('statement_timeout'), current_setting('lock_timeout'),
	current_setting('idle_in_transaction_session_timeout'), current_setting('search_path'),
	current_setting('transaction_isolation'), current_setting('transaction_read_only'), current_setting('enable_seqscan')`

func (s *settings) scan(row pgx.Row) error {
	return row.Scan(&s.Statement, &s.Lock, &s.Idle, &s.SearchPath, &s.Isolation, &s.ReadOnly, &s.SeqScan)
}

// Each statement has the limits of its caller, with and without a pooler, whatever the database's settings
// are.
func TestSession(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	_, err := db.Exec(t.Context(), `ALTER DATABASE `+pgx.Identifier{db.Name}.Sanitize()+` SET default_transaction_isolation = 'serializable';
		ALTER DATABASE `+pgx.Identifier{db.Name}.Sanitize()+` SET default_transaction_read_only = on`)
	require.NoError(t, err)

	for name, url := range map[string]string{"Direct": db.URL, "Pooler": pgtest.PgBouncer(t, db)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opened, err := postgres.Open(t.Context(), postgres.Config{
				URL: url, PoolSize: 1, StatementTimeout: 7 * time.Second, LockTimeout: 3 * time.Second,
			})
			require.NoError(t, err)
			t.Cleanup(opened.Close)
			require.Equal(t, name == "Pooler", opened.Pooled())
			session, err := opened.Session(t.Context())
			require.NoError(t, err)
			t.Cleanup(func() { session.Release(context.WithoutCancel(t.Context())) })

			var is settings
			ask := func(ctx context.Context, on postgres.DBTX) error { return is.scan(on.QueryRow(ctx, settingsSQL)) }
			want := settings{
				Statement: "200ms", Lock: "100ms", Idle: "10s", SearchPath: "pg_catalog, pg_temp",
				Isolation: "read committed", ReadOnly: "off", SeqScan: "on",
			}
			require.NoError(t, session.Tx(t.Context(), 200*time.Millisecond, ask))
			require.Equal(t, want, is)

			want.ReadOnly, want.SeqScan = "on", "off"
			require.NoError(t, session.Look(t.Context(), 200*time.Millisecond, ask))
			require.Equal(t, want, is)

			cursor, err := session.Declare(t.Context(), 200*time.Millisecond, settingsSQL)
			require.NoError(t, err)
			require.True(t, session.Busy())
			require.NoError(t, cursor.Fetch(t.Context(), 1, func(rows pgx.Rows) error {
				is, err = pgx.CollectExactlyOneRow(rows, func(row pgx.CollectableRow) (s settings, err error) { return s, s.scan(row) })
				return err
			}))
			cursor.Close(t.Context())
			require.Equal(t, want, is)

			// A statement waits for a lock for two seconds at most, however long it may take.
			want.SeqScan, want.Statement, want.Lock = "on", "1min", "2s"
			require.NoError(t, session.Read(t.Context(), time.Minute, ask))
			if name == "Direct" { // It needs no transaction.
				is.ReadOnly, is.Isolation = want.ReadOnly, want.Isolation
			}
			require.Equal(t, want, is)

			// The connection returns to the pool with the pool's settings.
			session.Release(t.Context())
			want.Statement, want.Lock, want.ReadOnly = "7s", "3s", "off"
			require.NoError(t, opened.Tx(t.Context(), func(tx pgx.Tx) error { return ask(t.Context(), tx) }))
			is.Idle = want.Idle // The callers of the pool's transactions decide how long they take.
			require.Equal(t, want, is)
		})
	}
}
