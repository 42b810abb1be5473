package run_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/run"
	"github.com/daymill/daymill/internal/test/pgtest"
)

type setting struct{ Name, Value string }

func lower(settings []setting) (names []string) {
	for _, s := range settings {
		names = append(names, strings.ToLower(s.Name))
	}
	return names
}

// The database's settings are the application's: a run works in the same way with every setting changed that a user may change.
func TestRunOddSettings(t *testing.T) {
	t.Parallel()
	b := setup(t, installations[0])
	b.db.InsertDate(t, day, 5_000, 700)
	b.request(t, day)
	rows, err := b.db.Query(t.Context(), `
		SELECT s.name, CASE
			WHEN s.vartype = 'bool' THEN CASE s.reset_val WHEN 'on' THEN 'off' ELSE 'on' END
			ELSE (SELECT v FROM unnest(s.enumvals) AS v WHERE v <> s.reset_val ORDER BY v DESC LIMIT 1) END
		FROM pg_settings AS s
		WHERE s.context = 'user' AND s.vartype IN ('bool', 'enum') AND s.name NOT LIKE 'debug%' AND s.name NOT LIKE 'transaction%'
		UNION ALL
		SELECT s.name, CASE WHEN s.min_val <> s.reset_val THEN s.min_val ELSE s.max_val END
		FROM pg_settings AS s
		WHERE s.context = 'user' AND s.vartype IN ('integer', 'real')
		UNION ALL
		VALUES ('datestyle', 'German, DMY'), ('timezone', 'Asia/Kathmandu'), ('client_encoding', 'WIN1251'), ('statement_timeout', '100'),
			('lock_timeout', '10'), ('idle_in_transaction_session_timeout', '100'), ('idle_session_timeout', '100'),
			('extra_float_digits', '-15'), ('search_path', 'nowhere'), ('application_name', 'shop'),
			('default_tablespace', 'pg_default'), ('default_text_search_config', 'pg_catalog.simple'), ('lc_monetary', 'POSIX'), ('lc_numeric', 'POSIX'),
			('lc_time', 'POSIX'), ('plpgsql.extra_errors', 'all'), ('plpgsql.extra_warnings', 'all'), ('temp_tablespaces', 'pg_default'), ('timezone_abbreviations', 'Australia'), ('cursor_tuple_fraction', '1')`)
	require.NoError(t, err)
	settings, err := pgx.CollectRows(rows, pgx.RowToStructByPos[setting])
	require.NoError(t, err)
	require.Greater(t, len(settings), 110)
	conn, err := pgx.Connect(t.Context(), b.db.Server.URL("postgres"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	var unchanged []string
	require.NoError(t, b.db.QueryRow(t.Context(), "SELECT array_agg(name ORDER BY name) FROM pg_settings WHERE context = 'user' AND vartype = 'string' AND lower(name) <> ALL ($1)",
		lower(settings)).Scan(&unchanged))
	// They name tables' storage, libraries and kinds of relations.
	require.Subset(t, []string{"default_table_access_method", "local_preload_libraries", "restrict_nonsystem_relation_kind"}, unchanged)
	// Settings that choose the role, or what exists, are different.
	left := []string{"row_security", "default_table_access_method", "log_statement"}
	for _, s := range settings {
		if slices.Contains(left, s.Name) {
			continue
		}
		_, err := conn.Exec(t.Context(), "ALTER DATABASE "+b.db.Name+" SET "+pgx.Identifier{s.Name}.Sanitize()+" = '"+s.Value+"'")
		require.NoError(t, err, s.Name)
	}
	db := open(t, postgres.Config{URL: b.db.URL})
	b.runner.Primary, b.runner.Source = db, db
	figures, err := b.runner.Run(t.Context(), run.Order{Date: day})
	require.NoError(t, err)
	require.EqualValues(t, 5_000, figures.Events)
	require.EqualValues(t, 5_000, pgtest.RequireExact(t, b.db).Events)
}
