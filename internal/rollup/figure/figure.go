// Package figure has the figures of a run: what it read, wrote and spent. The run adds them up, the ledger keeps them, and
// telemetry, the pages and the command line show them.
package figure

import "time"

// Rows counts rows of metrics that were written.
type Rows struct {
	Inserted int64 `json:"rows_inserted"`
	Updated  int64 `json:"rows_updated"`
	Deleted  int64 `json:"rows_deleted"`
}

// Changed returns how many rows were written in all.
func (r Rows) Changed() int64 { return r.Inserted + r.Updated + r.Deleted }

// Since returns the rows that were written after an earlier count.
func (r Rows) Since(earlier Rows) Rows {
	return Rows{r.Inserted - earlier.Inserted, r.Updated - earlier.Updated, r.Deleted - earlier.Deleted}
}

// Plus returns the sum of two counts.
func (r Rows) Plus(more Rows) Rows {
	return Rows{r.Inserted + more.Inserted, r.Updated + more.Updated, r.Deleted + more.Deleted}
}

// Figures are the results of a run so far.
type Figures struct {
	Rows

	// Events and Entities are those of the rows that are right, including what the run did not publish again because the run that
	// it resumed had.
	Events   int64 `json:"events"`
	Entities int64 `json:"entities"`

	Passes  int `json:"passes"`
	Slices  int `json:"slices"`
	Fetches int `json:"-"` // of dense slices, through a cursor; the ledger does not keep them
	Batches int `json:"batches"`

	Longest time.Duration `json:"-"` // statement
	Worked  time.Duration `json:"-"` // in statements
	Paused  time.Duration `json:"-"` // between them
}
