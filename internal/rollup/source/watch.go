package source

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/schema"
)

// WatchOptions say what to watch. All empty, it is the source's table and its instant.
type WatchOptions struct {
	Table string // a table behind a view that was written by hand; the source's where empty
	Time  string // the column with the instant, where Table is given
	// TimeZone is the zone of a timestamp without time zone; UTC where empty.
	TimeZone string

	// Who has it watched, for the audit, in which nothing is written where Via is empty.
	Who audit.Who
}

// Watched is a table whose triggers ask for the dates of late events.
type Watched struct {
	Table string `json:"table"`       // quoted as SQL needs it
	Time  string `json:"time_column"` // exact; as the column is called today
	// Renamed is what the column was called when the triggers were made, where it has another name now. They go on
	// working, at ten times the cost; Watch creates them again.
	Renamed string `json:"renamed_from,omitempty"`
	// Tables counts the table and its partitions, or children, all the way down.
	Tables int `json:"tables"`
	// Unwatched are those among them that lack a trigger or have one disabled: a statement that names them directly is
	// not seen. Those that were added since belong here. Watch makes them watched.
	Unwatched []string `json:"unwatched"`
	// Unsound reports whether the triggers are gone from the table itself, or their function is not what Watch made of it.
	// Watch, or `daymill migrate`, puts that right.
	Unsound bool `json:"unsound,omitempty"`

	zone string // of a timestamp without time zone
}

// watchLockTimeout is how long the triggers' creation waits for writers: for as long, others queue behind it.
const watchLockTimeout = "500ms"

// watchEvents are the statements that triggers fire on, with the names of their transition tables.
var watchEvents = []struct{ name, timing, event, tables string }{ //nolint:gochecknoglobals // A table, never changed.
	{"insert", "AFTER", "INSERT", "REFERENCING NEW TABLE AS inserted"},
	{"update", "AFTER", "UPDATE", "REFERENCING OLD TABLE AS deleted NEW TABLE AS inserted"},
	{"delete", "AFTER", "DELETE", "REFERENCING OLD TABLE AS deleted"},
	{"truncate", "BEFORE", "TRUNCATE", ""},
}

// Watch puts triggers on a table, and on its partitions or children, that ask for the dates before today that a
// statement has touched. Called again, it creates them again, on partitions that were added since as well. It is ErrRefused
// where the table cannot have such triggers or this role may not create them. It takes a lock that waits for writers and
// keeps them waiting, for half a second at the most.
func Watch(ctx context.Context, conn *postgres.DB, installation schema.Installation, options WatchOptions) (Watched, error) {
	var watched Watched
	err := locked(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL lock_timeout = '"+watchLockTimeout+"'"); err != nil {
			return fmt.Errorf("limit waiting: %w", err)
		}
		w, err := options.settle(ctx, tx, installation.EntityType)
		if err != nil {
			return err
		}
		if err := w.install(ctx, tx); err != nil {
			return err
		}
		all, err := watches(ctx, tx)
		if err != nil {
			return err
		}
		for _, candidate := range all {
			if candidate.Table == w.table.Quoted {
				watched = candidate
			}
		}
		return writeDown(ctx, tx, audit.Entry{
			Who: options.Who, Action: "watch source", Target: w.table.Quoted, Detail: map[string]any{"time": w.time.Name},
		})
	})
	return watched, err
}

// Unwatch removes the triggers of a table, of all where the name is empty, and returns which it had found. Nothing is
// wrong where there are none. Who asked is for the audit, as in WatchOptions.
func Unwatch(ctx context.Context, conn *postgres.DB, name string, who audit.Who) ([]Watched, error) {
	var removed []Watched
	err := locked(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL lock_timeout = '"+watchLockTimeout+"'"); err != nil {
			return fmt.Errorf("limit waiting: %w", err)
		}
		all, err := watches(ctx, tx)
		if err != nil {
			return err
		}
		var table relation
		if name != "" {
			if table, err = find(ctx, tx, name); err != nil {
				return err
			}
		}
		for _, watched := range all {
			if name == "" || watched.Table == table.Quoted {
				removed = append(removed, watched)
			}
		}
		for _, watched := range removed {
			if err := writeDown(ctx, tx, audit.Entry{Who: who, Action: "unwatch source", Target: watched.Table}); err != nil {
				return err
			}
		}
		if err := db.New(tx).WatchForget(ctx, db.WatchForgetParams{EveryTable: name == "", TableSchema: table.schema, TableName: table.name}); err != nil {
			return fmt.Errorf("forget the watch: %w", err)
		}
		return dropFunctions(ctx, tx, func(f db.WatchFunctionsRow) (bool, error) {
			if name == "" || f.Tables == 0 {
				return true, nil
			}
			current, err := functionOf(ctx, tx, table)
			return current == f.Name, err
		})
	})
	return removed, err
}

