// Package trigger captures changes with triggers, for databases whose WAL cannot be read.
//
// Statement triggers with transition tables write to a queue in the source: one row for each changed row, with the number of the
// transaction and the next number of a sequence. In the order of the sequence, the reader takes the rows that the current snapshot sees
// and the previous one did not. A position in the sequence alone would skip transactions that commit late.
//
//	statement ──▶ trigger ──▶ queue_0 | queue_1 ──▶ difference of two snapshots ──▶ land
//	                              └── TRUNCATE empties the resting queue
package trigger

import (
	"context"
	_ "embed"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/table"
	"github.com/daymill/daymill/internal/capture/value"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/schema"
)

//go:embed install.sql
var installSQL string

// lockWait is how long installing a trigger waits for the application's statements. Other statements wait behind it for as long.
const lockWait = "2s"

// settings of the functions, so that values have the same text as in WAL mode, whatever the application's settings are.
const settings = "SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' " +
	"SET bytea_output = 'hex' SET extra_float_digits = 1 SET quote_all_identifiers = off"

// base is the schema for the stream app. Schemas of other streams begin with it.
const base = schema.Queue

// Schema returns the name of a stream's schema in the source. It depends on the stream, because several streams may read one database.
func Schema(stream string) string {
	if stream == "app" {
		return base
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(stream)) // It never fails.
	plain := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToLower(stream))
	return fmt.Sprintf("%s_%.20s_%08x", base, plain, h.Sum32())
}

// in replaces the schema in SQL that is written for base.
func in(schema, sql string) string {
	return strings.NewReplacer(base+".", schema+".", "SCHEMA IF NOT EXISTS "+base, "SCHEMA IF NOT EXISTS "+schema, "ON SCHEMA "+base, "ON SCHEMA "+schema, "IN SCHEMA "+base, "IN SCHEMA "+schema).Replace(sql)
}

// Install creates what is missing: the queues, and for each table its functions and triggers, also on new partitions. It returns the
// tables that had lost their triggers: those in before, which the caller has captured so far, whose triggers were missing.
func Install(ctx context.Context, tx pgx.Tx, schema string, tables []table.Table, before []string) (lost []string, err error) {
	if err := postgres.SetLocal(ctx, tx, postgres.Local{"lock_timeout": lockWait}); err != nil {
		return nil, err
	}
	if _, err := tx.Exec(ctx, "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('daymill_capture'))"); err != nil {
		return nil, fmt.Errorf("install the queue: %w", err)
	}
	var has bool
	if err := tx.QueryRow(ctx, "SELECT pg_catalog.to_regclass($1) IS NOT NULL AND pg_catalog.to_regprocedure($2) IS NOT NULL", schema+".control", schema+".plain(oid)").Scan(&has); err != nil {
		return nil, fmt.Errorf("install the queue: %w", err)
	}
	if !has {
		if _, err := tx.Exec(ctx, in(schema, installSQL)); err != nil {
			return nil, fmt.Errorf("install the queue: %w", err)
		}
	}
	known := map[string]bool{}
	for _, name := range before {
		known[name] = true
	}
	for _, t := range tables {
		made, err := install(ctx, tx, schema, t)
		if err != nil {
			return nil, fmt.Errorf("install triggers on %s: %w", t, err)
		}
		if made && known[t.String()] {
			lost = append(lost, t.String())
		}
	}
	return lost, remove(ctx, tx, schema, tables)
}

// kinds of triggers, with the transition tables of each.
//
//nolint:gochecknoglobals // Constants.
var kinds = []struct{ name, event, tables string }{
	{"insert", "INSERT", " REFERENCING NEW TABLE AS new_rows"},
	{"update", "UPDATE", " REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows"},
	{"delete", "DELETE", " REFERENCING OLD TABLE AS old_rows"},
	{"truncate", "TRUNCATE", ""},
}

// install creates a table's functions, and the triggers that are missing or disabled. It reports whether any was on the table itself.
func install(ctx context.Context, tx pgx.Tx, schema string, t table.Table) (made bool, err error) {
	signature := fmt.Sprintf("%q", []string{"3", t.Identity, strings.Join(t.Key, "\x00"), strings.Join(t.Generated, "\x00")})
	if t.KeysOnly {
		signature += " keys"
	}
	for _, kind := range kinds {
		function := schema + "." + kind.name + "_" + number(t.OID)
		var comment string
		err := tx.QueryRow(ctx, `
			SELECT coalesce((SELECT pg_catalog.obj_description(p.oid, 'pg_proc') FROM pg_catalog.pg_proc AS p
				WHERE p.pronamespace = pg_catalog.to_regnamespace($2) AND p.proname = $1), '')`, kind.name+"_"+number(t.OID), schema).Scan(&comment)
		if err != nil {
			return false, err
		}
		if comment == signature {
			continue
		}
		for _, statement := range []string{
			"CREATE OR REPLACE FUNCTION " + function + "() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER " + settings + " AS " + literal(body(schema, kind.name, t)),
			"REVOKE ALL ON FUNCTION " + function + "() FROM PUBLIC",
			"COMMENT ON FUNCTION " + function + "() IS " + literal(signature),
		} {
			if _, err := tx.Exec(ctx, statement); err != nil {
				return false, err
			}
		}
	}
	for _, oid := range append([]uint32{t.OID}, t.Parts...) {
		one, err := attach(ctx, tx, schema, t, oid)
		if err != nil {
			return false, err
		}
		made = made || one && oid == t.OID
	}
	return made, nil
}

