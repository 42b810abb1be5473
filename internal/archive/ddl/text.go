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

var (
	// frame is the beginning of the line of a context that follows a statement.
	frame = regexp.MustCompile(`^"\n(?:PL/|SQL |unnamed portal|portal|during|COPY )`)
	// frames is what is between two statements of a context.
	frames = regexp.MustCompile(`^"\n(?:[^\n]*\n)*(?:SQL (?:statement|function|expression) |PL/pgSQL assignment |PL/\S+ function (?:[^\n"]*[.(,])?|COPY [^\n"]*: )"`)
	inSQL  = regexp.MustCompile(`^SQL function "([^"]*)" statement (\d+)`)
)

// Text returns the statement of a message of [KindEnd]. It never guesses: if two statements of the text are possible, the change is lost.
func Text(message Message) (string, error) {
	if message.SQL != "" {
		return message.SQL, nil
	}
	backslashes := message.Settings["standard_conforming_strings"] == "off"
	text, err := find(message, backslashes)
	if err == nil && message.Tag == "CREATE TABLE" && likeTemporary(text, backslashes, message.Temporary) {
		err = fmt.Errorf("%w: %s, which is LIKE a temporary table", ErrLost, message.Tag)
	}
	// A superuser runs what is archived. So it must be one statement, also in the view of the server that restores it.
	if err == nil && !single(text, backslashes) {
		err = fmt.Errorf("%w: %s, whose text is not one statement", ErrLost, message.Tag)
	}
	return text, err
}

// single reports whether a text is at most one statement, in which every quote ends.
func single(text string, backslashes bool) bool {
	all := split(text, backslashes)
	return len(all) == 0 || len(all) == 1 && all[0].whole()
}

// whole reports whether every quote, comment and parenthesis of a statement ends.
func (s statement) whole() bool {
	depth := 0
	for _, t := range s.tokens {
		if t.kind == torn {
			return false
		}
		depth = t.depth
	}
	return depth == 0
}

func find(message Message, backslashes bool) (string, error) {
	_, context, _ := strings.Cut(message.Context, "\n") // The first line is about the trigger.
	if found := inSQL.FindStringSubmatch(context); found != nil {
		return ofFunction(message, found[1], found[2], backslashes)
	}
	text := message.Query
	if rest, is := strings.CutPrefix(context, `SQL statement "`); is {
		inner, is := statementOf(rest, backslashes)
		if !is {
			return "", fmt.Errorf("%w: %s, whose text ends at one of several places", ErrLost, message.Tag)
		}
		text = inner
	}
	statements := split(text, backslashes)
	if switches(statements, text, backslashes) {
		return "", fmt.Errorf("%w: %s in a text that also sets standard_conforming_strings", ErrLost, message.Tag)
	}
	found, err := pick(message, statements)
	if err != nil {
		return "", fmt.Errorf("%w, in the text that begins with %s", err, lead(text))
	}
	return found, nil
}

// pick finds the statement of a message among those of a text.
func pick(message Message, all []statement) (string, error) {
	if len(all) == 1 {
		if !all[0].has(message.Tag) {
			return "", fmt.Errorf("%w: %s, which another statement ran", ErrLost, message.Tag)
		}
		return all[0].plain(message), nil
	}
	var firing []statement
	for _, s := range all {
		if s.fires() {
			firing = append(firing, s)
		}
	}
	if message.Place != nil && len(firing) > 0 && !rollsBack(all) {
		s := firing[*message.Place%len(firing)] // A loop may run the text again.
		switch {
		case !s.has(message.Tag):
			return "", fmt.Errorf("%w: %s, which is not at its place", ErrLost, message.Tag)
		case !s.names(message.Objects):
			for _, other := range firing {
				if other.has(message.Tag) && other.names(message.Objects) {
					return "", fmt.Errorf("%w: %s, of which another one is at its place", ErrLost, message.Tag)
				}
			}
		}
		return s.plain(message), nil
	}
	return candidate(message, firing)
}

// candidate finds the statement by its tag and its objects, if only one can have been it.
func candidate(m Message, all []statement) (string, error) {
	found, has := "", false
	for _, named := range []bool{true, false} {
		for _, s := range all {
			if !s.has(m.Tag) || named && !s.names(m.Objects) {
				continue
			}
			text := s.plain(m)
			if has && text != found {
				return "", fmt.Errorf("%w: %s, which is one of several statements", ErrLost, m.Tag)
			}
			found, has = text, true
		}
		if has {
			return found, nil
		}
	}
	return "", fmt.Errorf("%w: %s, which is not there", ErrLost, m.Tag)
}

// statementOf returns the statement with which a context begins. It ends with a quote, and the statement may have quotes, too.
func statementOf(context string, backslashes bool) (text string, is bool) {
	s := scanner{sql: context, backslashes: backslashes}
	for s.at < len(context) {
		rest := context[s.at:]
		if s.depth == 0 && (rest == `"` || frame.MatchString(rest)) {
			// If a name begins here, the text goes on after it, unless the name is what is between two statements.
			long := scanner{sql: context, at: s.at, backslashes: backslashes}
			more := long.next() && long.found.kind == name && !frames.MatchString(context[s.at:long.at])
			return context[:s.at], !more
		}
		if !s.next() || s.found.kind == torn {
			break
		}
	}
	return "", false
}

// switches reports whether a text sets standard_conforming_strings. Postgres has read the whole text before that, so the value that the triggers see is
// another one. It does not matter without backslashes.
func switches(statements []statement, text string, backslashes bool) bool {
	if !strings.Contains(text, `\`) || len(statements) < 2 && !backslashes {
		return false
	}
	return strings.Contains(strings.ToLower(text), "standard_conforming_strings")
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
			if i+1 < len(parts) && parts[i+1].text == "." || part.kind != word && part.kind != name {
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
		if len(words) == most || t.kind != word {
			break
		}
		words = append(words, t.text)
	}
	return strings.Join(words, " ")
}