// Watches lists the tables that are watched.
func Watches(ctx context.Context, conn *postgres.DB) ([]Watched, error) {
	var all []Watched
	err := conn.Tx(ctx, func(tx pgx.Tx) (err error) {
		all, err = watches(ctx, tx)
		return err
	})
	return all, err
}

func watches(ctx context.Context, tx pgx.Tx) ([]Watched, error) {
	rows, err := db.New(tx).WatchList(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for watched tables: %w", err)
	}
	all := make([]Watched, 0, len(rows))
	for _, row := range rows {
		watched := Watched{
			Table: row.Quoted, Time: row.TimeColumnNow, Tables: int(row.Tables), Unwatched: row.Unwatched, zone: row.TimeColumnZone,
			Unsound: row.FunctionChanged,
		}
		if row.TimeColumnNow != row.TimeColumn {
			watched.Renamed = row.TimeColumn
		}
		all = append(all, watched)
	}
	lost, err := db.New(tx).WatchLost(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for tables that were watched: %w", err)
	}
	for _, row := range lost {
		all = append(all, Watched{
			Table: row.Quoted, Time: row.TimeColumn, Tables: 1, Unwatched: []string{row.Quoted}, zone: row.TimeColumnZone,
			Unsound: true,
		})
	}
	return all, nil
}

// watch is what triggers are made of.
type watch struct {
	table relation
	time  db.SourceColumnsRow
	zone  string // of a timestamp without time zone; else empty
	// counted are the expressions that make an event of a row, where nothing else does: an update that leaves them as
	// they were has touched no date. Empty where the view was written by hand, or has a condition on other columns.
	counted []string
	// entityID is the expression for the entity, where counted is set and the column is of a type that is built in.
	entityID string
}

// settle finds what is to be watched, and refuses what cannot be.
func (o WatchOptions) settle(ctx context.Context, tx pgx.Tx, installed entity.Type) (watch, error) {
	source, err := show(ctx, tx)
	if err != nil {
		return watch{}, err
	}
	wanted, err := o.choose(ctx, tx, source, installed)
	if err != nil {
		return watch{}, err
	}
	return wanted, wanted.refuse()
}

// choose finds what is to be watched.
func (o WatchOptions) choose(ctx context.Context, tx pgx.Tx, source Source, installed entity.Type) (watch, error) {
	var err error
	wanted := watch{}
	switch {
	case o.Table != "":
		if o.Time == "" {
			return watch{}, refusef("--table needs --time, the column with the instant")
		}
		if wanted.table, err = find(ctx, tx, o.Table); err != nil {
			return watch{}, err
		}
		if err := wanted.table.usable(); err != nil {
			return watch{}, err
		}
		if wanted.time, err = wanted.table.column(ctx, tx, "time", o.Time); err != nil {
			return watch{}, err
		}
		if wanted.zone, err = zone(ctx, tx, wanted.time, o.TimeZone); err != nil {
			return watch{}, err
		}
	case source.HandWritten:
		return watch{}, refusef("analytics.events is written by hand, and reads %s: say which of them holds the events, and "+
			"its instant, with `daymill source watch --table … --time …`, once for each", strings.Join(source.Reads, ", "))
	case o.Time != "" || o.TimeZone != "":
		return watch{}, refusef("--time and --time-zone go with --table: the source's own are known")
	default:
		v, err := source.view(ctx, tx, installed)
		if err != nil {
			return watch{}, err
		}
		wanted.table, wanted.time, wanted.zone = v.table, v.time, source.TimeZone
	}
	if !source.HandWritten {
		if err := wanted.count(ctx, tx, source, installed); err != nil {
			return watch{}, err
		}
	}
	return wanted, nil
}

// count sets what of a row an update has to change to matter, where the source is this very table.
func (w *watch) count(ctx context.Context, tx pgx.Tx, source Source, installed entity.Type) error {
	if source.Where != "" || source.Schema != w.table.schema || source.Table != w.table.name ||
		source.Time != w.time.Name || source.TimeZone != w.zone {
		return nil
	}
	v, err := source.view(ctx, tx, installed)
	if err != nil {
		return err
	}
	entityID, err := entityExpression(v.entity, installed)
	if err != nil {
		return err
	}
	eventType, err := typeExpression(v.kind)
	if err != nil {
		return err
	}
	w.counted = []string{comparison(v.entity, entityID), comparison(v.kind, eventType)}
	if v.entity.BaseID < firstUserID {
		w.entityID = entityID
	}
	return nil
}

