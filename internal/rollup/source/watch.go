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

// WatchOptions say what to watch. The zero value means the source's table and its instant.
type WatchOptions struct {
	Table string // a table behind a view that was written by hand; the source's table if empty
	Time  string // the column with the instant, if Table is given
	// TimeZone is the zone of a timestamp without time zone; UTC if empty.
	TimeZone string

	// Who starts the watch, for the audit. The audit records nothing if Via is empty.
	Who audit.Who
}

// Watched is a table whose triggers request the dates of late events.
type Watched struct {
	Table string `json:"table"`       // quoted as SQL needs it
	Time  string `json:"time_column"` // exact; as the column is called today
	// Renamed is the name that the column had when the triggers were created; empty if it still has that name. The triggers still
	// work after a renaming, but cost ten times as much; Watch creates them again.
	Renamed string `json:"renamed_from,omitempty"`
	// Tables counts the table and all its partitions or children.
	Tables int `json:"tables"`
	// Unwatched lists the partitions or children without a trigger, or with a disabled one: statements that name them directly are
	// not noticed. This includes partitions that were added later. Watch adds the triggers.
	Unwatched []string `json:"unwatched"`
	// Unsound reports that the triggers of the table itself are missing, or that their function was changed. Watch and `daymill
	// migrate` repair this.
	Unsound bool `json:"unsound,omitempty"`

	zone string // of a timestamp without time zone
}

// watchLockTimeout is how long creating the triggers waits for writers. Other writers wait behind it for as long.
const watchLockTimeout = "500ms"

// watchEvents are the statements that triggers fire on, with the names of their transition tables.
var watchEvents = []struct{ name, timing, event, tables string }{ //nolint:gochecknoglobals // A table, never changed.
	{"insert", "AFTER", "INSERT", "REFERENCING NEW TABLE AS inserted"},
	{"update", "AFTER", "UPDATE", "REFERENCING OLD TABLE AS deleted NEW TABLE AS inserted"},
	{"delete", "AFTER", "DELETE", "REFERENCING OLD TABLE AS deleted"},
	{"truncate", "BEFORE", "TRUNCATE", ""},
}

