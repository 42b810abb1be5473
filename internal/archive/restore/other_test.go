package restore_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/archive/base"
	"github.com/daymill/daymill/internal/archive/chain"
	"github.com/daymill/daymill/internal/archive/keeper"
	"github.com/daymill/daymill/internal/archive/restore"
	"github.com/daymill/daymill/internal/capture/wal"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestOther: an archive takes nothing from another database, on the same server or on another one, also if its slot is gone.
func TestOther(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t, map[string]string{"wal_level": "logical"})
	b := &testBundle{server: server, db: application(t, server)}
	b.psql(t, "-c", "CREATE TABLE t (id int PRIMARY KEY)")
	b.begin(t)
	stop := b.run(t, 0)
	b.psql(t, "-c", "INSERT INTO t VALUES (1)")
	b.caughtUp(t)

	refuses := func(other *pgtest.DB, because string) {
		t.Helper()
		config := b.config()
		config.Source, config.URL = other.DB, other.URL
		_, err := base.Take(t.Context(), config, "asked for")
		require.ErrorIs(t, err, chain.ErrOther)
		require.ErrorContains(t, err, because)
		require.ErrorIs(t, (&keeper.Keeper{Config: config}).Run(t.Context()), chain.ErrOther)
	}
	beside := application(t, server)
	far := pgtest.Server(t, map[string]string{"wal_level": "logical"})
	refuses(beside, "the archive belongs to database "+b.db.Config().ConnConfig.Database+", and not to "+beside.Config().ConnConfig.Database)
	refuses(application(t, far), "in another cluster")
	b.psql(t, "-c", "INSERT INTO t VALUES (2)")
	b.caughtUp(t)
	stop()
	archive := b.chain(t)
	require.Empty(t, archive.Gaps)
	require.Len(t, archive.Bases, 1)
	b.equal(t, b.restored(t, restore.Config{}))

	require.NoError(t, wal.DropSlot(t.Context(), b.db.DB, archive.Manifest.Slot))
	refuses(beside, "and not to")
	require.Empty(t, b.chain(t).Gaps)
	// The publication says whose it is.
	_, err := base.Take(t.Context(), b.config(), "asked for")
	require.NoError(t, err)
}

// TestPublished: a restore writes its own tables although the database has a publication of all tables, from before the archive or from the stream.
func TestPublished(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t, map[string]string{"wal_level": "logical"})
	for name, first := range map[string]bool{"InTheBase": true, "InTheStream": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := &testBundle{server: server, db: application(t, server)}
			publish := func() { b.psql(t, "-c", "CREATE PUBLICATION everything FOR ALL TABLES") }
			b.psql(t, "-c", "CREATE TABLE t (id int PRIMARY KEY)")
			if first {
				publish()
			}
			b.begin(t)
			stop := b.run(t, 0)
			if !first {
				publish()
			}
			b.psql(t, "-c", "INSERT INTO t VALUES (1)", "-c", "CREATE TABLE u (id int PRIMARY KEY)", "-c", "INSERT INTO u VALUES (1)")
			b.caughtUp(t)
			stop()
			b.equal(t, b.restored(t, restore.Config{}))
			b.equal(t, b.restored(t, restore.Config{Jobs: 2}))
		})
	}
}
