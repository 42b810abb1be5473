package jobs

import "github.com/riverqueue/river"

// VerifyDatesArgs are the arguments of the job that compares finished dates with their events. The zero value is the periodic
// job, which takes those that were not verified for longest; else it is a range, or a sample. There is at most one such job
// of the same arguments that is not finished.
type VerifyDatesArgs struct {
	// From and To are the first and the last date of a range of 366 dates at most; those that no run has completed are left
	// out.
	From Date `json:"from,omitzero" river:"unique"`
	To   Date `json:"to,omitzero" river:"unique"`
	// Sample is how many of the finished dates to take by chance where there is no range; 366 at most.
	Sample int `json:"sample,omitempty" river:"unique"`
	// Repair requests a rollup of the dates that differ, but for those that have fewer events than their rows count: they
	// may have lost events for good.
	Repair bool `json:"repair,omitempty" river:"unique"`
	// RequestedBy and RequestedVia say who asked and how, for the history.
	RequestedBy  string `json:"requested_by,omitempty"`
	RequestedVia string `json:"requested_via,omitempty"`
}

// Kind is verify_dates.
func (VerifyDatesArgs) Kind() string { return "verify_dates" }

// InsertOpts makes the job unique.
func (VerifyDatesArgs) InsertOpts() river.InsertOpts { return controlOpts(true) }
