package worker

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestForward: many notifications that arrive during the rest become one poke, and none is lost.
func TestForward(t *testing.T) {
	t.Parallel()
	r := &reconciler{wake: make(chan struct{}, 1), notified: make(chan struct{}, 1)}
	rests, end := make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.forward(ctx, func(context.Context) {
			rests <- struct{}{}
			<-end
		})
	}()
	r.notified <- struct{}{}
	<-rests
	<-r.wake
	for range 1000 { // As listenOnce does.
		select {
		case r.notified <- struct{}{}:
		default:
		}
	}
	require.Empty(t, r.wake, "it rests")
	end <- struct{}{}
	<-rests
	require.Len(t, r.wake, 1, "the notifications of the meantime cause one poke")
	<-r.wake
	require.Empty(t, r.notified)
	cancel()
	end <- struct{}{}
	<-done
	require.Empty(t, r.wake)
}

// While the reconciler rests, a finished date is no reason to look, but a request and the clock are. Afterwards it is one, also if the date finished
// during the rest.
func TestReconciler_Await(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	r := &reconciler{wake: make(chan struct{}, 1), finished: make(chan struct{}, 1)}
	r.finish()
	r.finish()
	require.Equal(t, dateDone, r.await(ctx, time.Hour, 0))
	require.Empty(t, r.finished)

	r.finish()
	r.poke()
	require.Equal(t, poked, r.await(ctx, time.Hour, time.Hour))
	require.Empty(t, r.wake)
	require.Len(t, r.finished, 1, "it rests")
	require.Equal(t, waited, r.await(ctx, time.Nanosecond, time.Hour))
	require.Len(t, r.finished, 1, "it rests")
	require.Equal(t, dateDone, r.await(ctx, time.Hour, time.Nanosecond))
	require.Empty(t, r.finished)

	cancel()
	require.Equal(t, ended, r.await(ctx, time.Hour, time.Hour))
	require.Equal(t, ended, r.await(ctx, time.Hour, 0))
}
