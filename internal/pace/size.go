package pace

import "time"

// Size is how much one statement takes on, in whatever unit: it follows how long statements of that size take.
type Size struct {
	current, least, most float64

	limit    time.Duration
	timeouts int // in a row
}

// maxLimit is where a statement that cannot be made any smaller is given up. Together with the pause after it, it has to
// be shorter than the silence for which a run is taken for dead.
const maxLimit = 15 * time.Second

// NewSize returns a size that starts at first and stays between least and most.
func NewSize(first, least, most float64) *Size {
	return &Size{current: first, least: least, most: most, limit: Limit}
}

// Value is the size of the next statement.
func (s *Size) Value() float64 { return s.current }

// Limit is the statement_timeout of the next statement.
func (s *Size) Limit() time.Duration { return s.limit }

// Took adapts the size after a statement of the given size. It doubles at most, since what comes next may be denser, or
// grows fourfold where the statement took next to no time; and is halved at most, since what was slow may have been the
// disk's first touch.
func (s *Size) Took(size float64, took time.Duration) {
	s.timeouts, s.limit = 0, Limit
	factor := 4.0
	if took > Target/20 {
		factor = min(2, max(0.5, float64(Target)/float64(took)))
	}
	s.current = min(s.most, max(s.least, size*factor))
}

// Set chooses the size, where the caller knows better.
func (s *Size) Set(size float64) {
	s.timeouts, s.limit = 0, Limit
	s.current = min(s.most, max(s.least, size))
}

// TimedOut adapts the size after a statement that ran into its limit, and reports whether to try again. Where smaller
// does not help (a lock, or a disk that stalls) the limit is doubled, up to some thirteen seconds.
func (s *Size) TimedOut(size float64) bool {
	s.timeouts++
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
