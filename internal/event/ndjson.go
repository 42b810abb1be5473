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
)

// jsonRows are the rows of an NDJSON file: one object per line. Empty lines are skipped.
type jsonRows struct {
	text *bufio.Reader
	line int
	top  map[string]json.RawMessage // reused

	entity, kind, time jsonField // kind has no name where the type is not in the file
}

// jsonField is a field of an object, or of an object in it: user.id is the field of that name, else id in user.
type jsonField struct {
	name string
	path []string
}

func newJSONField(name string) jsonField {
	return jsonField{name: name, path: strings.Split(name, ".")}
}

func newJSONRows(text *bufio.Reader, options Options) *jsonRows {
	j := &jsonRows{
		text:   bufio.NewReaderSize(text, MaxRow),
		top:    map[string]json.RawMessage{},
		entity: newJSONField(options.Columns.Entity),
		time:   newJSONField(options.Columns.Time),
	}
	if options.TypeValue == "" {
		j.kind = newJSONField(options.Columns.Type)
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

func (j *jsonRows) parse(line []byte, r *row) error {
	if !utf8.Valid(line) { // which package json would mend
		return errors.New("the line is not UTF-8")
	}
	clear(j.top)
	if err := json.Unmarshal(line, &j.top); err != nil {
		var kind *json.UnmarshalTypeError
		if errors.As(err, &kind) {
			return fmt.Errorf("the line is not a JSON object (%s)", kind.Value)
		}
		return fmt.Errorf("the line is not JSON: %w", err)
	}
	if j.top == nil {
		j.top = map[string]json.RawMessage{}
		return errors.New("the line is not a JSON object (null)")
	}
	var err error
	if r.entity, err = j.entity.text(j.top); err != nil {
		return err
	}
	if j.kind.name != "" {
		if r.kind, err = j.kind.text(j.top); err != nil {
			return err
		}
	}
	r.time, err = j.time.text(j.top)
	return err
}

// text returns a field's string, or its number as it is written, digit for digit.
func (f jsonField) text(top map[string]json.RawMessage) (string, error) {
	raw, has := top[f.name]
	if !has && len(f.path) > 1 {
		raw, has = f.nested(top)
	}
	switch {
	case !has:
		return "", fmt.Errorf("there is no field %q", f.name)
	case raw[0] == '"':
		return f.unquote(raw)
	case raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9':
		return string(raw), nil
	case raw[0] == 'n':
		return "", fmt.Errorf("the field %q is null", f.name)
	default:
		return "", fmt.Errorf("the field %q is neither a string nor a number", f.name)
	}
}

func (f jsonField) nested(top map[string]json.RawMessage) (raw json.RawMessage, has bool) {
	object := top
	for i, name := range f.path {
		raw, has = object[name]
		if !has || i == len(f.path)-1 {
			break
		}
		object = nil
		if json.Unmarshal(raw, &object) != nil {
			return nil, false
		}
	}
	return raw, has
}

func (f jsonField) unquote(raw json.RawMessage) (string, error) {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1]), nil
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return "", fmt.Errorf("the field %q: %w", f.name, err)
	}
	// Package json puts U+FFFD for half of a surrogate pair, which would make different ids equal.
	if strings.ContainsRune(text, utf8.RuneError) && !bytes.ContainsRune(raw, utf8.RuneError) &&
		!bytes.Contains(bytes.ToLower(raw), []byte(`\ufffd`)) {
		return "", fmt.Errorf("the field %q has half of a surrogate pair", f.name)
	}
	return text, nil
}
