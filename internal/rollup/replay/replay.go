// Package replay waits for a follower: until it has replayed what the primary had committed, so that what is read there is
// no older than what somebody asks about.
package replay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
)

// ErrNotFollower says that --source-url leads to a database that is neither the primary nor a follower of it.
var ErrNotFollower = errors.New("the source is no follower of the database: give --source-url the URL of a read replica, or leave it out")

const (
	every    = 50 * time.Millisecond
	patience = 10 * time.Minute
	limit    = 5 * time.Second // of a statement
)

// Position is where the primary's write-ahead log ends: everything committed by now is before.
func Position(ctx context.Context, primary *postgres.Session) (position string, err error) {
	err = primary.Read(ctx, limit, func(ctx context.Context, on postgres.DBTX) error {
		position, err = db.New(on).ReplayPosition(ctx)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("ask for the primary's position: %w", err)
	}
	return position, nil
}

// Wait returns once the follower has replayed a position, with an error after ten minutes. While it waits it calls alive,
// whose error ends it.
func Wait(ctx context.Context, follower *postgres.Session, clock pace.Clock, position string, alive func() error) error {
	deadline := clock.Now().Add(patience)
	for {
		var replay db.ReplayReachedRow
		err := follower.Read(ctx, limit, func(ctx context.Context, on postgres.DBTX) error {
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
		case clock.Now().After(deadline):
			return fmt.Errorf("the follower has not replayed %s within %s", position, patience)
		}
		if err := alive(); err != nil {
			return err
		}
		if err := clock.Sleep(ctx, every); err != nil {
			return err
		}
	}
}
