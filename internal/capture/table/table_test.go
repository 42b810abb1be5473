package table_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/table"
	"github.com/daymill/daymill/internal/test/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// TestFind: Daymill's and River's own tables are never captured. Tables of the application are, whatever their names begin with.
func TestFind(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{})
	_, err := db.Exec(t.Context(), "CREATE TABLE public.river_basins (id bigint PRIMARY KEY); CREATE TABLE public.orders (id bigint PRIMARY KEY); "+
		"CREATE SCHEMA view_mirror; CREATE TABLE view_mirror.orders (id bigint PRIMARY KEY); CREATE SCHEMA daymill_capture_crm; CREATE TABLE daymill_capture_crm.queue (id bigint PRIMARY KEY)")
	require.NoError(t, err)
	found, err := table.Find(t.Context(), db.DB, []string{"*.*"})
	require.NoError(t, err)
	names := make([]string, 0, len(found))
	for _, f := range found {
		names = append(names, f.Schema+"."+f.Name)
	}
	require.Equal(t, []string{"public.orders", "public.river_basins"}, names)
}

// TestFind_Elsewhere: the stream of changes does not have those of a table whose rows Citus or TimescaleDB keep in others.
func TestFind_Elsewhere(t *testing.T) {
	t.Parallel()
	db := pgtest.Empty(t)
	db.Do(t, `CREATE TABLE public.distributed (id bigint PRIMARY KEY); CREATE TABLE public.chunked (id bigint PRIMARY KEY); CREATE TABLE public.plain (id bigint PRIMARY KEY);
		SET allow_system_table_mods = on; CREATE TABLE pg_catalog.pg_dist_partition AS SELECT 'public.distributed'::regclass AS logicalrelid;
		CREATE SCHEMA _timescaledb_catalog; CREATE TABLE _timescaledb_catalog.hypertable AS SELECT name 'public' AS schema_name, name 'chunked' AS table_name`)
	found, err := table.Find(t.Context(), db.DB, []string{"public.*"})
	require.NoError(t, err)
	reasons := map[string]string{}
	for _, f := range found {
		reasons[f.Name] = f.Reason
	}
	require.Len(t, reasons, 3)
	require.Contains(t, reasons["distributed"], "Citus distributes it")
	require.Contains(t, reasons["chunked"], "a hypertable of TimescaleDB")
	require.Empty(t, reasons["plain"])
}
