package pgtest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/entity"
)

// Event is a row of public.raw_events.
type Event struct {
	Entity string // as SQL writes it: "42", "f1c0…", "a"
	Type   string
	At     time.Time
}

// RawEvents creates the table that most tests have as their source,
//
//	public.raw_events (id bigserial, entity_id <the entity type>, event_type text, created_at timestamptz)
//
// with an index on created_at, and lets analytics.events read it.
func (db *DB) RawEvents(tb testing.TB) {
	tb.Helper()
	_, err := db.Exec(tb.Context(), `
		CREATE TABLE public.raw_events (
			id bigserial PRIMARY KEY,
			entity_id `+db.nativeType()+` NOT NULL,
			event_type text NOT NULL,
			created_at timestamptz NOT NULL
		);
		CREATE INDEX raw_events_created_at ON public.raw_events (created_at);
		CREATE OR REPLACE VIEW analytics.events AS
		SELECT entity_id::analytics.entity_id AS entity_id, event_type, created_at FROM public.raw_events;`)
	require.NoError(tb, err)
}

// nativeType returns the entity's type as an application declares it.
func (db *DB) nativeType() string {
	return string(db.Installation.EntityType)
}

// Insert adds events to public.raw_events.
func (db *DB) Insert(tb testing.TB, events ...Event) {
	tb.Helper()
	ids, types, instants := make([]string, len(events)), make([]string, len(events)), make([]time.Time, len(events))
	for i, e := range events {
		ids[i], types[i], instants[i] = e.Entity, e.Type, e.At
	}
	_, err := db.Exec(tb.Context(), `
		INSERT INTO public.raw_events (entity_id, event_type, created_at)
		SELECT e.entity_id::`+db.nativeType()+`, e.event_type, e.created_at
		FROM unnest($1::text[], $2::text[], $3::timestamptz[]) AS e (entity_id, event_type, created_at)`,
		ids, types, instants)
	require.NoError(tb, err)
}

// InsertDate adds count events to a date, which are always the same: spread over the whole date, including its first and last instant, over the
// given number of entities (some with many events, most with few) and over the four types that have a column, "comment" and "share". Entities are
// those of [DB.Entity] from 0.
func (db *DB) InsertDate(tb testing.TB, d date.Date, count, entities int) {
	tb.Helper()
	_, err := db.Exec(tb.Context(), `
		WITH b (first, last) AS MATERIALIZED ( -- once, not for each event
			SELECT analytics.date_start($1), analytics.date_start($1 + 1) - interval '1 microsecond'
		)
		INSERT INTO public.raw_events (entity_id, event_type, created_at)
		SELECT
			`+db.entitySQL(`floor($3::integer * power(hashint4(i) / 4294967296.0 + 0.5, 2))::integer`)+`,
			(ARRAY['view', 'view', 'view', 'click', 'save', 'skip', 'comment', 'share'])[1 + (hashint4(i + 1) & 7)],
			b.first + (b.last - b.first) * (i / greatest(1, $2::integer - 1)::float8)
		FROM generate_series(0, $2::integer - 1) AS i, b`,
		d, count, entities)
	require.NoError(tb, err)
}

// InsertInstant adds count events at one instant, over the given number of entities, each of which gets some, and over the types of InsertDate.
// Entities are those of [DB.Entity] from 0.
func (db *DB) InsertInstant(tb testing.TB, at time.Time, count, entities int) {
	tb.Helper()
	_, err := db.Exec(tb.Context(), `
		INSERT INTO public.raw_events (entity_id, event_type, created_at)
		SELECT
			`+db.entitySQL(`i % $3::integer`)+`,
			(ARRAY['view', 'view', 'view', 'click', 'save', 'skip', 'comment', 'share'])[1 + (hashint4(i) & 7)],
			$1
		FROM generate_series(0, $2::integer - 1) AS i`,
		at, count, entities)
	require.NoError(tb, err)
}

// Entity returns the n-th entity of InsertDate, as SQL writes it.
func (db *DB) Entity(tb testing.TB, n int) string {
	tb.Helper()
	var text string
	require.NoError(tb, db.QueryRow(tb.Context(), "SELECT ("+db.entitySQL("$1::integer")+")::text", n).Scan(&text))
	return text
}

// entitySQL returns SQL that converts a number to an entity. Consecutive numbers are not consecutive in key order, and half of the bigints are negative.
func (db *DB) entitySQL(number string) string {
	switch db.Installation.EntityType {
	case entity.Bigint:
		return "hashint8extended((" + number + ")::bigint, 0)"
	case entity.UUID:
		return "md5((" + number + ")::text)::uuid"
	case entity.Text:
		return "(ARRAY['item-', 'Item ', 'é', '#'])[1 + (" + number + ") % 4] || (" + number + ")"
	default:
		return "NULL"
	}
}
