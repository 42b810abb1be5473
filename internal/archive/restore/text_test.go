package restore_test

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/archive/chain"
	"github.com/daymill/daymill/internal/archive/restore"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestText: an archive finds each statement of a text that has several, or makes a gap, and never takes another one.
func TestText(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t, map[string]string{"wal_level": "logical", "max_wal_senders": "30", "max_replication_slots": "30"})
	for name, texts := range map[string][]string{
		"Temporary": {
			"CREATE TABLE perm (i int); CREATE TEMP TABLE x (i int); CREATE TABLE y (i int)", "CREATE TEMP TABLE x (i int); DROP TABLE x; DROP TABLE perm",
			"CREATE TEMP TABLE z (i int); COMMENT ON TABLE z IS 'a'; COMMENT ON TABLE y IS 'b'; GRANT SELECT ON z TO PUBLIC; GRANT SELECT ON y TO PUBLIC",
		},
		"NotCounted": {
			`CREATE TABLE a (i int); GRANT SELECT ON a TO PUBLIC; CREATE ROLE archive_text; ALTER ROLE archive_text CREATEDB; COMMENT ON ROLE archive_text IS 'x'; GRANT pg_monitor TO archive_text;
				ALTER TABLE a ADD j int; CREATE TABLE b AS SELECT 1 AS i; SELECT 1 AS i INTO c; ALTER TABLE a ADD k int; REINDEX TABLE a; GRANT INSERT ON a TO PUBLIC; CREATE TABLE public.as (i int);
				REVOKE pg_monitor FROM archive_text; COMMENT ON DATABASE template1 IS NULL; COMMENT ON TABLE a IS 'x'; CREATE EXTENSION citext; REVOKE SELECT ON a FROM PUBLIC; DROP EXTENSION citext; DROP ROLE archive_text`,
			`CREATE TABLE role (i int); CREATE TABLE database (i int); GRANT SELECT ON role TO PUBLIC; GRANT INSERT ON database, role TO PUBLIC; ALTER TABLE role ADD j int`,
		},
		"Transactions": {
			"CREATE TABLE a (i int); COMMIT; ALTER TABLE a ADD j int; BEGIN; ALTER TABLE a ADD k int; COMMIT; GRANT SELECT ON a TO PUBLIC; GRANT INSERT ON a TO PUBLIC; COMMIT; REVOKE SELECT ON a FROM PUBLIC",
		},
		"Nested": {
			`CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'CREATE TABLE IF NOT EXISTS f1 (i int); CREATE TABLE IF NOT EXISTS f2 (i int); GRANT SELECT ON f1 TO PUBLIC; GRANT UPDATE ON f2 TO PUBLIC'; CREATE TABLE IF NOT EXISTS f3 (i int); END $$`,
			"CREATE TABLE a (i int); SELECT f(); CREATE TABLE b (i int); GRANT SELECT ON a TO PUBLIC; SELECT f(); GRANT INSERT ON b TO PUBLIC; CREATE TABLE c (i int)",
			`DO $$ BEGIN FOR i IN 1..3 LOOP EXECUTE 'CREATE TABLE g (i int); GRANT SELECT ON a TO PUBLIC; DROP TABLE g; REVOKE SELECT ON a FROM PUBLIC'; END LOOP; END $$`,
			`DO $$ BEGIN FOR i IN 1..3 LOOP BEGIN EXECUTE 'ALTER TABLE a ADD x int; GRANT SELECT ON a TO PUBLIC; CREATE TABLE h (i int); CREATE TABLE once (i int)';
				EXECUTE 'ALTER TABLE a ADD y int; GRANT INSERT ON a TO PUBLIC'; IF i = 1 THEN RAISE division_by_zero; END IF; EXCEPTION WHEN division_by_zero OR duplicate_column THEN NULL; END; END LOOP; END $$`,
		},
		"SameNames": {
			"CREATE SCHEMA s; CREATE TABLE s.t (i int); CREATE TABLE t (i int); CREATE TABLE s.u (i int); CREATE TABLE u (i int)", "DROP TABLE s.t; DROP TABLE t", "DROP TABLE u; SET search_path = s; DROP TABLE u",
		},
		"Quotes": {
			`CREATE TABLE a (i int); COMMENT ON TABLE a IS E'x"
PL/pgSQL function f() line 1 at EXECUTE'; DO $$ BEGIN EXECUTE E'COMMENT ON TABLE a IS \'y"\nPL/pgSQL function f() line 1 at EXECUTE\''; END $$`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := &testBundle{server: server, db: application(t, server)}
			b.begin(t)
			stop := b.run(t, 0)
			b.psql(t, "-c", "CREATE TABLE kept AS SELECT 1 AS i")
			for _, text := range texts {
				b.psql(t, "-c", text)
			}
			b.caughtUp(t)
			stop()
			require.Empty(t, b.chain(t).Gaps)
			b.equal(t, b.restored(t, restore.Config{}))
		})
	}

	// Two sessions run the same texts at the same time, and the archiver starts again between two transactions of one.
	t.Run("Restarted", func(t *testing.T) {
		t.Parallel()
		b := &testBundle{server: server, db: application(t, server)}
		b.begin(t)
		stop := b.run(t, 0)
		b.psql(t, "-c", "CREATE TABLE a (i int); CREATE TABLE gate (i int); CREATE TABLE kept AS SELECT 1 AS i")
		locked, err := b.db.Begin(t.Context())
		require.NoError(t, err)
		_, err = locked.Exec(t.Context(), "LOCK TABLE gate IN EXCLUSIVE MODE")
		require.NoError(t, err)
		done := make(chan error)
		go func() {
			done <- exec.CommandContext(t.Context(), "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", b.db.URL,
				"-c", "GRANT SELECT ON a TO PUBLIC; COMMIT; INSERT INTO gate VALUES (1); GRANT INSERT ON a TO PUBLIC; COMMIT; GRANT UPDATE ON a TO PUBLIC").Run()
		}()
		b.db.Wait(t, "has_table_privilege('pg_monitor', 'a', 'SELECT') AND EXISTS (SELECT FROM pg_locks WHERE relation = 'gate'::regclass AND NOT granted)")
		b.psql(t, "-c", "CREATE TABLE b (i int); GRANT SELECT ON b TO PUBLIC; GRANT INSERT ON b TO PUBLIC")
		b.caughtUp(t)
		stop()
		stop = b.run(t, 0)
		require.NoError(t, locked.Rollback(t.Context()))
		require.NoError(t, <-done)
		b.caughtUp(t)
		stop()
		require.Empty(t, b.chain(t).Gaps)
		b.equal(t, b.restored(t, restore.Config{}))
	})

	// A text that rolls back a part of itself: what cannot be told apart is a gap.
	for name, text := range map[string]string{
		"RolledBack":  "BEGIN; GRANT SELECT ON a TO PUBLIC; ROLLBACK; GRANT INSERT ON a TO PUBLIC",
		"Savepoint":   "BEGIN; SAVEPOINT s; DROP TABLE a; ROLLBACK TO s; DROP TABLE a CASCADE; COMMIT",
		"Forgotten":   "ALTER TABLE a ADD j int; RESET ALL; ALTER TABLE a ADD k int",
		"OtherQuotes": `SET standard_conforming_strings = off; COMMENT ON TABLE a IS 'x\'; COMMENT ON TABLE a IS 'y'`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := &testBundle{server: server, db: application(t, server)}
			b.begin(t)
			stop := b.keep(t)
			b.psql(t, "-c", "CREATE TABLE a (i int)", "-c", text, "-c", "CREATE TABLE kept AS SELECT 1 AS i")
			b.eventually(t, func(c chain.Chain) bool { return len(c.Bases) == 2 && len(c.Gaps) == 1 })
			b.psql(t, "-c", "CREATE TABLE later (i int)")
			b.caughtUp(t)
			stop()
			b.equal(t, b.restored(t, restore.Config{}))
		})
	}
}
