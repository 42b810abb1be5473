package source_test

import (
	"testing"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/rollup/source"
)

// TestDates: a server that refuses to look up several dates at once, as Citus does, is asked for one after another.
func TestDates(t *testing.T) {
	t.Parallel()
	b, options := setupEvents(t)
	b.set(t, options)
	b.Do(t, "INSERT INTO app.events (product_id, kind, occurred_at) VALUES (1, 'view', '2026-03-01 12:00+00'), (1, 'view', '2026-03-03 12:00+00')")
	first, err := date.Parse("2026-03-01")
	require.NoError(t, err)
	want := []date.Date{first, first.AddDays(2)}
	dates := []date.Date{first.AddDays(-1), first, first.AddDays(1), first.AddDays(2)}
	for name, refused := range map[string]bool{"Together": false, "OneByOne": true} {
		looks := 0
		found, err := source.Dates(t.Context(), dates, func(do func(*db.Queries) error) error {
			if looks++; refused && looks == 1 {
				return &pgconn.PgError{Code: pgerrcode.FeatureNotSupported}
			}
			return do(db.New(b.DB))
		})
		require.NoError(t, err)
		require.Equal(t, want, found, name)
		require.Equal(t, refused, looks > 1)
	}
}
