package run

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

// ErrNotFollower says that --source-url leads to a database that is neither the primary nor a follower of it.
var ErrNotFollower = errors.New("the source is no follower of the database: give --source-url the URL of a read replica, or leave it out")

const (
	followEvery    = 50 * time.Millisecond
	followPatience = 10 * time.Minute
)

// follow waits until the follower that the events are read from has replayed what the primary had committed when the
// requests were claimed. Without a follower there is nothing to wait for.
func (a *attempt) follow(ctx context.Context) error {
	if a.source == a.primary {
		return nil
	}
	var position string
	err := a.ledger(ctx, func(ctx context.Context, queries *db.Queries) error {
		var err error
		position, err = queries.ReplayPosition(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("ask for the primary's position: %w", err)
	}
	deadline := a.Clock.Now().Add(followPatience)
	for {
		var replay db.ReplayReachedRow
		err := a.source.Read(ctx, ledgerLimit, func(on postgres.DBTX) error {
			var err error
			replay, err = db.New(on).ReplayReached(ctx, position)
			return err
		})
		switch {
		case err != nil:
			return fmt.Errorf("ask for the follower's position: %w", err)
		case !replay.InRecovery:
			return ErrNotFollower
		case replay.Reached:
			return nil
		case a.Clock.Now().After(deadline):
			return fmt.Errorf("the follower has not replayed %s within %s", position, followPatience)
		}
		if err := a.signOfLife(ctx); err != nil {
			return err
		}
		if err := a.Clock.Sleep(ctx, followEvery); err != nil {
			return err
		}
	}
}
