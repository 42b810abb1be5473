package pgtest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// HoldCommits makes transactions with synchronous_commit = on wait for a standby that does not exist: they are in the WAL, but their rows are not
// visible. All others do not wait. The server must belong to the test.
func (db *DB) HoldCommits(tb testing.TB) (release func()) {
	tb.Helper()
	configure := func(actions ...string) {
		for _, action := range append(actions, "SELECT pg_reload_conf()") {
			_, err := db.Exec(context.WithoutCancel(tb.Context()), action)
			require.NoError(tb, err)
		}
	}
	release = func() { configure("ALTER SYSTEM RESET synchronous_standby_names") }
	tb.Cleanup(release)
	db.Do(tb, "CREATE TABLE public.held (id integer)")
	configure("ALTER SYSTEM SET synchronous_commit = local", "ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
	require.Eventually(tb, func() bool { // The server's processes notice it one after another.
		ctx, cancel := context.WithTimeout(tb.Context(), 200*time.Millisecond)
		defer cancel()
		_, err := db.Exec(ctx, "SET synchronous_commit = on; INSERT INTO public.held VALUES (1)")
		return ctx.Err() != nil && err != nil
	}, time.Minute, 10*time.Millisecond)
	db.Wait(tb, "SELECT current_setting('synchronous_commit') = 'local'")
	return release
}
