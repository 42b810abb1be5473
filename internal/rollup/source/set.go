package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/schema"
)

// Options say which table and columns have the events. Names are looked up as in SQL, or else exactly as written.
type Options struct {
	Table string // schema.table, or a table of the schema public

	Entity string // the column with the entity
	Type   string // the column with the event type
	Time   string // the column with the instant

	// TimeZone is the zone of a timestamp without time zone; UTC if empty. Other columns need none.
	TimeZone string
	// Map renames event types: its keys are the table's names, its values Daymill's. Other types keep their names.
	Map map[string]string
	// Where is a condition in SQL on the table's rows. Rows that do not meet it are not events.
	Where string

	// Who sets it, for the audit. The audit records nothing if Via is empty.
	Who audit.Who
	// Retention is how long the application keeps events; 0 means forever, and nil keeps the recorded value.
	Retention *time.Duration
}

// advisoryLock is held by a transaction that replaces the view, because two at a time would conflict in the catalog. The number is
// arbitrary.
const advisoryLock = 6_107_330_082

// Set makes analytics.events read a table. It replaces the view in one transaction, so an error changes nothing. If the table or the
// options are wrong, the error is ErrRefused.
func Set(ctx context.Context, conn *postgres.DB, installation schema.Installation, options Options) error {
	return locked(ctx, conn, func(tx pgx.Tx) error {
		if err := set(ctx, tx, installation, options); err != nil {
			return err
		}
		return options.writeDown(ctx, tx, "set source")
	})
}

// writeDown records in the audit who has set the source.
func (o Options) writeDown(ctx context.Context, tx pgx.Tx, action string) error {
	detail := map[string]any{"entity": o.Entity, "type": o.Type, "time": o.Time}
	if o.Where != "" {
		detail["where"] = o.Where
	}
	if o.Retention != nil {
		detail["retention"] = retentionText(*o.Retention)
	}
	return writeDown(ctx, tx, audit.Entry{Who: o.Who, Action: action, Target: o.Table, Detail: detail})
}

// writeDown records an entry about the source in the audit, unless its Via is empty.
func writeDown(ctx context.Context, tx pgx.Tx, entry audit.Entry) error {
	if entry.Via == "" {
		return nil
	}
	return audit.Record(ctx, tx, entry)
}

// The table that Create creates and Adopt adopts.
const rawEvents = "raw_events"

func rawEventsOptions() Options {
	return Options{Table: publicSchema + "." + rawEvents, Entity: "entity_id", Type: "event_type", Time: "created_at"}
}

// Create creates the table public.raw_events, for an application that records no events yet, and sets it as the source. It returns
// ErrRefused if that table or any other source exists. The audit records who, as in Options.
func Create(ctx context.Context, conn *postgres.DB, installation schema.Installation, who audit.Who) error {
	return locked(ctx, conn, func(tx pgx.Tx) error {
		existing, err := lookup(ctx, tx, publicSchema, rawEvents)
		if err != nil {
			return err
		}
		if existing.name != "" {
			return refusef("public.raw_events already exists: run `daymill source set --table public.raw_events " +
				"--entity … --type … --time …` to read it")
		}
		current, err := show(ctx, tx)
		switch {
		case err == nil:
			return refusef("analytics.events already reads %s: `daymill source set` changes that", strings.Join(current.Reads, ", "))
		case !errors.Is(err, ErrNone):
			return err
		}
		_, err = tx.Exec(ctx, `
			CREATE TABLE public.raw_events (
				id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
				entity_id `+string(installation.EntityType)+` NOT NULL,
				event_type text NOT NULL,
				created_at timestamptz NOT NULL DEFAULT now()
			);
			CREATE INDEX raw_events_created_at ON public.raw_events (created_at);`)
		switch {
		case postgres.Code(err) == pgerrcode.InsufficientPrivilege:
			return refusef("this role may not create tables in the schema public: run GRANT CREATE ON SCHEMA public TO it, " +
				"or let another role create the table and run `daymill source set`")
		case err != nil:
			return fmt.Errorf("create public.raw_events: %w", err)
		}
		options := rawEventsOptions()
		options.Who = who
		if err := set(ctx, tx, installation, options); err != nil {
			return err
		}
		return options.writeDown(ctx, tx, "create source")
	})
}

// Adopt sets public.raw_events as the source if there is no source yet and that table exists. Otherwise it does nothing. If the
// table cannot be a source, it returns ErrRefused; it has then changed nothing, so a caller may report the error and continue.
func Adopt(ctx context.Context, conn *postgres.DB, installation schema.Installation) error {
	exists, err := Exists(ctx, conn)
	if err != nil || exists {
		return err
	}
	return locked(ctx, conn, func(tx pgx.Tx) error {
		exists, err := existsIn(ctx, tx) // Another process may have been first.
		if err != nil || exists {
			return err
		}
		table, err := lookup(ctx, tx, publicSchema, rawEvents)
		if err != nil || table.name == "" {
			return err
		}
		if err := set(ctx, tx, installation, rawEventsOptions()); err != nil {
			return fmt.Errorf("set public.raw_events as the source: %w", err)
		}
		return nil
	})
}

// locked runs do in a transaction with a lock, so that nobody else sets the source at the same time.
func locked(ctx context.Context, conn *postgres.DB, do func(tx pgx.Tx) error) error {
	err := conn.Tx(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", int64(advisoryLock)); err != nil {
			return fmt.Errorf("wait for another change of the source: %w", err)
		}
		return do(tx)
	})
	if postgres.IsLockTimeout(err) {
		return fmt.Errorf("analytics.events or the table is locked by another transaction: run it again in a moment: %w", err)
	}
	return err
}

