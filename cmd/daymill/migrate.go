package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgerrcode"

	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/source"
	"github.com/daymill/daymill/internal/schema"
	"github.com/daymill/daymill/internal/schema/inventory"
	"github.com/daymill/daymill/internal/worker"
)

// migrateTimeout is the time limit for a statement of a migration.
const migrateTimeout = 15 * time.Minute

type migrateCmd struct {
	Apply  migrateApplyCmd  `cmd:"" default:"withargs" help:"Install or upgrade (the default), or revert with --down."`
	Status migrateStatusCmd `cmd:"" help:"List the migrations and when each was applied."`

	Retention migrateRetentionCmd `cmd:"" help:"Set how many months of metrics to keep, if they are stored by month, or show it."`
}

type migrateApplyCmd struct {
	EntityType       string `env:"DAYMILL_ENTITY_TYPE" placeholder:"TYPE" help:"The type of entity ids: uuid, bigint or text. Set at the first installation (uuid by default)."`
	Timezone         string `env:"DAYMILL_TIMEZONE" placeholder:"ZONE" help:"The reporting zone, an IANA name: dates begin at midnight in this zone. Set at the first installation (UTC by default)."`
	RiverSchema      string `env:"DAYMILL_RIVER_SCHEMA" placeholder:"SCHEMA" help:"The schema for River's tables. Set at the first installation (public by default)."`
	PartitionMetrics string `env:"DAYMILL_PARTITION_METRICS" enum:",month" default:"" placeholder:"SPAN" help:"With month, metrics are stored in a partition for each month. The table must be empty, as it is after the first installation."`
	Down             bool   `help:"Revert the latest migration instead. River's tables stay."`
	Steps            int    `default:"1" help:"With --down: how many migrations to revert; 0 is all."`
	Force            bool   `help:"With --down: also drop metrics and the ledger."`
	DryRun           bool   `help:"Print what would change, and change nothing."`
}

// migrateError says what fixes an error of a migration, and marks a mistake of the command line.
func migrateError(err error) error {
	switch {
	case errors.Is(err, schema.ErrNoTimeZone):
		return usageError{err}
	case postgres.Code(err) == pgerrcode.InsufficientPrivilege:
		return fmt.Errorf("the role needs more rights, which docs/operations.md lists under Rights, and --river-schema daymill_river "+
			"if it may not create tables in public: %w", err)
	default:
		return err
	}
}

// Run applies what is missing, or reverts.
func (c *migrateApplyCmd) Run(ctx context.Context, a *app) error {
	options := schema.Options{TimeZone: c.Timezone, RiverSchema: c.RiverSchema, DryRun: c.DryRun, Who: whoOnCLI()}
	if c.EntityType != "" {
		entityType, err := entity.ParseType(c.EntityType)
		if err != nil {
			return usageError{err}
		}
		options.EntityType = entityType
	}
	if c.RiverSchema != "" {
		if err := worker.CheckRiverSchema(c.RiverSchema); err != nil {
			return usagef("--river-schema: %w", err)
		}
	}
	if c.Steps < 0 {
		return usagef("--steps is %d: give 0 for all, or a number of migrations", c.Steps)
	}
	// River's migrations may build an index on a large table of jobs.
	a.statementTimeout = migrateTimeout
	db, err := a.open(ctx, "migrate")
	if err != nil {
		return err
	}
	defer db.Close()
	if err := db.CheckWritable(ctx); err != nil {
		return err
	}

	if c.PartitionMetrics != "" && !c.Down {
		if err := schema.CheckPartition(ctx, db); err != nil {
			return err
		}
	}

	verb, conditional := "applied", ""
	if c.DryRun {
		conditional = "would be "
	}
	var changed []schema.Migration
	var repaired []inventory.Fault
	if c.Down {
		verb = "reverted"
		changed, err = schema.Down(ctx, db, c.Steps, c.Force, c.DryRun, whoOnCLI())
	} else {
		options.River = func(ctx context.Context, riverSchema string) error {
			count, err := worker.MigrateRiver(ctx, db.Pool, riverSchema)
			if count > 0 {
				a.printf("applied %d of River's migrations in schema %s\n", count, riverSchema)
			}
			return err
		}
		options.Repaired = func(faults []inventory.Fault) { repaired = faults }
		changed, err = schema.Up(ctx, db, options)
	}
	if err != nil {
		return migrateError(err)
	}
	for _, m := range changed {
		a.printf("%s%s %04d_%s\n", conditional, verb, m.Version, m.Name)
	}
	var said []string
	unrepaired := false
	if !c.Down && !c.DryRun {
		installation, err := schema.Get(ctx, db)
		if err != nil {
			return err
		}
		// A table of that name that cannot be the source belongs to the application: leave it alone.
		if err := source.Adopt(ctx, db, installation); errors.Is(err, source.ErrRefused) {
			a.printf("public.raw_events is not used as the source: %s\n", err)
		} else if err != nil {
			return err
		}
		more, err := source.Repair(ctx, db, installation, whoOnCLI())
		if err != nil {
			return err
		}
		left, err := schema.Faults(ctx, db, installation)
		if err != nil {
			return err
		}
		said, unrepaired = append(repairs(repaired, left), more...), len(left) > 0
	}
	for _, line := range said {
		a.printf("%s\n", oneLine(line))
	}
	lines, err := c.partition(ctx, db)
	for _, line := range lines {
		a.printf("%s\n", line)
	}
	if err != nil {
		return err
	}
	said = append(said, lines...)
	if err := c.warnShared(ctx, a, db); err != nil {
		return err
	}
	if unrepaired {
		return errors.New("something that Daymill needs is missing or changed and could not be restored: see above")
	}
	if len(changed)+len(said) == 0 {
		a.printf("nothing to do: the schema is as it should be\n")
	}
	return nil
}

