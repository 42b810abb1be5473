package pace

import "time"

// Size is the size of one statement, in any unit. It adapts to the time that statements take.
//
// Part of that time is fixed: planning, a trigger, the agreement of a distributed table's nodes. A smaller statement does not
// make that part shorter. Size compares statements of two clearly different sizes to tell the fixed part from the rest. It
// chooses the size by the rest, and adds the fixed part to the usual limit.
type Size struct {
	current, least, most float64
	floor                float64 // see Floor

	limit    time.Duration
	timeouts int // in a row

	fixed    time.Duration
	refSize  float64 // size of an earlier statement, to compare with the next one of a clearly different size
	refTook  time.Duration
	refSince int // in statements
}

const (
	// maxLimit is the limit at which a statement that cannot be smaller is given up. Together with the pause after it, it
	// must be shorter than the silence after which a run counts as dead.
	maxLimit = 15 * time.Second
	// patientLimit is the longest limit for which a statement stays at the floor.
	patientLimit = 2 * time.Second
	// apart is the least ratio of two sizes whose difference shows the fixed part.
	apart = 1.5
	// refMost is for how many statements a reference is used: statements at other times, or on other entities, may cost more
	// or less.
	refMost = 12
	// probeAfter is after how many statements of similar size one is made smaller, for comparison.
	probeAfter = 8
	// limitStep is the multiple to which limits are rounded up, so that the limit does not have to be set before each
	// statement.
	limitStep = 50 * time.Millisecond
)

// NewSize returns a size that starts at first and stays between least and most.
func NewSize(first, least, most float64) *Size {
	return &Size{current: first, least: least, most: most, limit: Limit}
}

// Floor sets a size below which a statement gets no smaller as long as a longer limit, of up to patientLimit, may help. It is for statements whose
// time grows with their size only as long as they are tiny: a few rows reach a few shards of a distributed table, and some hundred reach all.
// Without a floor, one slow statement after another would end at a row at a time.
func (s *Size) Floor(floor float64) *Size {
	s.floor = floor
	return s
}

// Value returns the size of the next statement.
func (s *Size) Value() float64 { return s.current }

// Limit returns the statement_timeout of the next statement.
func (s *Size) Limit() time.Duration { return s.limit }

// Fixed returns the part of a statement's time that does not depend on its size, as far as it is known.
func (s *Size) Fixed() time.Duration { return s.fixed }

// Expect sets a lower bound of the fixed part that another kind of statement has shown.
func (s *Size) Expect(fixed time.Duration) {
	if fixed > s.fixed {
		s.fixed = fixed
		s.limit = max(s.limit, s.usual())
	}
}

// Took adapts the size after a statement of the given size. The size at most doubles, since what comes next may be denser,
// except that it grows fourfold after a statement that took almost no time. It is at most halved, since a slow statement may
// have been the disk's first read.
func (s *Size) Took(size float64, took time.Duration) {
	s.learn(size, took)
	s.timeouts, s.limit = 0, s.usual()
	rest := took - s.fixed
	factor := 4.0
	if rest > Target/20 {
		factor = min(2, max(0.5, float64(Target)/float64(rest)))
	}
	switch {
	case took > Target/2 && s.refSince == probeAfter:
		factor = 0.9 / apart
		s.refSize, s.refTook = size, took // Compare the smaller one with this one. An older one may have been as small.
	case took > Target/20:
		factor = min(2, factor)
	}
	s.current = min(s.most, max(s.least, size*factor, min(size, s.floor)))
}

// learn separates the fixed part from the rest.
func (s *Size) learn(size float64, took time.Duration) {
	// Reduce it a little each time: if sizes stay the same, nothing would show that the fixed part has become smaller.
	s.fixed = min(max(0, s.fixed-Target/32), took)
	switch s.refSince++; {
	case s.timeouts > 2 || s.timeouts > 0 && size <= s.least:
		// Smaller statements did not end in time, and this one did with a longer limit. Perhaps its time does not depend on
		// its size at all: the next statement, twice as large, will show.
		s.fixed = took
	case s.refSize == 0 || s.refSince > refMost:
	case took < Target/2 && s.refTook < Target/2:
		return // There is nothing to gain.
	case max(size, s.refSize) < apart*min(size, s.refSize):
		return
	default:
		slope := max(0, float64(took-s.refTook)/(size-s.refSize))
		fixed := time.Duration(float64(took) - slope*size)
		// Take the average: one of the two may have been slow for other reasons.
		s.fixed = min(took, s.refTook, max(0, (s.fixed+fixed)/2))
	}
	s.refSize, s.refTook, s.refSince = size, took, 0
}

// usual returns the limit of a statement that has not reached one.
func (s *Size) usual() time.Duration {
	if s.fixed < Target/2 {
		return Limit
	}
	some := s.fixed + s.fixed/4 // It varies.
	return min(maxLimit, Limit+(some+limitStep/2).Round(limitStep))
}

// Set sets the size, for a caller that knows better.
func (s *Size) Set(size float64) {
	s.timeouts, s.limit = 0, s.usual()
	s.current = min(s.most, max(s.least, size))
}

// TimedOut adapts the size after a statement that reached its limit, and reports whether to try again. If a smaller size does
// not help (a fixed part, or a stalled disk), it doubles the limit, up to about thirteen seconds.
func (s *Size) TimedOut(size float64) bool {
	s.timeouts++
	if size > s.refSize && s.refSize > 0 { // It would have taken at least the limit.
		slope := max(0, float64(s.limit-s.refTook)/(size-s.refSize))
		s.fixed = max(0, min(s.fixed, s.refTook-time.Duration(slope*s.refSize)))
	}
	if s.timeouts > 2 || size <= s.least {
		switch {
		case 2*s.limit <= maxLimit:
			s.limit *= 2
		case size <= s.least:
			return false
		}
	}
	s.current = max(s.least, size/2)
	if size > s.floor || 2*s.limit <= patientLimit {
		s.current = max(s.current, min(size, s.floor))
	}
	return true
}
