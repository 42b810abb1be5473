package date_test

import (
	"flag"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var everyZone = flag.Bool("every-zone", false, "check every zone of the server's time zone database, not only the unusual ones")

// oddZones have clocks that change at midnight, by half an hour, by two hours, or by a day.
var oddZones = []string{
	"Africa/Cairo", "America/Asuncion", "America/Havana", "America/Sao_Paulo", "America/St_Johns", "Antarctica/Troll",
	"Asia/Beirut", "Asia/Tehran", "Australia/Lord_Howe", "Europe/London", "Pacific/Apia", "Pacific/Kwajalein", "UTC",
}

// tiles looks at dates from 1970 to 2037 as Postgres sees them in the reporting zone: all that are within three days of a change of the clocks,
// and one of each month. It counts the dates that begin before the previous date has ended, those whose first or last microsecond belongs to
// another date, and those that are empty because the zone skipped them.
const tiles = `
	WITH days AS MATERIALIZED (
		SELECT
			d::date AS metric_date,
			analytics.date_start(d::date) AS from_instant,
			analytics.date_start(d::date + 1) AS to_instant
		FROM generate_series(timestamp '1970-01-01', timestamp '2037-12-31', interval '1 day') AS d
		WHERE extract(day FROM d) = 15 OR ((d - interval '3 days') AT TIME ZONE 'UTC' AT TIME ZONE analytics.time_zone()) - d
			<> ((d + interval '3 days') AT TIME ZONE 'UTC' AT TIME ZONE analytics.time_zone()) - d - interval '6 days'
	)

	SELECT
		count(*) FILTER (WHERE to_instant < from_instant),
		count(*) FILTER (WHERE to_instant > from_instant AND analytics.date_of(from_instant) <> metric_date),
		count(*) FILTER (WHERE to_instant > from_instant AND analytics.date_of(to_instant - interval '1 microsecond') <> metric_date),
		count(*) FILTER (WHERE to_instant = from_instant)
	FROM days`

// TestTiles: in every zone, dates follow each other without gaps or overlaps. A date ends by definition where
// the next one begins, so it is enough to check that no date begins before its predecessor, and that date_of
// agrees.
func TestTiles(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	zones := oddZones
	if *everyZone {
		err := db.QueryRow(t.Context(), `SELECT array_agg(name ORDER BY name) FROM pg_timezone_names
			WHERE name NOT LIKE 'posix/%' AND name NOT LIKE 'right/%' AND name <> 'posixrules' AND name <> 'localtime'`).Scan(&zones)
		require.NoError(t, err)
		require.Greater(t, len(zones), 400)
	}
	skipped := make(map[string]int)
	for _, zone := range zones {
		// Postgres inlines a constant. Looking up the zone a hundred thousand times would take seconds.
		_, err := db.Exec(t.Context(), fmt.Sprintf(
			"CREATE OR REPLACE FUNCTION analytics.time_zone() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '%s' $$", zone))
		require.NoError(t, err)
		var overlapping, wrongFirst, wrongLast, empty int
		require.NoError(t, db.QueryRow(t.Context(), tiles+" -- "+zone).Scan(&overlapping, &wrongFirst, &wrongLast, &empty), zone)
		require.Zero(t, overlapping, zone)
		require.Zero(t, wrongFirst, zone)
		require.Zero(t, wrongLast, zone)
		skipped[zone] = empty
	}
	require.Equal(t, 1, skipped["Pacific/Apia"], "the zone skipped 2011-12-30")
	require.Zero(t, skipped["Europe/London"])
	t.Logf("%d zones", len(zones))
}
