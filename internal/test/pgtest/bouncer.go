package pgtest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/pgserver"
)

// PgBouncer starts a PgBouncer in transaction mode in front of the database's cluster, for one test, and returns the
// database's URL through it. The given roles may connect through it, in addition to the superuser.
func PgBouncer(tb testing.TB, db *DB, roles ...string) string {
	tb.Helper()
	path, err := pgserver.FindBouncer()
	require.NoError(tb, err)
	bouncer, err := pgserver.StartBouncer(tb.Context(), pgserver.BouncerConfig{Path: path, Server: db.Server, Users: roles})
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, bouncer.Close()) })
	return bouncer.URL(db.Name)
}
