package restore_test

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/archive/base"
	"github.com/daymill/daymill/internal/archive/chain"
	"github.com/daymill/daymill/internal/archive/restore"
	"github.com/daymill/daymill/internal/pgserver"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestLater restores an archive on a later major version, with Daymill and with psql alone, from its first base and from one of everything.
func TestLater(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t, map[string]string{"wal_level": "logical"})
	later := pgtest.Later(t)
	require.LessOrEqual(t, server.Binaries.Major, later.Binaries.Major, "let %s name a later Postgres than the one that is archived", pgtest.LaterEnv)
	b := &testBundle{server: server, db: application(t, server)}
	b.psql(t, "-c", "CREATE ROLE archive_reader; CREATE TABLE first (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text); INSERT INTO first (v) VALUES ('a'), ('b')")
	b.begin(t)
	stop := b.run(t, 20_000)
	b.psql(t, "-f", "testdata/workload.sql", "-c", "UPDATE first SET v = v || v; GRANT SELECT ON first TO archive_reader")
	b.caughtUp(t)
	middle, inMiddle := b.position(t), contents(t, b.db.URL)
	_, err := base.Take(t.Context(), b.config(), "a test")
	require.NoError(t, err)
	for i := range 5 {
		id := strconv.Itoa(i)
		b.psql(t, "-c", "CREATE TABLE more_"+id+" (LIKE a INCLUDING ALL); INSERT INTO more_"+id+" SELECT * FROM a", "-c", "ALTER TABLE first ADD c"+id+" timestamptz DEFAULT clock_timestamp()",
			"-c", "INSERT INTO first (v) VALUES ('c'); DELETE FROM more_"+id+" WHERE id % 3 = 0; UPDATE e SET d = d + 1; DELETE FROM bare WHERE ctid = (SELECT min(ctid) FROM bare)")
	}
	b.psql(t, "-c", "ALTER TYPE mood RENAME VALUE 'c' TO 'd'; DROP TABLE more_3; ALTER TABLE old ALTER s TYPE bigint; TRUNCATE p; INSERT INTO p VALUES (2)")
	b.caughtUp(t)
	stop()
	archive, atEnd := b.chain(t), contents(t, b.db.URL)
	require.NotEqual(t, inMiddle, atEnd)
	for _, made := range archive.Bases { // Its roles, as the archive's README says.
		output, err := exec.CommandContext(t.Context(), "psql", "-X", "-d", later.URL("postgres"), "-f", filepath.Join(b.archive, made.Globals.Name)).CombinedOutput()
		require.NoError(t, err, string(output))
	}
	into := empty(t, later, "middle")
	result, err := restore.Run(t.Context(), restore.Config{Store: b.store, Into: into, Target: chain.Target{LSN: middle}, Jobs: 2})
	require.NoError(t, err)
	require.Equal(t, archive.Bases[0].Position, result.Base, "the whole workload is replayed")
	sequence := func(line string) bool { return strings.HasPrefix(line, "sequence ") } // It may be ahead, and must not be behind.
	require.Equal(t, slices.DeleteFunc(inMiddle, sequence), slices.DeleteFunc(contents(t, into), sequence))
	into = empty(t, later, "at_end")
	result, err = restore.Run(t.Context(), restore.Config{Store: b.store, Into: into})
	require.NoError(t, err)
	require.Equal(t, archive.Bases[1].Position, result.Base)
	require.Equal(t, atEnd, contents(t, into))
	into = empty(t, later, "script")
	b.script(t, into)
	require.Equal(t, atEnd, contents(t, into))
}

// empty returns the URL of a new database of a server.
func empty(t *testing.T, server *pgserver.Server, name string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), server.URL("postgres"))
	require.NoError(t, err)
	defer conn.Close(t.Context())
	_, err = conn.Exec(t.Context(), "CREATE DATABASE "+name+" TEMPLATE template0")
	require.NoError(t, err)
	return server.URL(name)
}

