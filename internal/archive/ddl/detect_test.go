package ddl_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/archive/ddl"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestVersion changes what a dump has, also of what initdb created, and what a dump does not have.
func TestVersion(t *testing.T) {
	t.Parallel()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: pgtest.Server(t, nil).URL("postgres"), StatementTimeout: time.Minute})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	do := func(statement string) {
		_, err := db.Exec(t.Context(), statement)
		require.NoError(t, err, statement)
	}
	version := func() string {
		version, err := ddl.Version(t.Context(), db)
		require.NoError(t, err)
		return version
	}
	do("CREATE TABLE public.t (id int PRIMARY KEY)")
	do("CREATE SCHEMA other")
	for _, statement := range []string{
		"COMMENT ON SCHEMA public IS 'ours'", "GRANT USAGE ON SCHEMA public TO pg_monitor", "ALTER SCHEMA public RENAME TO application", "ALTER SCHEMA application RENAME TO public",
		"CREATE PUBLICATION p", "ALTER PUBLICATION p ADD TABLE public.t", "ALTER PUBLICATION p SET (publish = 'insert')", "ALTER PUBLICATION p ADD TABLES IN SCHEMA other", "DROP PUBLICATION p",
		"REVOKE EXECUTE ON FUNCTION pg_catalog.version() FROM PUBLIC", "GRANT SELECT ON pg_catalog.pg_authid TO pg_monitor", "COMMENT ON TABLE public.t IS 'rows'",
	} {
		before := version()
		do(statement)
		require.NotEqual(t, before, version(), statement)
	}
	for _, statement := range []string{"INSERT INTO public.t VALUES (1)", "TRUNCATE public.t", "REINDEX TABLE public.t", "VACUUM FULL public.t", "ANALYZE public.t"} {
		before := version()
		do(statement)
		require.Equal(t, before, version(), statement)
	}
}
