package stream_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/stream"
)

// values are of every built-in type, and of types that users create.
var values = []struct{ typ, value string }{
	{"smallint", "-32768"},
	{"integer", "2147483647"},
	{"bigint", "9223372036854775807"},
	{"numeric", "'123456789012345678901234567890.1234567890'"},
	{"numeric(10, 2)", "1.50"},
	{"numeric", "'NaN'"},
	{"numeric", "'-0.00'"},
	{"numeric", "1e-30"},
	{"numeric", "'Infinity'"},
	{"real", "1.1"},
	{"real", "1e20"},
	{"double precision", "1e300"},
	{"double precision", "-1.5e-7"},
	{"double precision", "1.2345e18"},
	{"double precision", "'Infinity'"},
	{"double precision", "'NaN'"},
	{"double precision", "'-0'"},
	{"double precision", "0.1"},
	{"boolean", "true"},
	{"boolean", "false"},
	{"money", "'12.34'"},
	{"oid", "42"},
	{"regclass", "'pg_class'"},
	{"text", `E'a "b" \\ \n\t\r\b\f\x01 ü € '' </script>'`},
	{"varchar(10)", "'v'"},
	{"char(5)", "'c'"},
	{"\"char\"", "'x'"},
	{"name", "'n'"},
	{"text", "''"},
	{"bytea", `'\xdeadbeef'`},
	{"bytea", "''"},
	{"date", "'2026-03-01'"},
	{"date", "'0044-03-15 BC'"},
	{"date", "'infinity'"},
	{"time", "'10:00:00.123'"},
	{"timetz", "'10:00:00+02'"},
	{"interval", "'1 year 2 months 3 days 04:05:06.789'"},
	{"interval", "'-1 day'"},
	{"timestamp", "'2026-03-01 10:00:00.123456'"},
	{"timestamp", "'-infinity'"},
	{"timestamp", "'0044-03-15 12:00:00 BC'"},
	{"timestamp", "'12026-01-01'"},
	{"timestamptz", "'2026-03-01 10:00:00+05:45'"},
	{"timestamptz", "'infinity'"},
	{"timestamptz", "'0044-03-15 12:00:00+00 BC'"},
	{"uuid", "'00000000-0000-0000-0000-00000000002a'"},
	{"inet", "'10.0.0.1/8'"},
	{"cidr", "'10.0.0.0/8'"},
	{"macaddr", "'08:00:2b:01:02:03'"},
	{"macaddr8", "'08:00:2b:01:02:03:04:05'"},
	{"bit(3)", "B'101'"},
	{"varbit", "B'1'"},
	{"xml", "'<a b=\"c\"/>'"},
	{"json", `'{"b": 1, "a": [1.0, null, "x"]}'`},
	{"jsonb", `'{"b": 1, "a": [1.0, null, "x\u00e9"]}'`},
	{"jsonb", "'null'"},
	{"json", "'7'"},
	{"point", "'(1,2)'"},
	{"box", "'(1,2),(3,4)'"},
	{"circle", "'<(1,2),3>'"},
	{"path", "'[(1,2),(3,4)]'"},
	{"polygon", "'((1,2),(3,4))'"},
	{"lseg", "'[(1,2),(3,4)]'"},
	{"line", "'{1,2,3}'"},
	{"tsvector", "'a:1 b:2'"},
	{"tsquery", "'a & b'"},
	{"gtsvector", "NULL"}, // It has no text that Postgres reads.
	{"jsonpath", `'$."a b"[*] ? (@ > 1)'`},
	{"pg_lsn", "'0/16B3748'"},
	{"pg_snapshot", "'10:20:10,14'"},
	{"txid_snapshot", "'10:20:10,14'"},
	{"xid", "'4294967295'"},
	{"xid8", "'18446744073709551615'"},
	{"cid", "'7'"},
	{"tid", "'(1,2)'"},
	{"refcursor", "'a \"cursor\"'"},
	{"aclitem", "'=r/postgres'"},
	{"regproc", "'now'"},
	{"regprocedure", "'lower(text)'"},
	{"regoper", "'||/'"},
	{"regoperator", "'+(integer,integer)'"},
	{"regtype", "'timestamp with time zone'"},
	{"regrole", "'postgres'"},
	{"regnamespace", "'pg_catalog'"},
	{"regconfig", "'english'"},
	{"regdictionary", "'simple'"},
	{"regcollation", "'\"C\"'"},
	{"int4range", "'[1,5)'"},
	{"int8range", "'(,9223372036854775807)'"},
	{"numrange", "'empty'"},
	{"daterange", "'[2026-01-01,infinity)'"},
	{"tsrange", "'[2026-01-01 00:00,2026-01-02 12:30:00.5]'"},
	{"tstzrange", "'[2026-01-01 00:00+02,)'"},
	{"int4multirange", "'{[1,2),[4,5)}'"},
	{"int8multirange", "'{}'"},
	{"nummultirange", "'{[1.50,2),(4,)}'"},
	{"datemultirange", "'{[2026-01-01,2026-02-01)}'"},
	{"tsmultirange", "'{[2026-01-01 00:00,2026-01-02 00:00)}'"},
	{"tstzmultirange", "'{[2026-01-01 00:00+02,)}'"},
	{"integer[]", "'{1,NULL,3}'"},
	{"integer[]", "'{}'"},
	{"integer[]", "'{{1,2},{3,4}}'"},
	{"integer[]", "'[0:1]={1,2}'"},
	{"text[]", `ARRAY['a', 'NULL', NULL, '', 'x,y', '{z}', '"q"', E'back\\slash', E'new\nline']`},
	{"boolean[]", "'{t,f}'"},
	{"float8[]", "'{1e20,NaN}'"},
	{"timestamptz[]", "ARRAY['2026-03-01 10:00:00+00'::timestamptz]"},
	{"jsonb[]", `ARRAY['{"a": "b,c"}'::jsonb]`},
	{"bytea[]", `ARRAY['\x00ff'::bytea]`},
	{"box[]", "'{(1,2),(3,4);(5,6),(7,8)}'"},
	{"int2vector", "'1 2 3'"},
	{"oidvector", "'1 2'"},
	{"app.positive", "7"},
	{"app.mood", "'so so'"},
	{"app.mood[]", "'{happy,\"so so\"}'"},
	{"app.pair", `ROW(1, E'a "b", (c)\\', NULL, ARRAY[1.5, NULL], ROW(true, '2026-03-01 10:00:00+00')::app.inner)`},
	{"app.pair[]", `ARRAY[ROW(1, 'x,y', '', '{}', NULL)::app.pair]`},
	{"app.instant", "'2026-03-01 10:00:00+00'"},
	{"app.tags", "'{a,b}'"},
	{"public.hstore", `'a=>1, "b c"=>NULL'`},
	{"public.citext", "'CaSe'"},
	{"app.span", "'[a,c)'"},
	{"app.span[]", `'{"[a,c)",empty}'`},
	{"app.positive[]", "'{1,2}'"},
	{"app.name_of_person", "ROW('Ada', 'L')"},
	{"numrange[]", `'{"[1,2)",empty}'`},
	{"uuid[]", "'{00000000-0000-0000-0000-00000000002a}'"},
	{"interval[]", "'{1 day,-00:00:01}'"},
}

