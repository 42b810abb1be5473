package pace

import "time"

// Size is how much one statement takes on, in whatever unit: it follows how long statements of that size take.
//
// Part of what a statement takes is fixed: planning, a trigger, a distributed table's agreement. Making it smaller does
// not make that part smaller. So two sizes that are well apart tell the fixed part from the rest, the rest is what the
// size is chosen by, and the limit is the usual one beyond the fixed part.
type Size struct {
	current, least, most float64

	limit    time.Duration
	timeouts int // in a row

	fixed    time.Duration
	refSize  float64 // of an earlier statement, which the next one of quite another size is compared with
	refTook  time.Duration
	refSince int // statements ago
}

const (
	// maxLimit is where a statement that cannot be made any smaller is given up. Together with the pause after it, it has to
	// be shorter than the silence for which a run is taken for dead.
	maxLimit = 15 * time.Second
	// apart is how many times as large one of two sizes is to be for their difference to tell what is fixed.
	apart = 1.5
	// refMost is for how many statements one is compared with: what lies at other times or entities may cost otherwise.
	refMost = 12
	// probeAfter is after how many statements of much the same size one is made smaller, to compare with.
	probeAfter = 8
	// limitStep is what limits are rounded up to, so that they are not set anew for each statement.
	limitStep = 50 * time.Millisecond
)

// NewSize returns a size that starts at first and stays between least and most.
func NewSize(first, least, most float64) *Size {
	return &Size{current: first, least: least, most: most, limit: Limit}
}

// Value is the size of the next statement.
func (s *Size) Value() float64 { return s.current }

// Limit is the statement_timeout of the next statement.
func (s *Size) Limit() time.Duration { return s.limit }

// Fixed is what a statement is known to take whatever its size.
func (s *Size) Fixed() time.Duration { return s.fixed }

// Expect says that a statement takes at least so long whatever its size, where another kind of statement has shown it.
func (s *Size) Expect(fixed time.Duration) {
	if fixed > s.fixed {
		s.fixed = fixed
		s.limit = max(s.limit, s.usual())
	}
}

// Took adapts the size after a statement of the given size. It doubles at most, since what comes next may be denser, or
// grows fourfold where the statement took next to no time; and is halved at most, since what was slow may have been the
// disk's first touch.
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
	case took > Target/20:
		factor = min(2, factor)
	}
	s.current = min(s.most, max(s.least, size*factor))
}

// learn tells what is fixed from the rest.
func (s *Size) learn(size float64, took time.Duration) {
	// It is forgotten little by little: sizes that stay the same would never tell that it has become less.
	s.fixed = min(max(0, s.fixed-Target/32), took)
	switch s.refSince++; {
	case s.timeouts > 2 || s.timeouts > 0 && size <= s.least:
		// Smaller ones did not end in time, and this one did with a longer limit. Perhaps nothing of it is due to its size: the
		// next one, twice as large, tells.
		s.fixed = took
	case s.refSize == 0 || s.refSince > refMost:
	case took < Target/2 && s.refTook < Target/2:
		return // There is nothing to gain.
	case max(size, s.refSize) < apart*min(size, s.refSize):
		return
	default:
		slope := max(0, float64(took-s.refTook)/(size-s.refSize))
		fixed := time.Duration(float64(took) - slope*size)
		// By halves: one of the two may have been slow for reasons of its own.
		s.fixed = min(took, s.refTook, max(0, (s.fixed+fixed)/2))
	}
	s.refSize, s.refTook, s.refSince = size, took, 0
}

// usual is the limit of a statement that has not run into one.
func (s *Size) usual() time.Duration {
	if s.fixed < Target/2 {
		return Limit
	}
	some := s.fixed + s.fixed/4 // It is not always the same.
	return min(maxLimit, Limit+(some+limitStep/2).Round(limitStep))
}

// Set chooses the size, where the caller knows better.
func (s *Size) Set(size float64) {
	s.timeouts, s.limit = 0, s.usual()
	s.current = min(s.most, max(s.least, size))
}

// TimedOut adapts the size after a statement that ran into its limit, and reports whether to try again. Where smaller
// does not help (a fixed part, or a disk that stalls) the limit is doubled, up to some thirteen seconds.
func (s *Size) TimedOut(size float64) bool {
	s.timeouts++
	if size > s.refSize && s.refSize > 0 { // It would have taken as long as the limit, at least.
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
	return true
}
