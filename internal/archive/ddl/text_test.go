package ddl_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/archive/ddl"
)

// The archive's list of gaps is not encrypted, and pages and alerts show it.
func TestReader_TextHasNoValues(t *testing.T) {
	t.Parallel()
	for _, query := range []string{"SELECT make('hunter2')", "ALTER ROLE app PASSWORD 'hunter2'; SELECT make()"} {
		_, err := ddl.Text(ddl.Message{Tag: "CREATE TABLE", Query: query})
		require.ErrorIs(t, err, ddl.ErrLost)
		require.NotContains(t, err.Error(), "hunter2")
		require.Contains(t, err.Error(), query[:6])
	}
}

// An index that a failed CREATE INDEX CONCURRENTLY has left is not in the archive.
func TestReader_DropIndex(t *testing.T) {
	t.Parallel()
	for _, query := range []string{`DROP INDEX CONCURRENTLY "a b", c`, `drop index if exists "a b", c;`, `DROP INDEX "a b", c`} {
		text, err := ddl.Text(ddl.Message{Tag: "DROP INDEX", Query: query})
		require.NoError(t, err)
		require.Equal(t, `DROP INDEX IF EXISTS "a b", c`, text)
	}
}

// The machine of a restore may not have the tablespaces of the source.
func TestReader_Tablespace(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ tag, query, want string }{
		{"CREATE TABLE", `CREATE TABLE t (i int) TABLESPACE "my space"`, `CREATE TABLE t (i int) `},
		{"CREATE TABLE", "create unlogged table t (i int primary key using index tablespace s) partition by list (i) tablespace s", "create unlogged table t (i int primary key ) partition by list (i) "},
		{"CREATE TABLE", "CREATE TABLE p PARTITION OF t DEFAULT TABLESPACE s", "CREATE TABLE p PARTITION OF t DEFAULT "},
		{"CREATE TABLE", "CREATE TABLE tablespace (tablespace text)", "CREATE TABLE tablespace (tablespace text)"},
		{"CREATE INDEX", "CREATE UNIQUE INDEX CONCURRENTLY ON tablespace (tablespace) TABLESPACE s WHERE i > 1", "CREATE UNIQUE INDEX  ON tablespace (tablespace)  WHERE i > 1"},
		{"CREATE MATERIALIZED VIEW", "CREATE MATERIALIZED VIEW v TABLESPACE s AS SELECT i tablespace FROM t", "CREATE MATERIALIZED VIEW v  AS SELECT i tablespace FROM t"},
		{"ALTER TABLE", "ALTER TABLE t ADD tablespace int, ADD UNIQUE (i) USING INDEX TABLESPACE s", "ALTER TABLE t ADD tablespace int, ADD UNIQUE (i) "},
		{"ALTER TABLE", "ALTER TABLE t SET TABLESPACE s, SET (fillfactor = 70)", "ALTER TABLE t SET TABLESPACE pg_default, SET (fillfactor = 70)"},
		{"ALTER INDEX", "ALTER INDEX i SET TABLESPACE s", "ALTER INDEX i SET TABLESPACE pg_default"},
		{"ALTER TABLE", "ALTER TABLE ALL IN TABLESPACE s SET TABLESPACE pg_default", ""},
		{"ALTER TABLE", "ALTER TABLE t DETACH PARTITION p CONCURRENTLY", "ALTER TABLE t DETACH PARTITION p "},
		{"ALTER TABLE", "ALTER TABLE t DETACH PARTITION p FINALIZE", ""},
		{"CREATE VIEW", "CREATE VIEW v AS SELECT i TABLESPACE FROM t", "CREATE VIEW v AS SELECT i TABLESPACE FROM t"},
	} {
		text, err := ddl.Text(ddl.Message{Tag: c.tag, Query: c.query})
		require.NoError(t, err)
		require.Equal(t, c.want, text)
	}
}

// A restore would compute the bounds of a partition again, and its rows would not fit.
func TestReader_Bound(t *testing.T) {
	t.Parallel()
	const bound = "FOR VALUES FROM (MINVALUE) TO ('2026-11-29 09:37:17.287228')"
	for _, c := range []struct{ query, want string }{
		{"CREATE TABLE p PARTITION OF t FOR VALUES FROM (minvalue) TO (current_timestamp)", "CREATE TABLE p PARTITION OF t " + bound},
		{
			"create table p partition of t (check (i > 1)) for values from (minvalue) to (f(now(), 1)) partition by list (i) with (fillfactor = 70) tablespace s",
			"create table p partition of t (check (i > 1)) " + bound + " partition by list (i) with (fillfactor = 70) ",
		},
		{"CREATE TABLE p PARTITION OF t FOR VALUES IN (now()) WITH (fillfactor = 70)", "CREATE TABLE p PARTITION OF t " + bound + " WITH (fillfactor = 70)"},
		{"CREATE TABLE p PARTITION OF t FOR VALUES FROM (MINVALUE, 1) TO ('x', -2.5)", "CREATE TABLE p PARTITION OF t FOR VALUES FROM (MINVALUE, 1) TO ('x', -2.5)"},
		{"CREATE TABLE p PARTITION OF t FOR VALUES WITH (MODULUS 4, REMAINDER 1)", "CREATE TABLE p PARTITION OF t FOR VALUES WITH (MODULUS 4, REMAINDER 1)"},
		{"CREATE TABLE p PARTITION OF t DEFAULT", "CREATE TABLE p PARTITION OF t DEFAULT"},
	} {
		text, err := ddl.Text(ddl.Message{Tag: "CREATE TABLE", Query: c.query, Bound: bound})
		require.NoError(t, err)
		require.Equal(t, c.want, text)
	}
}

