// Package date has calendar dates of the reporting time zone, without a time of day. A date is the unit of a rollup.
//
// Postgres decides where a date begins and ends (analytics.date_start), so that Go's and the server's time zone databases
// cannot disagree about a metric; see [Bounds].
package date

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// Layout is the format of a date everywhere: 2026-03-01.
const Layout = time.DateOnly

// MaxDates is the longest range in one request: ten years.
const MaxDates = 3660

// Errors of ParseRange and NewRange.
var (
	ErrReversed = errors.New("the range is reversed: give the earlier date first")
	ErrTooLong  = fmt.Errorf("the range has more than %d dates: take at most ten years at a time", MaxDates)
)

// Date is a calendar date. The zero value is no date.
type Date struct {
	// Days since the last day before the year 0. That day has no text form, so the zero value means no date.
	ordinal int
}

const (
	daySeconds = 24 * 60 * 60
	// epoch is the ordinal of 1970-01-01.
	epoch = 719_529
)

// New returns the date of a year, month and day, normalized as [time.Date] does.
func New(year int, month time.Month, dayOfMonth int) Date {
	return fromUTC(time.Date(year, month, dayOfMonth, 0, 0, 0, 0, time.UTC))
}

// Of returns the local date of an instant in a zone.
func Of(t time.Time, zone *time.Location) Date {
	return New(t.In(zone).Date())
}

// Parse reads a date such as 2026-03-01. Dates that do not exist, such as 2026-02-30, are errors.
func Parse(text string) (Date, error) {
	t, err := time.Parse(Layout, text)
	if err != nil {
		return Date{}, fmt.Errorf("%.30q is not a date: write it as 2026-03-01", text)
	}
	return fromUTC(t), nil
}

// MustParse is Parse for constants.
func MustParse(text string) Date {
	d, err := Parse(text)
	if err != nil {
		panic(err)
	}
	return d
}

func fromUTC(t time.Time) Date {
	return Date{ordinal: int(t.Unix()/daySeconds) + epoch}
}

func (d Date) utc() time.Time { return time.Unix(int64(d.ordinal-epoch)*daySeconds, 0).UTC() }

// IsZero reports whether d is no date.
func (d Date) IsZero() bool { return d == Date{} }

// String formats the date as 2026-03-01, and the zero date as an empty string.
func (d Date) String() string {
	if d.IsZero() {
		return ""
	}
	return d.utc().Format(Layout)
}

// Date returns the year, month and day.
func (d Date) Date() (year int, month time.Month, dayOfMonth int) { return d.utc().Date() }

// Weekday returns the day of the week.
func (d Date) Weekday() time.Weekday { return d.utc().Weekday() }

// AddDays returns the date n days later, or earlier if n is negative.
func (d Date) AddDays(n int) Date { return Date{ordinal: d.ordinal + n} }

// Sub returns the number of days from other to d.
func (d Date) Sub(other Date) int { return d.ordinal - other.ordinal }

// Before reports whether d is earlier than other.
func (d Date) Before(other Date) bool { return d.ordinal < other.ordinal }

// After reports whether d is later than other.
func (d Date) After(other Date) bool { return d.ordinal > other.ordinal }

// Compare orders dates, earliest first.
func (d Date) Compare(other Date) int { return d.ordinal - other.ordinal }

// MarshalText formats the date as 2026-03-01.
func (d Date) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText parses a date as Parse does.
func (d *Date) UnmarshalText(text []byte) error {
	parsed, err := Parse(string(text))
	if err != nil {
		return err
	}
	*d = parsed
	return nil
}

// ScanDate reads a Postgres date; NULL is no date.
func (d *Date) ScanDate(v pgtype.Date) error {
	if !v.Valid {
		*d = Date{}
		return nil
	}
	if v.InfinityModifier != pgtype.Finite {
		return errors.New("a date is infinite")
	}
	*d = fromUTC(v.Time)
	return nil
}

// DateValue writes a Postgres date; no date is NULL.
func (d Date) DateValue() (pgtype.Date, error) {
	return pgtype.Date{Time: d.utc(), Valid: !d.IsZero()}, nil
}

// Bounds are the instants at which a date begins and ends: From is its first instant, To the first after it.
type Bounds struct {
	From, To time.Time
}

// Range is consecutive dates, both ends included.
type Range struct {
	First, Last Date
}

// NewRange returns a range, or ErrReversed or ErrTooLong.
func NewRange(first, last Date) (Range, error) {
	r := Range{First: first, Last: last}
	switch {
	case last.Before(first):
		return Range{}, fmt.Errorf("%s: %w", r, ErrReversed)
	case r.Len() > MaxDates:
		return Range{}, fmt.Errorf("%s: %w", r, ErrTooLong)
	default:
		return r, nil
	}
}

// ParseRange parses 2026-03-01..2026-03-31, or a single date as a range of one.
func ParseRange(text string) (Range, error) {
	first, last, isRange := strings.Cut(text, "..")
	if !isRange {
		last = first
	}
	return Between(first, last)
}

// Between parses the first and the last date of a range.
func Between(first, last string) (Range, error) {
	f, err := Parse(first)
	if err != nil {
		return Range{}, err
	}
	l, err := Parse(last)
	if err != nil {
		return Range{}, err
	}
	if f.Before(New(1, time.January, 1)) {
		return Range{}, errors.New("dates start with the year 1")
	}
	return NewRange(f, l)
}

// UnmarshalText parses a range as ParseRange does.
func (r *Range) UnmarshalText(text []byte) error {
	parsed, err := ParseRange(string(text))
	if err != nil {
		return err
	}
	*r = parsed
	return nil
}

// Len returns the number of dates.
func (r Range) Len() int { return r.Last.Sub(r.First) + 1 }

// String formats the range as 2026-03-01..2026-03-31.
func (r Range) String() string {
	if r.First == r.Last {
		return r.First.String()
	}
	return r.First.String() + ".." + r.Last.String()
}
