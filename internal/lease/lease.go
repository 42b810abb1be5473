// Package lease makes sure that one holder at a time works on a unit, such as a date, and that the next one can continue
// where a holder stopped.
//
//	free ──take──▶ held ──moves, heartbeats──▶ held ──settle, break off──▶ free
//	                 │
//	                 └──no heartbeat for Silence──▶ taken by another holder; the former is fenced
//
// The unit's row in the database names its holder by a [Term] and counts the holder's signs of life. Every transaction in
// which a holder writes begins with the fence: a statement that updates the row if it still belongs to the holder. It updates no
// row once another holder has taken the unit, and it keeps the next holder from taking it before the transaction ends.
//
// A unit has a cursor, which the transaction that writes the work also moves. A holder that takes the unit soon after another
// stopped may resume at the cursor ([Last.Resumable]).
//
// [Fenced] is for statements that are a fence and do more, such as moving the cursor.
package lease

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/pace"
)

// Silence is how long a holder may go without a heartbeat before it counts as dead and its unit may be taken. A holder that
// wrongly counts as dead is fenced, so the mistake costs time but never exactness.
const Silence = 30 * time.Second

// Every is how often a holder that writes nothing else writes a heartbeat.
const Every = time.Second

// ErrFenced means that another holder has taken the unit, or that the database is not the one in which it was taken: it was
// restored, or another server has taken over. The holder may write nothing more.
var ErrFenced = errors.New("another run of the date has begun, or the database was replaced by an older copy or another server")

// Term identifies the time for which one holder has a unit. The number alone is not unique, because restoring an older copy of the
// database resets the sequence. In such a copy the term has a different token, or the unit's row has counted fewer signs of life
// than the holder has given.
type Term struct {
	ID    int64
	Token pgtype.UUID
}

// Unit is what a lease is for.
type Unit interface {
	// Heartbeat is the fence: it writes a sign of life to the unit's row if that belongs to the term, in the life of the
	// database in which the term began, and has counted at least beat signs. It returns the number of rows written.
	Heartbeat(ctx context.Context, queries *db.Queries, term Term, beat int64) (rows int64, err error)
}

// Lease is a holder's right to a unit.
type Lease struct {
	Unit  Unit
	Term  Term
	Clock pace.Clock
	// Moves returns how many committed transactions have moved the cursor. Each was a sign of life.
	Moves func() int

	// signs is how many other signs of life are known to be committed. A commit whose answer was lost is not among them, so
	// the row may count more.
	signs   int64
	heardAt time.Time
}

// Beat returns how many signs of life the unit's row must have counted at least.
func (l *Lease) Beat() int64 { return l.signs + int64(l.Moves()) }

// Fence fails with ErrFenced unless the holder still has the unit. It is the first statement of a transaction.
func (l *Lease) Fence(ctx context.Context, queries *db.Queries) error {
	return Fenced(l.Unit.Heartbeat(ctx, queries, l.Term, l.Beat()))
}

// Do runs do in a transaction that begins with the fence. transact runs a transaction; it may call its argument more than once.
func (l *Lease) Do(
	ctx context.Context,
	transact func(ctx context.Context, do func(ctx context.Context, queries *db.Queries) error) error,
	do func(ctx context.Context, queries *db.Queries) error,
) error {
	err := transact(ctx, func(ctx context.Context, queries *db.Queries) error {
		if err := l.Fence(ctx, queries); err != nil {
			return err
		}
		return do(ctx, queries)
	})
	if err == nil {
		l.signs++
	}
	return err
}

// Due reports whether a heartbeat is due: [Every] after the last. The first call reports false, because taking the unit was a
// sign of life.
func (l *Lease) Due() bool {
	now := l.Clock.Now()
	if now.Sub(l.heardAt) < Every {
		return false
	}
	first := l.heardAt.IsZero()
	l.heardAt = now
	return !first
}

// Fenced returns ErrFenced for a fence that has written no row.
func Fenced(rows int64, err error) error {
	if err == nil && rows == 0 {
		return ErrFenced
	}
	return err
}