// contents returns the rows and the schema of a database as lines that are the same for every version: pg_dump reads no later version, and prints
// some objects differently. Extensions may have another version, views are printed in another style, and there is a new privilege.
func contents(t *testing.T, url string) (lines []string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer conn.Close(t.Context())
	_, err = conn.Exec(t.Context(), "SET search_path = pg_catalog; SET TimeZone = 'UTC'; SET extra_float_digits = 3", pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err)
	read := func(query string) []string {
		rows, _ := conn.Query(t.Context(), query)
		read, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err, query)
		return read
	}
	const own = ` WITH schema AS (SELECT oid, nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg\_%' AND nspname NOT IN ('information_schema', 'daymill_archive')),
		relation AS (
			SELECT c.*, format('%I.%I', s.nspname, c.relname) AS name FROM pg_class AS c INNER JOIN schema AS s ON s.oid = c.relnamespace
		),
		member AS (SELECT classid, objid FROM pg_depend WHERE deptype = 'e') `
	for _, query := range []string{
		own + `SELECT concat_ws(' ', 'relation', r.name, r.relkind, r.relpersistence, r.relreplident, r.relrowsecurity, r.relowner::regrole, pg_get_expr(r.relpartbound, r.oid), r.reloptions) FROM relation AS r`,
		own + `SELECT concat_ws(' ', 'column', r.name, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated, a.attcollation::regcollation, a.attinhcount, pg_get_expr(d.adbin, d.adrelid))
			FROM relation AS r INNER JOIN pg_attribute AS a ON a.attrelid = r.oid LEFT JOIN pg_attrdef AS d ON d.adrelid = r.oid AND d.adnum = a.attnum WHERE a.attnum > 0 AND NOT a.attisdropped`,
		own + `SELECT concat_ws(' ', 'grant', r.name, a.grantor::regrole, nullif(a.grantee, 0)::regrole, a.privilege_type, a.is_grantable) FROM relation AS r, aclexplode(r.relacl) AS a WHERE a.privilege_type <> 'MAINTAIN'`,
		own + `SELECT concat_ws(' ', 'constraint', s.nspname, c.conname, c.conrelid::regclass, c.contypid::regtype, pg_get_constraintdef(c.oid)) FROM pg_constraint AS c INNER JOIN schema AS s ON s.oid = c.connamespace WHERE c.contype <> 'n'`,
		own + `SELECT concat_ws(' ', 'index', pg_get_indexdef(r.oid)) FROM relation AS r WHERE r.relkind IN ('i', 'I')`,
		own + `SELECT concat_ws(' ', 'trigger', pg_get_triggerdef(g.oid)) FROM relation AS r INNER JOIN pg_trigger AS g ON g.tgrelid = r.oid WHERE NOT g.tgisinternal`,
		own + `SELECT concat_ws(' ', 'rule', pg_get_ruledef(u.oid)) FROM relation AS r INNER JOIN pg_rewrite AS u ON u.ev_class = r.oid WHERE u.rulename <> '_RETURN'`,
		own + `SELECT concat_ws(' ', 'function', p.proowner::regrole, pg_get_functiondef(p.oid)) FROM pg_proc AS p INNER JOIN schema AS s ON s.oid = p.pronamespace
			WHERE p.prokind <> 'a' AND p.oid NOT IN (SELECT objid FROM member WHERE classid = 'pg_proc'::regclass)`,
		own + `SELECT concat_ws(' ', 'type', s.nspname, y.typname, y.typtype, y.typowner::regrole, y.typnotnull, y.typdefault, format_type(y.typbasetype, y.typtypmod), (SELECT string_agg(e.enumlabel, ', ' ORDER BY e.enumsortorder) FROM pg_enum AS e WHERE e.enumtypid = y.oid))
			FROM pg_type AS y INNER JOIN schema AS s ON s.oid = y.typnamespace WHERE y.typelem = 0 AND y.oid NOT IN (SELECT objid FROM member WHERE classid = 'pg_type'::regclass)`,
		own + `SELECT concat_ws(' ', 'comment', r.name, d.objsubid, d.description) FROM relation AS r INNER JOIN pg_description AS d ON d.objoid = r.oid AND d.classoid = 'pg_class'::regclass`,
		"SELECT 'sequence ' || (s.*)::text FROM pg_sequences AS s WHERE schemaname <> 'daymill_archive'",
		"SELECT 'extension ' || extname FROM pg_extension",
	} {
		lines = append(lines, read(query+" ORDER BY 1")...)
	}
	for _, name := range read(own + "SELECT name FROM relation WHERE relkind IN ('r', 'm') ORDER BY name") {
		lines = append(lines, read("SELECT concat_ws(' ', 'rows', '"+name+"', count(*), sum(hashtextextended((its_row.*)::text COLLATE \"C\", 0)::numeric)) FROM ONLY "+name+" AS its_row")...)
	}
	require.Greater(t, len(lines), 100)
	return lines
}
