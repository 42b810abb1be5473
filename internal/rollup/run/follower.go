package run

import (
	"context"

	"github.com/daymill/daymill/internal/rollup/replay"
)

// follow waits until the follower that the events are read from has replayed what the primary had committed when the
// requests were claimed, and fails where it does not follow this primary. Without a follower there is nothing to wait for.
func (a *attempt) follow(ctx context.Context) error {
	if a.source == a.primary {
		return nil
	}
	mark, err := replay.Leave(context.WithoutCancel(ctx), a.primary)
	if err != nil {
		return err
	}
	return mark.Await(ctx, a.source, a.Clock, func() error { return a.signOfLife(ctx) })
}
