package run_test

import (
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/run"
	"github.com/daymill/daymill/internal/test/pgtest"
)

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
		VALUES ('datestyle', 'German, DMY'), ('timezone', 'Asia/Kathmandu'), ('client_encoding', 'WIN1251'), ('statement_timeout', '100'),
			('lock_timeout', '10'), ('idle_in_transaction_session_timeout', '100'), ('idle_session_timeout', '100'),
			('extra_float_digits', '-15'), ('search_path', 'nowhere'), ('cursor_tuple_fraction', '1')`)
	require.NoError(t, err)
	type setting struct{ Name, Value string }
	settings, err := pgx.CollectRows(rows, pgx.RowToStructByPos[setting])
	require.NoError(t, err)
	require.Greater(t, len(settings), 60)
	conn, err := pgx.Connect(t.Context(), b.db.Server.URL("postgres"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
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
