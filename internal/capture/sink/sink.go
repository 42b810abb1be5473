// Package sink hands changes to systems outside of Daymill. Each kind is a package below this one behind [Sink], and one suite
// of tests runs over all of them.
package sink

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/daymill/daymill/internal/capture/change"
)

// Sink takes changes. Deliver may be called again with changes that it has taken before, and makes sure that this does no harm.
type Sink interface {
	// Deliver hands over changes in order. It returns those that the sink refuses for good, each with its reason; all others
	// were taken. An error means that none of the others may be counted on: the caller delivers the batch again, after the
	// time that a [RetryError] names if it is one.
	Deliver(ctx context.Context, changes []change.Change) ([]Refusal, error)
	Close() error
}

// Column is a column of a source table, for sinks that make a table of their own.
type Column struct {
	Name string
	Type string // as format_type writes it
}

// Sweeper is a sink that takes a [change.Sweep]: it knows of each row after which position it was written. Others get none.
type Sweeper interface {
	Sink
	// Sweeps reports whether it does: what wraps a sink does as that one.
	Sweeps() bool
}

// SweptUpTo is the position in a [change.Sweep]: rows whose last change is not after it are gone.
func SweptUpTo(c change.Change) (int64, error) {
	var before struct {
		Position *int64 `json:"position"`
	}
	if err := json.Unmarshal(c.Old, &before); err != nil || before.Position == nil {
		return 0, errors.New("the sweep has no position")
	}
	return *before.Position, nil
}

// Refusal is a change that a sink will not take, however often it is tried.
type Refusal struct {
	Index  int    // in the batch
	Reason string // one sentence
	Answer string // what the sink answered, at most 4 KiB
}

// RetryError says when a sink that is too busy wants to be asked again.
type RetryError struct {
	After time.Duration
	Err   error
}

func (e *RetryError) Error() string { return e.Err.Error() }

func (e *RetryError) Unwrap() error { return e.Err }