// uncaptured are built-in types that no table of an application has: Postgres has no input for them.
var uncaptured = []string{"pg_node_tree", "pg_ndistinct", "pg_dependencies", "pg_mcv_list", "pg_brin_bloom_summary", "pg_brin_minmax_multi_summary", "unknown"}

const types = `
	CREATE EXTENSION hstore SCHEMA public; CREATE EXTENSION citext SCHEMA public;
	CREATE SCHEMA app;
	CREATE DOMAIN app.positive AS integer CHECK (VALUE > 0);
	CREATE DOMAIN app.instant AS timestamptz;
	CREATE DOMAIN app.tags AS text[];
	CREATE TYPE app.mood AS ENUM ('happy', 'so so');
	CREATE TYPE app.inner AS (is_it boolean, at timestamptz);
	CREATE TYPE app.pair AS (x integer, "Y z" text, empty text, list numeric[], part app.inner);
	CREATE TYPE app.span AS RANGE (subtype = text);
	CREATE TYPE app.person AS (first text, last text);
	CREATE DOMAIN app.name_of_person AS app.person CHECK ((VALUE).first <> '');
	CREATE TABLE app.marker (id serial PRIMARY KEY);
	CREATE TABLE app.plain (id integer PRIMARY KEY, v text, body text);
	ALTER TABLE app.plain ALTER body SET STORAGE EXTERNAL;
	CREATE TABLE app.whole (id integer PRIMARY KEY, v text, body text);
	ALTER TABLE app.whole ALTER body SET STORAGE EXTERNAL, REPLICA IDENTITY FULL;
	CREATE TABLE app.bare (a integer, b text);
	ALTER TABLE app.bare REPLICA IDENTITY FULL;
	CREATE TABLE app.by_index (id integer PRIMARY KEY, b text NOT NULL, a integer NOT NULL, v text);
	CREATE UNIQUE INDEX by_index_key ON app.by_index (b, a);
	ALTER TABLE app.by_index REPLICA IDENTITY USING INDEX by_index_key;
	CREATE TABLE app.keyless (a integer);
	CREATE TABLE app.nothing (id integer PRIMARY KEY);
	ALTER TABLE app.nothing REPLICA IDENTITY NOTHING;
	CREATE TABLE app."We""ird Näme" ("I d" integer, "b'""\c" text, PRIMARY KEY ("b'""\c", "I d"));
	CREATE TABLE app.computed (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a integer, b integer GENERATED ALWAYS AS (a * 2) STORED);
	CREATE TABLE app.counted (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, "Twice" text GENERATED ALWAYS AS (v || v) STORED, v text);
	ALTER TABLE app.counted REPLICA IDENTITY FULL;
	CREATE TABLE app.parts (id integer, day date, v text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
	CREATE TABLE app.parts_1 PARTITION OF app.parts FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
	CREATE TABLE app.parts_2 PARTITION OF app.parts FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
	CREATE TABLE app.tree (id integer PRIMARY KEY, v text) PARTITION BY HASH (id);
	CREATE TABLE app.tree_0 PARTITION OF app.tree FOR VALUES WITH (MODULUS 2, REMAINDER 0);
	CREATE TABLE app.tree_1 PARTITION OF app.tree FOR VALUES WITH (MODULUS 2, REMAINDER 1) PARTITION BY HASH (id);
	CREATE TABLE app.tree_1_0 (v text, id integer NOT NULL);
	ALTER TABLE app.tree_1 ATTACH PARTITION app.tree_1_0 FOR VALUES WITH (MODULUS 1, REMAINDER 0)`

