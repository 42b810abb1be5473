package view_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestWide: a view may have as many columns as a table, including the hidden keys of its tables.
func TestWide(t *testing.T) {
	t.Parallel()
	const most = 1600
	columns, names := make([]string, most-1), make([]string, most-1)
	for i := range columns {
		names[i] = fmt.Sprintf("c%d", i+1)
		columns[i] = names[i] + " smallint DEFAULT 1"
	}
	b := setup(t, stream.ModeTrigger, "CREATE TABLE public.wide (id integer PRIMARY KEY, "+strings.Join(columns, ", ")+"); INSERT INTO public.wide (id) VALUES (1), (2), (3); CREATE TABLE public.small (id integer PRIMARY KEY)")
	b.capture(t, stream.ModeTrigger)
	definition := "name: wide\ntables:\n  - {table: wide, columns: [id, " + strings.Join(names, ", ") + "]}"
	b.apply(t, read(t, definition))
	b.quiet(t)
	b.Do(t, "UPDATE public.wide SET c1599 = 7 WHERE id = 2; DELETE FROM public.wide WHERE id = 3")
	b.quiet(t)
	b.exact(t, "wide")
	require.Equal(t, []string{"1", "7"}, pgtest.Column[string](t, b.DB, "SELECT c1599::text FROM views.wide ORDER BY id"))
	_, err := b.engine.Verify(t.Context(), "wide", false, who)
	require.NoError(t, err)
	b.quiet(t)
	require.Equal(t, []string{"done 0"}, pgtest.Column[string](t, b.DB, "SELECT state || ' ' || differing FROM view.task WHERE kind = 'verify'"))
	_, err = b.engine.Plan(t.Context(), read(t, definition+"\n  - {table: small, join: {c1: id}}"))
	require.EqualError(t, err, "test:1:1: the view would have 1601 columns with the keys of its tables, but a table in Postgres can have 1600: leave some out")
}
