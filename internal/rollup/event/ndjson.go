package event

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

// jsonRows reads the rows of an NDJSON file, which has one object per line. It skips empty lines.
type jsonRows struct {
	text *bufio.Reader
	line int

	entity, kind, time *jsonField // kind is nil if the file has no types
	fields             []*jsonField
}

// jsonField is a field of an object, or of an object within it: user.id is the field with that name, or else the field id of the
// field user. If an object has a name twice, the last one counts, as in most programs.
type jsonField struct {
	name string
	path []string

	named, outer gjson.Result // of the current line: the field with the whole name, and the field with the first part of the path
}

func newJSONRows(text *bufio.Reader, options Options) *jsonRows {
	j := &jsonRows{text: bufio.NewReaderSize(text, MaxRow)}
	field := func(name string) *jsonField {
		f := &jsonField{name: name, path: strings.Split(name, ".")}
		j.fields = append(j.fields, f)
		return f
	}
	j.entity, j.time = field(options.Columns.Entity), field(options.Columns.Time)
	if options.TypeValue == "" {
		j.kind = field(options.Columns.Type)
	}
	return j
}

func (j *jsonRows) next(r *row) error {
	line, err := j.nextLine()
	if err != nil {
		return err
	}
	r.line = j.line
	if err := j.parse(line, r); err != nil {
		return &RowError{Line: j.line, Err: err}
	}
	return nil
}

// nextLine returns the next line that is not empty. It is valid until the next one is read.
func (j *jsonRows) nextLine() ([]byte, error) {
	for {
		line, err := j.text.ReadSlice('\n')
		if len(line) > 0 {
			j.line++
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = j.text.ReadSlice('\n')
			}
			if err != nil && !errors.Is(err, io.EOF) {
				return nil, readError(err)
			}
			return nil, &RowError{Line: j.line, Err: fmt.Errorf("the line is longer than %d bytes", MaxRow)}
		case err != nil && !errors.Is(err, io.EOF):
			return nil, readError(err)
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			return line, nil
		}
		if err != nil {
			return nil, io.EOF
		}
	}
}

func (j *jsonRows) parse(line []byte, into *row) error {
	if !utf8.Valid(line) { // JSON packages replace or ignore invalid bytes.
		return errors.New("the line is not UTF-8")
	}
	if !json.Valid(line) { // gjson does not check this.
		var ignored json.RawMessage
		if err := json.Unmarshal(line, &ignored); err != nil { // It says where.
			return fmt.Errorf("the line is not JSON: %w", err)
		}
	}
	object := gjson.ParseBytes(line)
	if !object.IsObject() {
		return errors.New("the line is JSON, but not an object")
	}
	for _, f := range j.fields {
		f.named, f.outer = gjson.Result{}, gjson.Result{}
	}
	object.ForEach(j.see)

	var err error
	if into.entity, err = j.entity.text(); err != nil {
		return err
	}
	if j.kind != nil {
		if into.kind, err = j.kind.text(); err != nil {
			return err
		}
	}
	into.time, err = j.time.text()
	return err
}

// see records a field of the line's object. It returns true to continue with the next field.
func (j *jsonRows) see(name, value gjson.Result) bool {
	for _, f := range j.fields {
		if name.Str == f.name {
			f.named = value
		}
		if name.Str == f.path[0] {
			f.outer = value
		}
	}
	return true
}

// text returns a field's string, or its number exactly as written.
func (f *jsonField) text() (string, error) {
	value := f.named
	if !value.Exists() && len(f.path) > 1 {
		value = inner(f.outer, f.path[1:])
	}
	switch {
	case !value.Exists():
		return "", fmt.Errorf("there is no field %q", f.name)
	case value.Type == gjson.String:
		return f.unquote(value)
	case value.Type == gjson.Number:
		return value.Raw, nil
	case value.Type == gjson.Null:
		return "", fmt.Errorf("the field %q is null", f.name)
	default:
		return "", fmt.Errorf("the field %q is neither a string nor a number", f.name)
	}
}

// inner returns the value at a path within nested objects.
func inner(value gjson.Result, path []string) gjson.Result {
	for _, part := range path {
		outer := value
		value = gjson.Result{}
		if !outer.IsObject() {
			break
		}
		outer.ForEach(func(name, field gjson.Result) bool {
			if name.Str == part {
				value = field
			}
			return true
		})
	}
	return value
}

// unquote refuses half of a surrogate pair. gjson would replace it with U+FFFD, and different ids would become equal.
func (f *jsonField) unquote(value gjson.Result) (string, error) {
	if !strings.ContainsRune(value.Str, utf8.RuneError) || !strings.Contains(value.Raw, `\u`) {
		return value.Str, nil
	}
	var text string
	if err := json.Unmarshal([]byte(value.Raw), &text); err != nil {
		return "", fmt.Errorf("the field %q: %w", f.name, err)
	}
	const replacement = string(utf8.RuneError)
	written := strings.Count(value.Raw, replacement) + strings.Count(strings.ToLower(value.Raw), `\ufffd`)
	if strings.Count(text, replacement) > written {
		return "", fmt.Errorf("the field %q has half of a surrogate pair", f.name)
	}
	return text, nil
}