// firstUserID is the first number that Postgres gives to types that are not built in.
const firstUserID = 16384

// comparison is an expression for whether a column has changed. The triggers' function works with the rights of Daymill's
// owner, so of a type that is not built in it uses the output function alone, and none of the casts that its owner may add.
func comparison(column db.SourceColumnsRow, expression string) string {
	if column.BaseID < firstUserID {
		return expression
	}
	return "pg_catalog.format('%L', " + column.Quoted + ")"
}

// refuse says what cannot have such triggers.
func (w *watch) refuse() error {
	switch {
	case slices.Contains([]string{kindView, kindMatview}, w.table.Kind):
		return refusef("%s is a view, whose rows change in the tables behind it: name each of those, and its instant, with "+
			"`daymill source watch --table … --time …`", w.table.Quoted)
	case !slices.Contains([]string{kindTable, kindPartitioned}, w.table.Kind):
		return refusef("%s is a foreign table, on which Postgres has no triggers that see a statement's rows: enqueue the "+
			"dates of late events where they are written", w.table.Quoted)
	case w.time.BaseID != pgtype.TimestamptzOID && w.time.BaseID != pgtype.TimestampOID:
		return refusef("the %s column %s of %s is no instant: name a column that is timestamptz or timestamp",
			w.time.Type, w.time.Quoted, w.table.Quoted)
	default:
		return nil
	}
}

// install makes the function and the triggers.
func (w *watch) install(ctx context.Context, tx pgx.Tx) error {
	queries := db.New(tx)
	parent, err := queries.WatchParent(ctx, w.table.ID)
	if err != nil {
		return fmt.Errorf("look above %s: %w", w.table.Quoted, err)
	}
	if parent != "" {
		return refusef("%s is a part of %s, and a statement on that fires no trigger of its parts: "+
			"run `daymill source watch --table %s --time %s`", w.table.Quoted, parent, parent, w.time.Quoted)
	}
	tree, err := queries.WatchTree(ctx, db.WatchTreeParams{RelationID: w.table.ID, TimeColumn: w.time.Name})
	if err != nil {
		return fmt.Errorf("look below %s: %w", w.table.Quoted, err)
	}
	role, err := queries.WatchRole(ctx)
	if err != nil {
		return fmt.Errorf("look at the role: %w", err)
	}
	if !role.Owns || !role.MayCreate {
		return refusef("the role %s does not own Daymill's ledger: run this as %s", role.RoleQuoted, role.OwnerQuoted)
	}
	for _, part := range tree {
		if part.Kind == kindForeign {
			return refusef("%s is a foreign table, on which Postgres has no triggers that see a statement's rows: detach it, or "+
				"enqueue the dates of late events where they are written", part.Quoted)
		}
		if !part.Permitted {
			return refusef("the role %s may not create triggers on %s: run this as %s: GRANT TRIGGER ON %s TO %s;",
				role.RoleQuoted, part.Quoted, part.OwnerQuoted, part.Quoted, role.RoleQuoted)
		}
	}
	name, err := functionOf(ctx, tx, w.table)
	if err == nil && name == "" {
		name, err = freeName(ctx, tx)
	}
	if err != nil {
		return err
	}
	if err := w.makeFunction(ctx, tx, name, role.OwnerQuoted); err != nil {
		return err
	}
	literals, err := queries.SourceLiterals(ctx, []string{w.time.Name, w.zone})
	if err != nil {
		return fmt.Errorf("quote the column's name: %w", err)
	}
	for _, part := range tree {
		for _, on := range watchEvents {
			err := execute(ctx, tx, fmt.Sprintf("CREATE OR REPLACE TRIGGER daymill_watch_%s %s %s ON %s %s "+
				"FOR EACH STATEMENT EXECUTE FUNCTION analytics.%s(%s, %d, %s)",
				on.name, on.timing, on.event, part.Quoted, on.tables, name, literals[0], part.TimeNumber, literals[1]))
			if err != nil {
				return fmt.Errorf("create a trigger on %s: %w", part.Quoted, err)
			}
		}
	}
	return nil
}

