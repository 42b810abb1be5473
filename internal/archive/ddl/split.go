package ddl

import (
	"regexp"
	"strings"
)

// token is a word or a symbol of SQL outside of quotes and comments.
type token struct {
	text       string // words in capitals; quoted names unchanged
	start, end int
	depth      int // of parentheses
}

var dollar = regexp.MustCompile(`^\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$`)

// tokens splits SQL. A quoted text is one token. If backslashes is true, they are escapes in all quoted texts, as without
// standard_conforming_strings.
func tokens(sql string, backslashes bool) (all []token) {
	depth := 0
	for at := 0; at < len(sql); {
		start := at
		switch c := sql[at]; {
		case strings.HasPrefix(sql[at:], "--"):
			at = after(sql, at, "\n")
			continue
		case strings.HasPrefix(sql[at:], "/*"):
			at = comment(sql, at)
			continue
		case c == '\'':
			escaped := backslashes
			if n := len(all); n > 0 && all[n-1].end == at && all[n-1].text == "E" {
				escaped = true
			}
			at = quoted(sql, at, '\'', escaped)
		case c == '"':
			at = quoted(sql, at, '"', false)
		case c == '$' && dollar.MatchString(sql[at:]):
			tag := dollar.FindString(sql[at:])
			at = after(sql, at+len(tag), tag)
		case isWord(c):
			for at < len(sql) && (isWord(sql[at]) || sql[at] == '$') {
				at++
			}
			all = append(all, token{strings.ToUpper(sql[start:at]), start, at, depth})
			continue
		case c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '\f' || c == '\v':
			at++
			continue
		default:
			at++
			switch c {
			case '(', '[':
				depth++
			case ')', ']':
				depth--
			}
		}
		all = append(all, token{sql[start:at], start, at, depth})
	}
	return all
}

func isWord(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c >= 0x80
}

func after(sql string, from int, what string) int {
	if at := strings.Index(sql[from:], what); at >= 0 {
		return from + at + len(what)
	}
	return len(sql)
}

// comment returns the end of a comment, which may contain other comments.
func comment(sql string, i int) int {
	for depth := 0; i < len(sql); {
		switch {
		case strings.HasPrefix(sql[i:], "/*"):
			depth++
			i += 2
		case strings.HasPrefix(sql[i:], "*/"):
			depth--
			i += 2
			if depth == 0 {
				return i
			}
		default:
			i++
		}
	}
	return len(sql)
}

func quoted(sql string, i int, quote byte, backslashes bool) int {
	for i++; i < len(sql); i++ {
		switch {
		case sql[i] == '\\' && backslashes:
			i++
		case sql[i] == quote && i+1 < len(sql) && sql[i+1] == quote:
			i++
		case sql[i] == quote:
			return i + 1
		}
	}
	return len(sql)
}

// statement is one statement of a text.
type statement struct {
	text   string
	tokens []token // with places in the whole text
	start  int
}

// split splits a text into statements. Semicolons in a function's body, between BEGIN ATOMIC and END, do not end the statement.
func split(sql string, backslashes bool) (all []statement) {
	var current []token
	atomic := 0
	add := func() {
		if len(current) > 0 {
			start := current[0].start
			all = append(all, statement{sql[start:current[len(current)-1].end], current, start})
		}
		current = nil
	}
	for _, t := range tokens(sql, backslashes) {
		if t.text == ";" && t.depth <= 0 && atomic == 0 {
			add()
			continue
		}
		switch last := len(current) - 1; {
		case t.text == "ATOMIC" && last >= 0 && current[last].text == "BEGIN" && current[0].text == "CREATE":
			atomic = 1
		case t.text == "CASE" && atomic > 0:
			atomic++
		case t.text == "END" && atomic > 0:
			atomic--
		}
		current = append(current, t)
	}
	add()
	return all
}

// modifiers are words that may occur between the words of a command tag.
//
//nolint:gochecknoglobals // A list.
var modifiers = map[string]bool{
	"OR": true, "REPLACE": true, "TEMP": true, "TEMPORARY": true, "UNLOGGED": true, "GLOBAL": true, "LOCAL": true, "UNIQUE": true,
	"RECURSIVE": true, "TRUSTED": true, "PROCEDURAL": true, "CONSTRAINT": true, "DEFAULT": true,
}

// has reports whether the statement has a command tag.
func (s statement) has(tag string) bool {
	words := strings.Fields(tag)
	place := 0
	for _, t := range s.tokens {
		switch {
		case place == len(words):
			return true
		case t.text == words[place] && (tag != "CREATE CONSTRAINT" || place > 0):
			place++
		case place > 0 && modifiers[t.text]:
		default:
			return false
		}
	}
	return place == len(words)
}
