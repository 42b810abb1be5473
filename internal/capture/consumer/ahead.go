package consumer

import (
	"context"
	"fmt"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/postgres"
)

// ahead is a batch that is read while the one before it is delivered.
type ahead struct {
	after   int64
	limit   int
	done    chan struct{} // closed once what follows is set
	changes []change.Change
	upTo    int64
	err     error
}

// look begins to read the batch after a position.
func (d *deliverer) look(ctx context.Context, after int64) {
	a := &ahead{after: after, limit: d.limit(), done: make(chan struct{})}
	d.ahead = a
	go func() {
		defer close(a.done)
		a.changes, a.upTo, a.err = d.read(ctx, after, a.limit)
	}()
}

// next returns the batch after the shard's position. It uses what was read ahead, unless that was read too early to have changes, or for
// a batch that was delivered differently.
func (d *deliverer) next(ctx context.Context) ([]change.Change, int64, error) {
	if a := d.ahead; a != nil {
		d.drop()
		if a.after == d.position && a.limit <= d.limit() && a.err == nil && len(a.changes) > 0 {
			return a.changes, a.upTo, nil
		}
	}
	return d.read(ctx, d.position, d.limit())
}

// drop waits until nothing is read ahead any more, which takes as long as one read of the log.
func (d *deliverer) drop() {
	if d.ahead != nil {
		<-d.ahead.done
		d.ahead = nil
	}
}

func (d *deliverer) read(ctx context.Context, after int64, limit int) (changes []change.Change, upTo int64, err error) {
	err = d.DB.Read(ctx, func(on postgres.DBTX) error {
		changes, upTo, err = d.Log.Read(ctx, on, Query{
			Stream: d.Consumer.Stream, After: after, Shard: d.Shard, Shards: d.Consumer.Shards, Limit: limit, Consumer: d.Consumer.Name,
		})
		return err
	})
	if err != nil {
		return nil, after, fmt.Errorf("read the log for %s: %w", d.Consumer.Name, err)
	}
	return changes, upTo, nil
}
