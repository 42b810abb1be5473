package plan

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/daymill/daymill/internal/capture/sink/kind"
)

// Wanted is what a file says of capture.
type Wanted struct {
	Databases map[string]string // $NAME of an environment variable by the database's name
	// Tables has patterns of captured tables, by database. Databases that are missing from the file are missing here, and stay unchanged.
	Tables map[string][]string
	// KeysOnly has patterns of tables of which triggers write only keys.
	KeysOnly []string
	// NoRepair leaves gaps open instead of repairing them with snapshots.
	NoRepair bool
	Sinks    []Sink
}

// Sink is a sink as a file describes it.
type Sink struct {
	Name     string
	Kind     string
	Database string // that its changes come from
	Shards   int
	From     string // now, snapshot, or a position
	Settings kind.Settings
	// Line and Column are where the sink begins in the file.
	Line, Column int
}

// Values of Sink.From other than a position.
const (
	Now      = "now"
	Snapshot = "snapshot"
)

// ErrFrom says that the setting from is invalid.
var ErrFrom = errors.New("write from: now, from: snapshot, or a position such as from: 81213")

// CheckFrom checks where a sink begins: now, snapshot, or a position.
func CheckFrom(from string) error {
	if from == Now || from == Snapshot {
		return nil
	}
	if position, err := strconv.ParseInt(from, 10, 64); err != nil || position < 0 {
		return fmt.Errorf("%w, and not %q", ErrFrom, from)
	}
	return nil
}
