package pgtest

import (
	"errors"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/pgserver"
)

// PgBouncer starts a PgBouncer in transaction mode before the database's cluster, for one test, and returns the
// database's URL through it. The roles named may connect through it, besides the superuser. A test that wants one is
// skipped where there is none and none can be installed, and fails in CI.
func PgBouncer(tb testing.TB, db *DB, roles ...string) string {
	tb.Helper()
	path, err := pgserver.FindBouncer(tb.Context(), os.Stderr)
	if errors.Is(err, pgserver.ErrNoBouncer) && os.Getenv("CI") == "" {
		tb.Skip(err)
	}
	require.NoError(tb, err)
	bouncer, err := pgserver.StartBouncer(tb.Context(), pgserver.BouncerConfig{Path: path, Server: db.Server, Users: roles})
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, bouncer.Close()) })
	return bouncer.URL(db.Name)
}
