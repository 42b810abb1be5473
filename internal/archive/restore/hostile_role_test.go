package restore_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/archive/base"
	"github.com/daymill/daymill/internal/archive/restore"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestLent: what a restore lends to a role for a statement is what the role had then, and afterwards the role has what it had before.
func TestLent(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t, map[string]string{"wal_level": "logical", "max_wal_senders": "30", "max_replication_slots": "30"})

	// The role was a superuser when the archive began, is none in the base, and is one again.
	t.Run("SuperuserAgain", func(t *testing.T) {
		t.Parallel()
		b := &testBundle{server: server, db: application(t, server)}
		b.psql(t, "-c", "CREATE ROLE archive_again SUPERUSER")
		b.begin(t)
		b.psql(t, "-c", "ALTER ROLE archive_again NOSUPERUSER")
		_, err := base.Take(t.Context(), b.config(), "a test")
		require.NoError(t, err)
		stop := b.run(t, 0)
		b.psql(t, "-c", "ALTER ROLE archive_again SUPERUSER; SET ROLE archive_again; CREATE FUNCTION quiet(i int) RETURNS int LANGUAGE sql LEAKPROOF AS 'SELECT i'",
			"-c", "CREATE TABLE t AS SELECT quiet(1) AS i", "-c", "ALTER ROLE archive_again NOSUPERUSER")
		b.caughtUp(t)
		stop()
		into := b.restored(t, restore.Config{})
		b.equal(t, into)
		require.Equal(t, "false", b.value(t, into, "SELECT rolsuper::text FROM pg_roles WHERE rolname = 'archive_again'"))
	})

	// The role owns the source, and has rights of its own on the database that is restored into.
	t.Run("OwnRights", func(t *testing.T) {
		t.Parallel()
		b := &testBundle{server: server, db: application(t, server)}
		b.psql(t, "-c", "CREATE ROLE archive_righted; CREATE ROLE archive_third", "-c", `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I OWNER TO archive_righted', current_database()); END $$`)
		b.begin(t)
		stop := b.run(t, 0)
		b.psql(t, "-c", "SET ROLE archive_righted; CREATE TABLE t AS SELECT 1 AS i; CREATE SCHEMA ours")
		b.caughtUp(t)
		stop()
		into := b.fresh(t)
		config, err := pgx.ParseConfig(into)
		require.NoError(t, err)
		name := pgx.Identifier{config.Database}.Sanitize()
		b.psql(t, "-c", "GRANT TEMPORARY ON DATABASE "+name+" TO archive_righted WITH GRANT OPTION; GRANT CONNECT ON DATABASE "+name+" TO archive_third; REVOKE CREATE ON DATABASE "+name+" FROM postgres")
		const rights = "SELECT d.datdba::regrole::text || (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(d.datacl) AS a) FROM pg_database AS d WHERE d.datname = current_database()"
		before := b.value(t, into, rights)
		b.script(t, into)
		b.equal(t, into)
		require.Equal(t, before, b.value(t, into, rights))
	})
}
