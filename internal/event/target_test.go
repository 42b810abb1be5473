package event

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/pgtest"
	"github.com/daymill/daymill/internal/postgres"
)

func TestTarget(t *testing.T) {
	t.Parallel()

	// table makes another table the target, and its columns the application's own.
	table := func(t *testing.T, b *testBundle, columns string) {
		t.Helper()
		_, err := b.db.Exec(t.Context(), `CREATE SCHEMA "My App"; CREATE TABLE "My App"."the ""events" (n serial, `+columns+`)`)
		require.NoError(t, err)
		b.importer.Target = Target{
			Table: pgx.Identifier{"My App", `the "events`}, EntityColumn: `the "id`, TypeColumn: "Kind", TimeColumn: "at",
		}
	}
	rows := func(t *testing.T, b *testBundle) []string {
		t.Helper()
		return b.query(t, `SELECT concat_ws(' ', "the ""id", "Kind", extract(epoch FROM at)::bigint) FROM "My App"."the ""events" ORDER BY n`)
	}
	const seconds = " 1772323200"

	t.Run("Bigint", func(t *testing.T) {
		t.Parallel()
		b := setup(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
		table(t, b, `"the ""id" integer, "Kind" smallint, at timestamptz`)
		b.importer.MaxErrors = 10
		_, err := b.run(t, header+"-2147483648,-32768,2026-03-01T00:00:00Z\n2147483648,1,2026-03-01T00:00:00Z\n"+
			"1,32768,2026-03-01T00:00:00Z\n1,view,2026-03-01T00:00:00Z\nx,1,2026-03-01T00:00:00Z\n")
		require.NoError(t, err)
		require.Equal(t, []string{"-2147483648 -32768" + seconds}, rows(t, b))
		require.Equal(t, []string{
			"line 3: the entity id 2147483648 does not fit the column, which holds -2147483648 to 2147483647",
			`line 4: the event type "32768" is not a whole number that the column holds`,
			`line 5: the event type "view" is not a whole number that the column holds`,
			`line 6: entity id "x" is not a whole number of 64 bits`,
		}, b.bad)
	})

	t.Run("BigintLimits", func(t *testing.T) {
		t.Parallel()
		b := setup(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
		_, err := b.run(t, header+"-9223372036854775808,v,2026-03-01T00:00:00Z\n9223372036854775807,v,2026-03-01T00:00:00Z\n"+
			"0,v,2026-03-01T00:00:00Z\n-1,v,2026-03-01T00:00:00.123456789Z\n")
		require.NoError(t, err)
		require.Equal(t, []string{
			"-9223372036854775808 v 2026-03-01 00:00:00.000000", "9223372036854775807 v 2026-03-01 00:00:00.000000",
			"0 v 2026-03-01 00:00:00.000000", "-1 v 2026-03-01 00:00:00.123456",
		}, b.events(t))
	})

	t.Run("Check", func(t *testing.T) {
		t.Parallel()
		b := setup(t, textInUTC)
		b.importer.Chunk = 4
		_, err := b.db.Exec(t.Context(), "ALTER TABLE raw_events ADD CONSTRAINT known CHECK (event_type IN ('view', 'click'))")
		require.NoError(t, err)
		_, err = b.run(t, header+strings.Repeat(goodRow, 5)+"\n\na,purchase,2026-03-01T00:00:00Z\n"+strings.Repeat(goodRow, 5))
		require.ErrorContains(t, err, "line 9: the database refuses the row: ")
		require.ErrorContains(t, err, `violates check constraint "known"`)
		b.requireNothing(t)
	})

	t.Run("ColumnMissing", func(t *testing.T) {
		t.Parallel()
		b := setup(t, textInUTC)
		b.importer.Target.TimeColumn = "at"
		_, err := b.run(t, header)
		require.EqualError(t, err, `column "at" does not exist, though analytics.events was made of it: run `+"`daymill source set` anew")
	})

	t.Run("Domains", func(t *testing.T) {
		t.Parallel()
		b := setup(t, textInUTC)
		_, err := b.db.Exec(t.Context(), `CREATE DOMAIN sku AS varchar(10) CHECK (value <> 'bad');
			CREATE DOMAIN instant AS timestamptz; CREATE TYPE kind AS ENUM ('view', 'click')`)
		require.NoError(t, err)
		table(t, b, `"the ""id" sku, "Kind" kind, at instant`)
		_, err = b.run(t, header+"é,click,2026-03-01T00:00:00Z\n")
		require.NoError(t, err)
		require.Equal(t, []string{"é click" + seconds}, rows(t, b))
		_, err = b.run(t, header+goodRow+"a,purchase,2026-03-01T00:00:00Z\n")
		require.ErrorContains(t, err, "line 3: the database refuses the row: ")
		_, err = b.run(t, header+goodRow+"bad,view,2026-03-01T00:00:00Z\n")
		require.ErrorContains(t, err, "line 3: the database refuses the row: ")
	})

	t.Run("Pooled", func(t *testing.T) {
		t.Parallel()
		b := setup(t, textInUTC)
		conn, err := postgres.Open(t.Context(), postgres.Config{URL: b.db.URL, Pooler: postgres.PoolerTransaction, PoolSize: 1})
		require.NoError(t, err)
		t.Cleanup(conn.Close)
		b.importer.DB, b.importer.Chunk = conn, 2
		for range 2 {
			_, err = b.run(t, header+strings.Repeat(goodRow, 5))
			require.NoError(t, err)
		}
		require.Len(t, b.events(t), 10)
	})

	t.Run("PoolOfOne", func(t *testing.T) {
		t.Parallel()
		b := setup(t, textInUTC)
		conn, err := postgres.Open(t.Context(), postgres.Config{URL: b.db.URL, PoolSize: 1})
		require.NoError(t, err)
		t.Cleanup(conn.Close)
		b.importer.DB, b.importer.Chunk = conn, 2
		_, err = b.run(t, header+strings.Repeat(goodRow+"a,view,2025-03-01T00:00:00Z\n", 5))
		require.NoError(t, err)
		require.Len(t, b.events(t), 10)
	})

	t.Run("RequiredColumn", func(t *testing.T) {
		t.Parallel()
		b := setup(t, textInUTC)
		_, err := b.db.Exec(t.Context(), `ALTER TABLE raw_events ADD COLUMN "user" text NOT NULL`)
		require.NoError(t, err)
		_, err = b.run(t, header+goodRow)
		require.ErrorContains(t, err, `"public"."raw_events"."user" needs a value, and import has none for it: give the column a default, `+
			`such as with ALTER TABLE "public"."raw_events" ALTER COLUMN "user" SET DEFAULT …`)
	})

	t.Run("Rights", func(t *testing.T) {
		t.Parallel()
		b := setup(t, textInUTC)
		role := b.db.Name + "_reader"
		quoted := pgx.Identifier{role}.Sanitize()
		_, err := b.db.Exec(t.Context(), "CREATE ROLE "+quoted+"; GRANT SELECT ON raw_events TO "+quoted)
		require.NoError(t, err)
		t.Cleanup(func() {
			_, err := b.db.Exec(context.WithoutCancel(t.Context()), "DROP OWNED BY "+quoted+"; DROP ROLE "+quoted)
			require.NoError(t, err)
		})
		address, err := url.Parse(b.db.URL)
		require.NoError(t, err)
		query := address.Query()
		query.Set("role", role)
		address.RawQuery = query.Encode()
		conn, err := postgres.Open(t.Context(), postgres.Config{URL: address.String()})
		require.NoError(t, err)
		t.Cleanup(conn.Close)
		_, err = b.db.Exec(t.Context(), "GRANT USAGE ON SCHEMA analytics TO "+quoted+"; GRANT SELECT ON analytics.installation TO "+quoted)
		require.NoError(t, err)
		b.importer.DB = conn
		_, err = b.run(t, header+goodRow)
		require.EqualError(t, err, "copy rows: permission denied for table raw_events: "+
			`run GRANT SELECT, INSERT ON "public"."raw_events" TO the user that imports`)
	})

	t.Run("TextInOtherColumns", func(t *testing.T) {
		t.Parallel()
		b := setup(t, textInUTC)
		table(t, b, `"the ""id" uuid, "Kind" varchar(5), at timestamptz`)
		b.importer.MaxErrors = 1
		_, err := b.run(t, header+"F1C0FFEE-0000-4000-8000-000000000000,view,2026-03-01T00:00:00Z\n"+goodRow)
		require.NoError(t, err)
		require.Equal(t, []string{"f1c0ffee-0000-4000-8000-000000000000 view" + seconds}, rows(t, b))
		require.Equal(t, []string{`line 3: entity id "a" is not a uuid`}, b.bad)
		_, err = b.run(t, header+"f1c0ffee-0000-4000-8000-000000000000,purchase,2026-03-01T00:00:00Z\n")
		require.ErrorContains(t, err, "line 2: the database refuses the row: ")
		require.ErrorContains(t, err, "value too long for type character varying(5)")
	})

	t.Run("UnfitColumns", func(t *testing.T) {
		t.Parallel()
		b := setup(t, textInUTC)
		table(t, b, `"the ""id" numeric, "Kind" boolean, at date, t text`)
		const name = `"My App"."the ""events".`
		_, err := b.run(t, header+goodRow)
		require.EqualError(t, err, name+`"the ""id" is of type numeric: import writes only to a uuid, an integer or a text`)
		b.importer.Target.EntityColumn = "t"
		_, err = b.run(t, header+goodRow)
		require.EqualError(t, err, name+`"Kind" is of type bool: import writes only to a text, an enum or an integer`)
		b.importer.Target.TypeColumn = "t"
		_, err = b.run(t, header+goodRow)
		require.EqualError(t, err, name+`"at" is of type date: import writes only to a timestamp`)
	})

	t.Run("UUID", func(t *testing.T) {
		t.Parallel()
		b := setup(t, pgtest.Installed{EntityType: entity.UUID, TimeZone: "UTC"})
		_, err := b.run(t, header+"F1C0FFEE-0000-4000-8000-00000000000F,v,2026-03-01T00:00:00Z\n")
		require.NoError(t, err)
		require.Equal(t, []string{"f1c0ffee-0000-4000-8000-00000000000f v 2026-03-01 00:00:00.000000"}, b.events(t))
	})
}

// withoutZone makes the time column of public.raw_events a timestamp without time zone.
func (b *testBundle) withoutZone(t *testing.T, zone string) {
	t.Helper()
	location, err := time.LoadLocation(zone)
	require.NoError(t, err)
	b.importer.Target.TimeZone = location
	_, err = b.db.Exec(t.Context(), `DROP VIEW analytics.daily_entity_metrics_live; DROP VIEW analytics.events;
		ALTER TABLE raw_events ALTER created_at TYPE timestamp;
		CREATE VIEW analytics.events AS SELECT entity_id::analytics.entity_id, event_type,
			created_at AT TIME ZONE '`+zone+`' AS created_at FROM raw_events`)
	require.NoError(t, err)
}

// TestTouchedReadingTwice imports an instant whose reading comes twice. The column keeps the reading, the view takes it
// for the later instant, and that is on the next date.
func TestTouchedReadingTwice(t *testing.T) {
	t.Parallel()
	b := setup(t, pgtest.Installed{EntityType: entity.Text, TimeZone: "Etc/GMT+2"})
	b.withoutZone(t, "America/Sao_Paulo")
	_, err := b.run(t, header+"a,view,2017-02-19T01:30:00Z\n")
	require.NoError(t, err)
	require.Equal(t, []string{"2017-02-18 23:30:00"}, b.query(t, "SELECT created_at::text FROM raw_events"))
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
			random := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // Always the same.
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
					for _, micros := range []time.Duration{-1, 0} {
						at := middle.Add(time.Duration(minute)*time.Minute + micros*time.Microsecond)
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

// TestTouchedAt asks for the date of one instant at a time: at, before and after every midnight around changes of the
// clock, and anywhere.
func TestTouchedAt(t *testing.T) {
	t.Parallel()

	for zone, around := range map[string]string{
		"America/Sao_Paulo": "2016-10-16", "America/St_Johns": "2010-11-07", "Pacific/Apia": "2011-12-30", "Pacific/Kiritimati": "1994-12-31",
	} {
		conn := pgtest.Database(t, pgtest.Installed{EntityType: entity.Text, TimeZone: zone})
		random := rand.New(rand.NewPCG(5, 6)) //nolint:gosec // Always the same.
		var instants []time.Time
		for range 1000 {
			instants = append(instants, time.UnixMicro(firstInstant+random.Int64N(endInstant-firstInstant)))
		}
		rows, err := conn.Query(t.Context(), `
			SELECT analytics.date_start($1::date + i) + j * interval '1 microsecond' + k * interval '10 minutes'
			FROM generate_series(-5, 5) AS i, generate_series(-1, 1) AS j, generate_series(-10, 10) AS k ORDER BY i, j, k`, around)
		require.NoError(t, err)
		bounds, err := pgx.CollectRows(rows, pgx.RowTo[time.Time])
		require.NoError(t, err)
		instants = append(instants, bounds...)

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
