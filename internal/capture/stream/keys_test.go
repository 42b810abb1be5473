package stream_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/stream"
)

// TestTrigger_Keys: where triggers write only keys, each change has what the row is when the change is read, and says so. The last change of
// each key has its last values.
func TestTrigger_Keys(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Do(t, `CREATE ROLE owner_of_moods; CREATE SCHEMA app; CREATE TABLE app.marker (id serial PRIMARY KEY);
		CREATE TYPE app.mood AS ENUM ('good', 'so "so"'); ALTER TYPE app.mood OWNER TO owner_of_moods;
		CREATE DOMAIN app.short AS varchar(20) CHECK (VALUE <> '');
		CREATE TABLE app.hot (id integer, "at" timestamptz, name app.short, v text, mood app.mood, twice integer GENERATED ALWAYS AS (id * 2) STORED, PRIMARY KEY (name, "at", id));
		CREATE TABLE app.bare (a integer, b text); ALTER TABLE app.bare REPLICA IDENTITY FULL;
		CREATE TABLE app.listed (k integer[] PRIMARY KEY, v text)`)
	owner := b.owner("t", stream.ModeTrigger)
	owner.KeysOnly = []string{"app.hot", "app.bare", "app.listed"}
	stop := b.start(t, owner)
	b.Do(t, `INSERT INTO app.hot SELECT i, '2026-03-01 10:00:00.5+05:45', E'a "b" \\\\ ' || i, 'first', 'so "so"' FROM generate_series(1, 30) AS i`)
	b.mark(t, "t")
	stop() // What follows is read at once, so rows are looked up that have changed again or are gone.
	b.Do(t, "UPDATE app.hot SET v = 'second' WHERE id < 10; UPDATE app.hot SET v = 'third' WHERE id < 5; DELETE FROM app.hot WHERE id = 3")
	b.Do(t, "UPDATE app.hot SET id = id + 100 WHERE id > 25; UPDATE app.hot SET mood = NULL WHERE id = 20")
	b.Do(t, "INSERT INTO app.hot (id, at, name) VALUES (77, 'infinity', 'gone'); DELETE FROM app.hot WHERE id = 77")
	b.Do(t, "INSERT INTO app.bare VALUES (1, 'whole'); INSERT INTO app.listed VALUES ('{1,2}', 'whole')")
	b.start(t, owner)
	b.mark(t, "t")
	var differ int
	tx, err := b.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "SET LOCAL TimeZone = 'UTC'") // As changes are written.
	require.NoError(t, err)
	require.NoError(t, tx.QueryRow(t.Context(), `
		WITH last AS (SELECT DISTINCT ON (l.key::text) l.op, l.new::jsonb AS new, l.position FROM capture.log AS l WHERE l.table_name = 'hot' ORDER BY l.key::text, l.position DESC),
			kept AS (SELECT new FROM last WHERE op <> 'delete')
		SELECT count(*) FROM (
			(SELECT new FROM kept EXCEPT ALL SELECT to_jsonb(h) - 'twice' FROM app.hot AS h) UNION ALL
			(SELECT to_jsonb(h) - 'twice' FROM app.hot AS h EXCEPT ALL SELECT new FROM kept)) AS d`).Scan(&differ))
	require.NoError(t, tx.Rollback(t.Context()))
	require.Zero(t, differ)
	rows, err := b.Query(t.Context(), `SELECT l.table_name || ' ' || l.op || ' ' || l.looked_up || ' ' || (l.new IS NOT NULL) || ' ' || (l.old IS NOT NULL)
		FROM capture.log AS l WHERE l.table_name <> 'marker' GROUP BY 1 ORDER BY 1`)
	require.NoError(t, err)
	kinds, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.Equal(t, []string{
		"bare insert false true false", // Its key is the whole row.
		"hot delete false false false",
		"hot insert true true false",
		"hot update true true false",
		"listed insert false true false", // Its key is not plain.
	}, kinds)
	require.Empty(t, b.gaps(t, "t"))
}
