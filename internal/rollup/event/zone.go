package event

import "time"

// zone turns a clock's reading into the instant it means, and back. Where a reading is ambiguous or was skipped it
// decides as Postgres does (AT TIME ZONE, and the input of a timestamptz), so that a row means the same whether
// Daymill or psql copied it in: of two instants the later is taken, and a skipped reading goes by the clock from
// before the jump. All numbers are seconds since 1970.
type zone struct {
	location *time.Location

	// Readings from low until high, high excluded, are at this offset: most rows need nothing else.
	low, high, offset int64
}

func newZone(location *time.Location) *zone { return &zone{location: location} }

const secondsPerDay = 86_400

// instant returns the instant at which the clock shows a reading, which is given as if it were in UTC.
func (z *zone) instant(reading int64) int64 {
	if reading >= z.low && reading < z.high {
		return reading - z.offset
	}
	// Only the first transition later than a day before can matter, for no zone is a whole day off UTC.
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
	default: // skipped, where byBefore is the later one, or ambiguous, where byAfter is
		return max(byBefore, byAfter)
	}
}

// reading returns what the clock shows at an instant, as if it were in UTC.
func (z *zone) reading(instant int64) int64 {
	return instant + offsetAt(time.Unix(instant, 0).In(z.location))
}

func offsetAt(t time.Time) int64 {
	_, offset := t.Zone()
	return int64(offset)
}
