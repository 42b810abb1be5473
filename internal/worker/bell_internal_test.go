package worker

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestBell: a ring wakes everybody who has waited since before it.
func TestBell(t *testing.T) {
	t.Parallel()
	var b bell
	b.ring() // Nobody waits.
	first, second := b.next(), b.next()
	require.Empty(t, first)
	select {
	case <-first:
		t.Fatal("it has not rung since")
	default:
	}
	b.ring()
	<-first
	<-second
	select {
	case <-b.next():
		t.Fatal("it rang before")
	default:
	}
}

// TestEndedEarly: it does not wait for the loop that looks.
func TestEndedEarly(t *testing.T) {
	t.Parallel()
	r := &reconciler{ended: make(chan struct{}, 1)}
	r.endedEarly()
	r.endedEarly()
	require.Len(t, r.ended, 1)
}
