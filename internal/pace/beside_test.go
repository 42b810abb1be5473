package pace_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/pace"
)

func TestBeside(t *testing.T) {
	t.Parallel()
	failed, never := errors.New("failed"), func(context.Context) error { return nil }

	t.Run("BackgroundFails", func(t *testing.T) {
		t.Parallel()
		err := pace.Beside(t.Context(), pace.SystemClock{}, 1, func(context.Context) error { return failed }, func(ctx context.Context) error {
			<-ctx.Done()
			return context.Cause(ctx)
		})
		require.ErrorIs(t, err, failed)
	})

	t.Run("Ends", func(t *testing.T) {
		t.Parallel()
		calls := make(chan bool)
		err := pace.Beside(t.Context(), pace.SystemClock{}, 1, func(ctx context.Context) error {
			select {
			case calls <- true:
				return nil
			case <-ctx.Done(): // The end of do is not a failure.
				return context.Cause(ctx)
			}
		}, func(context.Context) error {
			<-calls
			<-calls
			return nil
		})
		require.NoError(t, err)
	})

	t.Run("Fails", func(t *testing.T) {
		t.Parallel()
		require.ErrorIs(t, pace.Beside(t.Context(), pace.SystemClock{}, 1, never, func(context.Context) error { return failed }), failed)
	})

	t.Run("Interrupted", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		err := pace.Beside(ctx, pace.SystemClock{}, 1, func(ctx context.Context) error { return ctx.Err() }, func(ctx context.Context) error {
			cancel()
			<-ctx.Done()
			return context.Cause(ctx)
		})
		require.ErrorIs(t, err, context.Canceled)
	})
}
