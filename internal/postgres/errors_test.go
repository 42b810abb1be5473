package postgres_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/test/pgtest"
)

func TestText(t *testing.T) {
	t.Parallel()
	db := pgtest.Empty(t)
	_, err := db.Exec(t.Context(), "SELECT nothing_here(1)")
	require.Error(t, err)
	text := postgres.Text(fmt.Errorf("run: %w", err))
	require.Regexp(t, `^run: ERROR: function nothing_here\(integer\) does not exist \(SQLSTATE 42883\); hint: No function matches`, text)

	// The detail of this one quotes a row.
	_, err = db.Exec(t.Context(), "CREATE TABLE public.t (name text PRIMARY KEY); INSERT INTO public.t VALUES ('secret'), ('secret')")
	require.Error(t, err)
	require.NotContains(t, postgres.Text(err), "secret")
}
