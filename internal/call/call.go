// Package call remembers the calls of the API that came with a key, and their answers, so that a call whose answer was lost can be sent again
// and does its work once.
package call

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

const (
	// mostKey is the longest key, in bytes.
	mostKey = 200
	// longest is how long a call may take: if one has no answer after that, its process has died. Calls of the API end after ten seconds.
	longest = time.Minute
)

// What can be wrong with a key.
var (
	ErrLong        = fmt.Errorf("a key has 1 to %d bytes of text", mostKey)
	ErrOther       = errors.New("the key was used for another call: give each its own")
	ErrInterrupted = errors.New("an earlier call with this key was interrupted, and it is not known whether it did its work: look, and use another key")
)

// Call is a call with a key.
type Call struct {
	Actor string // each has their own keys
	Key   string
	// Request is a hash of what the call asks for.
	Request []byte
}

// Answer is what a call answered.
type Answer struct {
	Status    int
	MediaType string
	Location  string // may be empty
	Body      string
}

// Begin returns whether this call shall do its work, because its key is new. If it is not, it returns the earlier call's answer, or nil if that
// call has not ended.
func (c Call) Begin(ctx context.Context, conn *postgres.DB) (begun bool, answer *Answer, err error) {
	if len(c.Key) > mostKey || c.Key == "" || !utf8.ValidString(c.Key) || strings.ContainsRune(c.Key, 0) {
		return false, nil, ErrLong
	}
	var known db.CallGetRow
	err = conn.Tx(ctx, func(tx pgx.Tx) error {
		queries := db.New(tx)
		rows, err := queries.CallBegin(ctx, db.CallBeginParams{Actor: c.Actor, Key: c.Key, Request: c.Request})
		if err != nil || rows == 1 {
			begun = err == nil
			return err
		}
		known, err = queries.CallGet(ctx, db.CallGetParams{Request: c.Request, Longest: longest, Actor: c.Actor, Key: c.Key})
		return err
	})
	switch {
	case errors.Is(err, pgx.ErrNoRows): // It was refused and forgotten in this moment.
		return false, nil, nil
	case err != nil:
		return false, nil, fmt.Errorf("begin a call with a key: %w", err)
	case begun:
		return true, nil, nil
	case !known.Same:
		return false, nil, ErrOther
	case known.Interrupted:
		return false, nil, ErrInterrupted
	case known.Status == 0:
		return false, nil, nil
	}
	return false, &Answer{Status: int(known.Status), MediaType: known.MediaType, Location: known.Location, Body: known.Body}, nil
}

// End stores the answer of a call that has done its work.
func (c Call) End(ctx context.Context, conn *postgres.DB, answer Answer) error {
	return c.end(ctx, conn, db.CallEndParams{
		Status: int32(answer.Status), MediaType: answer.MediaType, Location: answer.Location, Body: answer.Body, Actor: c.Actor, Key: c.Key, //nolint:gosec // A status has three digits.
	})
}

// Fail stores that nobody knows whether a call did its work.
func (c Call) Fail(ctx context.Context, conn *postgres.DB) error {
	return c.end(ctx, conn, db.CallEndParams{Status: -1, Actor: c.Actor, Key: c.Key})
}

func (c Call) end(ctx context.Context, conn *postgres.DB, params db.CallEndParams) error {
	err := conn.Tx(ctx, func(tx pgx.Tx) error { return db.New(tx).CallEnd(ctx, params) })
	if err != nil {
		return fmt.Errorf("store the answer of a call with a key: %w", err)
	}
	return nil
}

// Forget lets the key of a call that was refused be used again.
func (c Call) Forget(ctx context.Context, conn *postgres.DB) error {
	err := conn.Tx(ctx, func(tx pgx.Tx) error {
		return db.New(tx).CallForget(ctx, db.CallForgetParams{Actor: c.Actor, Key: c.Key})
	})
	if err != nil {
		return fmt.Errorf("forget a call with a key: %w", err)
	}
	return nil
}
