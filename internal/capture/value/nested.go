package value

import (
	"bytes"
	"errors"
)

var errArray = errors.New("an array's text ends too early")

// array writes {1,NULL,"a b"} as [1, null, "a b"], in as many dimensions as there are.
func array(element Writer, delimiter byte) Writer {
	return func(b, text []byte) ([]byte, error) {
		if len(text) > 0 && text[0] == '[' { // Bounds that do not begin at 1: [0:1]={…}.
			text = text[bytes.IndexByte(text, '=')+1:]
		}
		b, rest, err := elements(b, text, element, delimiter)
		if err == nil && len(rest) > 0 {
			err = errArray
		}
		return b, err
	}
}

// vector writes 1 2 3 as [1, 2, 3].
func vector(element Writer) Writer {
	return func(b, text []byte) ([]byte, error) {
		b = append(b, '[')
		for i, item := range bytes.Fields(text) {
			if i > 0 {
				b = append(b, ", "...)
			}
			var err error
			if b, err = element(b, item); err != nil {
				return b, err
			}
		}
		return append(b, ']'), nil
	}
}

func elements(b, text []byte, element Writer, delimiter byte) ([]byte, []byte, error) {
	if len(text) < 2 || text[0] != '{' {
		return b, nil, errArray
	}
	b, text = append(b, '['), text[1:]
	if text[0] == '}' {
		return append(b, ']'), text[1:], nil
	}
	for {
		var err error
		if text[0] == '{' {
			b, text, err = elements(b, text, element, delimiter)
		} else {
			var item []byte
			var isQuoted bool
			item, text, isQuoted = token(text, delimiter, '}')
			if !isQuoted && string(item) == "NULL" {
				b = append(b, "null"...)
			} else {
				b, err = element(b, item)
			}
		}
		if err != nil {
			return b, nil, err
		}
		if len(text) == 0 {
			return b, nil, errArray
		}
		if text[0] == '}' {
			return append(b, ']'), text[1:], nil
		}
		b, text = append(b, ", "...), text[1:]
		if len(text) == 0 {
			return b, nil, errArray
		}
	}
}

// token reads up to a delimiter or an end, which it does not consume, and removes quotes and escapes.
func token(text []byte, delimiter, end byte) (item, rest []byte, isQuoted bool) {
	inside := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text):
			i++
			item = append(item, text[i])
		case c == '"' && inside && i+1 < len(text) && text[i+1] == '"': // In a composite's.
			i++
			item = append(item, '"')
		case c == '"':
			inside, isQuoted = !inside, true
		case !inside && (c == delimiter || c == end):
			return item, text[i:], isQuoted
		default:
			item = append(item, c)
		}
	}
	return item, nil, isQuoted
}

// composite writes (1,"a b",) as {"x": 1, "y": "a b", "z": null}.
func composite(names [][]byte, writers []Writer) Writer {
	return func(b, text []byte) ([]byte, error) {
		if len(text) < 2 {
			return b, errArray
		}
		text = text[1:]
		b = append(b, '{')
		for i, name := range names {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = append(append(b, name...), ": "...)
			item, rest, isQuoted := token(text, ',', ')')
			if len(rest) == 0 {
				return b, errArray
			}
			var err error
			if len(item) == 0 && !isQuoted {
				b = append(b, "null"...)
			} else if b, err = writers[i](b, item); err != nil {
				return b, err
			}
			text = rest[1:]
		}
		return append(b, '}'), nil
	}
}
