package event

import (
	"strings"
	"time"
)

// offsets says whether a time must, may or must not have an offset from UTC.
type offsets int

const (
	offsetOptional offsets = iota
	offsetRequired
	offsetRefused
)

// iso parses ISO 8601 as RFC 3339, Postgres and most other programs write it. Package time would need several layouts, and trying
// one after another would be several times slower.
func iso(offsets offsets) func(text string, zone *zone) (int64, error) {
	return func(text string, zone *zone) (int64, error) {
		reading, micros, rest, ok := isoReading(text)
		if !ok {
			return 0, errSyntax
		}
		if rest == "" && offsets != offsetRequired {
			return zone.instant(reading)*1e6 + micros, nil
		}
		offset, ok := isoOffset(rest)
		if !ok || offsets == offsetRefused {
			return 0, errSyntax
		}
		return (reading-offset)*1e6 + micros, nil
	}
}

// isoReading parses a date and a time of day. It returns the rest of the text, which is the offset.
func isoReading(text string) (seconds, micros int64, rest string, ok bool) {
	day, ok := isoDate(text)
	if !ok || len(text) < len("2006-01-02T15:04") {
		return 0, 0, "", false
	}
	if c := text[10]; c != 'T' && c != ' ' && c != 't' {
		return 0, 0, "", false
	}
	hour, ok1 := digits(text[11:13], 23)
	minute, ok2 := digits(text[14:16], 59)
	if !ok1 || !ok2 || text[13] != ':' {
		return 0, 0, "", false
	}
	seconds = day + hour*3600 + minute*60
	rest = text[16:]
	if rest == "" || rest[0] != ':' {
		return seconds, 0, rest, true
	}
	if len(rest) < 3 {
		return 0, 0, "", false
	}
	second, ok := digits(rest[1:3], 60) // A leap second counts as the first second of the next minute, as in Postgres.
	if !ok {
		return 0, 0, "", false
	}
	seconds, rest = seconds+second, rest[3:]
	if rest == "" || rest[0] != '.' && rest[0] != ',' {
		return seconds, 0, rest, true
	}
	micros, rest, ok = fraction(rest[1:], 6)
	return seconds, micros, rest, ok
}

// fraction parses the digits after a decimal point, at least one, in units of 10^-places. Further digits are cut off.
func fraction(text string, places int) (value int64, rest string, ok bool) {
	n := 0
	for n < len(text) && text[n] >= '0' && text[n] <= '9' {
		if n < places {
			value = value*10 + int64(text[n]-'0')
		}
		n++
	}
	for i := n; i < places; i++ {
		value *= 10
	}
	return value, text[n:], n > 0
}

// isoDate parses the date at the beginning of a text, and returns its midnight in UTC in seconds since 1970.
func isoDate(text string) (seconds int64, ok bool) {
	if len(text) < len(time.DateOnly) || text[4] != '-' || text[7] != '-' {
		return 0, false
	}
	year, ok1 := digits(text[:4], 9999)
	month, ok2 := digits(text[5:7], 12)
	day, ok3 := digits(text[8:10], 31)
	if !ok1 || !ok2 || !ok3 || month == 0 || day == 0 {
		return 0, false
	}
	t := time.Date(int(year), time.Month(month), int(day), 0, 0, 0, 0, time.UTC)
	return t.Unix(), t.Day() == int(day)
}

// isoOffset parses Z, UTC, GMT, +01, +0100, +01:00 or, as Postgres writes for old dates, +01:00:00. A space may precede it. It
// also accepts +0000 UTC, as Go and Ruby write it.
func isoOffset(text string) (seconds int64, ok bool) {
	if text != "" && text[0] == ' ' {
		text = text[1:]
	}
	if utc(text) {
		return 0, true
	}
	if offset, name, both := strings.Cut(text, " "); both {
		seconds, ok := isoOffset(offset)
		return 0, ok && seconds == 0 && utc(name) && !utc(offset)
	}
	if len(text) < 3 || text[0] != '+' && text[0] != '-' {
		return 0, false
	}
	negative := text[0] == '-'
	unit, most := int64(3600), int64(23)
	colons := len(text) > 3 && text[3] == ':'
	for text = text[1:]; text != "" && unit > 0; unit, most = unit/60, 59 {
		if colons && unit < 3600 {
			if text[0] != ':' {
				return 0, false
			}
			text = text[1:]
		}
		if len(text) < 2 {
			return 0, false
		}
		value, ok := digits(text[:2], most)
		if !ok {
			return 0, false
		}
		seconds, text = seconds+value*unit, text[2:]
	}
	if negative {
		seconds = -seconds
	}
	return seconds, text == ""
}

// utc reports whether a text names UTC.
func utc(text string) bool {
	return strings.EqualFold(text, "Z") || strings.EqualFold(text, "UTC") || strings.EqualFold(text, "GMT")
}

// digits parses a number that consists only of digits.
func digits(text string, most int64) (value int64, ok bool) {
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return 0, false
		}
		value = value*10 + int64(text[i]-'0')
	}
	return value, value <= most
}
