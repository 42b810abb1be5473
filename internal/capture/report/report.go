// Package report defines capture's objects in JSON. The command line with --json and the HTTP API both return them, so their output
// is the same.
package report

import (
	"encoding/json"
	"time"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/consumer"
	"github.com/daymill/daymill/internal/capture/snapshot"
	"github.com/daymill/daymill/internal/capture/stream"
)

// Stream is a stream. The CLI and the API add fields that they read elsewhere.
type Stream struct {
	Database    string     `json:"database"`
	Mode        string     `json:"mode"`
	Why         string     `json:"why,omitempty"`
	State       string     `json:"state"`
	Reason      string     `json:"reason,omitempty"`
	Unread      bool       `json:"unread"` // no worker reads it
	Position    int64      `json:"position"`
	LSN         string     `json:"lsn,omitempty"`
	LandedAt    *time.Time `json:"landed_at"`
	CommittedAt *time.Time `json:"committed_at"`
	Retained    int64      `json:"retained_bytes"`
	Behind      int64      `json:"behind_bytes"`
	// WarnAt and DropAt are bytes of WAL held back; 0 in trigger mode, and until a worker has looked.
	WarnAt int64 `json:"warn_at_bytes"`
	DropAt int64 `json:"drop_at_bytes"`
	// Gaps are the gaps that are not repaired yet.
	Gaps      []Gap      `json:"gaps"`
	Snapshots []Snapshot `json:"snapshots"` // not finished
}

// OfStream reports a stream with its unfinished snapshots.
func OfStream(s stream.Status, open []snapshot.Snapshot) Stream {
	report := Stream{
		Database: s.Name, Mode: s.Mode, Why: s.Why, State: s.State, Reason: s.Reason, Unread: s.Unread(), Position: s.Position, LSN: s.LSN,
		LandedAt: s.LandedAt, CommittedAt: s.CommittedAt, Retained: s.Retained, Behind: s.Behind,
		WarnAt: s.WarnAt, DropAt: s.DropAt, Gaps: []Gap{}, Snapshots: []Snapshot{},
	}
	for _, g := range s.Gaps {
		if g.RepairedAt == nil {
			report.Gaps = append(report.Gaps, Gap{Kind: g.Kind, Reason: g.Reason, After: g.After, Tables: g.Tables, At: g.CreatedAt})
		}
	}
	for _, one := range open {
		report.Snapshots = append(report.Snapshots, OfSnapshot(one))
	}
	return report
}

// Gap is a gap.
type Gap struct {
	Kind   string    `json:"kind"`
	Reason string    `json:"reason"`
	After  int64     `json:"after"`
	Tables []string  `json:"tables"` // empty means all
	At     time.Time `json:"at"`
}

// Table is a table of a stream.
type Table struct {
	Table    string    `json:"table"`
	Identity string    `json:"identity"` // pg_class.relreplident
	Since    time.Time `json:"since"`
	// Reason says why the table is not captured, or not all of its changes; empty if they are.
	Reason string `json:"reason,omitempty"`
}

// OfTables reports the tables of a stream.
func OfTables(all []stream.Captured) []Table {
	tables := make([]Table, len(all))
	for i, t := range all {
		tables[i] = Table{Table: t.Schema + "." + t.Table, Identity: t.Identity, Since: t.Since, Reason: t.Reason}
	}
	return tables
}

// Snapshot is a snapshot.
type Snapshot struct {
	ID         int64      `json:"id"`
	Database   string     `json:"database"`
	Table      string     `json:"table"`
	Sink       string     `json:"sink,omitempty"` // missing means all
	State      string     `json:"state"`
	Reason     string     `json:"reason,omitempty"`
	Rows       int64      `json:"rows"`
	Estimate   int64      `json:"estimate"`
	Left       string     `json:"left,omitempty"`
	CreatedAt  time.Time  `json:"created_at"`
	FinishedAt *time.Time `json:"finished_at"`
}

// OfSnapshot reports a snapshot.
func OfSnapshot(s snapshot.Snapshot) Snapshot {
	report := Snapshot{
		ID: s.ID, Database: s.Stream, Table: s.Schema + "." + s.Table, Sink: s.Consumer, State: s.State, Reason: s.Reason,
		Rows: s.Rows, Estimate: s.Estimate, CreatedAt: s.CreatedAt, FinishedAt: s.FinishedAt,
	}
	if left := s.Left(); left > 0 {
		report.Left = left.Round(time.Second).String()
	}
	return report
}