// work is what an application does, one transaction per line.
var work = []string{
	"INSERT INTO app.plain VALUES (1, 'a', NULL), (2, 'b', NULL), (3, NULL, repeat('x', 5000))",
	"UPDATE app.plain SET v = v || '!' WHERE id < 3",
	"UPDATE app.plain SET v = 'untouched TOAST' WHERE id = 3",
	"UPDATE app.plain SET body = repeat('y', 6000) WHERE id = 3",
	"UPDATE app.plain SET id = 10 WHERE id = 1",
	"UPDATE app.plain SET v = 'nothing' WHERE false",
	// Each row moves up by one, the highest first, so each new key is the old key of another row.
	"INSERT INTO app.plain (id, v) VALUES (103, 'c'), (102, 'b'), (101, 'a'); UPDATE app.plain SET id = id + 1 WHERE id > 100",
	// Rows that are equal in all columns.
	"INSERT INTO app.bare VALUES (7, 'same'), (7, 'same'); UPDATE app.bare SET b = 'still' WHERE a = 7",
	"DELETE FROM app.plain WHERE id = 2",
	"INSERT INTO app.plain VALUES (3, 'upsert') ON CONFLICT (id) DO UPDATE SET v = excluded.v",
	"INSERT INTO app.whole VALUES (1, 'a', repeat('x', 5000))",
	"UPDATE app.whole SET v = 'b'",
	"UPDATE app.whole SET id = 2",
	"DELETE FROM app.whole",
	"INSERT INTO app.bare VALUES (1, 'a'), (2, NULL)",
	"UPDATE app.bare SET b = 'c' WHERE a = 2",
	"DELETE FROM app.bare WHERE a = 2",
	"INSERT INTO app.by_index VALUES (1, 'b', 2, 'v')",
	"UPDATE app.by_index SET v = 'w'",
	"UPDATE app.by_index SET a = 3",
	"UPDATE app.by_index SET id = 9",
	"DELETE FROM app.by_index",
	"INSERT INTO app.keyless VALUES (1); UPDATE app.keyless SET a = 2; DELETE FROM app.keyless",
	"INSERT INTO app.nothing VALUES (1); UPDATE app.nothing SET id = 2; DELETE FROM app.nothing",
	`INSERT INTO app."We""ird Näme" VALUES (1, E'x\\"y')`,
	`DELETE FROM app."We""ird Näme"`,
	"INSERT INTO app.computed (a) VALUES (1); UPDATE app.computed SET a = 2",
	"INSERT INTO app.counted (v) VALUES ('a'); INSERT INTO app.counted (id, v) OVERRIDING SYSTEM VALUE VALUES (70, 'b'); UPDATE app.counted SET v = 'c'; DELETE FROM app.counted",
	"INSERT INTO app.parts VALUES (1, '2026-01-05', 'a'), (2, '2026-02-05', 'b')",
	"UPDATE app.parts SET v = 'c'",
	"UPDATE app.parts_1 SET v = 'd'",
	"INSERT INTO app.parts_2 VALUES (3, '2026-02-06', 'leaf')",
	// A row moves to another partition, between rows that stay.
	"INSERT INTO app.parts VALUES (4, '2026-01-07', 'goes'), (5, '2026-01-08', 'stays'); UPDATE app.parts SET day = CASE id WHEN 4 THEN date '2026-02-07' ELSE day END, v = v || '!'",
	"UPDATE app.parts SET id = 50 WHERE id = 5", // The row stays in its partition.
	"DELETE FROM app.parts WHERE id = 1",
	// Partitions of partitions, with other column orders.
	"INSERT INTO app.tree SELECT i, 'a' FROM generate_series(1, 8) AS i; UPDATE app.tree SET v = 'b' WHERE id < 5; UPDATE app.tree SET id = id + 100 WHERE id > 6; DELETE FROM app.tree WHERE id < 3",
	"TRUNCATE app.parts",
	"TRUNCATE app.plain, app.bare",
	"BEGIN; INSERT INTO app.plain VALUES (20); SAVEPOINT s; INSERT INTO app.plain VALUES (21); ROLLBACK TO s; INSERT INTO app.plain VALUES (22); COMMIT",
	"BEGIN; INSERT INTO app.plain VALUES (30); ROLLBACK",
	"DO $$ BEGIN FOR i IN 50..53 LOOP BEGIN INSERT INTO app.plain VALUES (i); IF i % 2 = 0 THEN RAISE EXCEPTION 'no'; END IF; EXCEPTION WHEN raise_exception THEN NULL; END; END LOOP; END $$",
	"BEGIN; SAVEPOINT a; INSERT INTO app.plain VALUES (60); SAVEPOINT b; INSERT INTO app.plain VALUES (61); RELEASE b; ROLLBACK TO a; INSERT INTO app.plain VALUES (62); RELEASE a; COMMIT",
	"BEGIN; INSERT INTO app.plain VALUES (40); UPDATE app.plain SET v = 'same transaction' WHERE id = 40; PREPARE TRANSACTION 'p'",
	"COMMIT PREPARED 'p'",
	"BEGIN; INSERT INTO app.plain VALUES (41); PREPARE TRANSACTION 'q'",
	"ROLLBACK PREPARED 'q'",
	"MERGE INTO app.plain AS p USING (VALUES (40, 'merged'), (42, 'new')) AS s (id, v) ON s.id = p.id WHEN MATCHED THEN UPDATE SET v = s.v WHEN NOT MATCHED THEN INSERT (id, v) VALUES (s.id, s.v)",
	"SET LOCAL TimeZone = 'Asia/Kathmandu'; SET LOCAL DateStyle = 'German'; SET LOCAL IntervalStyle = 'iso_8601'; SET LOCAL bytea_output = 'escape'; SET LOCAL extra_float_digits = 0; UPDATE app.every SET touched = 1",
}

