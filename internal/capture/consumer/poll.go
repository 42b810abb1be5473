package consumer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

// Limits of a poll.
const (
	MaxPoll  = 10_000 // changes
	MinLease = time.Second
	MaxLease = time.Hour
)

// ErrPoll says why a poll or an acknowledgement is refused.
var ErrPoll = errors.New("the poll is refused")

// Poll is what a poller asks for.
type Poll struct {
	Consumer string
	Limit    int           // changes, from 1 to MaxPoll
	Poller   string        // who asks: while one has changes, no other gets any
	Lease    time.Duration // after which another gets them
}

// pollSQL is not sqlc's, which does not know the columns of a function's rows.
const pollSQL = `
SELECT p.position, p.stream, p.op, p.schema, p."table", p.key::text, p.old::text, p.new::text, p.unchanged, p.key_changed, p.snapshot,
    p.xid, p.lsn, p.ordinal, p.committed_at, p.schema_version
FROM capture.poll($1, $2, $3, $4) AS p
ORDER BY p.position`

func scanPolled(row pgx.CollectableRow) (c change.Change, err error) {
	var key, before, after *string
	err = row.Scan(&c.Position, &c.Stream, &c.Op, &c.Schema, &c.Table, &key, &before, &after, &c.Unchanged, &c.KeyChanged, &c.Snapshot,
		&c.XID, &c.LSN, &c.Ordinal, &c.CommittedAt, &c.SchemaVersion)
	c.Key, c.Old, c.New, c.CommittedAt = document(key), document(before), document(after), c.CommittedAt.UTC()
	return c, err
}

// Changes returns the next changes of a consumer of kind poll, which come again until they are acknowledged. There are none
// while another poller has some.
func (p Poll) Changes(ctx context.Context, on *postgres.DB) (changes []change.Change, err error) {
	err = on.Tx(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, pollSQL, p.Consumer, min(p.Limit, MaxPoll+1), p.Poller, p.Lease)
		if err == nil {
			changes, err = pgx.CollectRows(rows, scanPolled)
		}
		return refusedPoll(err)
	})
	return changes, err
}

// Ack says that the poller has taken all changes up to a position. False says that it does not count: another poller has been
// given them since, or the consumer was paused or moved.
func (p Poll) Ack(ctx context.Context, on *postgres.DB, upTo int64) (counts bool, err error) {
	err = on.Tx(ctx, func(tx pgx.Tx) error {
		counts, err = db.New(tx).PollAck(ctx, db.PollAckParams{Consumer: p.Consumer, Upto: upTo, Poller: p.Poller})
		return refusedPoll(err)
	})
	return counts, err
}

// refusedPoll tells what the functions refuse, with what would be right, from what went wrong.
func refusedPoll(err error) error {
	server, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case !ok:
		return err
	case server.Code == pgerrcode.UndefinedObject:
		return ErrNone
	case server.Code == pgerrcode.InvalidParameterValue, server.Code == pgerrcode.ObjectNotInPrerequisiteState:
		return fmt.Errorf("%w: %s", ErrPoll, server.Message)
	default:
		return err
	}
}

func document(text *string) json.RawMessage {
	if text == nil {
		return nil
	}
	return json.RawMessage(*text)
}
