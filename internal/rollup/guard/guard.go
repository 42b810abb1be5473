// Package guard keeps metrics from being erased because their events are gone. Applications drop old events, a rollup
// makes a date's rows equal to its events, and so a request for an old date, for whatever reason, would erase what can
// never be counted again.
//
// A date that has something to lose is protected in two cases: it begins before what the application keeps (`daymill
// source set --retention`), for then some of its events may be gone although others are there; or it has no event at all
// any more. Package run asks before it publishes, package verification before it compares.
package guard

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

// ErrProtected says that a date's metrics stay as they are, since its events are gone. What wraps it says which way.
var ErrProtected = errors.New("protected: its metrics stay as they are")

var (
	errBeyond = fmt.Errorf("%w, for the date begins before what `daymill source retention` says is kept "+
		"(`daymill enqueue --erase DATE` rolls it up all the same)", ErrProtected)
	errVanished = fmt.Errorf("%w, for it had events and has none any more "+
		"(`daymill enqueue --erase DATE` removes them)", ErrProtected)
)

// limit is the time limit of a look at the ledger or the events: each is a few lookups in an index.
const limit = 5 * time.Second

// Guard looks at one date.
type Guard struct {
	// Primary has the ledger, Source the events.
	Primary, Source *postgres.Session
	Date            date.Date
	Bounds          date.Bounds
	// RunID is the run that claimed the requests, any of which may want the rows erased; 0 where there is none.
	RunID int64
}

// Check returns an error that is ErrProtected where the date's rows have to stay as they are at an instant.
func (g Guard) Check(ctx context.Context, now time.Time) error {
	var known db.GuardLedgerRow
	err := g.Primary.Read(ctx, limit, func(ctx context.Context, on postgres.DBTX) (err error) {
		known, err = db.New(on).GuardLedger(ctx, db.GuardLedgerParams{MetricDate: g.Date, AtInstant: now, RunID: g.RunID})
		return err
	})
	switch {
	case err != nil:
		return fmt.Errorf("look whether the date is protected: %w", err)
	case known.Erase || !known.HadEvents:
		return nil
	case known.BeyondRetention:
		return errBeyond
	}
	has, err := g.hasEvents(ctx)
	if err != nil {
		return fmt.Errorf("look whether the date has events: %w", err)
	}
	if !has {
		return errVanished
	}
	return nil
}

// hasEvents looks into the index.
func (g Guard) hasEvents(ctx context.Context) (has bool, err error) {
	err = g.Source.Look(ctx, limit, func(ctx context.Context, on postgres.DBTX) error {
		has, err = db.New(on).GuardEvents(ctx, db.GuardEventsParams{FromInstant: g.Bounds.From, ToInstant: g.Bounds.To})
		return err
	})
	return has, err
}
