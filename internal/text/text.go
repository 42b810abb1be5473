// Package text makes strings from data safe to print: in a terminal, in a line of a report, in an error.
package text

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Clip cuts a string after at most n bytes, never within a character, and marks the cut.
func Clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	// A character has at most utf8.UTFMax bytes. A longer run of such bytes is no character.
	end := most
	for end > 0 && end > most-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}

// Printable replaces characters that a terminal would act on instead of showing them: control characters
// including the C1 range, marks that change the direction of writing, and bytes that are not UTF-8. Newlines
// and tabs stay.
func Printable(s string) string {
	return replace(s, func(r rune) bool { return r == '\n' || r == '\t' })
}

// Line is Printable for one line: newlines and tabs become spaces.
func Line(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\r' || r == '\t' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, string(utf8.RuneError)))
	return replace(s, func(rune) bool { return false })
}

func replace(s string, keep func(rune) bool) string {
	return strings.Map(func(r rune) rune {
		if !keep(r) && (unicode.IsControl(r) || obeyed(r)) {
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(s, string(utf8.RuneError)))
}

// Encode returns a value as JSON in one line, without the escapes that only HTML needs.
func Encode(value any) (string, error) {
	var out strings.Builder
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return "", fmt.Errorf("encode JSON: %w", err)
	}
	return strings.TrimSuffix(out.String(), "\n"), nil
}

// JSON writes the characters that Printable would replace as escapes in a JSON document. The meaning of the document stays the same.
func JSON(document string) string {
	var out strings.Builder
	for _, r := range document {
		if r != '\n' && r != '\t' && (unicode.IsControl(r) || obeyed(r)) {
			fmt.Fprintf(&out, `\u%04x`, r)
			continue
		}
		out.WriteRune(r)
	}
	return out.String()
}

// obeyed reports whether a character changes how later characters are shown: marks of direction and line separators.
func obeyed(r rune) bool {
	return unicode.In(r, unicode.Bidi_Control, unicode.Zl, unicode.Zp)
}
