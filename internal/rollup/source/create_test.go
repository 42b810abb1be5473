package source_test

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/rollup/source"
	"github.com/daymill/daymill/internal/test/pgtest"
)

func TestAdopt(t *testing.T) {
	t.Parallel()

	const rawEvents = `CREATE TABLE public.raw_events (id bigserial, entity_id bigint NOT NULL, event_type text, created_at timestamptz);
		CREATE INDEX ON public.raw_events (created_at)`

	adopt := func(t *testing.T, db *testBundle) error {
		t.Helper()
		return source.Adopt(t.Context(), db.DB.DB, db.Installation)
	}

	t.Run("AtOnce", func(t *testing.T) {
		t.Parallel()
		db := setup(t, entity.Bigint)
		db.Do(t, rawEvents)
		errs := make([]error, 8)
		var all sync.WaitGroup
		for i := range errs {
			all.Go(func() { errs[i] = source.Adopt(t.Context(), db.DB.DB, db.Installation) })
		}
		all.Wait()
		for _, err := range errs {
			require.NoError(t, err)
		}
		shown := db.show(t)
		require.False(t, shown.HandWritten)
		require.Equal(t, "public.raw_events", shown.Schema+"."+shown.Table)
		require.Empty(t, db.check(t))
	})
	t.Run("LeavesAHandWrittenViewAlone", func(t *testing.T) {
		t.Parallel()
		db := setup(t, entity.Bigint)
		db.RawEvents(t)
		require.NoError(t, adopt(t, db))
		require.True(t, db.show(t).HandWritten)
	})
	t.Run("LeavesAnotherSourceAlone", func(t *testing.T) {
		t.Parallel()
		db, options := setupEvents(t)
		db.set(t, options)
		db.Do(t, rawEvents)
		require.NoError(t, adopt(t, db))
		require.Equal(t, "app", db.show(t).Schema)
	})
	t.Run("WithoutTheTable", func(t *testing.T) {
		t.Parallel()
		db := setup(t, entity.Bigint)
		require.NoError(t, adopt(t, db))
		exists, err := source.Exists(t.Context(), db.DB.DB)
		require.NoError(t, err)
		require.False(t, exists)
	})
	t.Run("WrongColumns", func(t *testing.T) {
		t.Parallel()
		for definition, says := range map[string]string{
			"(id bigserial, entity_id uuid, event_type text, created_at timestamptz)": "cannot be the entity",
			"(id bigserial, entity_id bigint, event_type text, at timestamptz)":       `has no column "created_at"`,
		} {
			db := setup(t, entity.Bigint)
			db.Do(t, "CREATE TABLE public.raw_events "+definition)
			err := adopt(t, db)
			require.ErrorIs(t, err, source.ErrRefused)
			require.ErrorContains(t, err, "set public.raw_events as the source")
			require.ErrorContains(t, err, says)
			exists, err := source.Exists(t.Context(), db.DB.DB)
			require.NoError(t, err)
			require.False(t, exists)
		}
	})
}

