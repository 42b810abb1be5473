// Package trigger captures changes with triggers, for databases whose WAL cannot be read.
//
// Statement triggers with transition tables write to a queue in the source: one row for each changed row, with the number of the
// transaction and the next number of a sequence. In the order of the sequence, the reader takes the rows that the current snapshot sees
// and the previous one did not. A position in the sequence alone would skip transactions that commit late.
//
//	statement ──▶ trigger ──▶ queue_0 | queue_1 ──▶ difference of two snapshots ──▶ land
//	                              └── TRUNCATE empties the resting queue
//
// A number in the source, the witness, shows that the source has everything that was read from it.
package trigger

import (
	"context"
	_ "embed"
	"errors"
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

// Install creates what is missing: the queues, and for each table its functions and triggers, also on new partitions. It removes the
// triggers of tables that are no longer captured. It calls made, unless that is nil, in the transaction that creates triggers of a table itself.
//
// A transaction locks one table or one partition. If it locked more, it could hold a lock for which the application waits while it waits
// for the application, and Postgres could abort the application's transaction.
func Install(ctx context.Context, source *postgres.DB, schema string, tables []table.Table, made func(ctx context.Context, t table.Table) error) error {
	if err := prepare(ctx, source, schema); err != nil {
		return fmt.Errorf("install the queue: %w", err)
	}
	has, err := look(ctx, source, schema)
	if err != nil {
		return fmt.Errorf("look for triggers: %w", err)
	}
	for _, t := range tables {
		if err := has.install(ctx, t, made); err != nil {
			return fmt.Errorf("install triggers on %s: %w", t, err)
		}
	}
	if err := has.remove(ctx, tables); err != nil {
		return fmt.Errorf("remove triggers: %w", err)
	}
	return nil
}

// kind is a kind of trigger, with its transition tables.
type kind struct{ name, event, tables string }

//nolint:gochecknoglobals // Constants.
var kinds = []kind{
	{"insert", "INSERT", " REFERENCING NEW TABLE AS new_rows"},
	{"update", "UPDATE", " REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows"},
	{"delete", "DELETE", " REFERENCING OLD TABLE AS old_rows"},
	{"truncate", "TRUNCATE", ""},
}

// prepare creates the queue and the witness if they are missing. If only the witness is, as after an upgrade, it locks no queue.
func prepare(ctx context.Context, source *postgres.DB, schema string) error {
	var queue, witness bool
	err := source.QueryRow(ctx, `
		SELECT pg_catalog.to_regclass($1) IS NOT NULL AND pg_catalog.to_regprocedure($2) IS NOT NULL, pg_catalog.to_regclass($3) IS NOT NULL`,
		schema+".control", schema+".plain(oid)", schema+".witness").Scan(&queue, &witness)
	if err != nil || queue && witness {
		return err
	}
	return alone(ctx, source, func(tx pgx.Tx) error {
		if !queue {
			if _, err := tx.Exec(ctx, in(schema, installSQL)); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, in(schema, witnessSQL))
		return err
	})
}

// alone calls do in a transaction. Only one process at a time installs.
func alone(ctx context.Context, source *postgres.DB, do func(tx pgx.Tx) error) error {
	return source.Tx(ctx, func(tx pgx.Tx) error {
		if err := postgres.SetLocal(ctx, tx, postgres.Local{"lock_timeout": lockWait}); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('daymill_capture'))"); err != nil {
			return err
		}
		return do(tx)
	})
}

// installed is what a source has of a stream.
type installed struct {
	source    *postgres.DB
	schema    string
	functions map[string]string            // signatures by name
	triggers  map[uint32]map[string]string // the function that each enabled one calls, by table or partition, and name; empty if it is disabled
}

func look(ctx context.Context, source *postgres.DB, schema string) (*installed, error) {
	i := &installed{source: source, schema: schema, functions: map[string]string{}, triggers: map[uint32]map[string]string{}}
	rows, err := source.Query(ctx, `
		SELECT p.proname, coalesce(pg_catalog.obj_description(p.oid, 'pg_proc'), ''), coalesce(g.tgrelid, 0), coalesce(g.tgname, ''), coalesce(g.tgenabled = 'A', false)
		FROM pg_catalog.pg_proc AS p LEFT JOIN pg_catalog.pg_trigger AS g ON g.tgfoid = p.oid
		WHERE p.pronamespace = pg_catalog.to_regnamespace($1)`, schema)
	if err != nil {
		return nil, err
	}
	var function, signature, trigger string
	var oid uint32
	var enabled bool
	_, err = pgx.ForEachRow(rows, []any{&function, &signature, &oid, &trigger, &enabled}, func() error {
		i.functions[function] = signature
		if oid != 0 {
			if i.triggers[oid] == nil {
				i.triggers[oid] = map[string]string{}
			}
			if !enabled {
				function = ""
			}
			i.triggers[oid][trigger] = function
		}
		return nil
	})
	return i, err
}

