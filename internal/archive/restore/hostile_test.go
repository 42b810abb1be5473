package restore_test

import (
	"net/url"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/archive/restore"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestHostile: a role that may run DDL writes texts whose end a careless reader does not find. A superuser restores the archive, so nothing of them may run
// as another role.
func TestHostile(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t, map[string]string{"wal_level": "logical", "max_wal_senders": "30", "max_replication_slots": "30"})
	const seize = `RESET ROLE; DO $x$ BEGIN CREATE ROLE archive_seized SUPERUSER; EXCEPTION WHEN insufficient_privilege THEN NULL; END $x$; `
	for name, text := range map[string]string{
		"Comment":   "GRANT SELECT ON t --\r TO pg_monitor; " + seize + "GRANT INSERT ON t\n TO PUBLIC",
		"Continued": "COMMENT ON TABLE t IS E'a'\n'b\\'; " + seize + "--'",
		"Standard":  "COMMENT ON TABLE t IS 'a\\'; " + seize + "COMMENT ON TABLE t IS 'b\\'",
		"Word":      "COMMENT ON TABLE t IS 'a'; CREATE VIEW v AS SELECT fooE'a\\' AS a, 'b'; " + seize + "COMMENT ON VIEW v IS 'b\\'",
		"Variables": "CREATE TABLE v (i int[]); CREATE VIEW w AS SELECT i[1:DBNAME] FROM v, (SELECT 1 AS dbname) AS x; COMMENT ON TABLE v IS ':DBNAME \\! touch x\n\\q'; CREATE VIEW y AS SELECT 1 AS \"\n\\q\n$ddl$ \\gexec\n\"",
		"Body": "CREATE FUNCTION g() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1 AS end; SELECT CASE WHEN true THEN 1 END AS \"a\"; END; " +
			"CREATE FUNCTION h() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1 end; SELECT 2; END; " + seize + "COMMENT ON TABLE t IS 'c'",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := &testBundle{server: server, db: application(t, server)}
			b.begin(t)
			stop := b.run(t, 0)
			role := "archive_evil_" + name
			b.psql(t, "-c", "CREATE TABLE kept AS SELECT 1 AS i", "-c", `CREATE ROLE "`+role+`" LOGIN`, "-c", `GRANT ALL ON SCHEMA public TO "`+role+`"`)
			as, err := url.Parse(b.db.URL)
			require.NoError(t, err)
			as.User = url.User(role)
			for _, sql := range []string{"CREATE TABLE t (i int)", "CREATE DOMAIN fooe AS text", text} {
				output, _ := exec.CommandContext(t.Context(), "psql", "-X", "-q", "-d", as.String(), "-c", sql).CombinedOutput()
				t.Log(string(output))
			}
			b.caughtUp(t)
			stop()
			require.Empty(t, b.chain(t).Gaps)
			b.equal(t, b.restored(t, restore.Config{}))
			require.Equal(t, "0", b.value(t, b.db.URL, "SELECT count(*)::text FROM pg_roles WHERE rolname = 'archive_seized'"))
		})
	}
}