func set(ctx context.Context, tx pgx.Tx, installation schema.Installation, options Options) error {
	source, v, err := options.settle(ctx, tx)
	if err != nil {
		return err
	}
	if err := v.write(ctx, tx, source, installation.EntityType); err != nil {
		return err
	}
	former, err := recorded(ctx, tx)
	if err != nil {
		return err
	}
	if err := replace(ctx, tx, v.query); err != nil {
		return err
	}
	if err := refuseUnreadable(ctx, tx); err != nil {
		return err
	}
	if options.Retention != nil {
		if err := setRetention(ctx, tx, *options.Retention); err != nil {
			return err
		}
	}
	if err := recordReads(ctx, tx); err != nil {
		return err
	}
	if err := source.record(ctx, tx); err != nil {
		return err
	}
	// If somebody has dropped analytics.events, the views that read it were dropped too.
	if _, err := repairViews(ctx, tx, installation); err != nil {
		return err
	}
	// A run that read half of its date from each of two sources would have wrong counts.
	if _, err := db.New(tx).SourceInterrupt(ctx); err != nil {
		return fmt.Errorf("end the current runs: %w", err)
	}
	return rewatch(ctx, tx, former, source, installation.EntityType)
}

// settle looks up what the options name.
func (o Options) settle(ctx context.Context, tx pgx.Tx) (Source, view, error) {
	if strings.ContainsRune(o.Table+o.Entity+o.Type+o.Time+o.TimeZone+o.Where, 0) {
		return Source{}, view{}, refusef("an option contains a NUL character, which SQL does not allow")
	}
	for from, to := range o.Map {
		if strings.ContainsRune(from+to, 0) {
			return Source{}, view{}, refusef("--map contains a NUL character, which Postgres cannot store")
		}
	}
	table, err := find(ctx, tx, o.Table)
	if err != nil {
		return Source{}, view{}, err
	}
	if err := table.usable(); err != nil {
		return Source{}, view{}, err
	}
	v := view{table: table}
	for _, wanted := range []struct {
		column     *db.SourceColumnsRow
		flag, name string
	}{{&v.entity, "entity", o.Entity}, {&v.kind, "type", o.Type}, {&v.time, "time", o.Time}} {
		if *wanted.column, err = table.column(ctx, tx, wanted.flag, wanted.name); err != nil {
			return Source{}, view{}, err
		}
	}
	source := Source{
		Schema: table.schema, Table: table.name,
		Entity: v.entity.Name, Type: v.kind.Name, Time: v.time.Name,
		Map: o.Map, Where: strings.TrimSpace(o.Where), tableID: table.ID,
	}
	source.TimeZone, err = zone(ctx, tx, v.time, o.TimeZone)
	return source, v, err
}

// replace gives analytics.events another query. It never drops the view, because other views and grants depend on it.
func replace(ctx context.Context, tx pgx.Tx, query string) error {
	role, err := db.New(tx).SourceRole(ctx)
	switch {
	case errors.Is(err, pgx.ErrNoRows): // Somebody has dropped the view. Create it again.
	case err != nil:
		return fmt.Errorf("look at the role: %w", err)
	case !role.Owns:
		return refusef("the role %s does not own analytics.events: run this as %s", role.RoleQuoted, role.OwnerQuoted)
	}
	err = asWritten(ctx, tx, func() error { return execute(ctx, tx, "CREATE OR REPLACE VIEW analytics.events AS "+query) })
	if postgres.Code(err) == pgerrcode.InvalidTableDefinition {
		return refusef("analytics.events has columns other than entity_id, event_type and created_at, and Postgres cannot remove " +
			"columns of a view: change it by hand, with CREATE OR REPLACE VIEW")
	}
	if err != nil {
		return fmt.Errorf("replace analytics.events: %w", err)
	}
	return nil
}

// record stores how the view was created.
func (s Source) record(ctx context.Context, tx pgx.Tx) error {
	if s.Map == nil {
		s.Map = map[string]string{}
	}
	typeMap, err := json.Marshal(s.Map)
	if err != nil {
		return fmt.Errorf("write --map as JSON: %w", err)
	}
	made, err := definition(ctx, tx, viewName)
	if err != nil {
		return err
	}
	params := db.SourceSetParams{
		TableSchema: s.Schema, TableName: s.Table,
		EntityColumn: s.Entity, TypeColumn: s.Type, TimeColumn: s.Time,
		TypeMap: typeMap, ViewDefinition: made, TableID: s.tableID,
	}
	if s.TimeZone != "" {
		params.TimeColumnZone = &s.TimeZone
	}
	if s.Where != "" {
		params.Condition = &s.Where
	}
	if err := db.New(tx).SourceSet(ctx, params); err != nil {
		return fmt.Errorf("record the source: %w", err)
	}
	return nil
}

// refuseUnreadable refuses a source that Postgres would not let a run read.
func refuseUnreadable(ctx context.Context, tx pgx.Tx) error {
	findings, err := checkRights(ctx, tx)
	if err != nil {
		return err
	}
	for _, finding := range findings {
		if finding.Level == Failure {
			return refusef("%s: %s", finding.Sentence, strings.Join(finding.Fix, " "))
		}
	}
	return nil
}
