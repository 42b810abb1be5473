// Package standing judges the state of capture. Its checks are capture's contribution to package health.
package standing

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/daymill/daymill/internal/capture/consumer"
	"github.com/daymill/daymill/internal/capture/log"
	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/health"
	"github.com/daymill/daymill/internal/postgres"
)

const (
	// silence is how long a change may wait for a consumer that is not paused, before the consumer counts as stuck.
	silence = 5 * time.Minute
	// most is the maximum number of shards that are checked.
	most = 20
)

// Facts are what the checks are based on.
type Facts struct {
	Streams []db.StreamStandingRow
	Sinks   []consumer.Progress
	// Idle are the shards that have undelivered changes older than silence.
	Idle []Idle
	// Paused are consumers that have been paused for longer than the retention of the log, and those whose changes it no longer has.
	Paused []db.ConsumerPausedLongRow
}

// Idle is a shard that is stuck.
type Idle struct {
	db.ShardIdleRow

	Since time.Time // the commit of the first change that it does not have
}

// Read reads the facts.
func Read(ctx context.Context, conn *postgres.DB) (facts Facts, err error) {
	err = conn.Read(ctx, func(on postgres.DBTX) error {
		if facts.Streams, err = db.New(on).StreamStanding(ctx); err != nil {
			return fmt.Errorf("read the state of streams: %w", err)
		}
		if len(facts.Streams) == 0 {
			return nil // Without streams, consumers receive no changes.
		}
		if facts.Sinks, err = consumer.List(ctx, on); err != nil || len(facts.Sinks) == 0 {
			return err
		}
		if facts.Paused, err = db.New(on).ConsumerPausedLong(ctx, log.DefaultRetention); err != nil {
			return fmt.Errorf("look for paused consumers: %w", err)
		}
		facts.Idle, err = readIdle(ctx, on)
		return err
	})
	return facts, err
}

func readIdle(ctx context.Context, on postgres.DBTX) (idle []Idle, err error) {
	rows, err := db.New(on).ShardIdle(ctx, db.ShardIdleParams{Silence: silence, MaxRows: most})
	if err != nil {
		return nil, fmt.Errorf("look for stuck shards: %w", err)
	}
	for _, row := range rows {
		since, err := (log.Log{}).Next(ctx, on, row.Stream, row.Position)
		if err != nil {
			return nil, err
		}
		if !since.IsZero() && row.At.Sub(since) > silence {
			idle = append(idle, Idle{ShardIdleRow: row, Since: since})
		}
	}
	return idle, nil
}

// Checks returns capture's checks.
func (f Facts) Checks() []health.Check {
	return []health.Check{
		{Name: "stream", Rank: health.Broken, Judge: f.stream},
		{Name: "gap", Rank: health.Behind, Judge: f.gap},
		{Name: "sink_still", Rank: health.Broken, Judge: f.still},
		{Name: "sink", Rank: health.Behind, Judge: f.sink},
		{Name: "dead_letters", Rank: health.Behind, Judge: f.letters},
		{Name: "sink_paused", Rank: health.Behind, Judge: f.paused},
		{Name: "retained_wal", Rank: health.Behind, Judge: f.retained},
	}
}

const status = "daymill capture status"

// stream finds a stream that nobody reads.
func (f Facts) stream() (health.Finding, bool) {
	for _, s := range f.Streams {
		switch {
		case s.State == "stopped" || s.State == "waiting" && s.Reason != "":
			return health.Finding{Level: health.Bad, Command: status, Sentence: fmt.Sprintf("changes of %s are not read: %s", s.Name, s.Reason)}, true
		case s.IsUnowned:
			return health.Finding{Level: health.Bad, Command: "daymill worker", Sentence: fmt.Sprintf("nobody reads the changes of %s: start a worker", s.Name)}, true
		}
	}
	return health.Finding{}, false
}

func (f Facts) gap() (health.Finding, bool) {
	for _, s := range f.Streams {
		switch {
		case s.Gaps > 0 && s.Repair:
			return health.Finding{Level: health.Wait, Command: status, Sentence: fmt.Sprintf("changes of %s are missing, and a snapshot of the tables repairs that", s.Name)}, true
		case s.Gaps > 0:
			return health.Finding{Level: health.Bad, Command: status, Sentence: fmt.Sprintf("changes of %s are missing: snapshot the sinks of its tables", s.Name)}, true
		}
	}
	return health.Finding{}, false
}

func (f Facts) sink() (health.Finding, bool) {
	var sentences []string
	command := ""
	for _, s := range f.Sinks {
		if s.PausedAt == nil && s.Failures > 0 {
			sentences = append(sentences, fmt.Sprintf("sink %s does not accept changes: %s", s.Name, s.Error))
			command = "daymill sink show " + s.Name
		}
	}
	return finding(sentences, command, "daymill sink list")
}

// letters finds sinks with dead letters.
func (f Facts) letters() (health.Finding, bool) {
	var sentences []string
	command := ""
	for _, s := range f.Sinks {
		if s.Letters > 0 {
			sentences = append(sentences, fmt.Sprintf("sink %s has dead letters (%d): changes that it refused, and later changes of the same keys", s.Name, s.Letters))
			command = "daymill deadletter list " + s.Name
		}
	}
	return finding(sentences, command, "daymill deadletter list")
}

// finding returns what sentences about sinks say together: the first few, and the command for one sink or for several.
func finding(sentences []string, one, several string) (health.Finding, bool) {
	const first = 3
	switch n := len(sentences); {
	case n == 0:
		return health.Finding{}, false
	case n == 1:
		return health.Finding{Level: health.Wait, Command: one, Sentence: sentences[0]}, true
	case n > first:
		sentences = append(sentences[:first:first], fmt.Sprintf("and %d more", n-first))
	}
	return health.Finding{Level: health.Wait, Command: several, Sentence: strings.Join(sentences, "; ")}, true
}

// still finds a consumer that receives no changes, whatever the reason.
func (f Facts) still() (health.Finding, bool) {
	for _, shard := range f.Idle {
		reason := "check that a worker runs, and its log"
		if shard.Error != "" {
			reason = shard.Error
		}
		for _, s := range f.Sinks {
			if s.Name != shard.Consumer {
				continue
			}
			switch s.Kind {
			case "poll":
				reason = "nobody polls it"
			case "function":
				reason = "no process of the application runs it"
			}
		}
		return health.Finding{
			Level: health.Bad, Command: "daymill sink show " + shard.Consumer,
			Sentence: fmt.Sprintf("sink %s is stuck: its next change was committed %s ago: %s",
				shard.Consumer, shard.At.Sub(shard.Since).Truncate(time.Second), reason),
		}, true
	}
	return health.Finding{}, false
}

func (f Facts) paused() (health.Finding, bool) {
	if len(f.Paused) == 0 {
		return health.Finding{}, false
	}
	c := f.Paused[0]
	if c.IsLeft {
		return health.Finding{
			Level: health.Bad, Command: "daymill sink resume " + c.Name,
			Sentence: fmt.Sprintf("sink %s lacks changes that the log no longer has: resume it, and a snapshot of its tables brings them, or remove it", c.Name),
		}, true
	}
	return health.Finding{
		Level: health.Wait, Command: "daymill sink resume " + c.Name,
		Sentence: fmt.Sprintf("sink %s has been paused for more than a day, and the log keeps every change for it, until --capture-hold is over: resume or remove it", c.Name),
	}, true
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
