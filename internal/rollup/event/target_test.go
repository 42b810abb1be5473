package event

import (
	"context"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/test/pgtest"
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
			`line 4: the event type "32768" is not a whole number within the column's range`,
			`line 5: the event type "view" is not a whole number within the column's range`,
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
		_, err := b.db.Exec(t.Context(), "ALTER TABLE public.raw_events ADD CONSTRAINT known CHECK (event_type IN ('view', 'click'))")
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
		require.EqualError(t, err, `column "at" does not exist, although analytics.events reads it: run `+"`daymill source set` again")
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
		_, err := b.db.Exec(t.Context(), `ALTER TABLE public.raw_events ADD COLUMN "user" text NOT NULL`)
		require.NoError(t, err)
		_, err = b.run(t, header+goodRow)
		require.ErrorContains(t, err, `"public"."raw_events"."user" needs a value, and an import has none for it: give the column a default, `+
			`such as with ALTER TABLE "public"."raw_events" ALTER COLUMN "user" SET DEFAULT …`)
	})

	t.Run("Rights", func(t *testing.T) {
		t.Parallel()
		b := setup(t, textInUTC)
		role := b.db.Name + "_reader"
		quoted := pgx.Identifier{role}.Sanitize()
		_, err := b.db.Exec(t.Context(), "CREATE ROLE "+quoted+"; GRANT SELECT ON public.raw_events TO "+quoted)
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
