package run

import (
	"context"

	"github.com/daymill/daymill/internal/rollup/replay"
)

// follow waits until the follower that the events are read from has replayed what the primary had committed when the
// requests were claimed. Without a follower there is nothing to wait for.
func (a *attempt) follow(ctx context.Context) error {
	if a.source == a.primary {
		return nil
	}
	position, err := replay.Position(context.WithoutCancel(ctx), a.primary)
	if err != nil {
		return err
	}
	return replay.Wait(ctx, a.source, a.Clock, position, func() error { return a.signOfLife(ctx) })
}
