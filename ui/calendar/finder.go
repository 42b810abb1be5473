package calendar

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
	"github.com/daymill/daymill/ui/page"
)

// The ledger does not know which dates have events but were never requested. Finding out takes one statement on the source's index for every 50
// dates that are not complete. So a request for a year starts the search for that year in the background, and the result is kept for
// missingKept. Five minutes are enough: pages always read the ledger, whose states take precedence, so only the first events of an old date can
// show late. A year with nothing but missing dates takes 16 paced statements, one every 19 seconds over five minutes.
const (
	missingKept  = 5 * time.Minute
	missingRetry = time.Minute
	// missingLimit bounds one search; each of its statements has its own limit, too.
	missingLimit = 20 * time.Second
	// missingWait is how long the first page waits for a search that has just begun.
	missingWait = 120 * time.Millisecond
	// firstKept is how long the date of the first event is kept.
	firstKept = time.Hour
	// MostYears limits how many years are kept.
	MostYears = 50
)

// Finder finds dates that have events and that nobody has requested.
type Finder struct {
	db      *postgres.DB
	planner *schedule.Planner
	clock   pace.Clock
	logger  *slog.Logger

	mu      sync.Mutex
	years   map[int]Missing
	looking chan struct{} // closed when the running search ends; nil if none runs
	noEvent bool          // analytics.events reads nothing
	first   date.Date
	firstAt time.Time
}

// Missing has the missing dates of a year.
type Missing struct {
	Known bool
	at    time.Time // when the search ended, or the last search failed
	Dates map[date.Date]bool
	// NoSource reports that analytics.events reads nothing. First is the date of the first event; zero if there is none or it is unknown.
	NoSource bool
	First    date.Date
}

// NewFinder returns a finder for the pages of a database.
func NewFinder(config *page.Site) *Finder {
	return &Finder{
		db: config.DB, clock: config.Clock, logger: config.Logger, years: make(map[int]Missing),
		planner: &schedule.Planner{Primary: config.DB, Source: config.DB, Clock: config.Clock, Pace: pace.DefaultPace},
	}
}

// Of returns the year's missing dates as far as they are known. It starts a search if the last one is too old.
func (m *Finder) Of(ctx context.Context, year int, today date.Date) Missing {
	m.mu.Lock()
	if m.looking == nil && m.stale(year) {
		m.looking = make(chan struct{})
		go m.look(context.WithoutCancel(ctx), year, today)
	}
	found, looking := m.years[year], m.looking
	m.mu.Unlock()
	if found.Known || looking == nil {
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

func (m *Finder) with(found Missing) Missing {
	m.mu.Lock()
	defer m.mu.Unlock()
	found.NoSource, found.First = m.noEvent, m.first
	return found
}

func (m *Finder) stale(year int) bool {
	last, tried := m.years[year]
	age := m.clock.Now().Sub(last.at)
	return !tried || age > missingKept || !last.Known && age > missingRetry
}

// look searches one year.
func (m *Finder) look(ctx context.Context, year int, today date.Date) {
	ctx, cancel := context.WithTimeout(ctx, missingLimit)
	defer cancel()
	exists, err := source.Exists(ctx, m.db)
	found := Missing{Dates: make(map[date.Date]bool)}
	var first date.Date
	if err == nil && exists {
		if first, err = m.firstDate(ctx); err == nil {
			err = m.fill(ctx, found.Dates, year, first, today)
		}
	}
	if err != nil {
		m.logger.WarnContext(ctx, "cannot look for missing dates", slog.Int("year", year), slog.String("error", err.Error()))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	found.Known, found.at = err == nil, m.clock.Now()
	if before := m.years[year]; err != nil && before.Known {
		// Keep the last result for as long as a new one would be kept.
		found.Known, found.Dates = true, before.Dates
	}
	if len(m.years) > MostYears {
		clear(m.years)
	}
	m.years[year] = found
	if err == nil {
		m.noEvent = !exists
	}
	close(m.looking)
	m.looking = nil
}

func (m *Finder) firstDate(ctx context.Context) (date.Date, error) {
	m.mu.Lock()
	first, at := m.first, m.firstAt
	m.mu.Unlock()
	if !first.IsZero() && m.clock.Now().Sub(at) < firstKept {
		return first, nil
	}
	first, err := m.planner.FirstDate(ctx)
	if err == nil {
		m.mu.Lock()
		m.first, m.firstAt = first, m.clock.Now()
		m.mu.Unlock()
	}
	return first, err
}

// fill adds the year's missing dates, from the first event to yesterday.
func (m *Finder) fill(ctx context.Context, dates map[date.Date]bool, year int, first, today date.Date) error {
	of := YearRange(year)
	if last := today.AddDays(-1); of.Last.After(last) {
		of.Last = last
	}
	if of.First.Before(first) {
		of.First = first
	}
	if first.IsZero() || of.Last.Before(of.First) {
		return nil
	}
	found, err := m.planner.MissingIn(ctx, of)
	if err != nil {
		return err
	}
	for _, d := range found {
		dates[d] = true
	}
	return nil
}

// YearRange returns the dates of a year.
func YearRange(year int) date.Range {
	return date.Range{First: date.New(year, time.January, 1), Last: date.New(year, time.December, 31)}
}

// YearOf returns the year of a date.
func YearOf(d date.Date) int {
	year, _, _ := d.Date()
	return year
}
