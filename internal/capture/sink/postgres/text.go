package postgres

import (
	"bytes"
	"encoding/json"
	"strings"
)

// input returns a JSON value as text for a type's input function; nil means NULL. It returns false if only jsonb_populate_record can
// read the value: composite types, domains of arrays, arrays of composites, and arrays of boxes (which semicolons separate).
func input(value json.RawMessage, kind string) (text *string, ok bool) {
	value = bytes.TrimSpace(value)
	if len(value) == 0 {
		return nil, false
	}
	switch {
	case value[0] == 'n':
		return nil, true
	case kind == "json" || kind == "jsonb":
		return new(string(value)), true
	case value[0] == '"':
		var decoded string
		if json.Unmarshal(value, &decoded) != nil {
			return nil, false
		}
		return &decoded, true
	case value[0] != '{' && value[0] != '[':
		return new(string(value)), true
	case kind == "text" || kind == "character varying" || kind == "bpchar":
		return nil, false // Postgres formats JSON in its own way.
	case value[0] == '[' && strings.HasSuffix(kind, "[]") && kind != "box[]":
		var out strings.Builder
		if !array(&out, value, kind == "json[]" || kind == "jsonb[]") {
			return nil, false
		}
		return new(out.String()), true
	default:
		return nil, false
	}
}

// array writes a JSON array in Postgres's syntax. It returns false if the array has objects. An array whose elements are JSON documents
// always gets one dimension, because nested arrays may belong to the documents.
func array(out *strings.Builder, value json.RawMessage, documents bool) bool {
	var elements []json.RawMessage
	if json.Unmarshal(value, &elements) != nil {
		return false
	}
	out.WriteByte('{')
	for i, element := range elements {
		if i > 0 {
			out.WriteByte(',')
		}
		switch {
		case element[0] == 'n':
			out.WriteString("NULL")
			continue
		case documents:
			out.WriteString(quoted(string(element)))
			continue
		default:
		}
		switch element[0] {
		case '{':
			return false
		case '[':
			if !array(out, element, false) {
				return false
			}
		case '"':
			var text string
			if json.Unmarshal(element, &text) != nil {
				return false
			}
			out.WriteString(quoted(text))
		default:
			out.Write(element)
		}
	}
	out.WriteByte('}')
	return true
}

// quoted quotes an element of an array.
func quoted(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}
