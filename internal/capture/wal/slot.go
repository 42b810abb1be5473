package wal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/table"
	"github.com/daymill/daymill/internal/postgres"
)

// System identifies a cluster and its timeline, which changes when a follower is promoted.
type System struct {
	ID       string
	Timeline int32
	WAL      pglogrepl.LSN // current end of its WAL
}

// Identify returns the system of a source.
func Identify(ctx context.Context, url string) (System, error) {
	conn, err := Connect(ctx, url)
	if err != nil {
		return System{}, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	result, err := pglogrepl.IdentifySystem(ctx, conn)
	if err != nil {
		return System{}, fmt.Errorf("identify the source: %w", err)
	}
	return System{ID: result.SystemID, Timeline: result.Timeline, WAL: result.XLogPos}, nil
}

// Left returns the position at which the source's history left a timeline: changes that were read on it after that position are not in
// the source. It returns false if the timeline is not part of the source's history.
func Left(ctx context.Context, url string, current, timeline int32) (at pglogrepl.LSN, is bool, err error) {
	conn, err := Connect(ctx, url)
	if err != nil {
		return 0, false, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	history, err := pglogrepl.TimelineHistory(ctx, conn, current)
	if err != nil {
		return 0, false, fmt.Errorf("read the history of timeline %d: %w", current, err)
	}
	for line := range strings.Lines(string(history.Content)) { // 1	0/3000148	no recovery target specified
		parts := strings.Fields(line)
		if len(parts) < 2 || parts[0] != strconv.Itoa(int(timeline)) {
			continue
		}
		at, err := pglogrepl.ParseLSN(parts[1])
		if err != nil {
			return 0, false, fmt.Errorf("read the history of timeline %d: %w", current, err)
		}
		return at, true, nil
	}
	return 0, false, nil
}

// Slot is the state of a replication slot on the server.
type Slot struct {
	Plugin    string
	Active    bool
	Confirmed pglogrepl.LSN
	Status    string // wal_status; lost means that it cannot be used any more
	Retained  int64  // bytes of WAL that it holds back
	Behind    int64  // bytes of WAL that are not confirmed
}

// MostUnreadable is how often in a row an error may be unreadable, as IsUnreadable says, before the slot is given up.
const MostUnreadable = 3

// IsUnreadable reports whether an error of the server says that it cannot decode the WAL of a slot: a file is missing or damaged, or its decoder
// fails. It fails at the same place each time.
func IsUnreadable(err error) bool {
	code := postgres.Code(err)
	return pgerrcode.IsInternalError(code) || code == pgerrcode.UndefinedFile
}

// Lost reports whether the slot cannot be read any more.
func (s Slot) Lost() bool { return s.Status == "lost" }

// FindSlot returns a slot of this database; false if there is none.
func FindSlot(ctx context.Context, on postgres.DBTX, name string) (slot Slot, has bool, err error) {
	var confirmed string
	err = on.QueryRow(ctx, `
		SELECT s.plugin::text, s.active, coalesce(s.confirmed_flush_lsn, '0/0')::text, coalesce(s.wal_status, '')::text,
			coalesce(pg_catalog.pg_wal_lsn_diff(w.lsn, s.restart_lsn), 0)::bigint, coalesce(pg_catalog.pg_wal_lsn_diff(w.lsn, s.confirmed_flush_lsn), 0)::bigint
		FROM pg_catalog.pg_replication_slots AS s
		CROSS JOIN (SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_lsn() END AS lsn) AS w
		WHERE s.slot_name = $1 AND s.database = pg_catalog.current_database()`, name,
	).Scan(&slot.Plugin, &slot.Active, &confirmed, &slot.Status, &slot.Retained, &slot.Behind)
	if errors.Is(err, pgx.ErrNoRows) {
		return Slot{}, false, nil
	}
	if err == nil {
		slot.Confirmed, err = pglogrepl.ParseLSN(confirmed)
	}
	if err != nil {
		return Slot{}, false, fmt.Errorf("read the state of slot %s: %w", name, err)
	}
	return slot, true, nil
}

// Limit returns how much WAL a slot may hold back, in bytes: limit, but at most half of max_slot_wal_keep_size.
func Limit(ctx context.Context, on postgres.DBTX, limit int64) (int64, error) {
	var keep int64 // megabytes; -1 means no limit
	if err := on.QueryRow(ctx, "SELECT s.setting::bigint FROM pg_catalog.pg_settings AS s WHERE s.name = 'max_slot_wal_keep_size'").Scan(&keep); err != nil {
		return 0, fmt.Errorf("read max_slot_wal_keep_size: %w", err)
	}
	if keep >= 0 {
		return min(limit, keep<<20/2), nil
	}
	return limit, nil
}

// CreateSlot creates a slot, and returns the position after which it has all changes. It waits for open transactions to end.
func CreateSlot(ctx context.Context, url, name string) (pglogrepl.LSN, error) {
	conn, err := Connect(ctx, url)
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	result, err := pglogrepl.CreateReplicationSlot(ctx, conn, name, "pgoutput", pglogrepl.CreateReplicationSlotOptions{
		Mode: pglogrepl.LogicalReplication, SnapshotAction: "NOEXPORT_SNAPSHOT",
	})
	if err != nil {
		return 0, fmt.Errorf("create slot %s: %w", name, err)
	}
	lsn, err := pglogrepl.ParseLSN(result.ConsistentPoint)
	if err != nil {
		return 0, fmt.Errorf("create slot %s: %w", name, err)
	}
	return lsn, nil
}

// DropSlot drops a slot that Daymill created, and ends the connection that reads it. It does not touch a slot of another plugin
// or database.
func DropSlot(ctx context.Context, on postgres.DBTX, name string) error {
	slot, has, err := FindSlot(ctx, on, name)
	if err != nil || !has {
		return err
	}
	if slot.Plugin != "pgoutput" {
		return fmt.Errorf("slot %s is of plugin %s, so it belongs to another tool, and Daymill does not drop it", name, slot.Plugin)
	}
	if _, err := on.Exec(ctx, `
		SELECT pg_catalog.pg_terminate_backend(s.active_pid, 5000) FROM pg_catalog.pg_replication_slots AS s
		WHERE s.slot_name = $1 AND s.active_pid IS NOT NULL`, name); err != nil {
		return fmt.Errorf("end the reader of slot %s: %w", name, err)
	}
	if _, err := on.Exec(ctx, "SELECT pg_catalog.pg_drop_replication_slot($1)", name); err != nil {
		return fmt.Errorf("drop slot %s: %w", name, err)
	}
	return nil
}

// Publish creates or changes the publication so that it has exactly these tables. Before that it calls lost with those tables of before,
// which the caller has captured so far, that the publication no longer has: their changes are missing, and nothing shows it afterwards.
func Publish(
	ctx context.Context, on postgres.DBTX, name string, tables []table.Table, before []string, lost func(tables []string) error,
) error {
	rows, err := on.Query(ctx, `
		SELECT n.nspname || '.' || c.relname FROM pg_catalog.pg_publication AS p
		INNER JOIN pg_catalog.pg_publication_rel AS r ON r.prpubid = p.oid
		INNER JOIN pg_catalog.pg_class AS c ON c.oid = r.prrelid INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
		WHERE p.pubname = $1 ORDER BY 1`, name)
	if err != nil {
		return fmt.Errorf("read publication %s: %w", name, err)
	}
	have, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("read publication %s: %w", name, err)
	}
	var there, whole bool
	err = on.QueryRow(ctx, `
		SELECT count(*) > 0, coalesce(bool_and(p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate AND p.pubviaroot AND NOT p.puballtables), false)
		FROM pg_catalog.pg_publication AS p WHERE p.pubname = $1`, name).Scan(&there, &whole)
	if err != nil {
		return fmt.Errorf("read publication %s: %w", name, err)
	}
	var missing []string
	want, names := make([]string, len(tables)), make([]string, len(tables))
	for i, t := range tables {
		want[i], names[i] = t.SQL(), t.String()
	}
	for _, name := range before {
		if slices.Contains(names, name) && (!slices.Contains(have, name) || !whole) {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		if err := lost(missing); err != nil {
			return err
		}
	}
	quoted := pgx.Identifier{name}.Sanitize()
	const with = "(publish = 'insert, update, delete, truncate', publish_via_partition_root = true)"
	var statements []string
	if there && !whole {
		statements = append(statements, "DROP PUBLICATION "+quoted)
		there = false
	}
	slices.Sort(names)
	switch {
	case !there && len(want) > 0:
		statements = append(statements, "CREATE PUBLICATION "+quoted+" FOR TABLE "+strings.Join(want, ", ")+" WITH "+with)
	case !there:
		statements = append(statements, "CREATE PUBLICATION "+quoted+" WITH "+with)
	case !slices.Equal(names, have) && len(want) > 0:
		statements = append(statements, "ALTER PUBLICATION "+quoted+" SET TABLE "+strings.Join(want, ", "))
	case !slices.Equal(names, have):
		statements = append(statements, "DROP PUBLICATION "+quoted, "CREATE PUBLICATION "+quoted+" WITH "+with)
	}
	for _, statement := range statements {
		if _, err := on.Exec(ctx, statement); err != nil {
			return fmt.Errorf("publish the tables: %w", err)
		}
	}
	return nil
}

// Unpublish drops a publication, if it exists.
func Unpublish(ctx context.Context, on postgres.DBTX, name string) error {
	if _, err := on.Exec(ctx, "DROP PUBLICATION IF EXISTS "+pgx.Identifier{name}.Sanitize()); err != nil {
		return fmt.Errorf("drop publication %s: %w", name, err)
	}
	return nil
}

// Mode is the name of this way of reading.
const Mode = "wal"

// prefix is the prefix of our own messages in the WAL.
const prefix = "daymill"

// Emit writes a watermark into the WAL. It lands after everything that was committed before the call: see package watermark.
func Emit(ctx context.Context, on postgres.DBTX, token string) error {
	if _, err := on.Exec(ctx, "SELECT pg_catalog.pg_logical_emit_message(true, $1::text, $2::text)", prefix, token); err != nil {
		return fmt.Errorf("write a watermark to the WAL: %w", err)
	}
	return nil
}
