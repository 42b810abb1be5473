package schema

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/db"
)

// Errors of Up.
var (
	ErrEntityType  = errors.New("the entity type cannot be changed")
	ErrTimeZone    = errors.New("the reporting zone cannot be changed while there are metrics")
	ErrRiverSchema = errors.New("the schema of River's tables cannot be changed")
	ErrNoTimeZone  = errors.New("there is no such time zone")
)

// decide returns the values of an installation. At the first installation, they come from the options and defaults. Later, they come
// from the record, which the options may repeat but not contradict.
func decide(ctx context.Context, tx pgx.Tx, options Options, first bool) (Installation, error) {
	zone := options.TimeZone
	if zone == "" && first {
		zone = DefaultTimeZone
	}
	if zone != "" {
		name, err := zoneName(ctx, tx, zone)
		if err != nil {
			return Installation{}, err
		}
		zone = name
	}
	if first {
		return Installation{
			EntityType:  cmp.Or(options.EntityType, DefaultEntityType),
			TimeZone:    zone,
			RiverSchema: cmp.Or(options.RiverSchema, DefaultRiverSchema),
		}, nil
	}

	recorded, err := get(ctx, tx)
	if err != nil {
		return Installation{}, err
	}
	if options.EntityType != "" && options.EntityType != recorded.EntityType {
		return Installation{}, fmt.Errorf("%w: this database was installed for %s, and every row of metrics is keyed by it; "+
			"to start over with %s, run `daymill migrate --down --steps 0 --force` and `daymill migrate --entity-type %s`",
			ErrEntityType, recorded.EntityType, options.EntityType, options.EntityType)
	}
	if options.RiverSchema != "" && options.RiverSchema != recorded.RiverSchema {
		return Installation{}, fmt.Errorf("%w: Daymill's triggers are on the tables in %q; move the tables with ALTER TABLE … SET SCHEMA "+
			"only after `daymill migrate --down --steps 0`", ErrRiverSchema, recorded.RiverSchema)
	}
	if zone != "" && zone != recorded.TimeZone {
		return recorded, changeZone(ctx, tx, recorded.TimeZone, zone, options.DryRun)
	}
	return recorded, nil
}

// changeZone records another reporting zone if no date has been rolled up in the old one.
func changeZone(ctx context.Context, tx pgx.Tx, from, to string, dryRun bool) error {
	queries := db.New(tx)
	has, err := queries.InstallationHasMetrics(ctx)
	if err != nil {
		return fmt.Errorf("look for metrics: %w", err)
	}
	if has {
		return fmt.Errorf("%w: they count days of %s, which begin at other instants than days of %s; to change it, stop the workers, "+
			"run TRUNCATE analytics.daily_entity_metrics, analytics.rollup_dates, then `daymill migrate --timezone %s`, "+
			"and start the workers: they roll up every date again", ErrTimeZone, from, to, to)
	}
	if dryRun {
		return nil
	}
	if err := queries.InstallationSetTimeZone(ctx, to); err != nil {
		return fmt.Errorf("record the reporting zone: %w", err)
	}
	return nil
}

// zoneName returns a time zone's name as the tz database spells it. Postgres, which computes the bounds of dates, and Go, which
// computes the schedule, must both know the zone.
func zoneName(ctx context.Context, tx pgx.Tx, zone string) (string, error) {
	name, err := db.New(tx).TimeZoneName(ctx, zone)
	if err == nil {
		_, err = time.LoadLocation(name)
	} else if !errors.Is(err, pgx.ErrNoRows) {
		return "", fmt.Errorf("look the time zone up: %w", err)
	}
	if err != nil || name == "Local" {
		return "", fmt.Errorf("%w: %q; give an IANA name such as UTC, Europe/London or America/Sao_Paulo", ErrNoTimeZone, zone)
	}
	return name, nil
}