func TestCreate(t *testing.T) {
	t.Parallel()

	for entityType, id := range map[entity.Type]string{
		entity.Bigint: "42", entity.Text: "é", entity.UUID: "0190163d-8694-739b-aea5-966c26f8ad91",
	} {
		t.Run(string(entityType), func(t *testing.T) {
			t.Parallel()
			db := setup(t, entityType)
			require.NoError(t, source.Create(t.Context(), db.DB.DB, db.Installation, audit.Who{}))
			require.Empty(t, db.check(t))
			db.Insert(t, pgtest.Event{Entity: id, Type: "view", At: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)})
			require.Equal(t, []string{id + " view 2026-03-01 00:00:00.000"}, db.events(t))
			_, err := db.Exec(t.Context(), "INSERT INTO public.raw_events (entity_id, event_type) VALUES ($1, 'click')", id)
			require.NoError(t, err)
			require.Len(t, db.events(t), 2)
			found, err := source.FindTarget(t.Context(), db.DB.DB)
			require.NoError(t, err)
			require.Equal(t, source.TargetColumn{Name: "entity_id", Type: string(entityType)}, found.Entity)
		})
	}
	t.Run("AtOnce", func(t *testing.T) {
		t.Parallel()
		db := setup(t, entity.Bigint)
		errs := make([]error, 8)
		var all sync.WaitGroup
		for i := range errs {
			all.Go(func() { errs[i] = source.Create(t.Context(), db.DB.DB, db.Installation, audit.Who{}) })
		}
		all.Wait()
		created := 0
		for _, err := range errs {
			if err == nil {
				created++
			} else {
				require.ErrorIs(t, err, source.ErrRefused)
			}
		}
		require.Equal(t, 1, created)
	})
	t.Run("Existing", func(t *testing.T) {
		t.Parallel()
		db := setup(t, entity.Bigint)
		require.NoError(t, source.Create(t.Context(), db.DB.DB, db.Installation, audit.Who{}))
		err := source.Create(t.Context(), db.DB.DB, db.Installation, audit.Who{})
		require.ErrorIs(t, err, source.ErrRefused)
		require.ErrorContains(t, err, "public.raw_events already exists: run `daymill source set --table public.raw_events")
	})
	t.Run("NextToAnotherSource", func(t *testing.T) {
		t.Parallel()
		db, options := setupEvents(t)
		db.set(t, options)
		err := source.Create(t.Context(), db.DB.DB, db.Installation, audit.Who{})
		require.ErrorIs(t, err, source.ErrRefused)
		require.ErrorContains(t, err, "analytics.events already reads app.events")
		var exists bool
		require.NoError(t, db.QueryRow(t.Context(), "SELECT to_regclass('public.raw_events') IS NOT NULL").Scan(&exists))
		require.False(t, exists)
	})
	t.Run("WithoutTheRightTo", func(t *testing.T) {
		t.Parallel()
		db := setup(t, entity.Bigint)
		db.Do(t, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
		conn, _ := db.as(t, ownership()...)
		require.ErrorContains(t, source.Create(t.Context(), conn, db.Installation, audit.Who{}), "GRANT CREATE ON SCHEMA public")
		exists, err := source.Exists(t.Context(), db.DB.DB)
		require.NoError(t, err)
		require.False(t, exists)
	})
}

func TestFindTarget(t *testing.T) {
	t.Parallel()

	t.Run("HandWritten", func(t *testing.T) {
		t.Parallel()
		db := setup(t, entity.Bigint)
		db.RawEvents(t)
		_, err := source.FindTarget(t.Context(), db.DB.DB)
		require.ErrorIs(t, err, source.ErrHandWritten)
		require.ErrorContains(t, err, "run `daymill source set` to make it read one table")
	})
	t.Run("None", func(t *testing.T) {
		t.Parallel()
		_, err := source.FindTarget(t.Context(), setup(t, entity.Bigint).DB.DB)
		require.ErrorIs(t, err, source.ErrNone)
	})
	t.Run("Set", func(t *testing.T) {
		t.Parallel()
		db := setup(t, entity.Bigint)
		db.Do(t, `CREATE TYPE app.kind AS ENUM ('LIKE'); CREATE TABLE app."E v" ("Who" smallint, what app.kind, at timestamp(3))`)
		db.set(t, source.Options{
			Table: `app."E v"`, Entity: "Who", Type: "what", Time: "at", TimeZone: "Asia/Tokyo",
			Map: map[string]string{"LIKE": "click"}, Where: `"Who" > 0`,
		})
		found, err := source.FindTarget(t.Context(), db.DB.DB)
		require.NoError(t, err)
		require.Equal(t, source.Target{
			Schema: "app", Table: "E v",
			Entity:   source.TargetColumn{Name: "Who", Type: "smallint"},
			Type:     source.TargetColumn{Name: "what", Type: "app.kind"},
			Time:     source.TargetColumn{Name: "at", Type: "timestamp(3) without time zone"},
			TimeZone: "Asia/Tokyo", Map: map[string]string{"LIKE": "click"}, Where: `"Who" > 0`,
		}, found)
	})
	t.Run("View", func(t *testing.T) {
		t.Parallel()
		db, options := setupEvents(t)
		db.Do(t, "CREATE VIEW app.humans AS SELECT * FROM app.events")
		options.Table = "app.humans"
		db.set(t, options)
		_, err := source.FindTarget(t.Context(), db.DB.DB)
		require.ErrorIs(t, err, source.ErrRefused)
		require.ErrorContains(t, err, "the source app.humans is a view, into which rows cannot be written")
	})
}
