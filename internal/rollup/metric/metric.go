// Package metric reads the rows of analytics.daily_entity_metrics: of one entity over time, or of many entities on some dates.
// The pages and the API call it. It writes nothing.
//
// Every read is bounded: the rows of an entity by the length of the range, a search by its limit, and the top entities by how many
// rows one statement can add up while a person waits for a page.
package metric

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/postgres"
)

// Errors that a user can fix.
var (
	ErrNoID = errors.New("give the id of an entity")
	ErrNUL  = errors.New("an entity id has no NUL character: Postgres cannot hold one")
)

// Counts has the number of events by type.
type Counts struct {
	Views  int64
	Clicks int64
	Saves  int64
	Skips  int64
	Other  map[string]int64 // all other event types; may be nil
}

// Add adds other counts to c.
func (c *Counts) Add(other Counts) {
	c.Views = Sum(c.Views, other.Views)
	c.Clicks = Sum(c.Clicks, other.Clicks)
	c.Saves = Sum(c.Saves, other.Saves)
	c.Skips = Sum(c.Skips, other.Skips)
	for name, n := range other.Other {
		if c.Other == nil {
			c.Other = make(map[string]int64)
		}
		c.Other[name] = Sum(c.Other[name], n)
	}
}

// Total returns the number of all events.
func (c *Counts) Total() int64 {
	total := Sum(Sum(c.Views, c.Clicks), Sum(c.Saves, c.Skips))
	for _, n := range c.Other {
		total = Sum(total, n)
	}
	return total
}

// Names returns the other event types, most frequent first.
func (c *Counts) Names() []string {
	names := make([]string, 0, len(c.Other))
	for name := range c.Other {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(c.Other[b], c.Other[a]), strings.Compare(a, b)) })
	return names
}

// Day has an entity's counts of a date.
type Day struct {
	Counts

	Date date.Date
}

// ID parses an entity's id as a user writes it, and returns it as SQL writes it. Its errors are for the user.
func ID(entityType entity.Type, text string) (string, error) {
	if entityType != entity.Text {
		text = strings.TrimSpace(text)
	}
	switch {
	case text == "":
		return "", ErrNoID
	case strings.ContainsRune(text, 0):
		return "", ErrNUL
	}
	id, err := entityType.Parse(text)
	if err != nil {
		return "", err
	}
	return entityType.Format(id), nil
}

// longestType is the longest name of an event type that can be asked for, in bytes.
const longestType = 400

// CheckType returns an error for the user if no event type can have a name.
func CheckType(name string) error {
	if len(name) > longestType || strings.ContainsRune(name, 0) || !utf8.ValidString(name) {
		return errors.New("there is no such event type: a name is UTF-8 text of at most 400 bytes")
	}
	return nil
}

// Bounds returns the first and the last date on which an entity has metrics. known is false if it has none.
func Bounds(ctx context.Context, on postgres.DBTX, id string) (bounds date.Range, known bool, err error) {
	dates, err := db.New(on).MetricReadBounds(ctx, id)
	if err != nil {
		return date.Range{}, false, fmt.Errorf("look for the entity: %w", err)
	}
	if len(dates) == 0 {
		return date.Range{}, false, nil
	}
	slices.SortFunc(dates, date.Date.Compare)
	return date.Range{First: dates[0], Last: dates[len(dates)-1]}, true, nil
}

// Days returns an entity's counts for at most limit dates of a range, earliest first. It leaves out dates on which the entity has
// no events. id must come from [ID].
func Days(ctx context.Context, on postgres.DBTX, id string, dates date.Range, limit int) ([]Day, error) {
	rows, err := db.New(on).MetricReadRange(ctx, db.MetricReadRangeParams{
		EntityID: id, FirstDate: dates.First, LastDate: dates.Last, MaxRows: int32(min(limit, date.MaxDates)), //nolint:gosec // Bounded.
	})
	if err != nil {
		return nil, fmt.Errorf("read the entity's metrics: %w", err)
	}
	days := make([]Day, len(rows))
	for i, r := range rows {
		days[i] = Day{Date: r.MetricDate, Counts: Counts{
			Views: int64(r.ViewsCount), Clicks: int64(r.ClicksCount), Saves: int64(r.SavesCount), Skips: int64(r.SkipsCount),
			Other: Other(r.OtherCounts),
		}}
	}
	return days, nil
}

// part is how many rows [Each] reads at a time. It is small, because a row may have thousands of event types.
const part = 50

// Each calls do with an entity's counts, date by date, earliest first. No statement or transaction is open during a call, so a
// client with a slow connection blocks nothing.
func Each(ctx context.Context, conn *postgres.DB, id string, dates date.Range, do func(Day) error) error {
	for !dates.Last.Before(dates.First) {
		var days []Day
		err := conn.Read(ctx, func(on postgres.DBTX) (err error) {
			days, err = Days(ctx, on, id, dates, part)
			return err
		})
		if err != nil {
			return err
		}
		for _, day := range days {
			if err := do(day); err != nil {
				return err
			}
		}
		if len(days) < part {
			return nil
		}
		dates.First = days[len(days)-1].Date.AddDays(1)
	}
	return nil
}

// WithPrefix returns at most limit ids of type text that begin with a prefix, in key order. It needs one index lookup for each.
func WithPrefix(ctx context.Context, on postgres.DBTX, prefix string, limit int) ([]string, error) {
	params := db.MetricReadNextParams{FromEntity: prefix, MaxRows: int32(limit)} //nolint:gosec // A page.
	if after, bounded := successor(prefix); bounded {
		params.BeforeEntity = &after
	}
	found, err := db.New(on).MetricReadNext(ctx, params)
	if err != nil {
		return nil, fmt.Errorf("look for entities: %w", err)
	}
	ids := make([]string, len(found))
	for i, id := range found {
		ids[i] = entity.Text.Format(id)
	}
	return ids, nil
}

// successor returns the first text, in the order of code points, that comes after all texts with a prefix. It returns false if
// there is none, because every character of the prefix is the highest code point.
func successor(prefix string) (string, bool) {
	for prefix != "" {
		last, size := utf8.DecodeLastRuneInString(prefix)
		prefix = prefix[:len(prefix)-size]
		switch last {
		case utf8.MaxRune:
			continue
		case 0xD7FF:
			return prefix + "\uE000", true // The code points in between are surrogates of UTF-16 and not characters.
		default:
			return prefix + string(last+1), true
		}
	}
	return "", false
}
