// Package standing judges how capture stands: its checks are what capture contributes to package health.
package standing

import (
	"context"
	"fmt"

	"github.com/daymill/daymill/internal/capture/consumer"
	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/health"
	"github.com/daymill/daymill/internal/postgres"
)

// Facts are what the checks go by.
type Facts struct {
	Streams []db.StreamStandingRow
	Sinks   []consumer.Progress
}

// Read reads them.
func Read(ctx context.Context, conn *postgres.DB) (facts Facts, err error) {
	err = conn.Read(ctx, func(on postgres.DBTX) error {
		if facts.Streams, err = db.New(on).StreamStanding(ctx); err != nil {
			return fmt.Errorf("read how streams stand: %w", err)
		}
		if len(facts.Streams) == 0 {
			return nil // Nothing reads changes for sinks, either.
		}
		facts.Sinks, err = consumer.List(ctx, on)
		return err
	})
	return facts, err
}

// Checks are capture's.
func (f Facts) Checks() []health.Check {
	return []health.Check{
		{Name: "stream", Rank: health.Broken, Judge: f.stream},
		{Name: "gap", Rank: health.Behind, Judge: f.gap},
		{Name: "sink", Rank: health.Behind, Judge: f.sink},
		{Name: "retained_wal", Rank: health.Behind, Judge: f.retained},
	}
}

const status = "daymill capture status"

// stream finds one that is not read.
func (f Facts) stream() (health.Finding, bool) {
	for _, s := range f.Streams {
		switch {
		case s.State == "stopped" || s.State == "waiting" && s.Reason != "":
			return health.Finding{Level: health.Bad, Command: status, Sentence: fmt.Sprintf("changes of %s are not read: %s", s.Name, s.Reason)}, true
		case s.IsUnowned:
			return health.Finding{Level: health.Bad, Command: "daymill worker", Sentence: fmt.Sprintf("nobody reads the changes of %s: a worker does", s.Name)}, true
		}
	}
	return health.Finding{}, false
}

func (f Facts) gap() (health.Finding, bool) {
	for _, s := range f.Streams {
		switch {
		case s.Gaps > 0 && s.Repair:
			return health.Finding{Level: health.Wait, Command: status, Sentence: fmt.Sprintf("changes of %s are missing, and the tables are read again", s.Name)}, true
		case s.Gaps > 0:
			return health.Finding{Level: health.Bad, Command: status, Sentence: fmt.Sprintf("changes of %s are missing: snapshot the sinks of its tables", s.Name)}, true
		}
	}
	return health.Finding{}, false
}

func (f Facts) sink() (health.Finding, bool) {
	for _, s := range f.Sinks {
		if s.PausedAt == nil && s.Failures > 0 {
			return health.Finding{
				Level: health.Wait, Command: "daymill sink show " + s.Name, Sentence: fmt.Sprintf("sink %s does not take changes: %s", s.Name, s.Error),
			}, true
		}
	}
	return health.Finding{}, false
}

func (f Facts) retained() (health.Finding, bool) {
	for _, s := range f.Streams {
		if s.Retained > stream.DefaultWarn {
			return health.Finding{
				Level: health.Wait, Command: status,
				Sentence: fmt.Sprintf("the slot of %s holds back %d MiB of WAL, and is dropped before it fills the disk", s.Name, s.Retained>>20),
			}, true
		}
	}
	return health.Finding{}, false
}
