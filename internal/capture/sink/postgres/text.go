package postgres

import (
	"encoding/json"
	"strings"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/tidwall/gjson"
)

// input returns a JSON value as text for a type's input function. It returns false if only jsonb_populate_record can read the value: composite
// types, domains of arrays, arrays of composites, and arrays of boxes (which semicolons separate).
func input(value gjson.Result, kind string) (text pgtype.Text, ok bool) {
	switch {
	case value.Type == gjson.Null:
		return pgtype.Text{}, true
	case kind == "json" || kind == "jsonb":
		return pgtype.Text{String: value.Raw, Valid: true}, true
	case value.Type == gjson.String:
		return pgtype.Text{String: value.Str, Valid: true}, true
	case value.Type != gjson.JSON:
		return pgtype.Text{String: value.Raw, Valid: true}, true
	case kind == "text" || kind == "character varying" || kind == "bpchar":
		return pgtype.Text{}, false // Postgres formats JSON in its own way.
	case value.IsArray() && strings.HasSuffix(kind, "[]") && kind != "box[]":
		var out strings.Builder
		if !array(&out, json.RawMessage(value.Raw), kind == "json[]" || kind == "jsonb[]") {
			return pgtype.Text{}, false
		}
		return pgtype.Text{String: out.String(), Valid: true}, true
	default:
		return pgtype.Text{}, false
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
