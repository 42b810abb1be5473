package event

import (
	"errors"
	"strconv"
	"strings"
)

// epoch reads a count of units since 1970 exactly: no float is on the way. places is how many digits shorter the count
// is than one of microseconds: 6 for seconds, -3 for nanoseconds, whose last digits are cut off.
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
		whole, part, hasPart := strings.Cut(count, ".")
		value, err := strconv.ParseUint(whole, 10, 64)
		if err != nil && !errors.Is(err, strconv.ErrRange) {
			return 0, errSyntax
		}
		micros, rest, ok := fraction(part, max(places, 0))
		if hasPart && (!ok || rest != "") {
			return 0, errSyntax
		}
		value /= divisor
		if err != nil || negative || value >= uint64(endInstant)/scale {
			return 0, errRange
		}
		return int64(value*scale) + micros, nil //nolint:gosec // Before endInstant.
	}
}