// attach creates triggers on a table or one of its partitions. As in WAL mode, only TRUNCATE of the whole table counts.
func attach(ctx context.Context, tx pgx.Tx, schema string, t table.Table, oid uint32) (made bool, err error) {
	var name string
	var there []string
	err = tx.QueryRow(ctx, `
		SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), ARRAY(
			SELECT g.tgname::text FROM pg_catalog.pg_trigger AS g INNER JOIN pg_catalog.pg_proc AS p ON p.oid = g.tgfoid
			WHERE g.tgrelid = c.oid AND g.tgenabled = 'A' AND p.pronamespace = pg_catalog.to_regnamespace($2)
		)
		FROM pg_catalog.pg_class AS c INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = $1`, oid, schema).Scan(&name, &there)
	if err != nil {
		return false, err
	}
	for _, kind := range kinds {
		trigger := schema + "_" + kind.name
		if slices.Contains(there, trigger) || kind.name == "truncate" && oid != t.OID {
			continue
		}
		made = true
		for _, statement := range []string{
			"DROP TRIGGER IF EXISTS " + trigger + " ON " + name,
			"CREATE TRIGGER " + trigger + " AFTER " + kind.event + " ON " + name + kind.tables +
				" FOR EACH STATEMENT EXECUTE FUNCTION " + schema + "." + kind.name + "_" + number(t.OID) + "()",
			"ALTER TABLE " + name + " ENABLE ALWAYS TRIGGER " + trigger, // Also fire for replication and restores.
		} {
			if _, err := tx.Exec(ctx, statement); err != nil {
				return false, err
			}
		}
	}
	return made, nil
}

// remove removes the triggers of tables that are no longer captured.
func remove(ctx context.Context, tx pgx.Tx, schema string, tables []table.Table) error {
	keep := []uint32{}
	for _, t := range tables {
		keep = append(append(keep, t.OID), t.Parts...)
	}
	rows, err := tx.Query(ctx, `
		SELECT pg_catalog.format('DROP TRIGGER %I ON %s', g.tgname, g.tgrelid::regclass)
		FROM pg_catalog.pg_trigger AS g INNER JOIN pg_catalog.pg_proc AS p ON p.oid = g.tgfoid
		WHERE p.pronamespace = pg_catalog.to_regnamespace($2) AND NOT g.tgrelid = ANY($1::oid[])`, keep, schema)
	if err != nil {
		return fmt.Errorf("look for triggers to remove: %w", err)
	}
	statements, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("look for triggers to remove: %w", err)
	}
	for _, statement := range statements {
		if _, err := tx.Exec(ctx, statement); err != nil {
			return fmt.Errorf("remove a trigger: %w", err)
		}
	}
	return nil
}

// Remove removes everything of a stream from a source.
func Remove(ctx context.Context, on postgres.DBTX, schema string) error {
	if _, err := on.Exec(ctx, "DROP SCHEMA IF EXISTS "+schema+" CASCADE"); err != nil {
		return fmt.Errorf("remove the queue: %w", err)
	}
	return nil
}

// body returns the trigger function for one kind of statement on a table. The function never makes the application's statement fail: it
// counts changes that cannot be written, which are a gap.
func body(schema, kind string, t table.Table) string {
	newAlias, oldAlias := "n", "o"
	newRow, oldRow := row("n", t), row("o", t)
	if kind == "update" {
		newAlias, oldAlias = "(b.n)", "(a.o)"
		newRow, oldRow = rowOf("b.n", t), rowOf("a.o", t)
	}
	newObject, oldObject := objectCall(newAlias, t), objectCall(oldAlias, t)
	if !t.Full() || t.KeysOnly {
		oldRow, oldObject = none, literal(none)
	}
	if t.KeysOnly {
		newRow, newObject = none, literal(none)
	}
	insert := func(queue, newRow, oldRow, newKey, oldKey string) string {
		return "INSERT INTO daymill_capture." + queue + " (xid, seq, root, op, key_changed, at, key, old, new) " +
			"SELECT pg_current_xact_id(), nextval('daymill_capture.seq'), " + number(t.OID) + ", r.op, r.key_changed, statement_timestamp(), r.key, r.old, r.new " +
			"FROM (" + rows(kind, newRow, oldRow, newKey, oldKey) + ") AS r (op, key_changed, key, old, new, place)"
	}
	plain := func(queue string) string {
		return insert(queue, newRow, oldRow, key(newAlias, t), key(oldAlias, t)) + ";"
	}
	careful := func(queue string) string {
		return "EXECUTE format(" + literal(insert(queue, "%1$s", "%2$s", "%3$s", "%4$s")) + ", " + newObject + ", " + oldObject + ", " +
			keyCall(newAlias, t) + ", " + keyCall(oldAlias, t) + ");"
	}
	return in(schema, `
DECLARE
    active integer := (SELECT c.active FROM daymill_capture.control AS c);
BEGIN
    IF TG_OP <> 'TRUNCATE' AND EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = TG_RELID AND a.attnum > 0 AND a.atttypid >= 16384 AND NOT a.attisdropped)
        AND NOT daymill_capture.plain(TG_RELID) THEN
        IF active = 0 THEN
            `+careful("queue_0")+`
        ELSE
            `+careful("queue_1")+`
        END IF;
    ELSIF active = 0 THEN
        `+plain("queue_0")+`
    ELSE
        `+plain("queue_1")+`
    END IF;
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    PERFORM nextval('daymill_capture.failures');
    RAISE WARNING 'daymill could not capture a change of `+strings.NewReplacer("'", "''", "%", "%%").Replace(t.String())+`: %', SQLERRM;
    RETURN NULL;
END`)
}

