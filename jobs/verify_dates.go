package jobs

import "github.com/riverqueue/river"

// VerifyDatesArgs are the arguments of the job that compares finished dates with their events. The zero value is the periodic
// job, which takes the least recently verified dates; otherwise the job takes a range or a sample. There is at most one
// unfinished job with the same arguments.
type VerifyDatesArgs struct {
	// From and To are the first and last date of a range of at most 366 dates. Dates that no run has completed are left out.
	From Date `json:"from,omitzero" river:"unique"`
	To   Date `json:"to,omitzero" river:"unique"`
	// Sample is the size of a random sample of finished dates, if there is no range; at most 366.
	Sample int `json:"sample,omitempty" river:"unique"`
	// Repair requests a rollup of the dates that differ, except those with fewer events than their rows count: they may have
	// lost events permanently.
	Repair bool `json:"repair,omitempty" river:"unique"`
	// RequestedBy and RequestedVia say who requested the job and how, for the history.
	RequestedBy  string `json:"requested_by,omitempty"`
	RequestedVia string `json:"requested_via,omitempty"`
}

// Kind returns verify_dates.
func (VerifyDatesArgs) Kind() string { return "verify_dates" }

// InsertOpts makes the job unique.
func (VerifyDatesArgs) InsertOpts() river.InsertOpts { return controlOpts(true) }
