// Package replay waits until a follower has replayed everything that the primary has committed, so that a run reads every event
// that was committed before its requests. It also checks that the follower follows this primary, and not a timeline that a failover
// has abandoned: [Leave] writes a mark on the primary, and [Mark.Await] waits for it on the follower. Comparing positions is not
// enough, because the follower may have replayed more of the old timeline than the new one contains.
package replay

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
)

// ErrNotFollower says that --source-url names a database that does not follow the primary. The error that wraps it says why.
var ErrNotFollower = errors.New("the source is not a follower of the database: set --source-url to the URL of a read replica, or leave it out")

// ErrPrimary says that the source accepts writes.
var ErrPrimary = fmt.Errorf("%w (it is not in recovery: it was promoted, or is another primary)", ErrNotFollower)

var (
	errOtherCluster = fmt.Errorf("%w (it is a replica of another cluster)", ErrNotFollower)
	errAbandoned    = fmt.Errorf("%w (it has reached the primary's position but does not have a row that was just written there: "+
		"it follows a timeline that was abandoned in a failover; rebuild it from the primary)", ErrNotFollower)
)

const (
	every    = 50 * time.Millisecond
	patience = 10 * time.Minute
	limit    = 5 * time.Second // of a statement
)

// Mark is a row that was written on a primary, to look for on a follower.
type Mark struct {
	primary  *postgres.Session
	token    pgtype.UUID
	position string // in the WAL; everything committed before the mark is before it
	life     string
}

// Leave writes a mark on the primary. A follower that has the mark has everything that was committed by now.
func Leave(ctx context.Context, primary *postgres.Session) (Mark, error) {
	mark := Mark{primary: primary}
	err := primary.Tx(ctx, limit, func(ctx context.Context, on postgres.DBTX) (err error) {
		mark.token, err = db.New(on).ReplayMark(ctx)
		return err
	})
	if err != nil {
		return Mark{}, fmt.Errorf("write a mark for the follower: %w", err)
	}
	err = primary.Read(ctx, limit, func(ctx context.Context, on postgres.DBTX) error {
		row, err := db.New(on).ReplayPosition(ctx)
		mark.position, mark.life = row.Position, row.Life
		return err
	})
	if err != nil {
		return Mark{}, fmt.Errorf("read the primary's position: %w", err)
	}
	return mark, nil
}

// Await waits until the follower has the mark, and deletes the mark. It returns an error after ten minutes, and ErrNotFollower as
// soon as it is clear that the mark will never arrive. While it waits, it calls alive, and returns alive's error.
func (m Mark) Await(ctx context.Context, follower *postgres.Session, clock pace.Clock, alive func() error) error {
	deadline := clock.Now().Add(patience)
	for {
		there, err := m.seen(ctx, follower)
		switch {
		case err != nil:
			return err
		case there:
			return m.forget(ctx)
		case clock.Now().After(deadline):
			return fmt.Errorf("the follower has not replayed %s within %s", m.position, patience)
		}
		if err := alive(); err != nil {
			return err
		}
		if err := clock.Sleep(ctx, every); err != nil {
			return err
		}
	}
}

// Follow waits until the follower from which events are read has replayed everything that the primary has committed by now. It
// fails if the follower does not follow this primary. Without a follower it returns at once.
func Follow(ctx context.Context, pair *postgres.Pair, clock pace.Clock, alive func(ctx context.Context) error) error {
	if !pair.Follows() {
		return nil
	}
	mark, err := Leave(context.WithoutCancel(ctx), pair.Primary)
	if err != nil {
		return err
	}
	return mark.Await(ctx, pair.Source, clock, func() error { return alive(ctx) })
}

// seen reports whether the mark is on the follower.
func (m Mark) seen(ctx context.Context, follower *postgres.Session) (bool, error) {
	at, err := m.reached(ctx, follower)
	return at.Marked, err
}

// reached returns how far a follower has come. The error is ErrNotFollower if the mark will never arrive.
func (m Mark) reached(ctx context.Context, follower *postgres.Session) (at db.ReplayReachedRow, err error) {
	for range 2 {
		err = follower.Read(ctx, limit, func(ctx context.Context, on postgres.DBTX) (err error) {
			at, err = db.New(on).ReplayReached(ctx, db.ReplayReachedParams{Position: m.position, Token: m.token})
			return err
		})
		switch {
		case err != nil:
			return at, fmt.Errorf("read the follower's position: %w", err)
		case !at.InRecovery:
			return at, ErrPrimary
		case cluster(at.Life) != cluster(m.life):
			return at, errOtherCluster
		case at.Behind > 0 || at.Marked:
			return at, nil
		}
		// The mark may have arrived after the statement's snapshot was taken: look once more.
	}
	return at, errAbandoned
}

// cluster returns the part of a life that a follower shares with its primary: the system identifier.
func cluster(life string) string {
	id, _, _ := strings.Cut(life, "/")
	return id
}

func (m Mark) forget(ctx context.Context) error {
	err := m.primary.Tx(context.WithoutCancel(ctx), limit, func(ctx context.Context, on postgres.DBTX) error {
		return db.New(on).ReplayForget(ctx, m.token)
	})
	if err != nil {
		return fmt.Errorf("delete the follower's mark: %w", err)
	}
	return nil
}
