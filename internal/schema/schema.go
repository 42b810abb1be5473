// Package schema installs and upgrades Daymill's schemas: it runs the files of package migrations.
//
// It has two properties that the known libraries lack. Everything happens in one transaction, so a failed or interrupted upgrade
// changes nothing. And the lock belongs to this transaction, so it also works behind a pooler in transaction mode, where a session's
// advisory lock would stay on some connection.
package schema

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/schema/inventory"
	"github.com/daymill/daymill/migrations"
)

// Defaults of the first installation.
const (
	DefaultEntityType  = entity.UUID
	DefaultTimeZone    = "UTC"
	DefaultRiverSchema = "public"
)

// ErrNotMigrated says that the schema is missing or older than this binary.
var ErrNotMigrated = errors.New("the database is not migrated: run `daymill migrate`")

// advisoryLock is held by the transaction that migrates. The number is arbitrary.
const advisoryLock = 6_107_330_081

// Own returns the schemas that the migrations create.
func Own() []string { return []string{"analytics", "capture", "daymill", "view", "views"} }

// Schemas that a capability creates when it is first used.
const (
	// Mirrors is the schema of the copies of other databases' tables that views read.
	Mirrors = "view_mirror"
	// Queue is the schema of the queue in trigger mode. The names of further streams' schemas begin with it.
	Queue = "daymill_capture"
	// Archive is the schema of the archive's triggers.
	Archive = "daymill_archive"
)

// Reserved returns all schemas whose tables only Daymill writes to, except those of further streams.
func Reserved() []string { return append(Own(), Mirrors, Queue, Archive) }

// Installation has the values that were chosen when Daymill was installed in a database.
type Installation struct {
	EntityType  entity.Type
	TimeZone    string
	Zone        *time.Location
	RiverSchema string
}

// Migration is one numbered pair of files.
type Migration struct {
	Version   int
	Name      string
	Up, Down  string
	AppliedAt *time.Time // nil if it is not applied
}

// Options of Up. Empty fields mean the recorded value, or the default at the first installation.
type Options struct {
	EntityType  entity.Type
	TimeZone    string
	RiverSchema string
	DryRun      bool

	// Who migrates, for the audit. The audit records nothing if Via is empty.
	Who audit.Who
	// River migrates River's tables in a schema. Up calls it under the lock, before Daymill's migrations, which create triggers on
	// these tables.
	River func(ctx context.Context, riverSchema string) error
	// Repaired is called with the faults that Up found. Fault.Error says why a fault was not repaired. It may be nil.
	Repaired func(faults []inventory.Fault)
}

// All returns every migration of this binary, oldest first.
func All() ([]Migration, error) {
	names, err := fs.Glob(migrations.FS, "*.up.sql")
	if err != nil {
		return nil, fmt.Errorf("list migrations: %w", err)
	}
	slices.Sort(names)
	all := make([]Migration, len(names))
	for i, name := range names {
		number, rest, _ := strings.Cut(strings.TrimSuffix(name, ".up.sql"), "_")
		version, err := strconv.Atoi(number)
		if err != nil || version != i+1 {
			return nil, fmt.Errorf("migration %s: the number should be %04d", name, i+1)
		}
		up, err := migrations.FS.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read migration: %w", err)
		}
		down, err := migrations.FS.ReadFile(strings.TrimSuffix(name, ".up.sql") + ".down.sql")
		if err != nil {
			return nil, fmt.Errorf("read migration: %w", err)
		}
		all[i] = Migration{Version: version, Name: rest, Up: string(up), Down: string(down)}
	}
	return all, nil
}

// Get reads the installation. It returns ErrNotMigrated if the schema or a migration is missing.
func Get(ctx context.Context, conn *postgres.DB) (Installation, error) {
	all, err := Status(ctx, conn)
	if err != nil {
		return Installation{}, err
	}
	for _, m := range all {
		if m.AppliedAt == nil {
			return Installation{}, ErrNotMigrated
		}
	}
	return get(ctx, conn)
}

