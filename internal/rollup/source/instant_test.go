package source_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/rollup/source"
)

const brinToo = "  if rows arrive in the order of time and are not updated, a far smaller index is enough: USING brin (occurred_at) WITH (autosummarize = on)\n"

const missing = "failure: app.events has no index that finds a span of occurred_at: each slice would read the whole table\n" +
	"  CREATE INDEX CONCURRENTLY ON app.events (occurred_at);\n" + brinToo

func TestCheckInstant(t *testing.T) {
	t.Parallel()

	// fill gives the planner realistic data: 50,000 rows of the last hundred days, in order of time.
	fill := func(t *testing.T, db *testBundle, table string) {
		t.Helper()
		db.Do(t, `
			INSERT INTO `+table+` (product_id, kind, occurred_at)
			SELECT i % 100, (ARRAY['LIKE', 'SEEN'])[1 + i % 2], now() - interval '100 days' + i * interval '172.8 s'
			FROM generate_series(1, 50000) AS i`)
		db.Do(t, "ANALYZE "+table)
	}

	// Which indexes on app.events can be used, on an empty table and on a full one.
	for name, c := range map[string]struct {
		index, where string
		serves       bool
	}{
		"BRIN":                       {"USING brin (occurred_at)", "", true},
		"BRINOfManyColumns":          {"USING brin (product_id, occurred_at)", "", true},
		"Btree":                      {"(occurred_at)", "", true},
		"BtreeAfterAColumn":          {"(product_id, occurred_at)", "", false},
		"BtreeAfterAnEqualColumn":    {"(product_id, occurred_at)", "product_id = 7", true},
		"BtreeBeforeAColumn":         {"(occurred_at, product_id)", "", true},
		"BtreeCovering":              {"(occurred_at) INCLUDE (product_id, kind)", "", true},
		"BtreeDescending":            {"(occurred_at DESC NULLS LAST)", "", true},
		"BtreeIncluded":              {"(product_id) INCLUDE (occurred_at)", "", false},
		"BtreeOfTheDate":             {"(((occurred_at AT TIME ZONE 'UTC')::date))", "", false},
		"BtreeWithTheSameCondition":  {"(occurred_at) WHERE kind = 'LIKE'", "kind = 'LIKE'", true},
		"BtreeWithAnotherCondition":  {"(occurred_at) WHERE kind = 'LIKE'", "kind = 'SEEN'", false},
		"BtreeWithoutTheSameButElse": {"(occurred_at) WHERE kind = 'LIKE'", "", false},
		"BtreeWithAnotherConditionNextToOther": {
			"(kind); CREATE INDEX ON app.events (occurred_at) WHERE product_id = 5", "kind = 'LIKE'", false,
		},
		"Hash":  {"USING hash (occurred_at)", "", false},
		"Other": {"(kind)", "kind = 'LIKE'", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, options := setupEvents(t)
			db.Do(t, "CREATE INDEX ON app.events "+c.index)
			options.Where = c.where
			db.set(t, options)
			want := missing
			if c.serves {
				want = ""
			}
			require.Equal(t, want, db.check(t))
			fill(t, db, "app.events")
			require.Equal(t, want, db.check(t))
			if !c.serves {
				db.Do(t, "CREATE INDEX CONCURRENTLY ON app.events (occurred_at)")
				require.Empty(t, db.check(t))
			}
		})
	}

	t.Run("BRINOfRowsInNoOrder", func(t *testing.T) {
		t.Parallel()
		db, options := setupEvents(t)
		db.Do(t, `
			INSERT INTO app.events (product_id, kind, occurred_at)
			SELECT 1, 'view', now() - interval '100 days' * random() FROM generate_series(1, 100000);
			CREATE INDEX ON app.events USING brin (occurred_at)`)
		db.Do(t, "ANALYZE app.events")
		db.set(t, options)
		report := db.check(t)
		require.Contains(t, report, "warning: a slice of an hour would read all of app.events, about 100001 rows\n  ANALYZE app.events;")
		require.NotContains(t, report, "failure")
		db.Do(t, "CREATE INDEX ON app.events (occurred_at)")
		require.Empty(t, db.check(t))
	})
	t.Run("Broken", func(t *testing.T) {
		t.Parallel()
		db, options := setupEvents(t)
		db.Do(t, `CREATE INDEX "Half built" ON app.events (occurred_at);
			UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'app."Half built"'::regclass`)
		db.set(t, options)
		require.Contains(t, db.check(t), `  DROP INDEX CONCURRENTLY app."Half built"; -- invalid: its creation failed`)
		db.Do(t, "CREATE INDEX ON app.events (kind)")
		options.Where = "kind = 'LIKE'"
		db.set(t, options)
		require.Contains(t, db.check(t), `  DROP INDEX CONCURRENTLY app."Half built"; -- invalid: its creation failed`)
	})
	t.Run("ByHandEpoch", func(t *testing.T) {
		t.Parallel()
		db, _ := setupEvents(t)
		db.Do(t, `
			ALTER TABLE app.events ADD COLUMN seconds bigint;
			CREATE OR REPLACE VIEW analytics.events AS
			SELECT e.product_id::bigint::analytics.entity_id AS entity_id, e.kind::text AS event_type, to_timestamp(e.seconds) AS created_at
			FROM app.events AS e`)
		require.Contains(t, db.check(t), "  CREATE INDEX CONCURRENTLY ON app.events ((to_timestamp((seconds)::double precision)));\n")
		db.Do(t, "CREATE INDEX CONCURRENTLY ON app.events ((to_timestamp((seconds)::double precision)));")
		require.Empty(t, db.check(t))
	})
	t.Run("ByHandInvariable", func(t *testing.T) {
		t.Parallel()
		db, _ := setupEvents(t)
		db.Do(t, `
			ALTER TABLE app.events ADD COLUMN on_date date;
			CREATE OR REPLACE VIEW analytics.events AS
			SELECT e.product_id::bigint::analytics.entity_id AS entity_id, e.kind::text AS event_type, e.on_date::timestamptz AS created_at
			FROM app.events AS e`)
		report := db.check(t)
		require.Contains(t, report, "failure: created_at is computed from app.events as (on_date)::timestamp with time zone, which Postgres cannot index")
		require.NotContains(t, report, "CREATE INDEX")
	})
	t.Run("ByHandJoin", func(t *testing.T) {
		t.Parallel()
		db, _ := setupEvents(t)
		db.Do(t, `
			CREATE TABLE app.products (id integer, public_id bigint NOT NULL);
			INSERT INTO app.products SELECT i, -i FROM generate_series(1, 20000) AS i;
			CREATE OR REPLACE VIEW analytics.events AS
			SELECT p.public_id::analytics.entity_id AS entity_id, e.kind::text AS event_type, e.occurred_at::timestamptz AS created_at
			FROM app.events AS e INNER JOIN app.products AS p ON p.id = e.product_id`)
		fill(t, db, "app.events")
		db.Do(t, "ANALYZE app.products")
		require.Equal(t, missing, db.check(t))
		db.Do(t, "CREATE INDEX ON app.events (occurred_at)")
		report := db.check(t)
		require.Contains(t, report, "warning: a slice of an hour would read all of app.products, about 20000 rows\n")
		require.Contains(t, report, "a joined table needs an index on the column by which it is joined")
		require.NotContains(t, report, "failure")
		db.Do(t, "ALTER TABLE app.products ADD PRIMARY KEY (id)")
		require.Empty(t, db.check(t))
	})
	t.Run("ByHandJoinWithTheInstantOfAnother", func(t *testing.T) {
		t.Parallel()
		db, _ := setupEvents(t)
		db.Do(t, `
			CREATE TABLE app.items (event_id bigint NOT NULL, product_id bigint NOT NULL);
			CREATE OR REPLACE VIEW analytics.events AS
			SELECT i.product_id::analytics.entity_id AS entity_id, e.kind::text AS event_type, e.occurred_at::timestamptz AS created_at
			FROM app.items AS i INNER JOIN app.events AS e ON e.id = i.event_id`)
		require.Equal(t, missing, db.check(t))
		fill(t, db, "app.events")
		db.Do(t, "INSERT INTO app.items SELECT e.id, e.product_id FROM app.events AS e; ANALYZE app.items")
		require.Equal(t, missing, db.check(t))
		db.Do(t, "CREATE INDEX ON app.events (occurred_at)")
		require.Contains(t, db.check(t), "warning: a slice of an hour would read all of app.items, about 50001 rows\n")
		db.Do(t, "CREATE INDEX ON app.items (event_id)")
		require.Empty(t, db.check(t))
	})
	t.Run("ByHandOutOfReach", func(t *testing.T) {
		t.Parallel()
		for _, query := range []string{
			"SELECT DISTINCT ON (product_id) product_id::bigint::analytics.entity_id, kind::text, occurred_at::timestamptz FROM app.events",
			"WITH e AS MATERIALIZED (SELECT * FROM app.events) SELECT product_id::bigint::analytics.entity_id, kind::text, occurred_at::timestamptz FROM e",
			"SELECT product_id::bigint::analytics.entity_id, kind::text, max(occurred_at)::timestamptz FROM app.events GROUP BY 1, 2",
			"SELECT product_id::bigint::analytics.entity_id, kind::text, lag(occurred_at) OVER ()::timestamptz FROM app.events",
			"SELECT e.product_id::bigint::analytics.entity_id, e.kind::text, greatest(e.occurred_at, o.occurred_at)::timestamptz " +
				"FROM app.events AS e INNER JOIN app.events AS o ON o.id = e.id + 1",
		} {
			db, _ := setupEvents(t)
			db.Do(t, "CREATE INDEX ON app.events (occurred_at)")
			db.Do(t, "CREATE OR REPLACE VIEW analytics.events (entity_id, event_type, created_at) AS "+query)
			require.Contains(t, db.check(t), "failure: a condition on created_at reaches none of the tables, so each slice would read all of", query)
		}
	})
	// Postgres leaves a condition out that is also a partial index's, as TimescaleDB leaves one out that a chunk's bounds imply.
	t.Run("Implied", func(t *testing.T) {
		t.Parallel()
		db, _ := setupEvents(t)
		fill(t, db, "app.events")
		db.Do(t, `CREATE OR REPLACE VIEW analytics.events AS
			SELECT e.product_id::bigint::analytics.entity_id AS entity_id, e.kind::text AS event_type, e.occurred_at::timestamptz AS created_at FROM app.events AS e`)
		db.Do(t, "CREATE INDEX ON app.events (id) WHERE occurred_at::timestamptz >= '2001-02-03 04:05:06.789+00'; ALTER TABLE app.events DROP CONSTRAINT events_pkey")
		require.Equal(t, missing, db.check(t))
		db.Do(t, "CREATE INDEX ON app.events (occurred_at)")
		require.Empty(t, db.check(t))
	})
	t.Run("ByHandUnion", func(t *testing.T) {
		t.Parallel()
		db, _ := setupEvents(t)
		db.Do(t, `
			CREATE TABLE app."Likes" (product_id bigint, at timestamp);
			CREATE OR REPLACE VIEW analytics.events AS
			SELECT e.product_id::bigint::analytics.entity_id AS entity_id, e.kind::text AS event_type, e.occurred_at::timestamptz AS created_at
			FROM app.events AS e
			UNION ALL
			SELECT l.product_id::analytics.entity_id, 'like', l.at AT TIME ZONE 'UTC' FROM app."Likes" AS l`)
		require.Equal(t, missing+
			"failure: app.\"Likes\" has no index that finds a span of (at AT TIME ZONE 'UTC'::text): each slice would read the whole table\n"+
			"  CREATE INDEX CONCURRENTLY ON app.\"Likes\" ((at AT TIME ZONE 'UTC'::text));\n"+
			strings.ReplaceAll(brinToo, "(occurred_at)", "((at AT TIME ZONE 'UTC'::text))"), db.check(t))
		db.Do(t, "CREATE INDEX CONCURRENTLY ON app.events (occurred_at)")
		require.NotContains(t, db.check(t), "app.events")
		db.Do(t, `CREATE INDEX CONCURRENTLY ON app."Likes" USING brin ((at AT TIME ZONE 'UTC'::text))`)
		require.Empty(t, db.check(t))
	})
	t.Run("ByHandUnionOfOneTable", func(t *testing.T) {
		t.Parallel()
		db, _ := setupEvents(t)
		db.Do(t, `
			ALTER TABLE app.events ADD COLUMN undone_at timestamptz;
			CREATE OR REPLACE VIEW analytics.events AS
			SELECT e.product_id::bigint::analytics.entity_id AS entity_id, e.kind::text AS event_type, e.occurred_at::timestamptz AS created_at
			FROM app.events AS e
			UNION ALL
			SELECT e.product_id::bigint::analytics.entity_id, 'undo', e.undone_at FROM app.events AS e`)
		require.Equal(t, missing+strings.ReplaceAll(missing, "occurred_at", "undone_at"), db.check(t))
		db.Do(t, "CREATE INDEX ON app.events (occurred_at)")
		report := db.check(t)
		require.Contains(t, report, "  CREATE INDEX CONCURRENTLY ON app.events (undone_at);\n")
		require.NotContains(t, report, "occurred_at")
	})
	t.Run("ForeignTable", func(t *testing.T) {
		t.Parallel()
		db, options := setupEvents(t)
		db.Do(t, `
			CREATE EXTENSION postgres_fdw; CREATE EXTENSION file_fdw;
			CREATE SERVER self FOREIGN DATA WRAPPER postgres_fdw OPTIONS (dbname '`+db.Name+`', host '127.0.0.1', port '`+port(db)+`');
			CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
			CREATE USER MAPPING FOR postgres SERVER self OPTIONS (user 'postgres', password_required 'false');
			CREATE FOREIGN TABLE app.remote (id bigint, product_id integer, kind text, occurred_at timestamptz) SERVER self
			OPTIONS (schema_name 'app', table_name 'events');
			CREATE FOREIGN TABLE app.file (product_id integer, kind text, occurred_at timestamptz) SERVER files
			OPTIONS (filename '/dev/null')`)
		options.Table = "app.remote"
		db.set(t, options)
		require.Contains(t, db.check(t), "warning: app.remote is a foreign table: this server cannot see whether its instant is indexed\n")
		options.Table = "app.file"
		db.set(t, options)
		require.Contains(t, db.check(t), "failure: each slice would fetch the whole foreign table app.file")
	})
	t.Run("Missing", func(t *testing.T) {
		t.Parallel()
		db, options := setupEvents(t)
		db.set(t, options)
		require.Equal(t, missing, db.check(t))
		fill(t, db, "app.events")
		require.Equal(t, missing, db.check(t))
	})
	t.Run("NoStatistics", func(t *testing.T) {
		t.Parallel()
		db, _ := setupEvents(t)
		db.Do(t, `
			CREATE TABLE app.products (id integer, public_id bigint NOT NULL);
			INSERT INTO app.products SELECT i, -i FROM generate_series(1, 30000) AS i;
			CREATE INDEX ON app.events (occurred_at);
			CREATE OR REPLACE VIEW analytics.events AS
			SELECT p.public_id::analytics.entity_id AS entity_id, e.kind::text AS event_type, e.occurred_at::timestamptz AS created_at
			FROM app.events AS e INNER JOIN app.products AS p ON p.id = e.product_id`)
		report := db.check(t)
		require.Contains(t, report, "warning: a slice of an hour would read all of app.products, about ")
		require.Contains(t, report, "\n  ANALYZE app.products;\n")
	})
	t.Run("Partitioned", func(t *testing.T) {
		t.Parallel()
		db, options := setupEvents(t)
		db.Do(t, `
			CREATE TABLE app.parted (product_id integer NOT NULL, kind text, occurred_at timestamptz) PARTITION BY RANGE (occurred_at)`)
		options.Table = "app.parted"
		db.set(t, options)
		require.Contains(t, db.check(t), "warning: the planner finds no table behind analytics.events")
		db.Do(t, `
			CREATE TABLE app.parted_1 PARTITION OF app.parted FOR VALUES FROM ('2026-01-01 00:00:00+00') TO ('2026-02-01 00:00:00+00');
			CREATE TABLE app.parted_2 PARTITION OF app.parted FOR VALUES FROM ('2026-02-01 00:00:00+00') TO ('2026-03-01 00:00:00+00')
			PARTITION BY LIST (kind);
			CREATE TABLE app.parted_2_view PARTITION OF app.parted_2 FOR VALUES IN ('view');
			CREATE TABLE app.parted_2_rest PARTITION OF app.parted_2 DEFAULT;
			CREATE INDEX ON app.parted_1 (occurred_at)`)
		require.Equal(t, "failure: app.parted has no index that finds a span of occurred_at: each slice would read the whole table\n"+
			"  CREATE INDEX CONCURRENTLY ON app.parted_2_view (occurred_at);\n"+
			"  CREATE INDEX CONCURRENTLY ON app.parted_2_rest (occurred_at);\n"+
			"  CREATE INDEX ON app.parted (occurred_at); -- after those: it attaches them, and is quick\n"+brinToo, db.check(t))
		db.Do(t, "CREATE INDEX CONCURRENTLY ON app.parted_2_view (occurred_at)")
		db.Do(t, "CREATE INDEX CONCURRENTLY ON app.parted_2_rest (occurred_at)")
		require.Empty(t, db.check(t))
		db.Do(t, "CREATE INDEX ON app.parted (occurred_at)")
		var indexes int
		err := db.QueryRow(t.Context(), "SELECT count(*) FROM pg_indexes WHERE tablename LIKE 'parted%'").Scan(&indexes)
		require.NoError(t, err)
		require.Equal(t, 5, indexes, "the indexes of the partitions were taken up, not made again")
		report, err := source.Check(t.Context(), db.DB.DB, db.Installation)
		require.NoError(t, err)
		require.Contains(t, report[3].Sentence, "and similar indexes on the other partitions of app.parted")
	})
	t.Run("ThroughViews", func(t *testing.T) {
		t.Parallel()
		db, options := setupEvents(t)
		db.Do(t, "CREATE VIEW app.humans AS SELECT * FROM app.events WHERE kind <> 'bot'")
		options.Table = "app.humans"
		db.set(t, options)
		require.Equal(t, missing, db.check(t))
		db.Do(t, "CREATE INDEX ON app.events (occurred_at)")
		require.Empty(t, db.check(t))
	})
	t.Run("YoungTable", func(t *testing.T) {
		t.Parallel()
		db := setup(t, entity.Bigint)
		db.RawEvents(t)
		db.Do(t, `INSERT INTO public.raw_events (entity_id, event_type, created_at)
			SELECT i, 'view', now() - interval '2 days' + i * interval '1 s' FROM generate_series(1, 172800) AS i`)
		db.Do(t, "ANALYZE public.raw_events")
		require.Empty(t, db.check(t), "a day is half of the table, but a slice is not")
	})
}
