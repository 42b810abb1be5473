package postgres_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/sink/postgres"
	"github.com/daymill/daymill/internal/capture/sink/sinktest"
	"github.com/daymill/daymill/internal/capture/table"
)

// typesSQL makes a table with a column of each type, and one row in it.
const typesSQL = `
CREATE TYPE public.mood AS ENUM ('sad', 'happy');
CREATE DOMAIN public.percent AS integer CHECK (value <= 100);
CREATE DOMAIN public.tags AS text[];
CREATE TYPE public.address AS (street text, number integer);
CREATE TABLE public.all_types (
    id bigint PRIMARY KEY, a_smallint smallint, a_numeric numeric(30, 4), a_nan numeric, a_real real, a_double double precision, an_infinity double precision,
    a_money money, a_text text, a_varchar varchar(20), a_char char(5), a_name name, a_bytea bytea, a_bool boolean,
    a_date date, a_time time, a_timetz timetz, a_timestamp timestamp(3), a_timestamptz timestamptz, an_interval interval,
    a_uuid uuid, an_inet inet, a_cidr cidr, a_macaddr macaddr, a_bit bit(5), a_varbit bit varying(10),
    a_json json, a_jsonb jsonb, a_json_text jsonb, an_xml xml, a_point point, a_box box, a_tsvector tsvector,
    an_int4range int4range, a_tstzrange tstzrange, a_multirange int4multirange,
    a_mood mood, a_percent percent, a_tags tags, an_address address,
    ints integer[], texts text[], nested integer[][], moods mood[], addresses address[], jsonbs jsonb[], boxes box[], varchars varchar(3)[], empty_array text[],
    "quoted ""name""" text, a_null text
);
INSERT INTO public.all_types VALUES (
    1, -7, 12345678901234567890.1200, 'NaN', 1.5, 0.1, '-Infinity', '12.34', E'a\\ "b"\n{c},NULL é😀', 'abc  ', 'ab', 'name', '\xdeadbeef00', true,
    '0044-03-15 BC', '12:34:56.789', '12:34:56+05:45', '2026-03-01 10:00:00.123', '2026-03-01 10:00:00.123456+02', '1 year -2 days 03:04:05.6',
    'c56a4180-65aa-42ec-a945-5fd21dec0538', '10.0.0.1/8', '10.0.0.0/8', '08:00:2b:01:02:03', '10101', '101',
    '{"b": 1,  "a": [1, 2.50]}', '{"b": 1, "a": "x"}', '"a string"', '<a>b</a>', '(1,2)', '(3,4),(1,2)', '''a'':1 ''b'':2',
    '[1,10)', '["2026-01-01 00:00:00+00",infinity)', '{[1,3),[5,7)}',
    'happy', 99, '{a,"b c"}', '("High \"St\"",7)',
    '{1,NULL,3}', ARRAY['a,b', 'NULL', NULL, '"q"', '\', ''], '{{1,2},{3,4}}', '{sad,happy}', ARRAY[ROW('x', 1)::address], ARRAY['[1]'::jsonb, '{"a": 1}'],
    '{(1,1),(0,0);(2,2),(1,1)}', '{abc}', '{}', 'it is', NULL);`