// Watch creates triggers on a table, and on its partitions or children, that request the dates before today that a statement has
// touched. If it is called again, it recreates them, also on partitions that were added since. It returns ErrRefused if the table
// cannot have such triggers or this role may not create them. It takes a lock that waits for writers and blocks them, for half a
// second at most.
func Watch(ctx context.Context, conn *postgres.DB, installation schema.Installation, options WatchOptions) (Watched, error) {
	var watched Watched
	err := locked(ctx, conn, func(tx pgx.Tx) error {
		if err := postgres.SetLocal(ctx, tx, postgres.Local{"lock_timeout": watchLockTimeout}); err != nil {
			return err
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

// Unwatch removes the triggers of a table, or of all tables if the name is empty, and returns the tables that it found. It is not an
// error if there are none. The audit records who, as in WatchOptions.
func Unwatch(ctx context.Context, conn *postgres.DB, name string, who audit.Who) ([]Watched, error) {
	var removed []Watched
	err := locked(ctx, conn, func(tx pgx.Tx) error {
		if err := postgres.SetLocal(ctx, tx, postgres.Local{"lock_timeout": watchLockTimeout}); err != nil {
			return err
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
			return fmt.Errorf("delete the watch: %w", err)
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

// watch is what is needed to create the triggers of a table.
type watch struct {
	table relation
	time  db.SourceColumnsRow
	zone  string // of a timestamp without time zone; otherwise empty
	// counted lists the expressions from which the view computes an event. An update that does not change them touches no date. Empty
	// if the view was written by hand or has a condition on other columns.
	counted []string
	// columns has the columns in counted and the one with the instant.
	columns []db.SourceColumnsRow
	// entityID is the expression for the entity, if counted is set and the column has a built-in type.
	entityID string
}

// settle returns what to watch, or ErrRefused if it cannot be watched.
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

// choose returns what to watch.
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
		return watch{}, refusef("analytics.events was written by hand, and reads %s: say which of these tables has the events, and "+
			"which column has the instant, with `daymill source watch --table … --time …`, once for each table", strings.Join(source.Reads, ", "))
	case o.Time != "" || o.TimeZone != "":
		return watch{}, refusef("--time and --time-zone need --table: for the source's own table they are known")
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

// count sets counted and entityID, if the source is this table.
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
	w.columns = []db.SourceColumnsRow{v.entity, v.kind, v.time}
	w.counted = []string{comparison(v.entity, entityID), comparison(v.kind, eventType)}
	if v.entity.BaseID < firstUserID {
		w.entityID = entityID
	}
	return nil
}

// firstUserID is the first number that Postgres gives to types that are not built in.
const firstUserID = 16384

// comparison returns the expression by which the triggers notice that a column has changed. The triggers' function has the rights of
// Daymill's owner. So for a type that is not built in, it uses only the output function, and no cast that the type's owner may add.
func comparison(column db.SourceColumnsRow, expression string) string {
	if column.BaseID < firstUserID {
		return expression
	}
	return "pg_catalog.format('%L', " + column.Quoted + ")"
}

// refuse returns ErrRefused for relations that cannot have such triggers.
func (w *watch) refuse() error {
	switch {
	case slices.Contains([]string{kindView, kindMatview}, w.table.Kind):
		return refusef("%s is a view, whose rows change in the tables behind it: watch each of these tables with "+
			"`daymill source watch --table … --time …`", w.table.Quoted)
	case !slices.Contains([]string{kindTable, kindPartitioned}, w.table.Kind):
		return refusef("%s is a foreign table, on which Postgres has no triggers that see a statement's rows: request the "+
			"dates of late events in the program that writes them", w.table.Quoted)
	case w.time.BaseID != pgtype.TimestamptzOID && w.time.BaseID != pgtype.TimestampOID:
		return refusef("the %s column %s of %s is not an instant: give a timestamptz or timestamp column",
			w.time.Type, w.time.Quoted, w.table.Quoted)
	default:
		return nil
	}
}

// install creates the function and the triggers.
func (w *watch) install(ctx context.Context, tx pgx.Tx) error {
	queries := db.New(tx)
	parent, err := queries.WatchParent(ctx, w.table.ID)
	if err != nil {
		return fmt.Errorf("look above %s: %w", w.table.Quoted, err)
	}
	if parent != "" {
		return refusef("%s is a part of %s, and a statement on the whole table does not fire the triggers of its parts: "+
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
			return refusef("the foreign table %s is a part of it, on which Postgres has no triggers that see a statement's rows: detach it, or "+
				"request the dates of late events in the program that writes them", part.Quoted)
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
	elsewhere, err := postgres.Elsewhere(ctx, tx)
	if err != nil {
		return err
	}
	for _, part := range tree {
		if extension := elsewhere[uint32(part.ID)]; extension != "" { //nolint:gosec // An OID.
			return refusef("%s can neither be watched nor captured, because %s: request the dates of late events in the program that writes them, with %s",
				part.Quoted, because(extension), AskSQL)
		}
	}
	for _, part := range tree {
		for _, on := range watchEvents {
			err := execute(ctx, tx, fmt.Sprintf("CREATE OR REPLACE TRIGGER daymill_watch_%s %s %s ON %s %s "+
				"FOR EACH STATEMENT EXECUTE FUNCTION analytics.%s(%s, %d, %s)",
				on.name, on.timing, on.event, part.Quoted, on.tables, name, literals[0], part.TimeNumber, literals[1]))
			switch {
			// Hypertables and distributed tables have no such triggers. Citus says so with the code of an internal error.
			case postgres.Code(err) == pgerrcode.FeatureNotSupported, postgres.Code(err) == pgerrcode.InternalError:
				return refusef("%s has no triggers that see a statement's rows (it says: %s): notice late events with `daymill source watch --from capture`, "+
					"if the table's changes can be captured, or request their dates in the program that writes them", part.Quoted, postgres.Sentence(err))
			case err != nil:
				return fmt.Errorf("create a trigger on %s: %w", part.Quoted, err)
			}
		}
	}
	return nil
}

// makeFunction creates or replaces the function of the triggers. The function has the rights of the ledger's owner, so that a role
// that writes events needs no rights on the ledger.
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
			return fmt.Errorf("create the function of the triggers: %w", err)
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

// functionOf returns the name of the function that a table's triggers call, or an empty text if there is none.
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

// freeName drops functions whose tables no longer exist, and returns an unused name.
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

// dropFunctions drops functions together with their triggers. Dropping only the triggers would need ownership of the tables.
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

// errWatched returns the error for setting another table while the former one still has triggers.
func (s Source) errWatched(of Watched) error {
	return refusef("%s is watched for late events: run `daymill source unwatch` first, and `daymill source watch` afterwards", of.Table)
}

// rewatch updates the triggers on the source's table to what the source counts now. It returns an error if the source would read
// another table while the former one still has triggers.
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