// rows returns the query for the rows that a statement adds to the queue. The arguments are expressions for rows and keys.
func rows(kind, newRow, oldRow, newKey, oldKey string) string {
	switch kind {
	case "insert":
		return "SELECT 'i'::\"char\" AS op, false AS key_changed, " + newKey + " AS key, NULL::jsonb AS old, " + newRow + " AS new, 0 AS place FROM new_rows AS n"
	case "delete":
		return "SELECT 'd'::\"char\", false, " + oldKey + ", " + oldRow + ", NULL::jsonb, 0 FROM old_rows AS o"
	case "update":
		// Both tables have the rows in the order in which they were updated, so row numbers pair them. Keys cannot, because another row may
		// have a row's old key now.
		pairs := "(SELECT row_number() OVER () AS number, t AS o FROM old_rows AS t) AS a INNER JOIN (SELECT row_number() OVER () AS number, t AS n FROM new_rows AS t) AS b USING (number)"
		same := oldKey + "::text = " + newKey + "::text"
		return "SELECT e.* FROM (SELECT number, " + same + " AS same, " + oldKey + " AS old_key, " + newKey + " AS new_key, " + oldRow + " AS old, " + newRow + " AS new FROM " + pairs + ") AS p " +
			"CROSS JOIN LATERAL (SELECT 'u'::\"char\" AS op, false AS key_changed, p.new_key AS key, p.old, p.new, p.number AS place WHERE p.same " +
			"UNION ALL SELECT 'd', true, p.old_key, p.old, NULL, p.number WHERE NOT p.same " +
			"UNION ALL SELECT 'i', true, p.new_key, NULL, p.new, p.number WHERE NOT p.same) AS e ORDER BY e.place, e.op"
	default:
		return "SELECT 't'::\"char\", false, NULL::json, " + none + ", " + none + ", 0"
	}
}

// objectCall and keyCall return calls of the functions that write a row and a key if to_jsonb must not.
func objectCall(alias string, t table.Table) string {
	return "daymill_capture.object(TG_RELID, " + literal(alias) + ", " + array(t.Generated) + ")"
}

func keyCall(alias string, t table.Table) string {
	documents := make([]string, len(t.Key))
	for i, name := range t.Key {
		documents[i] = string(value.AppendString(nil, []byte(name)))
	}
	return "daymill_capture.key(TG_RELID, " + literal(alias) + ", " + array(t.Key) + ", " + array(documents) + ")"
}

func array(texts []string) string {
	literals := make([]string, len(texts))
	for i, text := range texts {
		literals[i] = literal(text)
	}
	return "ARRAY[" + strings.Join(literals, ", ") + "]::text[]"
}

// none is the SQL for a missing row.
const none = "NULL::jsonb"

func row(alias string, t table.Table) string { return rowOf(alias+".*", t) }

func rowOf(composite string, t table.Table) string {
	parts := make([]string, 0, 1+len(t.Generated))
	parts = append(parts, "to_jsonb("+composite+")")
	for _, column := range t.Generated {
		parts = append(parts, literal(column))
	}
	return strings.Join(parts, " - ")
}

// key returns the SQL of a key. It is json because jsonb would lose the order of the columns.
func key(alias string, t table.Table) string {
	if len(t.Key) == 0 {
		return "NULL::json"
	}
	parts := make([]string, 0, len(t.Key))
	for _, column := range t.Key {
		parts = append(parts, literal(string(value.AppendString(nil, []byte(column)))+": ")+" || coalesce(to_jsonb("+alias+"."+pgx.Identifier{column}.Sanitize()+")::text, 'null')")
	}
	return "('{' || " + strings.Join(parts, " || ', ' || ") + " || '}')::json"
}

func number(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

func literal(text string) string {
	return "E'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(text) + "'"
}