// makeFunction creates or replaces the function of the triggers. It runs with the rights of the ledger's owner, so
// that a role that writes events needs no right on the ledger.
func (w *watch) makeFunction(ctx context.Context, tx pgx.Tx, name, owner string) error {
	body, err := w.function(ctx, tx)
	if err != nil {
		return err
	}
	queries := db.New(tx)
	literals, err := queries.SourceLiterals(ctx, []string{body})
	if err != nil {
		return fmt.Errorf("quote the function: %w", err)
	}
	quoted := "analytics." + name + "()"
	for _, statement := range []string{
		"CREATE OR REPLACE FUNCTION " + quoted + " RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER " +
			"SET search_path = pg_catalog, pg_temp AS " + literals[0],
		"REVOKE ALL ON FUNCTION " + quoted + " FROM PUBLIC",
		"ALTER FUNCTION " + quoted + " OWNER TO " + owner,
	} {
		if err := execute(ctx, tx, statement); err != nil {
			if postgres.Code(err) == pgerrcode.InsufficientPrivilege {
				return refusef("the triggers' function belongs to another role: run this as %s", owner)
			}
			return fmt.Errorf("make the function of the triggers: %w", err)
		}
	}
	err = queries.WatchRecord(ctx, db.WatchRecordParams{
		TableSchema: w.table.schema, TableName: w.table.name, TableID: w.table.ID, TimeColumn: w.time.Name, TimeColumnZone: w.zone,
		FunctionName: name, BodyHash: digest(body), TemplateHash: template(),
	})
	if err != nil {
		return fmt.Errorf("record the watch: %w", err)
	}
	return nil
}

// functionOf is the name of the function that a table's triggers call, or empty where it has none.
func functionOf(ctx context.Context, tx pgx.Tx, table relation) (string, error) {
	tree, err := db.New(tx).WatchTree(ctx, db.WatchTreeParams{RelationID: table.ID})
	if err != nil {
		return "", fmt.Errorf("look for triggers on %s: %w", table.Quoted, err)
	}
	for _, part := range tree {
		if part.ID == table.ID {
			return part.FunctionName, nil
		}
	}
	return "", nil
}

// freeName drops functions whose tables are gone, and returns a name that no other has.
func freeName(ctx context.Context, tx pgx.Tx) (string, error) {
	err := dropFunctions(ctx, tx, func(f db.WatchFunctionsRow) (bool, error) { return f.Tables == 0, nil })
	if err != nil {
		return "", err
	}
	functions, err := db.New(tx).WatchFunctions(ctx)
	if err != nil {
		return "", fmt.Errorf("look for the functions of triggers: %w", err)
	}
	for i := 1; ; i++ {
		name := fmt.Sprintf("watch_%d", i)
		if !slices.ContainsFunc(functions, func(f db.WatchFunctionsRow) bool { return f.Name == name }) {
			return name, nil
		}
	}
}

// dropFunctions drops functions with their triggers. Dropping triggers by themselves would need the tables' ownership.
func dropFunctions(ctx context.Context, tx pgx.Tx, which func(f db.WatchFunctionsRow) (bool, error)) error {
	functions, err := db.New(tx).WatchFunctions(ctx)
	if err != nil {
		return fmt.Errorf("look for the functions of triggers: %w", err)
	}
	for _, f := range functions {
		drop, err := which(f)
		if err != nil {
			return err
		}
		if !drop {
			continue
		}
		if err := execute(ctx, tx, "DROP FUNCTION analytics."+f.Name+"() CASCADE"); err != nil {
			return fmt.Errorf("drop the triggers: %w", err)
		}
	}
	return nil
}

// errWatched says that another table is to be read while the triggers are still on the former.
func (s Source) errWatched(of Watched) error {
	return refusef("%s is watched for late events: run `daymill source unwatch` first, and `daymill source watch` afterwards", of.Table)
}

// rewatch keeps the triggers on the source's table in step with the source: they are refused to stay on a table that is
// no longer read, and learn what is counted now.
func rewatch(ctx context.Context, tx pgx.Tx, former, current Source, installed entity.Type) error {
	if former.Table == "" {
		return nil
	}
	table, err := lookup(ctx, tx, former.Schema, former.Table)
	if err != nil || table.name == "" {
		return err
	}
	name, err := functionOf(ctx, tx, table)
	if err != nil || name == "" {
		return err
	}
	if former.Schema != current.Schema || former.Table != current.Table || former.Time != current.Time ||
		former.TimeZone != current.TimeZone {
		return former.errWatched(Watched{Table: table.Quoted})
	}
	w, err := WatchOptions{}.settle(ctx, tx, installed)
	if err != nil {
		return err
	}
	role, err := db.New(tx).WatchRole(ctx)
	if err != nil {
		return fmt.Errorf("look at the role: %w", err)
	}
	return w.makeFunction(ctx, tx, name, role.OwnerQuoted)
}
