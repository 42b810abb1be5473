package event

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// withoutZone makes the time column of public.raw_events a timestamp without time zone.
func (b *testBundle) withoutZone(t *testing.T, zone string) {
	t.Helper()
	location, err := time.LoadLocation(zone)
	require.NoError(t, err)
	b.importer.Target.TimeZone = location
	_, err = b.db.Exec(t.Context(), `DROP VIEW analytics.daily_entity_metrics_live; DROP VIEW analytics.events;
		ALTER TABLE public.raw_events ALTER created_at TYPE timestamp;
		CREATE VIEW analytics.events AS SELECT entity_id::analytics.entity_id, event_type,
			created_at AT TIME ZONE '`+zone+`' AS created_at FROM public.raw_events`)
	require.NoError(t, err)
}

// TestTouchedReadingTwice imports a local time that occurs twice. The column keeps the local time, and the view takes it as the later instant,
// which is on the next date.
func TestTouchedReadingTwice(t *testing.T) {
	t.Parallel()
	b := setup(t, pgtest.Installed{EntityType: entity.Text, TimeZone: "Etc/GMT+2"})
	b.withoutZone(t, "America/Sao_Paulo")
	_, err := b.run(t, header+"a,view,2017-02-19T01:30:00Z\n")
	require.NoError(t, err)
	require.Equal(t, []string{"2017-02-18 23:30:00"}, b.query(t, "SELECT created_at::text FROM public.raw_events"))
	require.Equal(t, []string{"2017-02-19"}, b.query(t, "SELECT analytics.date_of(created_at)::text FROM analytics.events"))
	require.Equal(t, []string{"2017-02-19 import 1"}, b.requests(t))
}

// TestTouchedDates imports random instants, most of them around midnights and changes of the clock, and compares the
// dates requested with what analytics.date_of says of the rows that came in.
func TestTouchedDates(t *testing.T) {
	t.Parallel()

	for _, test := range []struct {
		zone, columnZone string
		around           []string
	}{
		{"America/Sao_Paulo", "", []string{"2016-10-16", "2017-02-18", "2017-02-19"}},
		{"America/St_Johns", "", []string{"2010-11-07", "2010-03-14"}},
		{"Pacific/Apia", "", []string{"2011-12-30", "2011-12-31"}},
		{"Pacific/Apia", "America/Sao_Paulo", []string{"2011-12-30", "2017-02-18"}},
		{"Etc/GMT+2", "America/Sao_Paulo", []string{"2017-02-18", "2017-02-19"}}, // midnight is in the hour that comes twice
		{"Asia/Kathmandu", "Australia/Lord_Howe", []string{"2015-04-05", "2015-10-04"}},
	} {
		t.Run(strings.ReplaceAll(test.zone+" "+test.columnZone, "/", "-"), func(t *testing.T) {
			t.Parallel()
			b := setup(t, pgtest.Installed{EntityType: entity.Text, TimeZone: test.zone})
			if test.columnZone != "" {
				b.withoutZone(t, test.columnZone)
			}
			random := rand.New(rand.NewPCG(3, 4))
			var text strings.Builder
			text.WriteString(header)
			for range 300 {
				year := 1970 + random.IntN(60)
				fmt.Fprintf(&text, "a,view,%s\n", time.Date(year, 1, 1+random.IntN(366), random.IntN(24), 0, random.IntN(3600), 0, time.UTC).
					Format(time.RFC3339))
			}
			for _, around := range test.around {
				middle, err := time.Parse(time.DateOnly, around)
				require.NoError(t, err)
				for minute := -40 * 60; minute <= 40*60; minute += 5 {
					for _, before := range []time.Duration{time.Microsecond, 0} {
						at := middle.Add(time.Duration(minute)*time.Minute - before)
						fmt.Fprintf(&text, "a,view,%s\n", at.Format(time.RFC3339Nano))
					}
				}
			}
			_, err := b.run(t, text.String())
			require.NoError(t, err)
			want := b.query(t, `SELECT DISTINCT analytics.date_of(created_at)::text AS d FROM analytics.events ORDER BY d`)
			require.Greater(t, len(want), 250)
			got := b.query(t, "SELECT metric_date::text FROM analytics.rollup_requests ORDER BY id")
			require.Equal(t, want, got)
		})
	}
}

// TestTouchedAt requests the date of one instant at a time: at, before and after every midnight around changes of the clock, and at random.
func TestTouchedAt(t *testing.T) {
	t.Parallel()

	for zone, around := range map[string]string{
		"America/Sao_Paulo": "2016-10-16", "America/St_Johns": "2010-11-07", "Pacific/Apia": "2011-12-30", "Pacific/Kiritimati": "1994-12-31",
	} {
		conn := pgtest.Database(t, pgtest.Installed{EntityType: entity.Text, TimeZone: zone})
		random := rand.New(rand.NewPCG(5, 6))
		rows, err := conn.Query(t.Context(), `
			SELECT analytics.date_start($1::date + i) + j * interval '1 microsecond' + k * interval '10 minutes'
			FROM generate_series(-5, 5) AS i, generate_series(-1, 1) AS j, generate_series(-10, 10) AS k ORDER BY i, j, k`, around)
		require.NoError(t, err)
		instants, err := pgx.CollectRows(rows, pgx.RowTo[time.Time])
		require.NoError(t, err)
		for range 1000 {
			instants = append(instants, time.UnixMicro(random.Int64N(endInstant)))
		}

		rows, err = conn.Query(t.Context(), `
			SELECT analytics.date_of(u.instant) FROM unnest($1::timestamptz[]) WITH ORDINALITY AS u (instant, n) ORDER BY n`, instants)
		require.NoError(t, err)
		want, err := pgx.CollectRows(rows, pgx.RowTo[date.Date])
		require.NoError(t, err)

		dates := newTouched(db.New(conn))
		for i, instant := range instants {
			clear(dates.dates)
			dates.from, dates.to = 0, 0
			require.NoError(t, dates.add(t.Context(), instant.UnixMicro()))
			require.Equal(t, []date.Date{want[i]}, dates.sorted(), "%s in %s", instant.UTC(), zone)
			require.True(t, dates.from <= instant.UnixMicro() && instant.UnixMicro() < dates.to)
		}
	}
}