// TestContract: the same work gives the same changes in both modes for every column type, no matter who owns the types, and with any settings
// of the database.
func TestContract(t *testing.T) {
	t.Parallel()
	t.Run("OddSettings", func(t *testing.T) {
		t.Parallel()
		contract(t, `DO $$ DECLARE setting text; BEGIN
			FOREACH setting IN ARRAY ARRAY['client_encoding = WIN1251', 'DateStyle = German', 'TimeZone = ''Asia/Kathmandu''', 'IntervalStyle = iso_8601',
				'bytea_output = escape', 'extra_float_digits = -15', 'quote_all_identifiers = on', 'standard_conforming_strings = off',
				'default_transaction_read_only = on', 'default_transaction_isolation = serializable', 'search_path = nowhere', 'idle_session_timeout = 100'] LOOP
				EXECUTE format('ALTER DATABASE %I SET %s', current_database(), setting);
			END LOOP; END $$`)
	})
	t.Run("OwnTypes", func(t *testing.T) {
		t.Parallel()
		contract(t, "")
	})
	t.Run("TypesOfAnotherRole", func(t *testing.T) {
		t.Parallel()
		contract(t, `CREATE ROLE owner_of_types; DO $$ DECLARE the_type regtype; BEGIN
			FOR the_type IN SELECT t.oid FROM pg_type AS t LEFT JOIN pg_class AS c ON c.oid = t.typrelid
				WHERE t.typnamespace = 'app'::regnamespace AND t.typtype <> 'm' AND t.typcategory <> 'A' AND coalesce(c.relkind, 'c') = 'c' LOOP
				EXECUTE format('ALTER TYPE %s OWNER TO owner_of_types', the_type);
			END LOOP; END $$`)
	})
}

