package event

import "time"

// zone converts a local time (a reading of the clock) to an instant, and back. For an ambiguous or skipped local time, it chooses
// the same instant as Postgres (AT TIME ZONE, and the input of a timestamptz), so that Daymill and psql import the same events: of
// two instants it chooses the later one, and for a skipped local time it uses the offset before the change. All numbers are seconds
// since 1970.
type zone struct {
	location *time.Location

	// Local times from low up to but not including high have this offset. Most rows need nothing else.
	low, high, offset int64
}

func newZone(location *time.Location) *zone { return &zone{location: location} }

const secondsPerDay = 86_400

// instant returns the instant of a local time, which is given as if it were in UTC.
func (z *zone) instant(reading int64) int64 {
	if reading >= z.low && reading < z.high {
		return reading - z.offset
	}
	// No zone is a whole day off UTC, so only the first transition after the day before can matter.
	early := time.Unix(reading-secondsPerDay, 0).In(z.location)
	before := offsetAt(early)
	start, end := early.ZoneBounds()
	if end.IsZero() {
		return reading - before
	}
	boundary, after := end.Unix(), offsetAt(end)
	if !start.IsZero() {
		z.low, z.high, z.offset = start.Unix()+secondsPerDay, boundary+min(before, after), before
	}
	byBefore, byAfter := reading-before, reading-after
	switch {
	case byBefore < boundary && byAfter < boundary:
		return byBefore
	case byBefore > boundary && byAfter >= boundary:
		return byAfter
	default: // If the time was skipped, byBefore is later; if it is ambiguous, byAfter is later.
		return max(byBefore, byAfter)
	}
}

// reading returns the local time of an instant, as if it were in UTC.
func (z *zone) reading(instant int64) int64 {
	return instant + offsetAt(time.Unix(instant, 0).In(z.location))
}

func offsetAt(t time.Time) int64 {
	_, offset := t.Zone()
	return int64(offset)
}
