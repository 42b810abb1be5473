package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/daymill/daymill/internal/capture/log"
	"github.com/daymill/daymill/internal/capture/table"
	"github.com/daymill/daymill/internal/capture/trigger"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

// beginTrigger creates the queue and the triggers, and then takes a database snapshot of what exists already.
// The queue has all later changes.
func (s *session) beginTrigger(ctx context.Context) (params db.StreamBeginParams, err error) {
	if err := trigger.Install(ctx, s.Source, trigger.Schema(s.Name), s.tables, nil); err != nil {
		return params, err
	}
	system, timeline, err := trigger.Life(ctx, s.Source)
	if err != nil {
		return params, err
	}
	mark, err := trigger.Begin(ctx, s.Source, trigger.Schema(s.Name))
	seen := mark.String()
	return db.StreamBeginParams{SystemID: system, Timeline: timeline, Seen: &seen}, err
}

// install creates missing triggers, for example on new tables and partitions. It records a gap for a table that had lost its triggers.
func (s *session) install(ctx context.Context) error {
	gapped := false
	err := trigger.Install(ctx, s.Source, trigger.Schema(s.Name), s.tables, func(ctx context.Context, t table.Table) error {
		if !slices.Contains(s.before, t.String()) {
			return nil // It is new.
		}
		gapped = true
		return s.lost(ctx, gap{kind: "queue", reason: "the table had lost its triggers, which were created again", tables: []string{t.String()}})
	})
	if postgres.IsLockTimeout(err) {
		return nil // The application has locked a table that needs triggers; the next look tries again.
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

func (s *session) prepareTrigger(ctx context.Context, row db.StreamGetRow) (read func(ctx context.Context) error, err error) {
	system, timeline, err := trigger.Life(ctx, s.Source)
	if err != nil {
		return nil, err
	}
	if row.SystemID != "" && system != "" && (row.SystemID != system || row.Timeline != timeline) {
		return nil, &gap{kind: "restore", reason: "the source is another cluster, or on another timeline: a backup was restored, or a follower was promoted"}
	}
	if err := s.install(ctx); err != nil {
		return nil, err
	}
	reader := trigger.New(trigger.Config{
		Schema: trigger.Schema(s.Name), Source: s.Source, Mark: trigger.ParseMark(row.Seen), Version: s.version,
		Table: func(_ context.Context, oid uint32) (table.Table, bool, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			t, has := s.byOID[oid]
			return t, has, nil
		},
		Lookup: s.lookUp,
		Land: func(ctx context.Context, batch trigger.Batch) error {
			batch.Watermarks = slices.DeleteFunc(batch.Watermarks, func(token string) bool { return !s.owns(token) })
			return s.land(ctx, batch.Changes, log.Mark{Seen: batch.Mark.String(), CommittedAt: batch.CommittedAt, Watermarks: batch.Watermarks})
		},
	})
	return func(ctx context.Context) error { return s.readTrigger(ctx, reader) }, nil
}

func (s *session) readTrigger(ctx context.Context, reader *trigger.Reader) error {
	rotated, idle := s.Clock.Now(), 1
	for {
		count, err := reader.Turn(ctx)
		switch {
		case errors.Is(err, trigger.ErrRestored):
			return &gap{kind: "restore", reason: err.Error()}
		case errors.Is(err, trigger.ErrEmptied), errors.Is(err, trigger.ErrFailed):
			return &gap{kind: "queue", reason: err.Error()}
		case err != nil:
			return fmt.Errorf("stream %s: %w", s.Name, err)
		}
		if now := s.Clock.Now(); now.Sub(rotated) >= s.Look {
			rotated = now
			if err := reader.Rotate(ctx); err != nil {
				return err
			}
		}
		if count > 0 {
			idle = 1
		}
		if err := s.Clock.Sleep(ctx, s.Poll*time.Duration(min(idle, slowest))); err != nil {
			return err
		}
		idle++
	}
}
