package ddl

import (
	"iter"
	"slices"
	"strings"
)

// permanent returns a GRANT or REVOKE without the temporary objects of its list, which are not in an archive. It is empty if the list has no
// others. A name without a schema means the temporary relation, if there is one of that name. Functions of rows of a temporary table end with it.
func (s statement) permanent(m Message) string {
	on := slices.IndexFunc(s.tokens, func(t token) bool { return t.text == "ON" && t.depth == 0 })
	if on < 0 {
		return s.text // of roles
	}
	list, relations, functions := s.tokens[on+1:], true, false
	if kind := list[0].text; len(list) > 1 && isName(list[1]) && list[1].text != "TO" && list[1].text != "FROM" {
		list, relations = list[1:], kind == "TABLE" || kind == "SEQUENCE"
		functions = kind == "FUNCTION" || kind == "PROCEDURE" || kind == "ROUTINE"
	}
	end := slices.IndexFunc(list, func(t token) bool { return t.depth == 0 && (t.text == "TO" || t.text == "FROM") })
	if end < 1 {
		return s.text
	}
	var kept []string
	for item := range items(list[:end]) {
		if functions && slices.Contains(m.Passing, plainName(last(item))) {
			continue
		}
		if !relations && !qualified(item) || !isTemporary(item, m.Temporary) {
			kept = append(kept, s.text[item[0].start-s.start:item[len(item)-1].end-s.start])
		}
	}
	if len(kept) == 0 {
		return ""
	}
	return s.without([]edit{{list[0].start, list[end-1].end, strings.Join(kept, ", ")}})
}

// likeTemporary reports whether a CREATE TABLE takes columns of a temporary table.
func likeTemporary(text string, backslashes bool, temporary []string) bool {
	all := tokens(text, backslashes)
	for i, t := range all[:max(len(all)-1, 0)] {
		before := i > 0 && (all[i-1].text == "(" || all[i-1].text == ",")
		if before && t.text == "LIKE" && t.depth == 1 && isTemporary(all[i+1:], temporary) {
			return true
		}
	}
	return false
}

// qualified reports whether an item of a list begins with the name of a schema.
func qualified(item []token) bool { return len(item) > 2 && item[1].text == "." } //nolint:mnd // A schema, a period and a name.

// last returns the name of an item without the schema.
func last(item []token) token {
	if qualified(item) {
		return item[2]
	}
	return item[0]
}

// isTemporary reports whether a list begins with the name of a temporary relation.
func isTemporary(item []token, temporary []string) bool {
	name := plainName(item[0])
	if qualified(item) {
		return name == "pg_temp" || strings.HasPrefix(name, "pg_temp_")
	}
	return slices.Contains(temporary, name)
}

// items splits a list at its commas.
func items(list []token) iter.Seq[[]token] {
	return func(yield func([]token) bool) {
		for len(list) > 0 {
			end := slices.IndexFunc(list, func(t token) bool { return t.text == "," && t.depth == 0 })
			if end < 0 {
				end = len(list)
			}
			if end > 0 && !yield(list[:end]) {
				return
			}
			list = list[min(end+1, len(list)):]
		}
	}
}

// plainName returns the name that a token stands for.
func plainName(t token) string {
	if quoted, is := strings.CutPrefix(t.text, `"`); is {
		return strings.ReplaceAll(strings.TrimSuffix(quoted, `"`), `""`, `"`)
	}
	return strings.ToLower(t.text)
}
