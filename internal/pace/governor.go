package pace

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/daymill/daymill/internal/text"
)

const (
	// lookEvery is how often a governor looks at the database while its process works.
	lookEvery = 250 * time.Millisecond
	// lookFor is for how long it goes on looking after the last pause began: longer than the longest pause and the longest statement after it,
	// or a process that pauses long because of the load would find the load forgotten.
	lookFor = maxPause + maxLimit
	// busyPace is the pace beside other work: a run then uses a fifth of the time.
	busyPace = 4.0
	// unseenPace is the pace if it is not known whether there is other work.
	unseenPace = 1.0
	// mostPace is the pace of a run that the database can hardly bear.
	mostPace = 20.0
	// calm is how long nobody else must have worked until the database counts as unused.
	calm = 10 * time.Second
	// slowdown is how many times as long as at best a look may take on average.
	slowdown = 4.0
	// walOver is over how long the rate of WAL is averaged: a single day may write as fast as it can.
	walOver = 15 * time.Second
	// mostLag is how late a standby may be.
	mostLag = 10 * time.Second
)

// Speed decides how long to pause after a statement, as a multiple of how long it took.
type Speed interface {
	// Pace returns the multiple; 0 means no pause.
	Pace() float64
}

// Fixed is a pace that never changes.
type Fixed float64

// Pace returns the pace.
func (f Fixed) Pace() float64 { return float64(f) }

// Load is what a governor sees of the database.
type Load struct {
	// Recent is how many sessions of others have run a statement within the last second, and Waiting how many of these wait for the disk or a
	// lock. Hidden is how many sessions cannot be seen.
	Recent, Waiting, Hidden int
	// WAL is how many bytes of WAL were written so far. WALRate is how many may be written per second: more force
	// checkpoints too often.
	WAL     int64
	WALRate float64
	// Lag is how late the latest standby is.
	Lag time.Duration
	// Took is how long the server took for the look itself. It always does the same, so it tells how an application's statements fare.
	Took time.Duration
}

// Governor is a pace that follows the load of the database: slow beside the application, and fast while nobody else works. It looks at the
// database four times a second while its process works, and at no other time. It is safe for concurrent use.
type Governor struct {
	clock Clock
	least float64
	look  func(ctx context.Context) (Load, error)

	mu     sync.Mutex
	asked  time.Time // when Pace was last called
	pace   float64
	reason string

	began    time.Time // of the looks, after a rest
	looked   time.Time
	others   time.Time // when others last worked
	pressure float64   // the pace that other signs than the sessions call for
	waiting  float64   // sessions on average
	slow     float64   // how many times as long as at best the looks take, on average
	best     time.Duration
	wal      int64
	walRate  float64
}

// NewGovernor returns a governor whose pace is never below least. Call Run beside it.
func NewGovernor(clock Clock, least float64, look func(ctx context.Context) (Load, error)) *Governor {
	return &Governor{clock: clock, least: least, look: look, pace: max(least, unseenPace), reason: "the database has not been looked at yet"}
}

// Pace returns the pace that the last look calls for.
func (g *Governor) Pace() float64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked = g.clock.Now()
	return g.pace
}

// State returns the pace and a clause that says why.
func (g *Governor) State() (pace float64, reason string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.pace, g.reason
}

// Run looks at the database while the process works, until ctx is done.
func (g *Governor) Run(ctx context.Context) {
	for g.clock.Sleep(ctx, lookEvery) == nil {
		g.mu.Lock()
		idle := g.asked.IsZero() || g.clock.Now().Sub(g.asked) > lookFor
		if idle && !g.looked.IsZero() { // What it knows becomes old.
			g.looked, g.wal, g.walRate = time.Time{}, 0, 0
			g.set(max(g.least, unseenPace), "the worker has nothing to do")
		}
		g.mu.Unlock()
		if idle {
			continue
		}
		load, err := g.look(ctx)
		if err != nil {
			g.mu.Lock()
			g.set(max(g.least, unseenPace), "the database could not be looked at")
			g.mu.Unlock()
			continue
		}
		g.Observe(load)
	}
}

// Observe sets the pace by what a look has shown.
func (g *Governor) Observe(load Load) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.clock.Now()
	since := now.Sub(g.looked)
	first := g.looked.IsZero()
	g.looked = now
	if first {
		g.began, g.others = now, time.Time{}
	}
	if load.Recent > 0 {
		g.others = now
	}
	floor, why := g.least, "nobody else uses the database"
	switch {
	case load.Recent > 0:
		floor, why = max(g.least, busyPace), sessions(load.Recent)+" of others "+are(load.Recent)+" at work"
	case now.Sub(g.others) < calm:
		floor, why = max(g.least, busyPace), "others were at work a moment ago"
	case now.Sub(g.began) < calm:
		floor, why = max(g.least, unseenPace), "the database has been looked at for a moment only"
	case load.Hidden > 0:
		floor, why = max(g.least, unseenPace), "it may not see what "+sessions(load.Hidden)+" of other roles "+are(load.Hidden)+" doing (pg_read_all_stats)"
	}
	if strain := g.strain(load, since, first); strain != "" {
		g.pressure, why = min(mostPace, max(unseenPace, floor, g.pressure)*1.25), strain
	} else if g.pressure *= 0.9; g.pressure > floor {
		why = g.reason // It is what slowed the runs down.
	}
	g.set(max(floor, g.pressure), why)
}

// strain returns why the database needs more rest than the number of sessions tells; empty if it does not.
func (g *Governor) strain(load Load, since time.Duration, first bool) string {
	const keep = 0.8 // of an average, at each look
	g.waiting = keep*g.waiting + (1-keep)*float64(load.Waiting)
	if g.best == 0 || load.Took < g.best {
		g.best = load.Took
	} else {
		g.best += (load.Took - g.best) / 1000 // The database may have grown.
	}
	if g.best > 0 {
		g.slow = keep*g.slow + (1-keep)*float64(load.Took)/float64(g.best)
	}
	if !first && since > 0 && g.wal > 0 {
		share := min(1, since.Seconds()/walOver.Seconds())
		g.walRate = (1-share)*g.walRate + share*float64(load.WAL-g.wal)/since.Seconds()
	}
	g.wal = load.WAL
	switch {
	case load.Lag > mostLag:
		return "a standby is " + text.Duration(load.Lag) + " behind"
	case g.waiting > 0.5:
		return "sessions of others wait for the disk or for locks"
	case load.WALRate > 0 && g.walRate > load.WALRate:
		return "so much WAL is written that it forces checkpoints (max_wal_size)"
	case load.Recent > 0 && g.slow > slowdown:
		return fmt.Sprintf("a small statement takes %.0f times as long as at best", g.slow)
	}
	return ""
}

func (g *Governor) set(pace float64, reason string) { g.pace, g.reason = pace, reason }

func sessions(n int) string { return text.Plural(int64(n), "session") }

func are(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}
