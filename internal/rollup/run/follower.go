package run

import (
	"context"

	"github.com/daymill/daymill/internal/rollup/replay"
)

// follow waits until the follower that serves the events has replayed everything that the primary had committed when the
// requests were claimed. It fails if the follower does not follow this primary. Without a follower it returns at once.
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
