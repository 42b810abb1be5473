package stream

import (
	"context"
	"fmt"

	"github.com/daymill/daymill/internal/capture/table"
	"github.com/daymill/daymill/internal/postgres"
)

// Choose returns the mode in which a database can be read, and the reason. An error that wraps ErrNoMode says how to fix it.
func Choose(ctx context.Context, source *postgres.DB, patterns []string) (mode, reason string, err error) {
	tables, err := table.Find(ctx, source, patterns)
	if err != nil {
		return "", "", err
	}
	return choose(ctx, source, "", tables)
}

func choose(ctx context.Context, source *postgres.DB, want string, tables []table.Table) (mode, reason string, err error) {
	wal, err := noWAL(ctx, source, tables)
	if err != nil {
		return "", "", err
	}
	if want != ModeTrigger && wal == "" {
		return ModeWAL, "wal_level is logical and the role may replicate", nil
	}
	if want == ModeTrigger {
		wal = "the configuration asks for it"
	}
	trigger, err := noTrigger(ctx, source, tables)
	switch {
	case err != nil:
		return "", "", err
	case want == ModeWAL:
		return "", "", fmt.Errorf("%w: the configuration asks for mode wal, but %s", ErrNoMode, wal)
	case trigger != "":
		return "", "", fmt.Errorf("%w: for the WAL, %s; for triggers, %s", ErrNoMode, wal, trigger)
	}
	return ModeTrigger, wal, nil
}

// foreign returns a table that the role does not own; "" if it owns all of them.
func foreign(ctx context.Context, source *postgres.DB, tables []table.Table) (name string, err error) {
	oids := make([]uint32, len(tables))
	for i, t := range tables {
		oids[i] = t.OID
	}
	err = source.QueryRow(ctx, `
		SELECT coalesce(min(c.oid::regclass::text), '') FROM pg_catalog.pg_class AS c
		WHERE c.oid = ANY($1::oid[]) AND NOT pg_catalog.pg_has_role(c.relowner, 'USAGE')`, oids).Scan(&name)
	if err != nil {
		err = fmt.Errorf("find the owners of the tables: %w", err)
	}
	return name, err
}

// noWAL returns why the WAL cannot be read, and how to fix that; "" if it can be read.
func noWAL(ctx context.Context, source *postgres.DB, tables []table.Table) (reason string, err error) {
	if source.Pooled() {
		return "the URL leads to a pooler: replication needs one that leads to Postgres", nil
	}
	var level, role string
	var replicates, creates bool
	err = source.QueryRow(ctx, `
		SELECT pg_catalog.current_setting('wal_level'), r.rolname::text, r.rolreplication OR r.rolsuper OR EXISTS (
				SELECT FROM pg_catalog.pg_roles AS g WHERE g.rolname = 'rds_replication' AND pg_catalog.pg_has_role(g.oid, 'USAGE')
			), pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE')
		FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user`).Scan(&level, &role, &replicates, &creates)
	if err != nil {
		return "", fmt.Errorf("read what the database allows: %w", err)
	}
	owner, err := foreign(ctx, source, tables)
	switch {
	case err != nil:
		return "", err
	case level != "logical":
		return "wal_level is " + level + ": set it to logical and restart Postgres", nil
	case !replicates:
		return "role " + role + " may not replicate: ALTER ROLE " + role + " REPLICATION", nil
	case !creates:
		return "role " + role + " may not create a publication: GRANT CREATE ON DATABASE to it", nil
	case owner != "":
		return "role " + role + " does not own " + owner + ", so it may not publish it: GRANT the owner's role to it", nil
	}
	return "", nil
}

// noTrigger returns why there cannot be triggers, and how to fix that; "" if there can.
func noTrigger(ctx context.Context, source *postgres.DB, tables []table.Table) (reason string, err error) {
	var creates, follower bool
	err = source.QueryRow(ctx, `
		SELECT pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE') OR pg_catalog.to_regnamespace('daymill_capture') IS NOT NULL,
			pg_catalog.pg_is_in_recovery()`).Scan(&creates, &follower)
	if err != nil {
		return "", fmt.Errorf("read what the database allows: %w", err)
	}
	owner, err := foreign(ctx, source, tables)
	switch {
	case err != nil:
		return "", err
	case follower:
		return "it is a follower, which cannot have triggers: use the URL of the primary", nil
	case !creates:
		return "the role may not create the schema daymill_capture: GRANT CREATE ON DATABASE to it", nil
	case owner != "":
		return "the role does not own " + owner + ": GRANT the owner's role to it", nil
	}
	return "", nil
}
