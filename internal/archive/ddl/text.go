package ddl

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// ErrLost means that the text of a statement was not found, so the archive needs a new base.
var ErrLost = errors.New("a change of the schema could not be archived")

// Reader turns messages into statements. It remembers its place in a text with several statements.
type Reader struct {
	last string // what identifies the text
	next int    // of its statements
}

var (
	inPLpgSQL = regexp.MustCompile(`"\n(?:PL/pgSQL function|SQL function|PL/|unnamed portal|portal|during|SQL statement)`)
	inSQL     = regexp.MustCompile(`^SQL function "([^"]*)" statement (\d+)`)
)

// Text returns the statement of a message of [KindEnd].
func (r *Reader) Text(message Message) (string, error) {
	text, err := r.find(message)
	if err == nil && message.Tag == "CREATE TABLE" && likeTemporary(text, message.Settings["standard_conforming_strings"] == "off", message.Temporary) {
		err = fmt.Errorf("%w: %s, which is LIKE a temporary table", ErrLost, message.Tag)
	}
	return text, err
}

func (r *Reader) find(message Message) (string, error) {
	if message.SQL != "" {
		return message.SQL, nil
	}
	backslashes := message.Settings["standard_conforming_strings"] == "off"
	_, context, _ := strings.Cut(message.Context, "\n") // The first line is about the trigger.
	if found := inSQL.FindStringSubmatch(context); found != nil {
		return ofFunction(message, found[1], found[2], backslashes)
	}
	text := message.Query
	if rest, is := strings.CutPrefix(context, `SQL statement "`); is {
		text = strings.TrimSuffix(rest, `"`)
		if end := inPLpgSQL.FindStringIndex(rest); end != nil {
			text = rest[:end[0]]
		}
	}
	statements := split(text, backslashes)
	if len(statements) == 1 {
		if !statements[0].has(message.Tag) {
			return "", fmt.Errorf("%w: %s, which %s ran", ErrLost, message.Tag, lead(text))
		}
		return statements[0].plain(message), nil
	}
	key := strconv.Itoa(message.PID) + " " + message.At + " " + message.Context + message.Query
	if key != r.last {
		r.last, r.next = key, 0
	}
	// Prefer a statement that names the message's object: another one may have been rolled back to a savepoint.
	for _, named := range []bool{true, false} {
		for i := r.next; i < len(statements); i++ {
			if s := statements[i]; s.has(message.Tag) && (!named || s.names(message.Objects)) {
				r.next = i + 1
				return s.plain(message), nil
			}
		}
	}
	if statements := split(text, backslashes); len(message.Objects) > 0 { // A loop may run the same text again.
		for i, s := range statements {
			if s.has(message.Tag) && s.names(message.Objects) {
				r.next = i + 1
				return s.plain(message), nil
			}
		}
	}
	return "", fmt.Errorf("%w: %s, which is not in the text that begins with %s", ErrLost, message.Tag, lead(text))
}

// ofFunction finds the statement by its number in the body of an SQL function, of which only the name is known.
func ofFunction(m Message, name, number string, backslashes bool) (string, error) {
	at, _ := strconv.Atoi(number)
	found := ""
	for _, body := range m.Bodies {
		statements := split(body, backslashes)
		if at < 1 || at > len(statements) || !statements[at-1].has(m.Tag) {
			continue
		}
		text := statements[at-1].plain(m)
		if found != "" && found != text {
			return "", fmt.Errorf("%w: %s in one of several functions %s", ErrLost, m.Tag, name)
		}
		found = text
	}
	if found == "" {
		return "", fmt.Errorf("%w: %s in the function %s", ErrLost, m.Tag, name)
	}
	return found, nil
}

// names reports whether the statement has the last part of an object's name.
func (s statement) names(objects []string) bool {
	if len(objects) == 0 {
		return true
	}
	for _, object := range objects {
		parts := tokens(object, false)
		for i, part := range parts {
			if i+1 < len(parts) && parts[i+1].text == "." || !isWord(part.text[0]) && part.text[0] != '"' {
				continue // Skip schemas and symbols.
			}
			for _, t := range s.tokens {
				if strings.EqualFold(strings.Trim(t.text, `"`), strings.Trim(part.text, `"`)) {
					return true
				}
			}
		}
	}
	return false
}

// lead returns the first words of a text. The rest may contain values, which errors must not show: the
// archive's list of gaps is not encrypted, and pages and alerts show it.
func lead(text string) string {
	const most = 3
	words := make([]string, 0, most)
	for _, t := range tokens(text, true) {
		if len(words) == most || !isWord(t.text[0]) || t.text[0] >= '0' && t.text[0] <= '9' {
			break
		}
		words = append(words, t.text)
	}
	return strings.Join(words, " ")
}
