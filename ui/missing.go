package ui

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/schedule"
	"github.com/daymill/daymill/internal/rollup/source"
)

// Which dates have events and nobody has asked for is the one thing on the pages that the ledger does not know: it takes
// a look into the source's index for each 50 dates that are not complete. So it is looked for in the background, one year
// at a time, by whoever looks at that year, and kept for missingKept. Five minutes are soon enough: what becomes of a date
// once it is asked for is in the ledger, which pages read each time and which wins over what is kept here, so all that can
// be late is that an old date without events has got some. A year of nothing but gaps takes 16 statements at a pace, which
// over five minutes is one every 19 seconds.
const (
	missingKept  = 5 * time.Minute
	missingRetry = time.Minute
	// missingLimit ends a look; each of its statements has a limit of its own.
	missingLimit = 20 * time.Second
	// missingWait is how long the first page waits for a look that has just begun.
	missingWait = 120 * time.Millisecond
	// firstKept is how long the date of the first event is kept.
	firstKept = time.Hour
	// mostYears bounds what is kept.
	mostYears = 50
)

// missing finds dates that have events and nobody has asked for.
type missing struct {
	db      *postgres.DB
	planner *schedule.Planner
	clock   pace.Clock
	logger  *slog.Logger

	mu      sync.Mutex
	years   map[int]gaps
	looking chan struct{} // closed once the look under way is over; nil while none is
	noEvent bool          // analytics.events reads nothing
	first   date.Date
	firstAt time.Time
}

// gaps are the missing dates of a year.
type gaps struct {
	known bool
	at    time.Time // of the look; or of the last try
	dates map[date.Date]bool
	// noSource reports that analytics.events reads nothing, and first is the date of the first event: none where there is
	// none or it is not known.
	noSource bool
	first    date.Date
}

func newMissing(config Config) *missing {
	return &missing{
		db: config.DB, clock: config.Clock, logger: config.Logger, years: make(map[int]gaps),
		planner: &schedule.Planner{Primary: config.DB, Source: config.DB, Clock: config.Clock, Pace: pace.DefaultPace},
	}
}

// of returns the missing dates of a year, as far as they are known, and has them looked for where that was too long ago.
func (m *missing) of(ctx context.Context, year int, today date.Date) gaps {
	m.mu.Lock()
	if m.looking == nil && m.stale(year) {
		m.looking = make(chan struct{})
		go m.look(context.WithoutCancel(ctx), year, today)
	}
	found, looking := m.years[year], m.looking
	m.mu.Unlock()
	if found.known || looking == nil {
		return m.with(found)
	}
	patience := time.NewTimer(missingWait)
	defer patience.Stop()
	select {
	case <-ctx.Done():
	case <-looking:
	case <-patience.C:
	}
	m.mu.Lock()
	found = m.years[year]
	m.mu.Unlock()
	return m.with(found)
}

func (m *missing) with(found gaps) gaps {
	m.mu.Lock()
	defer m.mu.Unlock()
	found.noSource, found.first = m.noEvent, m.first
	return found
}

func (m *missing) stale(year int) bool {
	last, tried := m.years[year]
	age := m.clock.Now().Sub(last.at)
	return !tried || age > missingKept || !last.known && age > missingRetry
}

// look is a look at a year.
func (m *missing) look(ctx context.Context, year int, today date.Date) {
	ctx, cancel := context.WithTimeout(ctx, missingLimit)
	defer cancel()
	exists, err := source.Exists(ctx, m.db)
	found := gaps{dates: make(map[date.Date]bool)}
	var first date.Date
	if err == nil && exists {
		if first, err = m.firstDate(ctx); err == nil {
			err = m.fill(ctx, found.dates, year, first, today)
		}
	}
	if err != nil {
		m.logger.WarnContext(ctx, "cannot look for missing dates", slog.Int("year", year), slog.String("error", err.Error()))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	found.known, found.at = err == nil, m.clock.Now()
	if before := m.years[year]; err != nil && before.known {
		// What was found before is better than nothing, for as long as another look would be worth.
		found.known, found.dates = true, before.dates
	}
	if len(m.years) > mostYears {
		clear(m.years)
	}
	m.years[year] = found
	if err == nil {
		m.noEvent = !exists
		if exists && m.first != first {
			m.first, m.firstAt = first, m.clock.Now()
		}
	}
	close(m.looking)
	m.looking = nil
}

func (m *missing) firstDate(ctx context.Context) (date.Date, error) {
	m.mu.Lock()
	first, at := m.first, m.firstAt
	m.mu.Unlock()
	if !first.IsZero() && m.clock.Now().Sub(at) < firstKept {
		return first, nil
	}
	return m.planner.FirstDate(ctx)
}

// fill adds the year's missing dates, from the first event to yesterday.
func (m *missing) fill(ctx context.Context, dates map[date.Date]bool, year int, first, today date.Date) error {
	of := yearRange(year)
	if last := today.AddDays(-1); of.Last.After(last) {
		of.Last = last
	}
	if of.First.Before(first) {
		of.First = first
	}
	if first.IsZero() || of.Last.Before(of.First) {
		return nil
	}
	found, err := m.planner.GapsIn(ctx, of)
	if err != nil {
		return err
	}
	for _, d := range found {
		dates[d] = true
	}
	return nil
}

// yearRange is the dates of a year.
func yearRange(year int) date.Range {
	return date.Range{First: date.New(year, time.January, 1), Last: date.New(year, time.December, 31)}
}

// yearOf is the year of a date.
func yearOf(d date.Date) int {
	year, _, _ := d.Date()
	return year
}
