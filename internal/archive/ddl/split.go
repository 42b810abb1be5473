package ddl

import (
	"strings"
)

// statement is one statement of a text.
type statement struct {
	text   string
	tokens []token // with places in the whole text
	start  int
}

// split splits a text into statements, as Postgres's grammar does. Semicolons in parentheses and in a function's body, between BEGIN ATOMIC and
// END, do not end the statement.
func split(sql string, backslashes bool) (all []statement) {
	var current []token
	atomic := false
	add := func() {
		if len(current) > 0 {
			start := current[0].start
			all = append(all, statement{sql[start:current[len(current)-1].end], current, start})
		}
		current = nil
	}
	for _, t := range tokens(sql, backslashes) {
		if t.text == ";" && t.depth <= 0 && !atomic {
			add()
			continue
		}
		if last := len(current) - 1; last >= 0 && t.kind == word {
			switch before := current[last]; {
			case t.text == "ATOMIC" && t.depth == 0 && before.text == "BEGIN" && routine(current):
				atomic = true
			// An END elsewhere is a label, a column, or ends a CASE.
			case atomic && t.text == "END" && t.depth == 0 && (before.text == ";" || before.text == "ATOMIC"):
				atomic = false
			}
		}
		current = append(current, t)
	}
	add()
	return all
}

// routine reports whether a statement begins with CREATE [OR REPLACE] FUNCTION or PROCEDURE.
func routine(statement []token) bool {
	statement = statement[:min(len(statement), 4)] //nolint:mnd // As many words.
	words := make([]string, 0, len(statement))
	for _, t := range statement {
		words = append(words, t.text)
	}
	text := strings.Join(words, " ")
	for _, is := range []string{"CREATE FUNCTION ", "CREATE PROCEDURE ", "CREATE OR REPLACE FUNCTION", "CREATE OR REPLACE PROCEDURE"} {
		if strings.HasPrefix(text, is) {
			return true
		}
	}
	return false
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
