package trigger_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/table"
	"github.com/daymill/daymill/internal/capture/trigger"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestMeasure: measuring what triggers cost leaves nothing behind, and calls nothing that the application has made.
func TestMeasure(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	_, err := db.Exec(t.Context(), `CREATE TABLE public.ran (who text);
		CREATE FUNCTION public.spy() RETURNS integer LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.ran VALUES (current_user); RETURN 1; END $$;
		CREATE FUNCTION public.spy_trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM public.spy(); RETURN NULL; END $$;
		CREATE TABLE public."Or""ders" (id integer PRIMARY KEY, n integer NOT NULL DEFAULT public.spy(), "a%b" text, twice integer GENERATED ALWAYS AS (n * 2) STORED);
		INSERT INTO public."Or""ders" (id, n, "a%b") SELECT i, i, 'text' FROM generate_series(1, 500) AS i;
		CREATE TRIGGER spy AFTER INSERT ON public."Or""ders" FOR EACH ROW EXECUTE FUNCTION public.spy_trigger();
		CREATE TABLE public.none (id integer PRIMARY KEY);
		CREATE TABLE public.whole (id integer, body json); ALTER TABLE public.whole REPLICA IDENTITY FULL; INSERT INTO public.whole VALUES (1, '{}')`)
	require.NoError(t, err)
	const objects = "SELECT (SELECT count(*) FROM pg_class) + (SELECT count(*) FROM pg_proc) + (SELECT count(*) FROM pg_namespace WHERE nspname !~ '^pg_') + (SELECT count(*) FROM public.ran)"
	var before, after int
	require.NoError(t, db.QueryRow(t.Context(), objects).Scan(&before))
	found, err := table.Find(t.Context(), db.DB, []string{"public"})
	require.NoError(t, err)
	for _, one := range found {
		cost, err := trigger.Measure(t.Context(), db.DB, one)
		switch one.Name {
		case "none":
			require.ErrorIs(t, err, trigger.ErrNoRows)
		case `Or"ders`, "whole":
			require.NoError(t, err)
			for _, took := range []any{cost.Single, cost.SingleWith, cost.Bulk, cost.BulkWith} {
				require.Positive(t, took)
			}
		}
	}
	require.NoError(t, db.QueryRow(t.Context(), objects).Scan(&after))
	require.Equal(t, before, after)
}
