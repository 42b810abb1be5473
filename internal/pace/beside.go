package pace

import (
	"context"
	"sync"
	"time"
)

// Beside runs do and, in the background at an interval, often, until do returns or one of them fails. It returns the first error.
func Beside(ctx context.Context, clock Clock, every time.Duration, often, do func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done, stop := context.WithCancel(ctx)
	var failed error
	var wg sync.WaitGroup
	wg.Go(func() {
		for clock.Sleep(done, every) == nil {
			if failed = often(done); failed != nil {
				if done.Err() != nil {
					failed = nil // do has ended.
				}
				cancel(failed)
				return
			}
		}
	})
	err := do(ctx)
	stop()
	wg.Wait()
	if failed != nil {
		return failed
	}
	return err
}
