// Package lease makes sure that one holder at a time works on a unit, and that the next one can continue where a holder stopped.
//
//	free ──take──▶ held ──moves, heartbeats──▶ held ──settle, break off, release──▶ free
//	                 │
//	                 └──no heartbeat for the silence──▶ taken by another holder; the former is fenced
//
// The unit's row in the database names its holder by a [Term]. Every transaction in which a holder writes has the fence: a statement
// that updates or locks the row if it still belongs to the term. It finds no row once another holder has taken the unit, and it keeps
// the next holder from taking it before the transaction ends. [Fenced] is for statements that are a fence and do more, such as
// moving the cursor.
//
// A unit has a cursor, which the transaction that writes the work also moves: the next holder begins there.
//
//	unit     row                    cursor      who may take it
//	date     analytics.rollup_dates an entity   after [Silence]; a later attempt of the same job at once ([Last.Free])
//	stream   capture.stream         a position  after five of its owner's heartbeats were missed
//	shard    capture.shard          a position  anybody at any time
//	task     view.task              root keys   after [Silence]
//
// A date's term also has a random token and the row counts the holder's signs of life, because a run must notice that an older copy of
// the database was restored. The rows of the other units go back in time together with the log or the view that they are about.
//
// A shard's row has no heartbeat. There may be hundreds of shards, so the process that works on them gives one sign of life for
// all of its jobs (table capture.process), and so it does for jobs of the archive. When it is silent, its jobs return to the queue.
//
// Four things need no lease:
//   - The archive's keeper reads a replication slot, which Postgres gives to one connection at a time, and ends when the connection is lost.
//   - A chunk of a snapshot ends with an update that compares the number of chunks. The one that comes second is rolled back.
//   - A verification writes no metrics. It locks the date at its end, and discards its result if a run has begun in the meantime.
//   - A backfill's next step is due for everybody. The reconciler takes it under a transaction's advisory lock.
package lease

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/pace"
)

const (
	// Silence is how long a holder may go without a heartbeat before it counts as dead and its unit may be taken. A holder that
	// wrongly counts as dead is fenced, so the mistake costs time but never exactness.
	Silence = 30 * time.Second
	// Every is how often a holder that writes nothing else writes a heartbeat.
	Every = time.Second

	// releaseTimeout bounds a release.
	releaseTimeout = 2 * time.Second
)

// ErrFenced means that another holder has taken the unit, or that the database is not the one in which it was taken: it was
// restored, or another server has taken over. The holder may write nothing more.
var ErrFenced = errors.New("another worker has taken over, or the database was replaced by an older copy or another server")

// Term identifies the time for which one holder has a unit.
type Term struct {
	// ID is the number of a run, or how often the unit was taken. It alone is not unique, because restoring an older copy of the
	// database resets the sequence.
	ID int64
	// Token is random. It is zero where ID is enough.
	Token pgtype.UUID
}

// Unit is what a lease is for.
type Unit interface {
	// Heartbeat is the fence: it writes a sign of life to the unit's row, or locks it, if it belongs to the term. A unit that
	// counts signs of life also compares that its row has counted at least beat. It returns the number of rows.
	Heartbeat(ctx context.Context, queries *db.Queries, term Term, beat int64) (rows int64, err error)
}

// Transact runs do in a transaction of the database that has the unit's row. It may call do more than once.
type Transact func(ctx context.Context, do func(ctx context.Context, queries *db.Queries) error) error

// Lease is a holder's right to a unit.
type Lease struct {
	Unit     Unit
	Term     Term
	Clock    pace.Clock
	Transact Transact
	// Moves, if not nil, returns how many committed transactions have moved the cursor. Each was a sign of life.
	Moves func() int

	// signs is how many other signs of life are known to be committed. A commit whose answer was lost is not among them, so
	// the row may count more.
	signs   atomic.Int64
	heardAt time.Time
}

// Signs returns how many signs of life the unit's row must have counted at least.
func (l *Lease) Signs() int64 {
	signs := l.signs.Load()
	if l.Moves != nil {
		signs += int64(l.Moves())
	}
	return signs
}

// Fence fails with ErrFenced unless the holder still has the unit. It is the first statement of a transaction.
func (l *Lease) Fence(ctx context.Context, queries *db.Queries) error {
	return Fenced(l.Unit.Heartbeat(ctx, queries, l.Term, l.Signs()))
}

// Do runs do in a transaction that begins with the fence.
func (l *Lease) Do(ctx context.Context, do func(ctx context.Context, queries *db.Queries) error) error {
	return l.Once(ctx, func(ctx context.Context, queries *db.Queries, beat int64) (rows int64, err error) {
		rows, err = l.Unit.Heartbeat(ctx, queries, l.Term, beat)
		if err == nil && rows > 0 {
			err = do(ctx, queries)
		}
		return rows, err
	})
}

// Once is Do for statements of which the first contains the fence. do returns the number of rows of the unit that it has written, which is 0 if
// the holder no longer has it.
func (l *Lease) Once(ctx context.Context, do func(ctx context.Context, queries *db.Queries, beat int64) (rows int64, err error)) error {
	err := l.Transact(ctx, func(ctx context.Context, queries *db.Queries) error { return Fenced(do(ctx, queries, l.Signs())) })
	if err == nil {
		l.signs.Add(1)
	}
	return err
}

// Beat writes a heartbeat. It returns ErrFenced if the holder no longer has the unit.
func (l *Lease) Beat(ctx context.Context) error {
	return l.Do(ctx, func(context.Context, *db.Queries) error { return nil })
}

// Keep runs do, and writes a heartbeat at an interval meanwhile. If that fails, it ends do and returns why.
func (l *Lease) Keep(ctx context.Context, every time.Duration, do func(ctx context.Context) error) error {
	return pace.Beside(ctx, l.Clock, every, l.Beat, do)
}

// Release runs free, which records in the unit's row that nobody holds it: otherwise the next holder has to wait for the silence to
// pass. It takes two seconds at most, and also works when ctx is done.
func (l *Lease) Release(ctx context.Context, free func(ctx context.Context, queries *db.Queries) error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	_ = l.Transact(ctx, free) // If it fails, the silence passes.
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

// Fenced returns ErrFenced for a fence that has found no row.
func Fenced(rows int64, err error) error {
	if err == nil && rows == 0 {
		return ErrFenced
	}
	return err
}
