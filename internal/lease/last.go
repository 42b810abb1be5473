package lease

// Attempt is a job's attempt at a unit. It is zero without a job.
type Attempt struct {
	JobID  *int64
	Number int
}

// Succeeds reports whether this is a later attempt of the same job. The earlier one was given up, by River or by the rescue of
// dead workers' jobs; if it is still alive, it is fenced.
func (a Attempt) Succeeds(last Attempt) bool {
	return a.JobID != nil && last.JobID != nil && *a.JobID == *last.JobID && a.Number > last.Number
}

// Last is what the last holder left, read while the unit's row is locked.
type Last struct {
	Attempt Attempt
	// Alive reports that the last holder still holds the unit, and has given a sign of life in this life of the database within Silence.
	Alive bool
	// Recent reports that its last sign of life is so recent that its work can still be used.
	Recent bool
	// Moved reports that the last holder has moved the cursor.
	Moved bool
}

// Free reports whether an attempt may take the unit.
func (l Last) Free(attempt Attempt) bool { return !l.Alive || attempt.Succeeds(l.Attempt) }

// Resumable reports whether the next holder may continue at the cursor. It may not if there are fresh requests, because the events
// that they are about may be before the cursor.
func (l Last) Resumable(fresh bool) bool { return l.Moved && l.Recent && !fresh }
