package event

import (
	"errors"
	"strconv"
	"strings"
)

// epoch parses a count of units since 1970, without the rounding of a float. places is the power of ten of a unit in microseconds:
// 6 for seconds, -3 for nanoseconds, whose last digits are cut off.
func epoch(places int) func(text string, _ *zone) (int64, error) {
	scale, divisor := uint64(1), uint64(1)
	for range places {
		scale *= 10
	}
	for range -places {
		divisor *= 10
	}
	return func(text string, _ *zone) (int64, error) {
		count, negative := strings.CutPrefix(text, "-")
		count, ok := plain(count)
		if !ok {
			return 0, errSyntax
		}
		whole, part, hasPart := strings.Cut(count, ".")
		value, err := strconv.ParseUint(whole, 10, 64)
		if err != nil && !errors.Is(err, strconv.ErrRange) {
			return 0, errSyntax
		}
		micros, rest, hasDigits := fraction(part, max(places, 0))
		if hasPart && (!hasDigits || rest != "") {
			return 0, errSyntax
		}
		value /= divisor
		if err != nil || negative || value >= uint64(endInstant)/scale {
			return 0, errRange
		}
		return int64(value*scale) + micros, nil //nolint:gosec // Before endInstant.
	}
}

// plain writes a number that has an exponent without one, exactly: 1.7723664e9, as many programs write large
// numbers in JSON, becomes
// 1772366400. It returns false if the exponent is not valid.
func plain(number string) (string, bool) {
	at := strings.IndexAny(number, "eE")
	if at < 0 {
		return number, true
	}
	const most = 30 // Far outside of the years that are accepted.
	shift, err := strconv.Atoi(number[at+1:])
	whole, part, hasPart := strings.Cut(number[:at], ".")
	if err != nil || shift < -most || shift > most || whole == "" || hasPart && part == "" || strings.Contains(part, ".") {
		return "", false
	}
	if shift >= 0 {
		part += strings.Repeat("0", max(0, shift-len(part)))
		whole, part = whole+part[:shift], part[shift:]
	} else {
		whole = strings.Repeat("0", max(0, 1-shift-len(whole))) + whole
		cut := len(whole) + shift
		whole, part = whole[:cut], whole[cut:]+part
	}
	if part == "" {
		return whole, true
	}
	return whole + "." + part, true
}