// TestPostgres_Types: rows with every type are written without a change of their values, in both ways.
func TestPostgres_Types(t *testing.T) {
	t.Parallel()
	p := newTarget(t)
	_, err := p.Exec(t.Context(), typesSQL)
	require.NoError(t, err)
	var found []table.Column
	var want, document string
	require.NoError(t, p.QueryRow(t.Context(), `SELECT json_agg(json_build_object('name', attname, 'type', format_type(atttypid, atttypmod)) ORDER BY attnum)::text
		FROM pg_attribute WHERE attrelid = 'public.all_types'::regclass AND attnum > 0`).Scan(&document))
	require.NoError(t, json.Unmarshal([]byte(document), &found))
	columns := make([]postgres.Column, len(found))
	for i, column := range found { // As Daymill reads them, with only the system's schemas in the search_path.
		switch column.Type {
		case "mood", "percent", "tags", "address", "mood[]", "address[]":
			column.Type = "public." + column.Type
		}
		columns[i] = postgres.Column{Name: column.Name, Type: column.Type}
	}
	require.NoError(t, p.QueryRow(t.Context(), "SELECT to_jsonb(t)::text FROM public.all_types AS t").Scan(&want))
	describe := func(context.Context, pgx.Tx, change.Change) ([]postgres.Column, error) { return columns, nil }
	same := func(schema string, s *postgres.Postgres, row json.RawMessage) {
		t.Helper()
		c := sinktest.Insert(1, 1)
		c.Table, c.New = "all_types", row
		sinktest.Deliver(t, s, c)
		var differs []string
		require.NoError(t, p.QueryRow(t.Context(), `SELECT coalesce(array_agg(w.key || ': ' || w.value || ' became ' || coalesce(g.value::text, 'nothing')), '{}')
			FROM jsonb_each($1::jsonb) AS w LEFT JOIN LATERAL (SELECT to_jsonb(t) -> w.key AS value FROM `+schema+`.all_types AS t) AS g ON true
			WHERE g.value IS DISTINCT FROM w.value`, string(row)).Scan(&differs))
		require.Empty(t, differs, schema)
	}
	same("fast", postgres.New(postgres.Config{DB: p.pool, Schema: "fast", Columns: describe}), json.RawMessage(want))
	var values map[string]json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(want), &values))
	without := maps.Clone(values)
	delete(without, "jsonbs") // jsonb_populate_record cannot read it.
	rest, err := json.Marshal(without)
	require.NoError(t, err)
	same("slow", postgres.Populate(postgres.New(postgres.Config{DB: p.pool, Schema: "slow", Columns: describe})), rest)

	// Column by column, so that no column is written in the other way because of another one.
	slow := map[string]bool{}
	for i, column := range columns[1:] {
		var kind string
		require.NoError(t, p.QueryRow(t.Context(), "SELECT format_type(atttypid, -1) FROM pg_attribute WHERE attrelid = 'fast.all_types'::regclass AND attname = $1",
			column.Name).Scan(&kind))
		if !postgres.Fast(string(values[column.Name]), kind) {
			slow[column.Name] = true
			continue
		}
		schema := fmt.Sprintf("one_%d", i)
		only := postgres.New(postgres.Config{DB: p.pool, Schema: schema, Columns: func(context.Context, pgx.Tx, change.Change) ([]postgres.Column, error) {
			return []postgres.Column{columns[0], column}, nil
		}})
		same(schema, only, sinktest.Object(map[string]any{"id": 1, column.Name: values[column.Name]}))
	}
	require.Equal(t, map[string]bool{"a_tags": true, "an_address": true, "addresses": true, "boxes": true}, slow)
}

// TestPostgres_TooLong: a value that is too long is refused, and not truncated.
func TestPostgres_TooLong(t *testing.T) {
	t.Parallel()
	p := newTarget(t)
	s := postgres.New(postgres.Config{DB: p.pool, Schema: "copy", Columns: func(context.Context, pgx.Tx, change.Change) ([]postgres.Column, error) {
		return []postgres.Column{{Name: "id", Type: "bigint"}, {Name: "status", Type: "character varying(4)"}, {Name: "note", Type: "bit(3)"}}, nil
	}})
	good, long, bits := sinktest.Insert(1, 1), sinktest.Insert(2, 2), sinktest.Insert(3, 3)
	good.New = json.RawMessage(`{"id": 1, "status": "four", "note": "101"}`)
	long.New = json.RawMessage(`{"id": 2, "status": "fives", "note": "101"}`)
	bits.New = json.RawMessage(`{"id": 3, "status": "four", "note": "1"}`)
	refusals, err := s.Deliver(t.Context(), []change.Change{good, long, bits})
	require.NoError(t, err)
	require.Len(t, refusals, 2)
	require.Contains(t, refusals[0].Reason, "22001")
	require.Contains(t, refusals[1].Reason, "22026")
}

// BenchmarkPostgres compares the two ways of writing rows, with batches of 1,000 changes of 100,000 rows.
func BenchmarkPostgres(b *testing.B) {
	for name, populate := range map[string]bool{"populate": true, "unnest": false} {
		b.Run(name, func(b *testing.B) {
			p := newTarget(b)
			s := postgres.New(postgres.Config{DB: p.pool, Schema: "copy", Columns: func(context.Context, pgx.Tx, change.Change) ([]postgres.Column, error) {
				return []postgres.Column{
					{Name: "id", Type: "bigint"},
					{Name: "user_id", Type: "bigint"},
					{Name: "status", Type: "text"},
					{Name: "total", Type: "numeric(12,2)"},
					{Name: "created_at", Type: "timestamp with time zone"},
					{Name: "note", Type: "text"},
				}, nil
			}})
			if populate {
				s = postgres.Populate(s)
			}
			position := int64(0)
			batch := make([]change.Change, 1000)
			for b.Loop() {
				for i := range batch {
					position++
					id := position * 7919 % 100_000
					c := sinktest.Insert(position, id)
					c.New = json.RawMessage(fmt.Sprintf(`{"id": %d, "user_id": %d, "status": "paid", "total": 12.50,
						"created_at": "2026-03-01T10:00:00.123456+00:00", "note": "the quick brown fox"}`, id, position%1000))
					batch[i] = c
				}
				refusals, err := s.Deliver(b.Context(), batch)
				require.NoError(b, err)
				require.Empty(b, refusals)
			}
			b.ReportMetric(float64(position)/b.Elapsed().Seconds(), "changes/s")
		})
	}
}
