// Package event reads events from files and copies them into the table that analytics.events reads.
//
// A file is CSV or NDJSON, plain or compressed. The importer checks rows in Go, so that an error names the line of a bad row. It
// copies the rows in chunks, in one transaction, which also appends requests for exactly the dates of the file:
//
//	file ─▶ decompress ─▶ csvRows or jsonRows ─▶ checker ─▶ chunk ─▶ COPY ─▶ requests ─▶ commit
//	        ╰────────────── one goroutine (Reader) ──────────────╯    ╰── another (Importer) ──╯
//
// Memory is bounded by two chunks, however long the file or its rows are.
package event

import (
	"fmt"

	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/text"
)

// Event is one row of a file.
type Event struct {
	Entity entity.ID
	Type   string
	// At is in microseconds since 1970 in UTC, the precision of Postgres. Further digits are cut off.
	At int64
	// Line is where the row begins in the uncompressed file; the first line is 1.
	Line int
}

// Limits of rows.
const (
	// MaxLength is the most bytes an entity's id or an event type may have. Indexes hold values up to about 2,700 bytes.
	MaxLength = 1000
	// MaxRow is the most bytes that a row may have. A longer row nearly always has a quote that was never closed.
	MaxRow = 1 << 20

	firstYear, lastYear = 1970, 2200
)

// RowError says why one row cannot be imported. The rows after it can still be read.
type RowError struct {
	Line int // where the row begins
	Err  error
}

// Error names the line.
func (e *RowError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Err) }

// Unwrap returns the reason.
func (e *RowError) Unwrap() error { return e.Err }

// InputError says that the file or the options are wrong, and not the database.
type InputError struct{ Err error }

// Error returns the reason.
func (e *InputError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *InputError) Unwrap() error { return e.Err }

func inputf(format string, arguments ...any) error {
	return &InputError{Err: fmt.Errorf(format, arguments...)}
}

// clip shortens a long value for a message.
func clip(value string) string { return text.Clip(value, 60) }
