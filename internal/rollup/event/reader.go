package event

import (
	"io"
	"time"

	"github.com/daymill/daymill/internal/entity"
)

// Columns name the columns of a file that make an event: a CSV header's names, or numbers from 1 where there is none;
// in NDJSON fields, with dots for those of inner objects.
type Columns struct {
	Entity, Type, Time string
}

// Options say how to read a file.
type Options struct {
	Format     Format            // Auto where empty
	Delimiter  rune              // between the fields of CSV; a comma where 0, a tab where the file is called .tsv
	NoHeader   bool              // CSV whose first line is a row already
	Columns    Columns           // required; Type is not used where TypeValue is set
	TypeValue  string            // the type of every event, for files that have no such column
	TypeMap    map[string]string // event types of the file by another name; those not in it stay as they are
	EntityType entity.Type       // required
	TimeFormat TimeFormat        // required, see ParseTimeFormat
	TimeZone   *time.Location    // of instants without an offset; UTC where nil
}

func (o Options) validate() error {
	if o.TypeValue != "" {
		if err := checkText("the event type", o.TypeValue); err != nil {
			return &InputError{Err: err}
		}
	}
	for from, to := range o.TypeMap {
		if err := checkText("the event type", to); err != nil {
			return inputf("the map of %q: %w", from, err)
		}
	}
	switch o.Delimiter {
	case '\n', '\r', '"', 0xFFFD:
		return inputf("the delimiter cannot be %q", o.Delimiter)
	default:
		return nil
	}
}

// Reader reads events from one file.
type Reader struct {
	stored  *file
	rows    rows
	checker *checker
	row     row
	release func()
}

// NewReader looks at the beginning of a file: what it is compressed with, how it is written, which columns it has.
// The name only tells the format, it may be empty. Errors that the file or the options are to blame for are
// *InputError.
func NewReader(name string, input io.Reader, options Options) (*Reader, error) {
	if err := options.validate(); err != nil {
		return nil, err
	}
	if options.TimeZone == nil {
		options.TimeZone = time.UTC
	}
	stored := &file{reader: input}
	text, release, err := decompress(stored)
	if err != nil {
		return nil, err
	}
	r := &Reader{stored: stored, checker: newChecker(options), row: row{kind: options.TypeValue}, release: release}
	format, delimiter, err := formatOf(name, text, options)
	if err == nil {
		if format == NDJSON {
			r.rows = newJSONRows(text, options)
		} else {
			r.rows, err = newCSVRows(text, delimiter, options)
		}
	}
	if err != nil {
		release()
		return nil, err
	}
	return r, nil
}

// Read reads the next event. A *RowError says that a row is bad, and that reading can go on; io.EOF that the file is
// over; any other error that it cannot be read further.
func (r *Reader) Read(e *Event) error {
	if err := r.rows.next(&r.row); err != nil {
		return err
	}
	if err := r.checker.check(&r.row, e); err != nil {
		return &RowError{Line: r.row.line, Err: err}
	}
	return nil
}

// Stored is how many bytes of the file, as it is stored, have been read.
func (r *Reader) Stored() int64 { return r.stored.bytes }

// Close frees what decompression needs. It does not close the file.
func (r *Reader) Close() { r.release() }
