package stream

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pglogrepl"

	"github.com/daymill/daymill/internal/capture/log"
	"github.com/daymill/daymill/internal/capture/table"
	"github.com/daymill/daymill/internal/capture/value"
	"github.com/daymill/daymill/internal/capture/wal"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

// slotName returns the name of the slot and of the publication. It is unique, because a cluster may have slots of many databases and installations.
func slotName(database, stream string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(database + "\x00" + stream)) // It never fails.
	plain := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_' {
			return r
		}
		return '_'
	}, strings.ToLower(stream))
	return fmt.Sprintf("daymill_%.40s_%08x", plain, h.Sum32())
}

func (s *session) slot(ctx context.Context) (string, error) {
	var database string
	if err := s.Source.QueryRow(ctx, "SELECT pg_catalog.current_database()::text").Scan(&database); err != nil {
		return "", fmt.Errorf("read the database's name: %w", err)
	}
	return slotName(database, s.Name), nil
}

// beginWAL creates the publication, and then the slot: for each change, the slot uses the publication as it was then.
func (s *session) beginWAL(ctx context.Context) (params db.StreamBeginParams, err error) {
	name, err := s.slot(ctx)
	if err != nil {
		return params, err
	}
	if err := wal.Publish(ctx, s.Source, name, s.tables, nil, nil); err != nil { // No table was in it before.
		return params, err
	}
	if err := wal.DropSlot(ctx, s.Source, name); err != nil {
		return params, err
	}
	system, err := wal.Identify(ctx, s.SourceURL)
	if err != nil {
		return params, err
	}
	lsn, err := wal.CreateSlot(ctx, s.SourceURL, name)
	if err != nil {
		return params, err
	}
	text, seen := lsn.String(), wal.Last{Commit: lsn}.Text(lsn)
	return db.StreamBeginParams{SystemID: system.ID, Timeline: system.Timeline, Slot: &name, SlotLsn: &text, Lsn: &text, Seen: &seen}, nil
}

// prepareWAL checks that the slot is the one that was read before, and that it has all changes since then.
func (s *session) prepareWAL(ctx context.Context, row db.StreamGetRow) (read func(ctx context.Context) error, err error) {
	landed, err := pglogrepl.ParseLSN(row.Lsn)
	if err != nil {
		return nil, fmt.Errorf("read the position of stream %s: %w", s.Name, err)
	}
	system, err := wal.Identify(ctx, s.SourceURL)
	if err != nil {
		return nil, err
	}
	slot, has, err := wal.FindSlot(ctx, s.Source, row.Slot)
	if err != nil {
		return nil, err
	}
	last, known := wal.ParseLast(row.Seen, landed)
	missing := func(kind, reason string) error { return &gap{kind: kind, reason: reason} }
	switch {
	case system.ID != row.SystemID:
		return nil, missing("cluster", "the database is in another cluster than before")
	case system.WAL < landed || last.XID != 0 && system.WAL <= last.Commit: // A part of a transaction may have landed, which is after landed.
		return nil, missing("restore", "the source's WAL ends before what was read from it: it was restored, or a follower that lagged was promoted")
	case !has:
		return nil, missing("slot", "the replication slot "+row.Slot+" is gone: it was dropped, or a follower without it was promoted")
	case slot.Lost():
		return nil, missing("slot", "the replication slot "+row.Slot+" was invalidated: it held back more WAL than max_slot_wal_keep_size allows")
	case slot.Confirmed > landed:
		return nil, missing("slot", "the replication slot "+row.Slot+" is ahead of what was read: it was dropped and created again, or somebody advanced it")
	}
	if system.Timeline != row.Timeline { // A follower with the slot was promoted, or a backup with it was restored.
		left, is, err := wal.Left(ctx, s.SourceURL, system.Timeline, row.Timeline)
		if err != nil {
			return nil, err
		}
		if !is || left < landed {
			return nil, missing("restore", "what was read from the source last is not in its history: it was restored, or a follower that lagged was promoted")
		}
		err = s.writer.Own(ctx, func(queries *db.Queries) (int64, error) {
			return queries.StreamTimeline(ctx, db.StreamTimelineParams{ID: s.writer.ID(), Token: s.writer.Token(), Timeline: system.Timeline})
		})
		if err != nil {
			return nil, err
		}
	}
	if err := s.publish(ctx, row.Slot); err != nil {
		return nil, err
	}
	if slot.Active { // By a previous owner that is still connected.
		_, err := s.Source.Exec(ctx, `
			SELECT pg_catalog.pg_terminate_backend(r.active_pid, 5000) FROM pg_catalog.pg_replication_slots AS r
			WHERE r.slot_name = $1 AND r.active_pid IS NOT NULL`, row.Slot)
		if err != nil {
			return nil, fmt.Errorf("end the last reader of slot %s: %w", row.Slot, err)
		}
		if slot, has, err = wal.FindSlot(ctx, s.Source, row.Slot); err != nil { // It may have confirmed more.
			return nil, err
		}
		if !has {
			return nil, missing("slot", "the replication slot "+row.Slot+" was dropped")
		}
	}
	after := landed
	if known {
		after = slot.Confirmed
	}
	return func(ctx context.Context) error { return s.readWAL(ctx, row.Slot, after, landed, last) }, nil
}

