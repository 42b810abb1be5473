package event

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
)

// touched collects the dates of events. It asks Postgres where dates begin, a year at a time.
type touched struct {
	queries *db.Queries
	years   map[int]date.Calendar
	dates   map[date.Date]struct{}

	from, to int64 // the bounds of the latest date, to which the next event usually belongs
}

func newTouched(queries *db.Queries) *touched {
	return &touched{queries: queries, years: map[int]date.Calendar{}, dates: map[date.Date]struct{}{}}
}

// add adds the date of an instant, which is in microseconds since 1970.
func (t *touched) add(ctx context.Context, at int64) error {
	if at >= t.from && at < t.to {
		return nil
	}
	year := time.UnixMicro(at).UTC().Year()
	calendar, has := t.years[year]
	if !has {
		var err error
		if calendar, err = t.load(ctx, year); err != nil {
			return fmt.Errorf("ask when the dates of %d begin: %w", year, err)
		}
		t.years[year] = calendar
	}
	var on date.Date
	on, t.from, t.to = calendar.At(at)
	if on.IsZero() {
		return fmt.Errorf("the instant %s belongs to no date around %d", time.UnixMicro(at).UTC().Format(time.RFC3339), year)
	}
	t.dates[on] = struct{}{}
	return nil
}

// load reads where the dates of a year in UTC begin, and a few more, because a zone may be most of a day ahead or behind.
func (t *touched) load(ctx context.Context, year int) (date.Calendar, error) {
	const more = 3
	first := date.New(year, time.January, 1).AddDays(-more)
	days := date.New(year+1, time.January, 1).AddDays(more).Sub(first)
	starts, err := t.queries.ImportDateStarts(ctx, db.ImportDateStartsParams{FirstDate: first, Days: int32(days)}) //nolint:gosec // 372.
	if err != nil {
		return date.Calendar{}, err
	}
	return date.NewCalendar(first, starts)
}

// sorted returns the dates, earliest first.
func (t *touched) sorted() []date.Date {
	return slices.SortedFunc(maps.Keys(t.dates), date.Date.Compare)
}
