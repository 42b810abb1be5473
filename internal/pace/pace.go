// Package pace limits the load of a run. It sizes statements so that each takes about a tenth of a second, pauses after each
// one for as long as the statement took (times the pace), and adds up both times.
package pace

import (
	"context"
	"time"
)

// Defaults of a run.
const (
	// DefaultPace pauses for as long as the statement took: half of the time, the run sends nothing to the database.
	DefaultPace Fixed = 1
	// Target is how long a statement should take. A tenth of a second is too short to disturb others that wait for a lock or
	// the disk, and long enough to make the round trip negligible.
	Target = 100 * time.Millisecond
	// Limit is the statement_timeout of a statement that can be repeated in smaller parts. Including the cancellation and its
	// round trip, no such statement takes longer than a quarter of a second.
	Limit = 200 * time.Millisecond

	// maxPause is the longest pause, so that a run's heartbeat is never late, whatever the pace.
	maxPause = 10 * time.Second
)

// Clock tells the time. Tests may use their own.
type Clock interface {
	Now() time.Time
	// Sleep returns after d, or returns ctx's cause once ctx is done.
	Sleep(ctx context.Context, d time.Duration) error
}

// SystemClock is the machine's clock.
type SystemClock struct{}

// Now returns the current time.
func (SystemClock) Now() time.Time { return time.Now() } //nolint:forbidigo // This is the clock that others use.

// Sleep waits for d, or until ctx is done.
func (SystemClock) Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// Pacer times statements and pauses after them.
type Pacer struct {
	Clock Clock
	// Pace decides how long pauses are; nil means no pauses.
	Pace Speed

	// Longest is the time of the longest statement on the server. Worked is the time in statements, including round trips, but at
	// most a second of one statement's waiting: a process that was suspended, or waited for a lock, did not work.
	// Paused is the time in pauses.
	Longest, Worked, Paused time.Duration

	rested time.Duration // how long statements since the last pause waited for the network or locks: the server was at rest
}

// mostWaited is how much of one statement's waiting counts as work.
const mostWaited = time.Second

// Link is the connection that statements use.
type Link interface {
	// Waited returns how long the link has waited so far for anything but the server's work: the network and locks.
	Waited() time.Duration
}

// Do runs one statement, or one transaction of statements, and returns how long the server took. The time that the link
// waited is left out, because it does not depend on the statement's size. The link may be nil.
func (p *Pacer) Do(link Link, statement func() error) (time.Duration, error) {
	lap := p.Lap(link)
	before := waitedOf(link)
	err := statement()
	took, worked := lap()
	p.rested += waitedOf(link) - before
	p.Worked += worked
	p.Longest = max(p.Longest, took)
	return took, err
}

// Lap starts to time statements. The function that it returns tells how long the server took since then, and how much that adds to
// Worked.
func (p *Pacer) Lap(link Link) func() (took, worked time.Duration) {
	start, before := p.Clock.Now(), waitedOf(link)
	return func() (took, worked time.Duration) {
		passed, idle := p.Clock.Now().Sub(start), waitedOf(link)-before
		took = max(0, passed-idle)
		return took, min(passed, took+mostWaited)
	}
}

func waitedOf(link Link) time.Duration {
	if link == nil {
		return 0
	}
	return link.Waited()
}

// Pause waits after statements that took so long together. The time that they waited for the network is part of the pause: the server did nothing
// for them. No transaction may be open.
func (p *Pacer) Pause(ctx context.Context, took time.Duration) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if p.Pace == nil {
		return nil
	}
	pause := min(time.Duration(float64(took)*p.Pace.Pace())-p.rested, maxPause)
	p.rested = 0
	if pause <= 0 {
		return nil
	}
	start := p.Clock.Now()
	err := p.Clock.Sleep(ctx, pause)
	p.Paused += min(p.Clock.Now().Sub(start), pause) // It is longer if the process was suspended.
	return err
}
