package slice_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/merge"
	"github.com/daymill/daymill/internal/rollup/slice"
	"github.com/daymill/daymill/internal/test/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// Every way to read events takes those from the first instant on and before the last, of the entities of the pass.
func TestQueries(t *testing.T) {
	t.Parallel()
	conn := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	conn.RawEvents(t)
	from := time.Date(2026, time.March, 1, 0, 0, 0, 0, time.UTC)
	bounds := date.Bounds{From: from, To: from.Add(time.Hour)}
	for i, at := range []time.Time{
		from.Add(-time.Microsecond), bounds.From, bounds.To.Add(-time.Microsecond), bounds.To,
	} {
		conn.Insert(t, pgtest.Event{Entity: "3", Type: fmt.Sprintf("instant %d", i), At: at})
	}
	for id := range 6 {
		conn.Insert(t, pgtest.Event{Entity: strconv.Itoa(id), Type: "view", At: from.Add(time.Minute)})
	}
	_, err := conn.Exec(t.Context(), `
		ALTER TABLE public.raw_events ALTER entity_id DROP NOT NULL, ALTER event_type DROP NOT NULL;
		INSERT INTO public.raw_events (entity_id, event_type, created_at)
		VALUES (NULL, 'view', '2026-03-01 00:02+00'), (3, NULL, '2026-03-01 00:02+00')`)
	require.NoError(t, err)

	after, upTo := "2", "4"
	read := func(t *testing.T, query func(each func(id, eventType []byte, events int64) error) error) []string {
		t.Helper()
		var found []string
		require.NoError(t, query(func(id, eventType []byte, _ int64) error {
			if id != nil {
				found = append(found, fmt.Sprintf("%d %s", int64(binary.BigEndian.Uint64(id)), eventType))
			}
			return nil
		}))
		slices.Sort(found)
		return found
	}
	want := []string{"3 instant 1", "3 instant 2", "3 unknown", "3 view", "4 view"}

	t.Run("Counted", func(t *testing.T) {
		t.Parallel()
		require.Equal(t, want, read(t, func(each func(id, eventType []byte, events int64) error) error {
			return db.New(conn).EventSliceEach(t.Context(), db.EventSliceParams{
				FromInstant: bounds.From, ToInstant: bounds.To, AfterEntity: &after, UpToEntity: &upTo,
			}, each)
		}))
	})

	t.Run("Dense", func(t *testing.T) {
		t.Parallel()
		require.Equal(t, want, read(t, func(each func(id, eventType []byte, events int64) error) error {
			sql, args := db.EventReadParams{
				FromInstant: bounds.From, ToInstant: bounds.To, AfterEntity: &after, UpToEntity: &upTo,
			}.SQL()
			return conn.Read(t.Context(), func(on postgres.DBTX) error { return dense(t.Context(), on, sql, args, each) })
		}))
	})

	t.Run("Few", func(t *testing.T) {
		t.Parallel()
		all := slices.Sorted(slices.Values(append(slices.Clone(want), "0 view", "1 view", "2 view", "5 view")))
		require.Equal(t, all, read(t, func(each func(id, eventType []byte, events int64) error) error {
			return db.New(conn).EventFewEach(t.Context(), db.EventFewParams{FromInstant: bounds.From, ToInstant: bounds.To, AtMost: 100}, each)
		}))
	})

	t.Run("Raw", func(t *testing.T) {
		t.Parallel()
		require.Equal(t, want, read(t, func(each func(id, eventType []byte, events int64) error) error {
			return db.New(conn).EventSliceRawEach(t.Context(), db.EventSliceRawParams{
				FromInstant: bounds.From, ToInstant: bounds.To, AfterEntity: &after, UpToEntity: &upTo,
			}, each)
		}))
	})
}

// Few reads as many events as it may, and no more.
func TestFew(t *testing.T) {
	t.Parallel()
	conn := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	conn.RawEvents(t)
	from := time.Date(2026, time.March, 1, 0, 0, 0, 0, time.UTC)
	conn.InsertDate(t, date.MustParse("2026-03-01"), 12, 5)
	for most, whole := range map[int]bool{11: false, 12: true, 13: true} {
		scanner := slice.Scanner{Type: entity.Bigint}
		table := merge.New(100)
		events, all, err := scanner.Few(t.Context(), db.New(conn), date.Bounds{From: from, To: from.AddDate(0, 0, 1)}, most, table)
		require.NoError(t, err)
		require.Equal(t, whole, all, most)
		if all {
			require.EqualValues(t, 12, events)
			require.EqualValues(t, 12, table.Rows().Events())
		}
	}
}

// A row without an entity is not an event: no query returns it, not even in a pass without bounds.
func TestQueriesNoEntity(t *testing.T) {
	t.Parallel()
	conn := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	conn.RawEvents(t)
	_, err := conn.Exec(t.Context(), `ALTER TABLE public.raw_events ALTER entity_id DROP NOT NULL;
		INSERT INTO public.raw_events (entity_id, event_type, created_at) VALUES (NULL, 'view', '2026-03-01 00:02+00')`)
	require.NoError(t, err)
	from := time.Date(2026, time.March, 1, 0, 0, 0, 0, time.UTC)
	none := func(id, _ []byte, _ int64) error { return fmt.Errorf("an event of the entity %v", id) }
	require.NoError(t, db.New(conn).EventSliceEach(t.Context(), db.EventSliceParams{FromInstant: from, ToInstant: from.AddDate(0, 0, 1)}, none))
	require.NoError(t, db.New(conn).EventSliceRawEach(t.Context(), db.EventSliceRawParams{FromInstant: from, ToInstant: from.AddDate(0, 0, 1)}, none))
	require.NoError(t, db.New(conn).EventFewEach(t.Context(), db.EventFewParams{FromInstant: from, ToInstant: from.AddDate(0, 0, 1), AtMost: 100}, none))
	rows, err := db.New(conn).EventRead(t.Context(), db.EventReadParams{FromInstant: from, ToInstant: from.AddDate(0, 0, 1)})
	require.NoError(t, err)
	require.Empty(t, rows)
}

func dense(
	ctx context.Context, on db.DBTX, sql string, args []any, each func(id, eventType []byte, events int64) error,
) error {
	rows, err := on.Query(ctx, sql, append([]any{pgx.QueryResultFormats{pgx.BinaryFormatCode}}, args...)...)
	if err != nil {
		return err
	}
	_, err = db.EventReadEach(rows, each)
	return err
}