func get(ctx context.Context, on postgres.DBTX) (Installation, error) {
	row, err := db.New(on).InstallationGet(ctx)
	if err != nil {
		return Installation{}, fmt.Errorf("read the installation: %w", err)
	}
	zone, err := time.LoadLocation(row.TimeZone)
	if err != nil {
		return Installation{}, fmt.Errorf("load the reporting zone: %w", err)
	}
	return Installation{
		EntityType: entity.Type(row.EntityType), TimeZone: row.TimeZone, Zone: zone, RiverSchema: row.RiverSchema,
	}, nil
}

// Status returns every migration with the time it was applied.
func Status(ctx context.Context, conn *postgres.DB) ([]Migration, error) {
	return status(ctx, conn)
}

// batcher is a connection that sends statements together.
type batcher interface {
	postgres.DBTX
	SendBatch(ctx context.Context, batch *pgx.Batch) pgx.BatchResults
}

func status(ctx context.Context, on batcher) ([]Migration, error) {
	all, err := All()
	if err != nil {
		return nil, err
	}
	var role string
	var installed bool
	batch := &pgx.Batch{}
	batch.Queue("SELECT current_setting('role')").QueryRow(func(row pgx.Row) error { return row.Scan(&role) })
	batch.Queue("SELECT to_regclass('analytics.schema_migrations') IS NOT NULL").QueryRow(func(row pgx.Row) error { return row.Scan(&installed) })
	if err = on.SendBatch(ctx, batch).Close(); err != nil {
		return nil, fmt.Errorf("look for the schema: %w", rights(err, role))
	}
	if !installed {
		return all, nil
	}
	rows, err := on.Query(ctx, "SELECT m.version, m.applied_at FROM analytics.schema_migrations AS m ORDER BY m.version")
	if err != nil {
		return nil, fmt.Errorf("read the migrations: %w", rights(err, role))
	}
	var version int
	var appliedAt time.Time
	_, err = pgx.ForEachRow(rows, []any{&version, &appliedAt}, func() error {
		if version > len(all) {
			return fmt.Errorf("the database has migration %d, which this daymill does not know: deploy a newer one", version)
		}
		at := appliedAt
		all[version-1].AppliedAt = &at
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the migrations: %w", rights(err, role))
	}
	return all, nil
}

// rights adds what fixes an error about rights. Role is the setting of this name, with which a database or a login role can make every
// session act as another role.
func rights(err error, role string) error {
	switch {
	case postgres.Code(err) != pgerrcode.InsufficientPrivilege:
		return err
	case role != "none":
		return fmt.Errorf("the setting role makes this session act as %s: remove it with ALTER DATABASE … RESET role or ALTER ROLE … RESET role, "+
			"or grant %[1]s the role that ran `daymill migrate`: %w", pgx.Identifier{role}.Sanitize(), err)
	}
	return fmt.Errorf("connect as the role that ran `daymill migrate`, or grant this role that one: %w", err)
}

// Up applies the missing migrations and returns them. If two processes call it at once, it applies each migration once. It returns an
// error for an entity type, reporting zone or River schema that contradicts the recorded one.
func Up(ctx context.Context, conn *postgres.DB, options Options) ([]Migration, error) {
	var pending []Migration
	err := locked(ctx, conn, func(tx pgx.Tx) error {
		all, err := status(ctx, tx)
		if err != nil {
			return err
		}
		pending = slices.DeleteFunc(slices.Clone(all), func(m Migration) bool { return m.AppliedAt != nil })
		decided, err := decide(ctx, tx, options, len(pending) == len(all))
		if err != nil || options.DryRun {
			return err
		}
		if options.River != nil {
			if err := options.River(ctx, decided.RiverSchema); err != nil {
				return err
			}
		}
		first := len(pending) == len(all)
		if err := apply(ctx, tx, pending, decided); err != nil {
			return err
		}
		if !first { // Right after the first installation, nothing can differ.
			if err := repair(ctx, tx, decided, options); err != nil {
				return err
			}
		}
		return writeDown(ctx, tx, options.Who, "migrate schema", pending)
	})
	return pending, err
}

// Inventory returns what package inventory needs to know about the installation.
func (i Installation) Inventory() inventory.Installed {
	return inventory.Installed{RiverSchema: i.RiverSchema, EntityType: string(i.EntityType)}
}

// repair restores what was lost, disabled or changed since the installation.
func repair(ctx context.Context, tx pgx.Tx, installation Installation, options Options) error {
	faults, err := inventory.Repair(ctx, tx, installation.Inventory())
	if err != nil || len(faults) == 0 {
		return err
	}
	if options.Repaired != nil {
		options.Repaired(faults)
	}
	audited, err := hasAudit(ctx, tx)
	if err != nil || !audited || options.Who.Via == "" {
		return err
	}
	names := make([]string, len(faults))
	for i, fault := range faults {
		names[i] = fault.String()
	}
	return audit.Record(ctx, tx, audit.Entry{
		Who: options.Who, Action: "repair schema", Target: inventory.List(faults), Detail: map[string]any{"faults": names},
	})
}

// Faults compares what is installed with what the migrations create.
func Faults(ctx context.Context, conn *postgres.DB, installation Installation) (faults []inventory.Fault, err error) {
	err = conn.Tx(ctx, func(tx pgx.Tx) error {
		faults, err = inventory.Compare(ctx, tx, installation.Inventory())
		return err
	})
	return faults, err
}

// writeDown records in the audit who has changed the schema, if the audit exists.
func writeDown(ctx context.Context, tx pgx.Tx, who audit.Who, action string, changed []Migration) error {
	if who.Via == "" || len(changed) == 0 {
		return nil
	}
	if audited, err := hasAudit(ctx, tx); err != nil || !audited {
		return err
	}
	first, last := changed[0], changed[len(changed)-1]
	target := fmt.Sprintf("%04d_%s", first.Version, first.Name)
	if len(changed) > 1 {
		target = fmt.Sprintf("%04d..%04d", min(first.Version, last.Version), max(first.Version, last.Version))
	}
	return audit.Record(ctx, tx, audit.Entry{Who: who, Action: action, Target: target, Detail: map[string]any{"migrations": len(changed)}})
}

func hasAudit(ctx context.Context, tx pgx.Tx) (exists bool, err error) {
	if err := tx.QueryRow(ctx, "SELECT to_regclass('daymill.audit') IS NOT NULL").Scan(&exists); err != nil {
		return false, fmt.Errorf("look for the audit: %w", err)
	}
	return exists, nil
}

// apply runs migrations, which read the values of the installation from settings.
func apply(ctx context.Context, tx pgx.Tx, pending []Migration, decided Installation) error {
	if len(pending) == 0 {
		return nil
	}
	err := postgres.SetLocal(ctx, tx, postgres.Local{
		"daymill.entity_type": string(decided.EntityType), "daymill.time_zone": decided.TimeZone, "daymill.river_schema": decided.RiverSchema,
	})
	if err != nil {
		return fmt.Errorf("prepare migrations: %w", err)
	}
	// CREATE SCHEMA IF NOT EXISTS needs the right to create schemas even if the schema exists, and a role
	// that only owns this schema does not have that right.
	_, err = tx.Exec(ctx, `
		DO $$ BEGIN
			IF to_regnamespace('analytics') IS NULL THEN CREATE SCHEMA analytics; END IF;
		END $$;
		CREATE TABLE IF NOT EXISTS analytics.schema_migrations (
			version integer PRIMARY KEY,
			name text NOT NULL,
			applied_at timestamptz NOT NULL DEFAULT now()
		);`)
	if err != nil {
		return fmt.Errorf("create the schema analytics: %w", err)
	}
	for _, m := range pending {
		if _, err := tx.Exec(ctx, m.Up); err != nil {
			return fmt.Errorf("migration %04d_%s: %w", m.Version, m.Name, err)
		}
		_, err := tx.Exec(ctx, "INSERT INTO analytics.schema_migrations (version, name) VALUES ($1, $2)", m.Version, m.Name)
		if err != nil {
			return fmt.Errorf("record migration %04d_%s: %w", m.Version, m.Name, err)
		}
	}
	return nil
}

// Down reverts steps of the latest migrations, newest first, or all if steps is 0. River's tables stay, because the application may have
// jobs in them. Down returns ErrLoss instead of dropping metrics unless force is set. The audit records who, as in Options.
func Down(ctx context.Context, conn *postgres.DB, steps int, force, dryRun bool, who audit.Who) ([]Migration, error) {
	var applied []Migration
	err := locked(ctx, conn, func(tx pgx.Tx) error {
		all, err := status(ctx, tx)
		if err != nil {
			return err
		}
		applied = slices.DeleteFunc(all, func(m Migration) bool { return m.AppliedAt == nil })
		if len(applied) == 0 {
			return nil
		}
		slices.Reverse(applied)
		if steps > 0 && steps < len(applied) {
			applied = applied[:steps]
		}
		if dryRun {
			return nil
		}
		if !force {
			if err := refuseLoss(ctx, tx); err != nil {
				return err
			}
		}
		if err := revert(ctx, tx, applied); err != nil {
			return err
		}
		return writeDown(ctx, tx, who, "revert schema", applied)
	})
	return applied, err
}

// ErrLoss is returned by Down if it would drop metrics or the ledger.
var ErrLoss = errors.New("this would drop metrics: add --force to drop them")

func refuseLoss(ctx context.Context, tx pgx.Tx) error {
	for _, table := range []string{"analytics.daily_entity_metrics", "analytics.rollup_dates"} {
		// A table may already be gone, and a statement that names it would end the transaction.
		var exists, has bool
		err := tx.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", table).Scan(&exists)
		if err == nil && exists {
			err = tx.QueryRow(ctx, "SELECT EXISTS(SELECT FROM "+table+")").Scan(&has)
		}
		if err != nil {
			return fmt.Errorf("look for metrics: %w", err)
		}
		if has {
			return ErrLoss
		}
	}
	return nil
}

// metricsVersion is the migration that creates the table of metrics.
const metricsVersion = 2

func revert(ctx context.Context, tx pgx.Tx, applied []Migration) error {
	if applied[len(applied)-1].Version <= metricsVersion {
		// Reverting 0037 copies metrics in partitions to one table, which is of no use if that is dropped too.
		if _, err := tx.Exec(ctx, "DO $$ BEGIN IF to_regclass('analytics.daily_entity_metrics') IS NOT NULL THEN TRUNCATE analytics.daily_entity_metrics; END IF; END $$"); err != nil {
			return fmt.Errorf("empty the metrics: %w", err)
		}
	}
	for _, m := range applied {
		if _, err := tx.Exec(ctx, m.Down); err != nil {
			return fmt.Errorf("revert migration %04d_%s: %w", m.Version, m.Name, err)
		}
		if _, err := tx.Exec(ctx, "DELETE FROM analytics.schema_migrations WHERE version = $1", m.Version); err != nil {
			return fmt.Errorf("record the revert: %w", err)
		}
	}
	if applied[len(applied)-1].Version > 1 {
		return nil
	}
	if _, err := tx.Exec(ctx, "DROP TABLE analytics.schema_migrations; DROP SCHEMA analytics"); err != nil {
		return fmt.Errorf("drop the schema analytics: %w", err)
	}
	return nil
}

// locked runs do in a transaction, while no other migration runs.
func locked(ctx context.Context, conn *postgres.DB, do func(tx pgx.Tx) error) error {
	return conn.Tx(ctx, func(tx pgx.Tx) error {
		err := postgres.SetLocal(ctx, tx, postgres.Local{
			"statement_timeout": "15min", "idle_in_transaction_session_timeout": "15min", "lock_timeout": "15min",
		})
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "SELECT pg_catalog.pg_advisory_xact_lock($1)", advisoryLock); err != nil {
			return fmt.Errorf("wait for another migration: %w", err)
		}
		if err := postgres.SetLocal(ctx, tx, postgres.Local{"lock_timeout": "10s"}); err != nil {
			return err
		}
		return do(tx)
	})
}