// readWAL reads the slot after a position. It knows where the stream is, and what has landed last.
func (s *session) readWAL(ctx context.Context, slot string, after, landed pglogrepl.LSN, last wal.Last) error {
	var failed error
	err := wal.Run(ctx, wal.Config{
		URL: s.SourceURL, Slot: slot, Publication: slot, After: after, Last: last, Beat: s.Beat,
		Types:     value.New(s.Source),
		Table:     s.describe,
		Fill:      s.fill,
		Version:   s.version,
		Watermark: s.owns,
		Land: func(ctx context.Context, batch wal.Batch) error {
			mark := log.Mark{CommittedAt: batch.CommittedAt, Watermarks: batch.Watermarks}
			if batch.End > 0 {
				landed, mark.LSN = batch.End, batch.End.String()
			}
			if batch.Last != (wal.Last{}) {
				last = batch.Last
			}
			mark.Seen = last.Text(landed)
			if failed = s.land(ctx, batch.Changes, mark); failed == nil {
				s.unreadable = 0
			}
			return failed
		},
	})
	if ctx.Err() == nil && failed == nil && wal.IsUnreadable(err) {
		if s.unreadable++; s.unreadable >= wal.MostUnreadable {
			s.unreadable = 0
			return &gap{kind: "slot", reason: "the server cannot read the WAL of the replication slot " + slot + ": " + err.Error()}
		}
	}
	if ctx.Err() == nil && postgres.Code(err) == pgerrcode.UndefinedObject {
		return &gap{kind: "publication", reason: "the publication " + slot + " was dropped"}
	}
	if errors.Is(err, wal.ErrRestored) {
		return &gap{kind: "restore", reason: err.Error()}
	}
	return err
}

// describe returns the current definition of a table. For a dropped table it returns the last known definition, or else that of the table
// with its name: so its changes keep the key that its earlier changes had, whatever else its replica identity sends.
func (s *session) describe(ctx context.Context, oid uint32, schema, name string) (table.Table, bool, error) {
	t, has, err := table.Get(ctx, s.Source, oid)
	if err != nil || has {
		return t, has, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t, has = s.byOID[oid]; has && len(t.Key) > 0 {
		return t, true, nil
	}
	for _, t := range s.found {
		if t.Schema == schema && t.Name == name {
			return t, true, nil
		}
	}
	return table.Table{}, false, nil
}

// publish sets the publication's tables to those that are captured. It records a gap for tables that the publication had lost.
func (s *session) publish(ctx context.Context, name string) error {
	gapped := false
	err := wal.Publish(ctx, s.Source, name, s.tables, s.before, func(tables []string) error {
		gapped = true
		return s.lost(ctx, gap{kind: "publication", reason: "the publication " + name + " had lost the table, which was added again", tables: tables})
	})
	if postgres.IsLockTimeout(err) {
		return nil // Another session is altering a table that needs to be published; the next look tries again.
	}
	if err != nil {
		return err
	}
	if gapped {
		if err := s.state(ctx, "running", ""); err != nil {
			return err
		}
	}
	return s.record(ctx)
}

// lookWAL updates the publication and checks the disk: it drops the slot before it fills the application's disk.
func (s *session) lookWAL(ctx context.Context) error {
	row, err := s.stream(ctx)
	if err != nil {
		return err
	}
	if err := s.publish(ctx, row.Slot); err != nil {
		return err
	}
	slot, has, err := wal.FindSlot(ctx, s.Source, row.Slot)
	if err != nil || !has {
		return err // If the slot is gone, the reader fails too.
	}
	limit, err := wal.Limit(ctx, s.Source, s.Limit)
	if err != nil {
		return err
	}
	err = s.writer.Do(ctx, func(queries *db.Queries) error {
		return queries.StreamGuard(ctx, db.StreamGuardParams{
			ID: s.writer.ID(), Token: s.writer.Token(), Retained: slot.Retained, Behind: slot.Behind,
			WarnAt: s.warnAt(limit), DropAt: limit,
		})
	})
	if err != nil {
		return fmt.Errorf("record how much WAL the slot holds back: %w", err)
	}
	switch {
	case slot.Retained > limit:
		return tooMuch(slot.Retained, limit)
	case slot.Retained > s.warnAt(limit):
		return s.state(ctx, "running", fmt.Sprintf("the slot holds back %d MiB of WAL; at %d MiB it is dropped", slot.Retained>>20, limit>>20))
	case row.Reason != "":
		return s.state(ctx, "running", "")
	}
	return nil
}
