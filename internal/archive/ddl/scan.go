package ddl

import (
	"regexp"
	"strings"
)

// token is a word or a symbol of SQL outside of quotes and comments.
type token struct {
	text       string // words in capitals; quoted names and texts unchanged
	start, end int
	depth      int // of parentheses
	kind       kind
}

type kind byte

// Kinds of tokens.
const (
	symbol  kind = iota
	word         // a keyword or a name
	name         // in quotes
	literal      // a text in quotes
	number       // also a parameter: $1
	torn         // a quote or a comment that does not end
)

var (
	dollar  = regexp.MustCompile(`^\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$`)
	numeral = regexp.MustCompile(`^(?:[0-9]+(?:_[0-9]+)*(?:[eE][-+]?[0-9]+)?|\$[0-9]+)`)
	// continued is what may be between the parts of a text: 'a' and, on another line, 'b'.
	continued = regexp.MustCompile(`^(?:[ \t\f\v]|--[^\n\r]*)*[\n\r](?:[ \t\n\r\f\v]|--[^\n\r]*[\n\r])*'`)
)

// tokens splits SQL by the rules of Postgres's scanner (scan.l). Postgres must find the same end of every quote and comment, because a role that
// may run DDL could otherwise make the archive take several statements for one. If backslashes is true, they are escapes in all quoted texts, as
// without standard_conforming_strings.
func tokens(sql string, backslashes bool) (all []token) {
	s := scanner{sql: sql, backslashes: backslashes}
	for s.next() {
		if s.found.start < s.found.end {
			all = append(all, s.found)
		}
	}
	return all
}

type scanner struct {
	sql         string
	backslashes bool
	at, depth   int
	found       token // empty after a comment or a space
}

// next reads a token, a comment or spaces. It returns false at the end.
func (s *scanner) next() bool {
	if s.at >= len(s.sql) {
		return false
	}
	start, kind := s.at, symbol
	rest := s.sql[start:]
	switch c := rest[0]; {
	case strings.IndexByte(" \t\n\r\f\v", c) >= 0:
		s.at++
		s.found = token{}
		return true
	case strings.HasPrefix(rest, "--"):
		if s.at = start + strings.IndexAny(rest, "\n\r"); s.at < start {
			s.at = len(s.sql)
		}
		s.found = token{}
		return true
	case strings.HasPrefix(rest, "/*"):
		var whole bool
		if s.at, whole = comment(s.sql, start); whole {
			s.found = token{}
			return true
		}
		kind = torn
	case c == '"' || len(rest) > 2 && (c == 'U' || c == 'u') && rest[1:3] == `&"`:
		kind = s.quoted(start+strings.IndexByte(rest, '"'), '"', false, true, name)
	case s.prefix() > 0:
		kind = s.text(start + s.prefix())
	case numeral.MatchString(rest):
		s.at, kind = start+len(numeral.FindString(rest)), number
	case dollar.MatchString(rest):
		tag := dollar.FindString(rest)
		kind = literal
		if end := strings.Index(rest[len(tag):], tag); end >= 0 {
			s.at = start + end + 2*len(tag)
		} else {
			s.at, kind = len(s.sql), torn
		}
	case isWord(c):
		for s.at < len(s.sql) && (isWord(s.sql[s.at]) || s.sql[s.at] >= '0' && s.sql[s.at] <= '9' || s.sql[s.at] == '$') {
			s.at++
		}
		s.found = token{upper(s.sql[start:s.at]), start, s.at, s.depth, word}
		return true
	default:
		s.at++
		switch c {
		case '(', '[':
			s.depth++
		case ')', ']':
			s.depth = max(s.depth-1, 0)
		}
	}
	s.found = token{s.sql[start:s.at], start, s.at, s.depth, kind}
	return true
}

// prefix returns the length of the beginning of a quoted text: ', E', B', X', N' or U&'. It is 0 if none begins here.
func (s *scanner) prefix() int {
	rest := s.sql[s.at:]
	switch {
	case rest[0] == '\'':
		return 1
	case len(rest) > 1 && rest[1] == '\'' && strings.IndexByte("eEbBxXnN", rest[0]) >= 0:
		return 2 //nolint:mnd // A letter and a quote.
	case len(rest) > 2 && (rest[0] == 'U' || rest[0] == 'u') && rest[1:3] == "&'":
		return 3 //nolint:mnd // U, & and a quote.
	}
	return 0
}

// text reads a quoted text whose content begins at a place. If it continues on another line, it has the escapes of its beginning.
func (s *scanner) text(from int) kind {
	escapes, doubled := s.backslashes, true
	switch s.sql[s.at] {
	case 'e', 'E':
		escapes = true
	case 'u', 'U':
		escapes = false
	case 'b', 'B', 'x', 'X':
		escapes, doubled = false, false
	}
	for {
		if kind := s.quoted(from-1, '\'', escapes, doubled, literal); kind == torn {
			return kind
		}
		more := continued.FindString(s.sql[s.at:])
		if more == "" {
			return literal
		}
		from = s.at + len(more)
	}
}

// quoted reads what begins with a quote.
func (s *scanner) quoted(from int, quote byte, escapes, doubled bool, is kind) kind {
	for s.at = from + 1; s.at < len(s.sql); s.at++ {
		switch {
		case s.sql[s.at] == '\\' && escapes:
			s.at++
		case s.sql[s.at] != quote:
		case doubled && s.at+1 < len(s.sql) && s.sql[s.at+1] == quote:
			s.at++
		default:
			s.at++
			return is
		}
	}
	s.at = len(s.sql)
	return torn
}

func isWord(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

// upper returns a word in capitals. Keywords have ASCII letters only: Go's ToUpper would make two different names equal, and change invalid bytes.
func upper(text string) string {
	return mapped(text, 'a', 'z', 'A')
}

func mapped(text string, from, to, by byte) string {
	b := []byte(text)
	for i, c := range b {
		if c >= from && c <= to {
			b[i] = c - from + by
		}
	}
	return string(b)
}

// comment returns the end of a comment, which may contain other comments, and whether it ends.
func comment(sql string, i int) (end int, whole bool) {
	for depth := 0; i < len(sql); {
		switch {
		case strings.HasPrefix(sql[i:], "/*"):
			depth++
			i += 2
		case strings.HasPrefix(sql[i:], "*/"):
			depth--
			i += 2
			if depth == 0 {
				return i, true
			}
		default:
			i++
		}
	}
	return len(sql), false
}