// contract runs the work after a statement that makes the database unusual.
func contract(t *testing.T, unusual string) {
	t.Helper()
	b := setup(t)
	b.Do(t, types)
	if unusual != "" {
		b.Do(t, unusual)
	}
	var columns, row []string
	for i, v := range values {
		name := pgx.Identifier{"c" + string(rune('a'+i/26)) + string(rune('a'+i%26)) + " " + v.typ}.Sanitize()
		columns, row = append(columns, name+" "+v.typ), append(row, v.value)
	}
	b.Do(t, "CREATE TABLE app.every (id integer PRIMARY KEY, touched integer, "+strings.Join(columns, ", ")+")")
	b.start(t, b.owner("t", stream.ModeTrigger))
	b.start(t, b.owner("w", stream.ModeWAL))
	b.Do(t, "INSERT INTO app.every VALUES (1, 0, "+strings.Join(row, ", ")+")")
	b.Do(t, "INSERT INTO app.every (id) VALUES (2)")
	var missing []string
	require.NoError(t, b.QueryRow(t.Context(), `SELECT coalesce(array_agg(t.typname::text), '{}') FROM pg_type AS t
		WHERE t.typnamespace = 'pg_catalog'::regnamespace AND t.typtype IN ('b', 'r', 'm') AND t.typname <> ALL ($1)
			AND NOT (t.typcategory = 'A' AND t.typsubscript = 'array_subscript_handler'::regproc)
			AND NOT EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = 'app.every'::regclass AND a.atttypid = t.oid)`, uncaptured).Scan(&missing))
	require.Empty(t, missing, "built-in types without a value")
	for _, statement := range work {
		config, err := pgx.ParseConfig(b.URL)
		require.NoError(t, err)
		config.RuntimeParams["options"] = "-c client_encoding=UTF8 -c standard_conforming_strings=on -c default_transaction_read_only=off -c idle_session_timeout=0"
		conn, err := pgx.ConnectConfig(t.Context(), config)
		require.NoError(t, err)
		_, err = conn.Exec(t.Context(), statement, pgx.QueryExecModeSimpleProtocol)
		require.NoError(t, err, statement)
		require.NoError(t, conn.Close(t.Context()))
	}
	b.mark(t, "t", "w")
	unchanged := map[string][]string{}
	fromWAL := b.events(t, "w", unchanged)
	require.NotEmpty(t, unchanged)
	fromTriggers := b.events(t, "t", unchanged)
	require.Equal(t, fromTriggers, fromWAL)
	require.Greater(t, len(fromWAL), 40)
	require.Empty(t, append(b.gaps(t, "t"), b.gaps(t, "w")...))
	for _, table := range []string{"app.keyless", "app.nothing"} {
		require.NotContains(t, strings.Join(fromWAL, "\n"), " "+table+" ")
		var refused int
		require.NoError(t, b.QueryRow(t.Context(), "SELECT count(*) FROM capture.captured WHERE schema_name || '.' || table_name = $1 AND reason LIKE '%ALTER TABLE%'", table).Scan(&refused))
		require.Equal(t, 2, refused)
	}
}

