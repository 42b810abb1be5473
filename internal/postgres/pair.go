package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Source is where events are read: a database, or one of several followers.
type Source interface {
	// Choose returns the database to read from now.
	Choose(ctx context.Context) (*DB, error)
}

// Choose returns the database itself.
func (db *DB) Choose(context.Context) (*DB, error) { return db, nil }

// Pair is a patient session with the primary, and one with the database that events are read from. Both are the same session if
// events are read from the primary.
type Pair struct {
	Primary, Source *Session

	db *DB
}

// Pair takes the sessions from the pools. Release returns them. Before a further try, a session calls between: see
// [Session.Patient].
func (db *DB) Pair(ctx context.Context, source Source, between func(ctx context.Context) error) (*Pair, error) {
	primary, err := db.Session(ctx)
	if err != nil {
		return nil, err
	}
	p := &Pair{Primary: primary, Source: primary, db: db}
	if source != db {
		if p.Source, err = SourceSession(ctx, source); err != nil {
			primary.Release(ctx)
			return nil, err
		}
	}
	p.Primary.Patient(between)
	p.Source.Patient(between)
	return p, nil
}

// SourceSession takes a session with the database that events are read from.
func SourceSession(ctx context.Context, source Source) (*Session, error) {
	chosen, err := source.Choose(ctx)
	if err != nil {
		return nil, fmt.Errorf("open source: %w", err)
	}
	session, err := chosen.Session(ctx)
	if err != nil {
		return nil, fmt.Errorf("open source: %w", err)
	}
	return session, nil
}

// Follows reports whether events are read from a follower.
func (p *Pair) Follows() bool { return p.Source != p.Primary }

// Release returns the sessions to their pools, within the limit, even if ctx is done.
func (p *Pair) Release(ctx context.Context, limit time.Duration) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	if p.Follows() {
		p.Source.Release(ctx)
	}
	p.Primary.Release(ctx)
}

// Tx runs a short transaction on the primary, which the end of ctx does not interrupt. It takes another connection while the
// session is busy with a cursor. do may be called more than once.
func (p *Pair) Tx(ctx context.Context, limit time.Duration, do func(ctx context.Context, on DBTX) error) error {
	if !p.Primary.Busy() {
		return p.Primary.Tx(ctx, limit, do)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*limit)
	defer cancel()
	return p.db.Tx(ctx, func(tx pgx.Tx) error { return do(ctx, tx) })
}
