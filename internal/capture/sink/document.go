package sink

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/daymill/daymill/internal/capture/change"
)

// MaxAnswer is how much of a sink's answer a [Refusal] keeps, in bytes.
const MaxAnswer = 4 << 10

// Document returns a change as JSON, as every consumer receives it: without the escapes that only HTML needs.
func Document(c change.Change) ([]byte, error) {
	if c.Unchanged == nil {
		c.Unchanged = []string{} // Never null.
	}
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(c); err != nil {
		return nil, fmt.Errorf("write change %d as JSON: %w", c.Position, err)
	}
	return bytes.TrimSuffix(buffer.Bytes(), []byte("\n")), nil
}

// ID identifies a change by stream and position, for receivers that drop duplicates.
func ID(c change.Change) string { return c.Stream + "-" + strconv.FormatInt(c.Position, 10) }

// Key is [change.Key].
func Key(c change.Change) string { return change.Key(c) }

// KeyValues returns the values of a change's key as text, joined by commas: "42", or "42,7".
func KeyValues(c change.Change) (string, error) {
	decoder := json.NewDecoder(bytes.NewReader(c.Key))
	decoder.UseNumber()
	if token, err := decoder.Token(); err != nil || token != json.Delim('{') {
		return "", fmt.Errorf("the change at position %d has no key", c.Position)
	}
	var values []string
	for decoder.More() {
		if _, err := decoder.Token(); err != nil {
			return "", fmt.Errorf("read the key at position %d: %w", c.Position, err)
		}
		var value any
		if err := decoder.Decode(&value); err != nil {
			return "", fmt.Errorf("read the key at position %d: %w", c.Position, err)
		}
		values = append(values, Text(value))
	}
	escaped := make([]string, len(values))
	for i, value := range values {
		escaped[i] = value
		if len(values) > 1 { // Otherwise (a,b) and c would equal a and (b,c).
			escaped[i] = strings.NewReplacer(`\`, `\\`, `,`, `\,`).Replace(value)
		}
	}
	return strings.Join(escaped, ","), nil
}

// Text returns a value of a row as text: a JSON string without its quotes, an object or an array as JSON, and null as "".
func Text(value any) string {
	switch value := value.(type) {
	case nil:
		return ""
	case string:
		return value
	case json.Number:
		return value.String()
	default:
		var buffer bytes.Buffer
		encoder := json.NewEncoder(&buffer)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(value); err != nil {
			return fmt.Sprint(value)
		}
		return strings.TrimSuffix(buffer.String(), "\n")
	}
}

// Row decodes a row. Numbers keep every digit, as json.Number. For null, the map is nil.
func Row(row json.RawMessage) (map[string]any, error) {
	if len(row) == 0 {
		return nil, nil //nolint:nilnil // There is no row.
	}
	decoder := json.NewDecoder(bytes.NewReader(row))
	decoder.UseNumber()
	var values map[string]any
	if err := decoder.Decode(&values); err != nil {
		return nil, fmt.Errorf("read a row: %w", err)
	}
	return values, nil
}

// Answer cuts a sink's answer to [MaxAnswer], and makes it text that Postgres can store.
func Answer(answer []byte) string {
	return strings.ToValidUTF8(strings.ReplaceAll(string(answer[:min(len(answer), MaxAnswer)]), "\x00", ""), "")
}
