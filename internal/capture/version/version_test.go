package version_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/table"
	"github.com/daymill/daymill/internal/capture/version"
	"github.com/daymill/daymill/internal/test/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// TestCompare: it finds what ALTER TABLE did, and the statements for a copy do the same.
func TestCompare(t *testing.T) {
	t.Parallel()
	db := pgtest.Empty(t)
	columns := func(name string) []table.Column {
		t.Helper()
		tables, err := table.Find(t.Context(), db.DB, []string{"public." + name})
		require.NoError(t, err)
		require.Len(t, tables, 1)
		return tables[0].Columns
	}
	for _, name := range []string{"source", "copy"} {
		db.Do(t, `CREATE TABLE public.`+name+` (id bigint PRIMARY KEY, total numeric(10,2), "State ""x""" text, gone integer, note varchar(10))`)
	}
	before := columns("source")
	require.Empty(t, version.Compare(before, before))
	db.Do(t, `ALTER TABLE public.source ADD COLUMN extra text[];
		ALTER TABLE public.source RENAME COLUMN "State ""x""" TO "Status";
		ALTER TABLE public.source ALTER COLUMN "Status" TYPE varchar(20);
		ALTER TABLE public.source ALTER COLUMN total TYPE text;
		ALTER TABLE public.source DROP COLUMN gone`)
	differences := version.Compare(before, columns("source"))
	require.Equal(t, `column total is now text, and was numeric(10,2); column State "x" is now called Status; `+
		`column Status is now character varying(20), and was text; column extra is new; column gone is gone`, version.List(differences))
	breaking := version.Breaking(differences)
	require.Len(t, breaking, 4)
	for _, d := range breaking {
		db.Do(t, d.Alter("public.copy"))
	}
	db.Do(t, `ALTER TABLE public.copy ADD COLUMN extra text[]`)
	require.Empty(t, version.Compare(columns("source"), columns("copy")))
}
