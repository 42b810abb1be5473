package event

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/daymill/daymill/internal/text"
)

// row is a row of a file. Its texts are valid until the next row is read.
type row struct {
	line               int
	entity, kind, time string
}

// rows reads the rows of a file in order. next returns io.EOF after the last row. It returns a *RowError for a bad row if the
// rows after it can still be read, and any other error if they cannot.
type rows interface {
	next(r *row) error
}

// csvRows reads the rows of a CSV file, RFC 4180 as encoding/csv reads it.
type csvRows struct {
	reader *csv.Reader
	quota  *quota

	entity, kind, time int // the fields' positions; kind is -1 if the file has no types
	line               int // of the latest row
}

func newCSVRows(text *bufio.Reader, delimiter rune, options Options) (*csvRows, error) {
	limited := &quota{reader: text}
	rows := &csvRows{reader: csv.NewReader(limited), quota: limited, kind: -1}
	rows.reader.Comma = delimiter
	rows.reader.ReuseRecord = true

	find := columnNumber
	if !options.NoHeader {
		limited.refill()
		header, err := rows.reader.Read()
		rows.line = 1
		var syntax *csv.ParseError
		switch {
		case errors.Is(err, io.EOF):
			return nil, inputf("the file is empty: the first line should name the columns")
		case errors.Is(err, errRowTooLong):
			return nil, inputf("the first line is longer than %d bytes: it should name the columns", MaxRow)
		case errors.As(err, &syntax):
			return nil, inputf("line %d: the header is not CSV: %w", syntax.StartLine, syntax.Err)
		case err != nil:
			return nil, readError(err)
		}
		header = slices.Clone(header)
		find = func(name, option string) (int, error) { return columnNamed(header, name, option) }
	}
	var err error
	if rows.entity, err = find(options.Columns.Entity, "--entity"); err != nil {
		return nil, err
	}
	if options.TypeValue == "" {
		if rows.kind, err = find(options.Columns.Type, "--type"); err != nil {
			return nil, err
		}
	}
	rows.time, err = find(options.Columns.Time, "--time")
	return rows, err
}

// columnNamed returns the position of a column in a header.
func columnNamed(header []string, name, option string) (int, error) {
	at := slices.Index(header, name)
	if err := checkText("the column name", name); err != nil {
		return 0, inputf("line 1: %w", err)
	}
	switch {
	case at < 0:
		return 0, inputf("there is no column %q: choose one with %s; the columns are %s", name, option, listed(header))
	case slices.Contains(header[at+1:], name):
		return 0, inputf("there are two columns %q: rename one", name)
	default:
		return at, nil
	}
}

// columnNumber returns the position of a column that is given as a number from 1, for files without a header.
func columnNumber(name, option string) (int, error) {
	number, err := strconv.Atoi(name)
	const most = 10_000
	if err != nil || number < 1 || number > most {
		return 0, inputf("without a header, columns have numbers from 1: give %s a number instead of %q", option, name)
	}
	return number - 1, nil
}

func listed(names []string) string {
	const most = 40
	var list strings.Builder
	for i, name := range names {
		if i == most {
			fmt.Fprintf(&list, " and %d more", len(names)-most)
			break
		}
		if i > 0 {
			list.WriteString(", ")
		}
		list.WriteString(shownName(name))
	}
	return list.String()
}

// shownName returns a column's name for a message, quoted if it is empty or has characters that are not visible.
func shownName(name string) string {
	if quoted := strconv.Quote(name); name == "" || quoted != `"`+name+`"` {
		return strconv.Quote(clip(name))
	}
	return clip(name)
}

func (c *csvRows) next(r *row) error {
	c.quota.refill()
	fields, err := c.reader.Read()
	if err != nil {
		return c.failed(fields, err)
	}
	c.line, _ = c.reader.FieldPos(0)
	r.line = c.line
	if last := max(c.entity, c.kind, c.time); last >= len(fields) {
		return &RowError{Line: r.line, Err: fmt.Errorf("there is no column number %d, because the line has %s", last+1, text.Plural(int64(len(fields)), "column"))}
	}
	r.entity, r.time = fields[c.entity], fields[c.time]
	if c.kind >= 0 {
		r.kind = fields[c.kind]
	}
	return nil
}

// failed returns a *RowError for a bad row, or an error that ends the file. It ends the file if a wrong quote spans several lines:
// what looks like one bad row may then contain good rows, and none may be lost without being counted.
func (c *csvRows) failed(fields []string, err error) error {
	if errors.Is(err, errRowTooLong) {
		return inputf("the row after line %d is longer than %d bytes: is a quote not closed?", c.line, MaxRow)
	}
	var syntax *csv.ParseError
	if !errors.As(err, &syntax) {
		return readError(err)
	}
	line, overLines := syntax.StartLine, syntax.Line > syntax.StartLine
	c.line = line
	var reason string
	switch {
	case errors.Is(syntax.Err, csv.ErrFieldCount):
		reason = fmt.Sprintf("%s where %d are expected", text.Plural(int64(len(fields)), "field"), c.reader.FieldsPerRecord)
		overLines = slices.ContainsFunc(fields, func(field string) bool { return strings.Contains(field, "\n") })
	case errors.Is(syntax.Err, csv.ErrQuote):
		reason = "a quote inside a quoted field is not doubled, or not closed"
	case errors.Is(syntax.Err, csv.ErrBareQuote):
		reason = "there is a quote in a field that is not quoted"
	default:
		return inputf("line %d: %w", line, syntax.Err)
	}
	if overLines {
		return inputf("line %d: %s, and the row spans several lines, so it may contain other rows", line, reason)
	}
	return &RowError{Line: line, Err: errors.New(reason)}
}

// errRowTooLong ends the reading of a file. Without it, a quote that is never closed would read the whole file into memory.
var errRowTooLong = errors.New("the row is too long")

// quota is a reader that allows at most MaxRow bytes per row, in addition to what is read ahead.
type quota struct {
	reader *bufio.Reader
	left   int
}

func (q *quota) refill() { q.left = MaxRow }

func (q *quota) Read(p []byte) (int, error) {
	if q.left <= 0 {
		return 0, errRowTooLong
	}
	n, err := q.reader.Read(p)
	q.left -= n
	return n, err
}
