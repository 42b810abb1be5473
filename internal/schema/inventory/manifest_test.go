package inventory_test

import (
	"encoding/json"
	"flag"
	"os"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/schema"
	"github.com/daymill/daymill/internal/schema/inventory"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/migrations"
)

var update = flag.Bool("update", false, "write manifest.json")

func TestMain(m *testing.M) { pgtest.Main(m) }

// schemas are the schemas that the migrations create.
func schemas(t *testing.T, db *pgtest.DB) (names []string) {
	t.Helper()
	rows, err := db.Query(t.Context(), `
		SELECT n.nspname FROM pg_catalog.pg_namespace AS n
		WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'public', $1) ORDER BY 1`, db.Installation.RiverSchema)
	require.NoError(t, err)
	names, err = pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return names
}

// TestManifest: the manifest has the objects that the migrations create, for every entity type and every
// schema of River's tables. -update writes it.
func TestManifest(t *testing.T) {
	t.Parallel()
	for _, installed := range []pgtest.Installed{
		{EntityType: entity.UUID},
		{EntityType: entity.Bigint, RiverSchema: "river_of_another"},
		{EntityType: entity.Text, RiverSchema: `Odd_River`},
	} {
		db := pgtest.Database(t, installed)
		digest, err := migrations.Digest()
		require.NoError(t, err)
		made := inventory.Manifest{Migrations: digest, Schemas: schemas(t, db)}
		require.Equal(t, schema.Own(), made.Schemas)
		tx, err := db.DB.Begin(t.Context())
		require.NoError(t, err)
		made.Objects, err = inventory.Read(t.Context(), tx, made.Schemas, db.Installation.Inventory())
		require.NoError(t, err)
		require.NoError(t, tx.Rollback(t.Context()))
		text, err := json.MarshalIndent(made, "", "\t")
		require.NoError(t, err)
		if *update {
			require.NoError(t, os.WriteFile("manifest.json", append(text, '\n'), 0o600))
			*update = false // The other installations must give the same manifest.
			continue
		}
		written, err := os.ReadFile("manifest.json")
		require.NoError(t, err)
		var want inventory.Manifest
		require.NoError(t, json.Unmarshal(written, &want))
		require.Equal(t, want.Migrations, made.Migrations, "the migrations have changed: run `make generate`")
		require.Equal(t, want.Schemas, made.Schemas)
		require.Len(t, made.Objects, len(want.Objects))
		for i, object := range made.Objects {
			require.Equal(t, want.Objects[i], object, "the migrations make something else: run `make generate`")
		}
	}
}
