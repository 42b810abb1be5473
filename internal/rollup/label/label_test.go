package label_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/label"
	"github.com/daymill/daymill/internal/test/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestCheck(t *testing.T) {
	t.Parallel()
	for _, right := range []label.Source{
		{},
		{SQL: "SELECT id, name FROM p WHERE id = ANY($1)"},
		{URL: "https://shop.example/{id}"},
		{URL: "http://localhost:3000/?q={id}"},
		{URL: "https://shop.example#/products/{id}"},
		{URL: "https://shop.example?id={id}"},
	} {
		require.NoError(t, right.Check())
	}
	for _, wrong := range []label.Source{
		{SQL: "SELECT 1"},
		{URL: "javascript:alert({id})"},
		{URL: "https://shop.example/"},
		{URL: "/products/{id}"},
		{URL: "https:// {id}"},
		{URL: "https://{id}/"},
		{URL: "https://{id}.shop.example/{id}"},
		{URL: "https://shop.example{id}"},
		{URL: "https://shop.example:{id}/"},
		{URL: "https://{id}@shop.example/"},
		{URL: "https://user:secret@shop.example/{id}"},
		{URL: "{id}://shop.example/"},
		{URL: "//shop.example/{id}"},
	} {
		require.Error(t, wrong.Check(), wrong)
	}
}

func TestLink(t *testing.T) {
	t.Parallel()
	require.Empty(t, label.Source{}.Link("7"))
	require.Equal(t, "https://x.example/a%2Fb%3F%20c?id=a%2Fb%3F+c&x=1", label.Source{URL: "https://x.example/{id}?id={id}&x=1"}.Link("a/b? c"))
	require.Equal(t, "https://x.example/?q=a+b#/p/a%20b%23", label.Source{URL: "https://x.example/?q=a+b#/p/{id}"}.Link("a b#"))
	require.Empty(t, label.Source{URL: "https://x.example/p/{id}"}.Link(".."))
}

func TestNames(t *testing.T) {
	t.Parallel()
	hostile := []string{`a"b\c`, "{x}", "a,b", "NULL", "$1"}
	for _, c := range []struct {
		column string
		ids    []string
	}{{"bigint", []string{"7", "-8"}}, {"uuid", []string{"0f8fad5b-d9cb-469f-a165-70867728950e"}}, {"text", hostile}} {
		t.Run(c.column, func(t *testing.T) {
			t.Parallel()
			db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
			exec := func(sql string, args ...any) {
				_, err := db.Exec(t.Context(), sql, args...)
				require.NoError(t, err)
			}
			exec("CREATE TABLE public.product (id " + c.column + ", name text)")
			want := make(map[string]string)
			for _, id := range c.ids {
				exec("INSERT INTO public.product VALUES ($1::text::"+c.column+", 'name of ' || $1::text)", id)
				want[id] = "name of " + id
			}
			// The statement's time limit may run out on a loaded machine.
			source := label.Source{SQL: "SELECT id, name FROM public.product WHERE id = ANY($1)"}
			names, err := source.Names(t.Context(), db.DB, c.ids)
			for postgres.IsTimeout(err) {
				names, err = source.Names(t.Context(), db.DB, c.ids)
			}
			require.NoError(t, err)
			require.Equal(t, want, names)
		})
	}

	t.Run("Wrong", func(t *testing.T) {
		t.Parallel()
		db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
		for _, sql := range []string{
			"SELECT 7 WHERE 7 = ANY($1::bigint[])", "SELECT no FROM such.table WHERE id = ANY($1)", "SELECT 1, pg_sleep(60) WHERE 7 = ANY($1)",
			"CREATE TABLE public.x AS SELECT $1", "SELECT 7, 'a' WHERE 7 = ANY($1); DROP TABLE analytics.date_types",
		} {
			_, err := label.Source{SQL: sql}.Names(t.Context(), db.DB, []string{"7"})
			require.Error(t, err, sql)
		}
		_, err := label.Source{SQL: "SELECT 8 WHERE 8 = ANY($1::bigint[])"}.Names(t.Context(), db.DB, []string{"7"})
		require.ErrorContains(t, err, "must have two columns")
		_, err = db.Exec(t.Context(), "CREATE TABLE public.product AS SELECT 7::bigint AS id, 'chair'::text AS name")
		require.NoError(t, err)
		writes := label.Source{SQL: "WITH gone AS (DELETE FROM public.product WHERE id = ANY($1) RETURNING id, name) SELECT id, name FROM gone"}
		_, err = writes.Names(t.Context(), db.DB, []string{"7"})
		for postgres.IsTimeout(err) {
			_, err = writes.Names(t.Context(), db.DB, []string{"7"})
		}
		require.ErrorContains(t, err, "read-only transaction")
		var there bool
		require.NoError(t, db.QueryRow(t.Context(), "SELECT to_regclass('analytics.date_types') IS NOT NULL").Scan(&there))
		require.True(t, there)
	})
}
