// Package pace keeps a run from being noticed: it sizes statements so that each takes about a tenth of a second,
// pauses after each one for as long as the statement took (times the pace), and counts what that came to.
package pace

import (
	"context"
	"time"
)

// Defaults of a run.
const (
	// DefaultPace pauses for as long as the statement took: half of the time the database hears nothing of the run.
	DefaultPace = 1.0
	// Target is how long a statement should take. A tenth of a second is short enough not to be felt by others that
	// wait for a lock or the disk, and long enough to make the round trip negligible.
	Target = 100 * time.Millisecond
	// Limit is the statement_timeout of a statement that can be done again in smaller parts. With what it takes to end
	// the statement and to hear of it, none takes longer than a quarter of a second.
	Limit = 200 * time.Millisecond

	// maxPause bounds a pause, so that a run's sign of life never stays away for long, whatever the pace.
	maxPause = 10 * time.Second
)

// Clock is the time, so that tests may have their own.
type Clock interface {
	Now() time.Time
	// Sleep returns after d, or ctx's cause once ctx is done.
	Sleep(ctx context.Context, d time.Duration) error
}

// SystemClock is the time of the machine.
type SystemClock struct{}

// Now is the current time.
func (SystemClock) Now() time.Time { return time.Now() } //nolint:forbidigo // This is the clock that others take.

// Sleep waits.
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
	// Pace is the length of a pause as a multiple of how long the statement took; 0 means no pauses.
	Pace float64

	// Longest is the longest statement on the server, Worked the time in statements, round trips included, Paused the time
	// in pauses.
	Longest, Worked, Paused time.Duration
}

// Link is what statements go through.
type Link interface {
	// Waited is how long it has waited so far for what is not the server's work: the network, locks.
	Waited() time.Duration
}

// Do runs one statement, or one transaction of statements, and returns how long the server took: what the link has waited
// meanwhile is left out, for a statement of another size would have waited as long. The link may be nil.
func (p *Pacer) Do(link Link, statement func() error) (time.Duration, error) {
	waited := func() time.Duration { return 0 }
	if link != nil {
		waited = link.Waited
	}
	start, before := p.Clock.Now(), waited()
	err := statement()
	took := p.Clock.Now().Sub(start)
	p.Worked += took
	took = max(0, took-(waited()-before))
	p.Longest = max(p.Longest, took)
	return took, err
}

// Pause waits after a statement that took so long. No transaction may be open.
func (p *Pacer) Pause(ctx context.Context, took time.Duration) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	pause := min(time.Duration(float64(took)*p.Pace), maxPause)
	if pause <= 0 {
		return nil
	}
	start := p.Clock.Now()
	err := p.Clock.Sleep(ctx, pause)
	p.Paused += p.Clock.Now().Sub(start)
	return err
}
