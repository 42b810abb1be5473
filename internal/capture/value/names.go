package value

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Names returns the names in a JSON object, in its order; nothing for null or an empty text.
func Names(object json.RawMessage) ([]string, error) {
	decoder := json.NewDecoder(bytes.NewReader(object))
	token, err := decoder.Token()
	if len(object) == 0 || err == nil && token == nil {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("it is not JSON: %w", err)
	}
	if token != json.Delim('{') {
		return nil, fmt.Errorf("it is not a JSON object, but begins with %v", token)
	}
	var found []string
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return nil, err
		}
		name, _ := token.(string)
		found = append(found, name)
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil, err
		}
	}
	return found, nil
}