// A restore does not have the temporary table whose columns a new table takes.
func TestReader_LikeTemporary(t *testing.T) {
	t.Parallel()
	for query, lost := range map[string]bool{
		"CREATE TABLE t (i int, LIKE passing INCLUDING ALL)":         true,
		`create table t (like "Pass ing")`:                           true,
		"CREATE TABLE t (LIKE pg_temp.other)":                        true,
		"CREATE TABLE t (LIKE public.passing)":                       false,
		"CREATE TABLE t (LIKE kept, v text CHECK (v LIKE passing))":  false,
		"CREATE TABLE passing (v text DEFAULT 'LIKE', passing text)": false,
	} {
		_, err := ddl.Text(ddl.Message{Tag: "CREATE TABLE", Query: query, Temporary: []string{"passing", "Pass ing"}})
		if !lost {
			require.NoError(t, err, query)
			continue
		}
		require.ErrorIs(t, err, ddl.ErrLost, query)
		require.ErrorContains(t, err, "LIKE a temporary table")
	}
}

// A restore has the large objects of the base only.
func TestReader_LargeObject(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ tag, query, want string }{
		{"GRANT", "grant select, update on large object 4711, 4712 to app", ""},
		{"REVOKE", "REVOKE GRANT OPTION FOR ALL PRIVILEGES ON LARGE OBJECT 4711 FROM PUBLIC", ""},
		{"COMMENT", "COMMENT ON LARGE OBJECT 4711 IS 'x'", ""},
		{"ALTER LARGE OBJECT", "ALTER LARGE OBJECT 4711 OWNER TO app", ""},
		{"SECURITY LABEL", "SECURITY LABEL FOR p ON LARGE OBJECT 4711 IS 'x'", ""},
		{"GRANT", "GRANT SELECT (large) ON object TO large", "GRANT SELECT (large) ON object TO large"},
		{"COMMENT", "COMMENT ON COLUMN large.object IS 'ON LARGE OBJECT'", "COMMENT ON COLUMN large.object IS 'ON LARGE OBJECT'"},
		{"ALTER TABLE", "ALTER TABLE large ADD object int", "ALTER TABLE large ADD object int"},
	} {
		text, err := ddl.Text(ddl.Message{Tag: c.tag, Query: c.query})
		require.NoError(t, err)
		require.Equal(t, c.want, text)
	}
}

// A restore does not have the temporary objects.
func TestReader_Temporary(t *testing.T) {
	t.Parallel()
	temporary := []string{"t", "T x", "pg_toast_1"}
	for _, c := range []struct{ query, want string }{
		{"GRANT SELECT ON t TO PUBLIC", ""},
		{"REVOKE ALL ON t, public.t FROM app", "REVOKE ALL ON public.t FROM app"},
		{`grant select (a), update on table u , "T x", T, "t", "U" to app with grant option`, `grant select (a), update on table u, "U" to app with grant option`},
		{"GRANT SELECT ON pg_temp.u TO app", ""},
		{"GRANT SELECT ON PG_TEMP_12.u, v TO app", "GRANT SELECT ON v TO app"},
		{"GRANT USAGE ON SEQUENCE t TO app", ""},
		{"GRANT USAGE ON SCHEMA t TO app", "GRANT USAGE ON SCHEMA t TO app"},
		{"GRANT EXECUTE ON FUNCTION pg_temp.f(int, text), t(int) TO app", "GRANT EXECUTE ON FUNCTION t(int) TO app"},
		{`GRANT EXECUTE ON ROUTINE passed(), f(int), public."passed" (int) TO app`, "GRANT EXECUTE ON ROUTINE f(int) TO app"},
		{"GRANT SELECT ON passed TO app", "GRANT SELECT ON passed TO app"},
		{"GRANT SELECT ON ALL TABLES IN SCHEMA t TO app", "GRANT SELECT ON ALL TABLES IN SCHEMA t TO app"},
		{"GRANT USAGE ON FOREIGN DATA WRAPPER t TO app", "GRANT USAGE ON FOREIGN DATA WRAPPER t TO app"},
		{"GRANT t TO app", "GRANT t TO app"},
	} {
		text, err := ddl.Text(ddl.Message{Tag: strings.ToUpper(c.query[:strings.IndexByte(c.query, ' ')]), Query: c.query, Temporary: temporary, Passing: []string{"passed"}})
		require.NoError(t, err)
		require.Equal(t, c.want, text)
	}
}