// install creates a table's functions, and the triggers that are missing or disabled.
func (i *installed) install(ctx context.Context, t table.Table, made func(ctx context.Context, t table.Table) error) error {
	functions := i.outdated(t)
	if len(functions) > 0 {
		if err := alone(ctx, i.source, func(tx pgx.Tx) error { return run(ctx, tx, functions) }); err != nil {
			return err
		}
	}
	for _, oid := range append([]uint32{t.OID}, t.Parts...) {
		missing := i.missing(t, oid)
		if len(missing) == 0 {
			continue
		}
		err := i.change(ctx, oid, func(tx pgx.Tx, name string) error {
			if err := run(ctx, tx, i.attach(t, name, missing)); err != nil || made == nil || oid != t.OID {
				return err
			}
			return made(ctx, t)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// outdated returns statements that create or replace those functions of a table that are missing or of another version.
func (i *installed) outdated(t table.Table) (statements []string) {
	signature := fmt.Sprintf("%q", []string{"3", t.Identity, strings.Join(t.Key, "\x00"), strings.Join(t.Generated, "\x00")})
	if t.KeysOnly {
		signature += " keys"
	}
	for _, kind := range kinds {
		name := kind.name + "_" + number(t.OID)
		if i.functions[name] == signature {
			continue
		}
		function := i.schema + "." + name + "()"
		statements = append(
			statements,
			"CREATE OR REPLACE FUNCTION "+function+" RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER "+settings+" AS "+literal(body(i.schema, kind.name, t)),
			"REVOKE ALL ON FUNCTION "+function+" FROM PUBLIC",
			"COMMENT ON FUNCTION "+function+" IS "+literal(signature),
		)
	}
	return statements
}

// missing returns the kinds of triggers that a table or one of its partitions does not have. A table that was a partition has those of
// the table that it belonged to. As in WAL mode, only TRUNCATE of the whole table counts.
func (i *installed) missing(t table.Table, oid uint32) []kind {
	return slices.DeleteFunc(slices.Clone(kinds), func(k kind) bool {
		return i.triggers[oid][i.schema+"_"+k.name] == k.name+"_"+number(t.OID) || k.name == "truncate" && oid != t.OID
	})
}

// attach returns statements that create triggers on a table or one of its partitions.
func (i *installed) attach(t table.Table, name string, missing []kind) (statements []string) {
	for _, k := range missing {
		trigger := i.schema + "_" + k.name
		statements = append(
			statements,
			// Unlike DROP TRIGGER, this lets the application read.
			"CREATE OR REPLACE TRIGGER "+trigger+" AFTER "+k.event+" ON "+name+k.tables+
				" FOR EACH STATEMENT EXECUTE FUNCTION "+i.schema+"."+k.name+"_"+number(t.OID)+"()",
			"ALTER TABLE "+name+" ENABLE ALWAYS TRIGGER "+trigger, // Also fire for replication and restores.
		)
	}
	return statements
}

// remove removes the triggers of tables that are no longer captured.
func (i *installed) remove(ctx context.Context, tables []table.Table) error {
	captured := map[uint32]bool{}
	for _, t := range tables {
		captured[t.OID] = true
		for _, part := range t.Parts {
			captured[part] = true
		}
	}
	for oid, triggers := range i.triggers {
		if captured[oid] {
			continue
		}
		err := i.change(ctx, oid, func(tx pgx.Tx, name string) error {
			var statements []string
			for trigger := range triggers {
				statements = append(statements, "DROP TRIGGER IF EXISTS "+pgx.Identifier{trigger}.Sanitize()+" ON "+name)
			}
			return run(ctx, tx, statements)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// change calls do with the name of a table, in a transaction that may lock that table. If the table was dropped meanwhile, change does nothing.
func (i *installed) change(ctx context.Context, oid uint32, do func(tx pgx.Tx, name string) error) error {
	return alone(ctx, i.source, func(tx pgx.Tx) error {
		var name string
		err := tx.QueryRow(ctx, `
			SELECT pg_catalog.format('%I.%I', n.nspname, c.relname)
			FROM pg_catalog.pg_class AS c INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = $1`, oid).Scan(&name)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		return do(tx, name)
	})
}

func run(ctx context.Context, tx pgx.Tx, statements []string) error {
	for _, statement := range statements {
		if _, err := tx.Exec(ctx, statement); err != nil {
			return err
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
		// The alias is a name that no column has: Postgres would take it for the column instead of the row.
		pairs := `(SELECT row_number() OVER () AS number, "_daymill row" AS o FROM old_rows AS "_daymill row") AS a ` +
			`INNER JOIN (SELECT row_number() OVER () AS number, "_daymill row" AS n FROM new_rows AS "_daymill row") AS b USING (number)`
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
