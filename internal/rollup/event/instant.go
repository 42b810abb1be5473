package event

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// TimeFormat says how a file writes instants. ParseTimeFormat returns one.
type TimeFormat struct {
	name   string
	parse  func(text string, zone *zone) (int64, error)
	sample string
}

// TimeFormats lists the names that ParseTimeFormat knows. It also accepts layouts of Go's package time.
const TimeFormats = "iso, rfc3339, datetime, date, epoch, epoch-ms, epoch-us, epoch-ns"

// ParseTimeFormat reads the name of a format, or a layout of Go's package time such as "02/01/2006 15:04".
//
//	iso       2026-03-01T12:34:56.789+01:00, also with a space instead of the T, without seconds, with +01 or Z, or without an offset
//	rfc3339   the same, but the offset is required
//	datetime  2026-03-01 12:34:56.789: the same, without an offset
//	date      2026-03-01: the beginning of that day
//	epoch     seconds since 1970 in UTC, with or without a fraction; epoch-ms, epoch-us and epoch-ns count smaller units
//
// A time without an offset is in the zone that [Options] name. An empty name means iso.
func ParseTimeFormat(name string) (TimeFormat, error) {
	switch name {
	case "", "iso":
		return TimeFormat{"iso", iso(offsetOptional), "2026-03-01T12:34:56Z or 2026-03-01 12:34:56"}, nil
	case "rfc3339":
		return TimeFormat{name, iso(offsetRequired), "2026-03-01T12:34:56Z"}, nil
	case "datetime":
		return TimeFormat{name, iso(offsetRefused), "2026-03-01 12:34:56"}, nil
	case "date":
		return TimeFormat{name, parseDate, "2026-03-01"}, nil
	case "epoch":
		return TimeFormat{name, epoch(6), "1772368496"}, nil
	case "epoch-ms":
		return TimeFormat{name, epoch(3), "1772368496789"}, nil
	case "epoch-us":
		return TimeFormat{name, epoch(0), "1772368496789000"}, nil
	case "epoch-ns":
		return TimeFormat{name, epoch(-3), "1772368496789000000"}, nil
	default:
		return layoutFormat(name)
	}
}

// String returns the name of the format.
func (f TimeFormat) String() string { return f.name }

var (
	errSyntax = errors.New("syntax")
	errRange  = fmt.Errorf("outside the years %d to %d", firstYear, lastYear)
)

// The bounds of firstYear and lastYear, in microseconds since 1970: firstInstant is inside, endInstant is
// just outside.
const (
	firstInstant = 0
	endInstant   = 7_289_654_400 * microsPerSecond
)

// instant parses an instant, in microseconds since 1970. Errors say which format is expected, and may suggest another one.
func (f TimeFormat) instant(text string, zone *zone) (int64, error) {
	at, err := f.parse(text, zone)
	if err == nil && (at < firstInstant || at >= endInstant) {
		err = errRange
	}
	switch {
	case err == nil:
		return at, nil
	case errors.Is(err, errRange):
		return 0, fmt.Errorf("the time %q is %w%s", clip(text), err, f.hint(text))
	default:
		return 0, fmt.Errorf("the time %q does not have the format %s (such as %s)%s", clip(text), f.name, f.sample, f.hint(text))
	}
}

// hint guesses the unit of an epoch from its number of digits. Each of the ranges begins in 1973.
func (f TimeFormat) hint(text string) string {
	whole, _, _ := strings.Cut(text, ".")
	for i := range len(whole) {
		if whole[i] < '0' || whole[i] > '9' {
			return ""
		}
	}
	unit, option := "", ""
	switch len(whole) {
	case 9, 10:
		unit, option = "seconds", "epoch"
	case 12, 13:
		unit, option = "milliseconds", "epoch-ms"
	case 15, 16:
		unit, option = "microseconds", "epoch-us"
	case 18, 19:
		unit, option = "nanoseconds", "epoch-ns"
	}
	if option == "" || option == f.name {
		return ""
	}
	return fmt.Sprintf("; it looks like %s since 1970: try --time-format %s", unit, option)
}

// layoutFormat accepts a layout only if it has a complete date, so that parsing a formatted date returns the date.
func layoutFormat(layout string) (TimeFormat, error) {
	if strings.Contains(layout, "MST") {
		return TimeFormat{}, fmt.Errorf("the time format %q has a zone's abbreviation, which is ambiguous: "+
			"write the file with offsets such as +01:00", layout)
	}
	reference := time.Date(2031, time.November, 23, 17, 48, 59, 0, time.UTC)
	text := reference.Format(layout)
	if back, err := time.Parse(layout, text); err != nil || back.Format(time.DateOnly) != reference.Format(time.DateOnly) {
		return TimeFormat{}, fmt.Errorf("%q is not a time format: give one of %s, or a layout of Go's package time that has "+
			"year, month and day, such as \"02/01/2006 15:04\"", layout, TimeFormats)
	}
	hasOffset := text != reference.In(time.FixedZone("", 3600)).Add(-time.Hour).Format(layout)
	return TimeFormat{name: fmt.Sprintf("%q", layout), sample: text, parse: func(text string, zone *zone) (int64, error) {
		t, err := time.Parse(layout, text)
		switch {
		case err != nil:
			return 0, err
		case t.Year() < firstYear-1 || t.Year() > lastYear+1:
			return 0, errRange
		case hasOffset:
			return t.UnixMicro(), nil
		default:
			return zone.instant(t.Unix())*1e6 + int64(t.Nanosecond())/1000, nil
		}
	}}, nil
}

func parseDate(text string, zone *zone) (int64, error) {
	day, ok := isoDate(text)
	if !ok || len(text) != len(time.DateOnly) {
		return 0, errSyntax
	}
	return zone.instant(day) * 1e6, nil
}