// Sink is a consumer.
type Sink struct {
	Name          string     `json:"name"`
	Kind          string     `json:"kind"`
	Database      string     `json:"database"`
	State         string     `json:"state"` // paused, failing or active
	PausedAt      *time.Time `json:"paused_at"`
	PausedBecause string     `json:"paused_because,omitempty"`
	Shards        int        `json:"shards"`
	Position      int64      `json:"position"`
	Delivered     int64      `json:"delivered"`
	MovedAt       time.Time  `json:"moved_at"`
	Failures      int        `json:"failures"`
	Error         string     `json:"error,omitempty"`
	Letters       int64      `json:"dead_letters"`
}

// OfSink reports a consumer.
func OfSink(p consumer.Progress) Sink {
	return Sink{
		Name: p.Name, Kind: p.Kind, Database: p.Stream, State: State(p), PausedAt: p.PausedAt, PausedBecause: p.PausedBecause,
		Shards: p.Shards, Position: p.Position, Delivered: p.Delivered, MovedAt: p.MovedAt, Failures: p.Failures, Error: p.Error,
		Letters: p.Letters,
	}
}

// State returns a consumer's state as one word.
func State(p consumer.Progress) string {
	switch {
	case p.PausedAt != nil:
		return "paused"
	case p.Failures > 0:
		return "failing"
	default:
		return "active"
	}
}

// Details are the details of one consumer, in addition to Sink.
type Details struct {
	Settings json.RawMessage `json:"settings"`
	Each     []Shard         `json:"each_shard"`
}

// Shard is a shard of a consumer.
type Shard struct {
	Number    int        `json:"shard"`
	Position  int64      `json:"position"`
	Delivered int64      `json:"delivered"`
	MovedAt   *time.Time `json:"moved_at"`
	Failures  int        `json:"failures"`
	Error     string     `json:"error,omitempty"`
	RetryAt   *time.Time `json:"retry_at"`
}

// OfDetails reports the settings and the shards of a consumer.
func OfDetails(c consumer.Consumer, shards []consumer.Shard) Details {
	details := Details{Settings: c.Settings, Each: make([]Shard, len(shards))}
	for i, s := range shards {
		details.Each[i] = Shard{
			Number: s.Number, Position: s.Position, Delivered: s.Delivered, MovedAt: s.MovedAt, Failures: s.Failures, Error: s.Error, RetryAt: s.RetryAt,
		}
	}
	return details
}

// Letter is a dead letter.
type Letter struct {
	Sink      string         `json:"sink"`
	Position  int64          `json:"position"`
	Key       string         `json:"key"`
	State     string         `json:"state"`
	Reason    string         `json:"reason"`
	Answer    string         `json:"answer,omitempty"`
	Attempts  int            `json:"attempts"`
	CreatedAt time.Time      `json:"created_at"`
	ReplayAt  *time.Time     `json:"replay_at"`
	Change    *change.Change `json:"change,omitempty"`
}

// OfLetter reports a dead letter, without its change.
func OfLetter(l consumer.Letter) Letter {
	return Letter{
		Sink: l.Consumer, Position: l.Position, Key: l.Key, State: l.State, Reason: l.Reason, Answer: l.Answer, Attempts: l.Attempts,
		CreatedAt: l.CreatedAt, ReplayAt: l.ReplayAt,
	}
}

// Group is the dead letters of a consumer that have the same reason.
type Group struct {
	Sink    string    `json:"sink"`
	State   string    `json:"state"`
	Reason  string    `json:"reason"`
	Letters int64     `json:"letters"`
	Asked   int64     `json:"replays_requested"`
	First   time.Time `json:"first_at"`
	Last    time.Time `json:"last_at"`
}

// OfGroup reports a group of dead letters.
func OfGroup(g consumer.Group) Group {
	return Group{Sink: g.Consumer, State: g.State, Reason: g.Reason, Letters: g.Letters, Asked: g.Asked, First: g.First, Last: g.Last}
}
