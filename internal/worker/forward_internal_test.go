package worker

import (
	"context"
	"testing"

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
