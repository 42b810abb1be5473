// Package sink delivers changes to systems outside of Daymill. Each kind of sink is a package below this one that implements [Sink], and
// one suite of tests runs over all of them.
package sink

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/daymill/daymill/internal/capture/change"
)

// Sink receives changes. Deliver may be called again with changes that it already accepted, which must do no harm.
type Sink interface {
	// Deliver delivers changes in order. It returns those that the sink refuses permanently, each with its reason; the sink accepted all
	// others. After an error, any of the changes may or may not have arrived: the caller delivers the batch again, after the time in the
	// error if that is a [RetryError].
	Deliver(ctx context.Context, changes []change.Change) ([]Refusal, error)
	Close() error
}

// Column is a column of a source table, for sinks that make a table of their own.
type Column struct {
	Name string
	Type string // as format_type writes it
}

// Sweeper is a sink that may handle a [change.Sweep]. Sinks that are not Sweepers receive no sweeps.
type Sweeper interface {
	Sink
	// Sweeps reports whether the sink handles sweeps. A sink that wraps another returns what that one does.
	Sweeps() bool
}

// Sized is a sink that is fastest with batches of another size than usual. Larger batches take longer until their first change arrives, and
// more memory.
type Sized interface {
	Sink
	// Batch returns how many changes a batch should have at most; 0 means as usual. A sink that wraps another returns what that one does.
	Batch() int
}

// SweptUpTo returns the position in a [change.Sweep]: rows whose last change is at or before it no longer exist.
func SweptUpTo(c change.Change) (int64, error) {
	var before struct {
		Position *int64 `json:"position"`
	}
	if err := json.Unmarshal(c.Old, &before); err != nil || before.Position == nil {
		return 0, errors.New("the sweep has no position")
	}
	return *before.Position, nil
}

// Refusal is a change that a sink refuses permanently.
type Refusal struct {
	Index  int    // in the batch
	Reason string // one sentence
	Answer string // what the sink answered, at most 4 KiB
}

// RetryError is the error of a sink that is too busy. It says when to try again.
type RetryError struct {
	After time.Duration
	Err   error
}

func (e *RetryError) Error() string { return e.Err.Error() }

func (e *RetryError) Unwrap() error { return e.Err }