// TestCast: the owner of a type can create a cast to json, which to_jsonb calls. It must never run with Daymill's rights.
func TestCast(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Do(t, `CREATE SCHEMA app; CREATE TABLE app.marker (id serial PRIMARY KEY); CREATE TABLE public.loot (who text); GRANT ALL ON public.loot TO PUBLIC;
		CREATE ROLE guest_of_types; GRANT ALL ON SCHEMA app TO guest_of_types;
		SET ROLE guest_of_types;
		CREATE TYPE app.mood AS ENUM ('good', 'evil');
		CREATE TYPE app.moods AS (one app.mood, many app.mood[]);
		CREATE TABLE app.bait (id integer PRIMARY KEY, v app.mood, w app.mood[], x app.moods, y app.moods[]);
		RESET ROLE`)
	b.start(t, b.owner("t", stream.ModeTrigger))
	b.start(t, b.owner("w", stream.ModeWAL))
	b.Do(t, `SET ROLE guest_of_types;
		CREATE FUNCTION app.strike(v app.mood) RETURNS json LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.loot VALUES (current_user); RETURN '{"struck": 1}'; END $$;
		CREATE CAST (app.mood AS json) WITH FUNCTION app.strike(app.mood);
		INSERT INTO app.bait VALUES (1, 'evil', '{evil}', ROW('evil', '{evil,good}'), ARRAY[ROW('evil', NULL)::app.moods, NULL]), (2, NULL, NULL, NULL, NULL);
		UPDATE app.bait SET v = 'good' WHERE id = 1; DELETE FROM app.bait WHERE id = 2; RESET ROLE`)
	b.mark(t, "t", "w")
	fromWAL := b.events(t, "w", nil)
	require.Equal(t, b.events(t, "t", nil), fromWAL)
	require.Contains(t, strings.Join(fromWAL, "\n"), `{"one": "evil", "many": ["evil", "good"]}`)
	require.Empty(t, append(b.gaps(t, "t"), b.gaps(t, "w")...))
	var loot int
	require.NoError(t, b.QueryRow(t.Context(), "SELECT count(*) FROM public.loot").Scan(&loot))
	require.Zero(t, loot, "the cast ran")
	var open []string
	require.NoError(t, b.QueryRow(t.Context(), `SELECT coalesce(array_agg(p.oid::regprocedure::text), '{}') FROM pg_proc AS p
		INNER JOIN pg_namespace AS n ON n.oid = p.pronamespace
		WHERE n.nspname LIKE 'daymill_capture%' AND (has_function_privilege('guest_of_types', p.oid, 'EXECUTE') OR ('search_path=pg_catalog, pg_temp' = ANY (p.proconfig)) IS NOT TRUE)`).Scan(&open))
	require.Empty(t, open)
}
