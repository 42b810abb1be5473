package event

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestZonePostgres compares how Daymill and Postgres convert local times, on any day and around every change
// of the clock.
func TestZonePostgres(t *testing.T) {
	t.Parallel()

	db := pgtest.Empty(t)
	random := rand.New(rand.NewPCG(1, 2))
	first := time.Date(firstYear, 1, 1, 0, 0, 0, 0, time.UTC)
	last := time.Date(2022, 1, 1, 0, 0, 0, 0, time.UTC) // Later rules differ between editions of the tz database.
	for _, name := range []string{
		"UTC", "Africa/Monrovia", "America/Sao_Paulo", "America/St_Johns", "Antarctica/Troll", "Asia/Kathmandu",
		"Australia/Lord_Howe", "Europe/London", "Pacific/Apia", "Pacific/Kwajalein",
	} {
		location, err := time.LoadLocation(name)
		require.NoError(t, err)

		var readings []int64
		for range 1000 {
			readings = append(readings, first.Unix()+random.Int64N(last.Unix()-first.Unix()))
		}
		for at := first; ; {
			_, change := at.In(location).ZoneBounds()
			if change.IsZero() || change.After(last) {
				break
			}
			_, offset := change.Zone()
			for _, around := range []int64{-86400, -7200, -3601, -3600, -1800, -1, 0, 1, 1800, 3599, 3600, 7200, 86400} {
				readings = append(readings, change.Unix()+int64(offset)+around)
			}
			at = change
		}

		rows, err := db.Query(t.Context(), `
			SELECT extract(epoch FROM ('1970-01-01'::timestamp + r * interval '1 second') AT TIME ZONE $2)::bigint
			FROM unnest($1::bigint[]) WITH ORDINALITY AS u (r, n) ORDER BY n`, readings, name)
		require.NoError(t, err)
		want, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		require.NoError(t, err)
		require.Len(t, want, len(readings))

		z := newZone(location)
		for i, reading := range readings {
			text := time.Unix(reading, 0).UTC().Format(time.DateTime)
			require.Equal(t, want[i], z.instant(reading), "%s %s", name, text)
			// Converting the instant back gives the same local time.
			require.Equal(t, want[i], z.instant(z.reading(want[i])), "%s %s, and back", name, text)
		}
	}
}
