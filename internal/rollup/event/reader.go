package event

import (
	"io"
	"time"

	"github.com/daymill/daymill/internal/entity"
)

// Columns names the columns of a file that make up an event: names of a CSV header, numbers from 1 if there is no header, or
// fields in NDJSON, with dots for fields of inner objects.
type Columns struct {
	Entity, Type, Time string
}

// Options say how to read a file.
type Options struct {
	Format     Format            // Auto if empty
	Delimiter  rune              // between the fields of CSV; if 0, a comma, or a tab if the file's name ends in .tsv
	NoHeader   bool              // the first line of the CSV is a row
	Columns    Columns           // required; Type is not used if TypeValue is set
	TypeValue  string            // the type of every event, for files that have no such column
	TypeMap    map[string]string // renames event types of the file; types that are not in it keep their names
	EntityType entity.Type       // required
	TimeFormat TimeFormat        // required, see ParseTimeFormat
	TimeZone   *time.Location    // of instants without an offset; UTC if nil
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

// NewReader reads the beginning of a file to find its compression, its format and its columns. The name is used only to detect the
// format, and may be empty. If the file or the options are wrong, the error is an *InputError.
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

// Read reads the next event. It returns a *RowError for a bad row, after which reading can continue, io.EOF at the end of the
// file, and any other error if the rest cannot be read.
func (r *Reader) Read(e *Event) error {
	if err := r.rows.next(&r.row); err != nil {
		return err
	}
	if err := r.checker.check(&r.row, e); err != nil {
		return &RowError{Line: r.row.line, Err: err}
	}
	return nil
}

// Stored returns how many bytes of the file were read, before decompression.
func (r *Reader) Stored() int64 { return r.stored.bytes }

// Close frees the memory of the decompression. It does not close the file.
func (r *Reader) Close() { r.release() }
