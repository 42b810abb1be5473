package replay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/presence"
)

// Open opens the pool of a follower.
type Open func(ctx context.Context) (*postgres.DB, error)

// Followers are several followers of a primary. A follower that is down when the process starts is opened later.
type Followers struct {
	primary *postgres.DB
	clock   pace.Clock
	members []*member
}

var _ postgres.Source = (*Followers)(nil)

// member is one of the followers.
type member struct {
	number int // from 1, in the order of the options
	open   Open

	turn chan struct{} // of capacity 1; it holds a value while db is used here
	db   *postgres.DB  // nil until it could be opened
}

// NewFollowers returns the followers of a primary. Close closes them.
func NewFollowers(primary *postgres.DB, clock pace.Clock, open []Open) *Followers {
	f := &Followers{primary: primary, clock: clock}
	for i, one := range open {
		f.members = append(f.members, &member{number: i + 1, open: one, turn: make(chan struct{}, 1)})
	}
	return f
}

// Open opens all followers, and returns the errors of those that cannot be opened.
func (f *Followers) Open(ctx context.Context) []error {
	all := make([]error, len(f.members))
	var group errgroup.Group
	for i, m := range f.members {
		group.Go(func() error {
			if _, err := m.get(ctx); err != nil {
				all[i] = fmt.Errorf("follower %d: %w", m.number, err)
			}
			return nil
		})
	}
	_ = group.Wait() // No function returns an error.
	return slices.DeleteFunc(all, func(err error) bool { return err == nil })
}

// Close closes the followers that were opened.
func (f *Followers) Close() {
	for _, m := range f.members {
		m.turn <- struct{}{}
		if m.db != nil {
			m.db.Close()
			m.db = nil
		}
		<-m.turn
	}
}

// get returns the follower's pool.
func (m *member) get(ctx context.Context) (*postgres.DB, error) {
	select {
	case m.turn <- struct{}{}:
	case <-ctx.Done(): // Another run is trying to open a follower that does not answer.
		return nil, ctx.Err()
	}
	defer func() { <-m.turn }()
	if m.db != nil {
		return m.db, nil
	}
	opened, err := m.open(ctx)
	if err != nil {
		return nil, err
	}
	m.db = opened
	return opened, nil
}

// Look returns what there is to say about the only follower, and why it cannot be read. It writes a mark on the primary and looks
// for it for a few seconds. A follower that only lags is not an error, because runs wait for it.
func Look(ctx context.Context, primary, follower *postgres.DB, clock pace.Clock) (presence.Follower, error) {
	f := NewFollowers(primary, clock, []Open{follower.Choose})
	looks, err := f.look(ctx, false)
	if err != nil {
		return presence.Follower{}, err
	}
	return looks[0].Follower, looks[0].err
}

// found is what a look at a follower has found.
type found struct {
	presence.Follower

	db  *postgres.DB // nil if it cannot be read
	err error
}

// Choose returns the follower that is the first to have everything that the primary has committed by now. If none has it within a
// few seconds, Choose returns one that only lags, because a run waits for it. It returns an error if none can be read.
func (f *Followers) Choose(ctx context.Context) (*postgres.DB, error) {
	looks, err := f.look(ctx, true)
	if err != nil {
		return nil, err
	}
	var late *postgres.DB
	var errs []error
	for _, one := range looks {
		switch {
		case one.err != nil:
			errs = append(errs, fmt.Errorf("follower %d: %w", one.Number, one.err))
		case !one.Late:
			return one.db, nil
		case late == nil:
			late = one.db
		}
	}
	if late != nil {
		return late, nil
	}
	return nil, fmt.Errorf("no follower of --source-url can be read: %w", errors.Join(errs...))
}

// Look returns what there is to say about each follower, in the order of the options. The error of a follower that cannot be read
// goes to tell, because it may name the follower's host.
func (f *Followers) Look(ctx context.Context, tell func(number int, err error)) ([]presence.Follower, error) {
	looks, err := f.look(ctx, false)
	if err != nil {
		return nil, err
	}
	all := make([]presence.Follower, len(looks))
	for i, one := range looks {
		all[i] = one.Follower
		if one.err != nil {
			tell(one.Number, one.err)
		}
	}
	return all, nil
}

// look looks at all followers at a time. If one is enough, it ends when the first has everything; the others then have errors.
func (f *Followers) look(ctx context.Context, one bool) ([]found, error) {
	own, err := f.primary.Session(ctx)
	if err != nil {
		return nil, err
	}
	defer own.Release(context.WithoutCancel(ctx))
	mark, err := Leave(ctx, own)
	if err != nil {
		return nil, err
	}
	ctx, enough := context.WithCancel(ctx)
	defer enough()
	looks := make([]found, len(f.members))
	var group errgroup.Group
	for i, m := range f.members {
		group.Go(func() error {
			looks[i] = m.look(ctx, mark, f.clock)
			if one && looks[i].err == nil && !looks[i].Late {
				enough()
			}
			return nil
		})
	}
	_ = group.Wait() // No function returns an error.
	return looks, mark.forget(ctx)
}

// look looks for a mark on the follower for a few seconds.
func (m *member) look(ctx context.Context, mark Mark, clock pace.Clock) found {
	look := found{Follower: presence.Follower{Number: m.number}}
	look.db, look.err = m.get(ctx)
	if look.err == nil {
		at, err := mark.arrives(ctx, look.db, clock)
		look.err, look.Late, look.Behind = err, err == nil && !at.Marked, at.Behind
		if look.Late {
			look.Delay = time.Duration(at.Delay * float64(time.Second))
		}
	}
	if look.err != nil {
		look.db, look.Problem = nil, Problem(look.err)
	}
	return look
}

// Problem says why a follower cannot be read. Users of the pages may not be allowed to know its host, so the sentence does not
// contain it.
func Problem(err error) string {
	switch {
	case errors.Is(err, ErrPrimary):
		return "is not in recovery: it was promoted, or is another primary"
	case errors.Is(err, errAbandoned):
		return "follows a timeline that was abandoned in a failover"
	case errors.Is(err, errOtherCluster):
		return "is a replica of another cluster"
	default:
		return "does not answer"
	}
}

// arrives looks for the mark on a follower for a few seconds, and returns how far the follower has come by then.
func (m Mark) arrives(ctx context.Context, on *postgres.DB, clock pace.Clock) (at db.ReplayReachedRow, err error) {
	session, err := on.Session(ctx)
	if err != nil {
		return at, fmt.Errorf("open the follower: %w", err)
	}
	defer session.Release(context.WithoutCancel(ctx))
	for deadline := clock.Now().Add(limit); ; {
		at, err = m.reached(ctx, session)
		if err != nil || at.Marked || clock.Now().After(deadline) {
			return at, err
		}
		if err := clock.Sleep(ctx, every); err != nil {
			return at, err
		}
	}
}