// partition partitions metrics if that is wanted, and extends the partitions. It returns what it has done, and which months are detached.
func (c *migrateApplyCmd) partition(ctx context.Context, db *postgres.DB) (said []string, err error) {
	if c.Down {
		return nil, nil
	}
	if c.PartitionMetrics != "" {
		if _, err := schema.Get(ctx, db); c.DryRun && errors.Is(err, schema.ErrNotMigrated) {
			return []string{"would partition the metrics by month"}, nil
		}
		made, err := schema.Partition(ctx, db, c.DryRun, whoOnCLI())
		switch {
		case err != nil:
			return nil, err
		case made && c.DryRun:
			said = append(said, "would partition the metrics by month")
		case made:
			said = append(said, "partitioned the metrics by month")
		}
	}
	if c.DryRun {
		return said, nil
	}
	detached, err := schema.DetachedMonths(ctx, db)
	if err != nil {
		return said, err
	}
	for _, month := range detached {
		said = append(said, month.DetachedText()+": "+month.DetachedFix())
	}
	created, err := schema.Months(ctx, db)
	if created > 0 {
		said = append(said, "created partitions of the metrics for "+plural(created, "month"))
	}
	return said, err
}

// repairs returns what was repaired and what is still wrong. It runs after the source is set, which some repairs need.
func repairs(faults, left []inventory.Fault) (said []string) {
	for _, fault := range faults {
		if slices.ContainsFunc(left, func(f inventory.Fault) bool { return f.Kind == fault.Kind && f.Name == fault.Name }) {
			said = append(said, fault.String())
			continue
		}
		if fault.Error != "" {
			continue
		}
		line := "restored: the " + fault.Kind + " " + fault.Name + ", which was " + fault.What
		switch fault.Kind {
		case inventory.Rule:
			line = "dropped: the rule " + fault.Name + ", which changed or discarded what was written to the table"
		case inventory.Schema:
			line += "; its content is lost unless a backup has it"
		case inventory.Trigger:
			line += "; Daymill missed late events and requests in the meantime, and `daymill verify` finds their dates"
		}
		said = append(said, line)
	}
	return said
}

// warnShared warns if an application shares River's tables: River elects one client of a schema to run periodic jobs, and
// that client runs only those it knows.
func (c *migrateApplyCmd) warnShared(ctx context.Context, a *app, db *postgres.DB) error {
	if c.Down || c.DryRun {
		return nil
	}
	installation, err := schema.Get(ctx, db)
	if err != nil {
		return err
	}
	shared, err := worker.RiverShared(ctx, db.Pool, installation.RiverSchema)
	if err != nil || !shared {
		return err
	}
	a.printf("an application has jobs in River's tables in schema %s: while a Daymill worker leads, the application's periodic jobs "+
		"do not run; install with --river-schema to give Daymill separate tables\n", installation.RiverSchema)
	return nil
}

type migrateStatusCmd struct{}

// Run lists the migrations.
func (migrateStatusCmd) Run(ctx context.Context, a *app) error {
	db, err := a.open(ctx, "migrate status")
	if err != nil {
		return err
	}
	defer db.Close()
	all, err := schema.Status(ctx, db)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	pending := 0
	for _, m := range all {
		applied := "pending"
		if m.AppliedAt != nil {
			applied = m.AppliedAt.UTC().Format(time.DateTime) + " UTC"
		} else {
			pending++
		}
		a.tablef(table, "%04d\t%s\t%s\n", m.Version, m.Name, applied)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if pending > 0 {
		return schema.ErrNotMigrated
	}
	installation, err := schema.Get(ctx, db)
	if err != nil {
		return err
	}
	a.printf("entities are %s, the reporting zone is %s, River's tables are in %s\n",
		installation.EntityType, installation.TimeZone, installation.RiverSchema)
	return nil
}
