package checkup_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/archive/chain"
	"github.com/daymill/daymill/internal/archive/checkup"
	"github.com/daymill/daymill/internal/archive/ddl"
	"github.com/daymill/daymill/internal/archive/standing"
	"github.com/daymill/daymill/internal/archive/store"
	"github.com/daymill/daymill/internal/doctor"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/test/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// TestChecks: the doctor says whether an archive can be begun, how it learns of schema changes, and which event triggers are left over.
func TestChecks(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{})
	place, err := store.Directory(t.TempDir())
	require.NoError(t, err)
	look := func(source *standing.Source) (levels []doctor.Level, text string) {
		checks := checkup.Checks(func(context.Context) (*standing.Source, error) { return source, nil })
		for _, found := range doctor.Examine(t.Context(), doctor.Config{DB: db.DB, Clock: pace.SystemClock{}, Checks: checks}) {
			if found.ID == "archive" {
				levels, text = append(levels, found.Level), text+found.Sentence+"\n"+found.Fix+"\n"
			}
		}
		return levels, text
	}
	levels, _ := look(nil)
	require.Empty(t, levels)
	source := &standing.Source{Store: place}
	_, text := look(source)
	require.Contains(t, text, "wal_level is replica")
	require.NoError(t, chain.WriteManifest(t.Context(), place, chain.Manifest{Format: chain.Format}))
	_, text = look(source)
	require.Contains(t, text, "the archive has no base: daymill archive init runs, or was interrupted")
	require.NoError(t, chain.WriteManifest(t.Context(), place, chain.Manifest{Format: chain.Format, From: "00000000/01000000"}))
	_, text = look(source)
	require.Contains(t, text, "the archive's event triggers are missing or disabled")
	require.NoError(t, db.Tx(t.Context(), func(tx pgx.Tx) error { return ddl.Install(t.Context(), tx) }))
	_, text = look(source)
	require.Contains(t, text, "event triggers write each schema change")
	levels, text = look(nil)
	require.Equal(t, []doctor.Level{doctor.Note}, levels)
	require.Contains(t, text, "daymill archive remove")
}
