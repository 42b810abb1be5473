package clickhouse

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/daymill/daymill/internal/capture/change"
)

// row returns a change as a row of the target, by column.
func (t *table) row(c change.Change) (map[string]json.RawMessage, error) {
	object, deleted := c.New, "0"
	if c.Op == change.Delete {
		object, deleted = c.Key, "1"
	}
	var values map[string]json.RawMessage
	if err := json.Unmarshal(object, &values); err != nil || values == nil {
		return nil, &refusal{reason: "the row cannot be written: it is not a JSON object"}
	}
	for name, value := range values {
		kind, has := t.types[name]
		if !has {
			return nil, &refusal{reason: "the row cannot be written: the target has no column " + strconv.Quote(name)}
		}
		values[name] = input(value, kind)
	}
	values[PositionColumn], values[DeletedColumn] = json.RawMessage(strconv.FormatInt(c.Position, 10)), json.RawMessage(deleted)
	return values, nil
}

// input returns a JSON value in the form that JSONEachRow reads for a column's type.
func input(value json.RawMessage, kind string) json.RawMessage {
	kind = strings.TrimSuffix(strings.TrimPrefix(kind, "Nullable("), ")")
	text := string(value)
	switch {
	case text == "null" || text == "":
		return json.RawMessage("null")
	case kind == "String" && text[0] != '"': // A number, a boolean, an array, an object.
		return quoted(text)
	case kind == "UInt8" && text == "true":
		return json.RawMessage("1")
	case kind == "UInt8" && text == "false":
		return json.RawMessage("0")
	case strings.HasPrefix(kind, "Float"):
		switch text {
		case `"NaN"`:
			return json.RawMessage(`"nan"`)
		case `"Infinity"`:
			return json.RawMessage(`"inf"`)
		case `"-Infinity"`:
			return json.RawMessage(`"-inf"`)
		default:
			return value
		}
	default:
		return value
	}
}

func quoted(text string) json.RawMessage {
	document, err := json.Marshal(text)
	if err != nil { // Marshaling a string cannot fail.
		return json.RawMessage(`""`)
	}
	return document
}

// keyOf returns a text that identifies a row of the table. ClickHouse returns 64-bit integers in quotes.
func (t *table) keyOf(row map[string]json.RawMessage) string {
	var key strings.Builder
	for _, name := range t.key {
		value := string(row[name])
		var text string
		if json.Unmarshal(row[name], &text) == nil {
			value = text
		}
		key.WriteString(strconv.Quote(value))
	}
	return key.String()
}

// match returns the condition that selects a row by its key.
func (t *table) match(row map[string]json.RawMessage) string {
	parts := make([]string, len(t.key))
	for i, name := range t.key {
		value := string(row[name])
		var text string
		if json.Unmarshal(row[name], &text) == nil {
			value = literal(text)
		}
		parts[i] = quote(name) + " = " + value
	}
	return "(" + strings.Join(parts, " AND ") + ")"
}
