package restore_test

import (
	"net/url"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/archive/restore"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestTwice: two restores do not write into the same database at the same time, at any stage of the first.
func TestTwice(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t, map[string]string{"wal_level": "logical"})
	b := &testBundle{server: server, db: application(t, server)}
	b.psql(t, "-c", "CREATE TABLE t (i int)", "-c", "INSERT INTO t VALUES (1)")
	b.begin(t)
	stop := b.run(t, 0)
	b.psql(t, "-c", "INSERT INTO t VALUES (2)")
	b.caughtUp(t)
	stop()
	into, stages := b.fresh(t), 0
	another := func() {
		stages++
		_, err := restore.Run(t.Context(), restore.Config{Store: b.store, Into: into})
		require.EqualError(t, err, "another restore writes into this database: wait until it ends, or create a new database")
	}
	_, err := restore.Run(t.Context(), restore.Config{
		Store: b.store, Into: into,
		Checking: func(files int, bytes int64) {
			require.Greater(t, files, 3)
			require.Positive(t, bytes)
			another()
		},
		Progress: func(name string, _, _ int) {
			if name[0] == '2' || name[0] == '0' { // The rows of the base, and the transactions after it.
				another()
			}
		},
	})
	require.NoError(t, err)
	require.GreaterOrEqual(t, stages, 3)
	b.equal(t, into)

	_, err = b.db.DB.Exec(t.Context(), "CREATE ROLE archive_weak LOGIN")
	require.NoError(t, err)
	into = b.fresh(t)
	weak, err := url.Parse(into)
	require.NoError(t, err)
	weak.User = url.User("archive_weak")
	_, err = restore.Run(t.Context(), restore.Config{Store: b.store, Into: weak.String()})
	require.EqualError(t, err, "the role archive_weak is not a superuser, which a restore needs: give the URL of a superuser with --into")
	require.Contains(t, b.refused(t, weak.String()), "a restore needs a superuser")
	b.script(t, into)
	b.equal(t, into)
}

// gone waits until nobody is connected to a database.
func (b *testBundle) gone(t *testing.T, url string) {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		var count int
		err := b.db.DB.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE datname = $1", config.Database).Scan(&count)
		return err == nil && count == 0
	}, time.Minute, 10*time.Millisecond)
}
