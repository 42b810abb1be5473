package ddl

import (
	"slices"
	"strings"
)

// plain returns the statement of a message as a restore runs it: without CONCURRENTLY, which cannot run in a transaction, and without tablespaces,
// temporary objects and later large objects, which are not in an archive. It is empty if nothing remains, such as for a statement that only ends one that ran before.
func (s statement) plain(m Message) string {
	if len(s.tokens) < 2 { //nolint:mnd // A verb and an object.
		return s.text
	}
	s = s.bounded(m)
	switch verb, object := s.tokens[0].text, s.object(); {
	case s.largeObject():
		return ""
	case verb == "GRANT" || verb == "REVOKE":
		return s.permanent(m)
	case verb == "DROP" && (object == "INDEX" || object == "FUNCTION" || object == "STATISTICS"):
		return s.drop(object)
	case verb == "REFRESH", verb == "CREATE" && object == "INDEX":
		return s.without(append(s.concurrently(), s.tablespaces()...))
	case verb == "CREATE" && (object == "TABLE" || object == "MATERIALIZED"):
		return s.without(s.tablespaces())
	case verb == "ALTER" && s.moves():
		return ""
	case verb == "ALTER" && (object == "TABLE" || object == "INDEX" || object == "MATERIALIZED"):
		return s.alter()
	}
	return s.text
}

// object returns the word after the verb that says what kind of object the statement is about.
func (s statement) object() string {
	for _, t := range s.tokens[1:] {
		if !modifiers[t.text] {
			return t.text
		}
	}
	return ""
}

// largeObject reports whether the statement is about large objects: GRANT, REVOKE, COMMENT and SECURITY LABEL name them after ON, and ALTER at once.
func (s statement) largeObject() bool {
	before := map[string]string{"GRANT": "ON", "REVOKE": "ON", "COMMENT": "ON", "SECURITY": "ON", "ALTER": "ALTER"}[s.tokens[0].text]
	at := 1 + slices.IndexFunc(s.tokens, func(t token) bool { return t.depth == 0 && t.text == before })
	return at > 0 && at+1 < len(s.tokens) && s.tokens[at].text == "LARGE" && s.tokens[at+1].text == "OBJECT"
}

// drop returns a DROP that does not fail if the object is missing: an index that a failed CREATE INDEX CONCURRENTLY has left, and a function of
// rows of a temporary table or statistics of one, are not in the archive.
func (s statement) drop(object string) string {
	for _, t := range s.tokens[2:] {
		switch t.text {
		case "CONCURRENTLY", "IF", "EXISTS":
		default:
			return "DROP " + object + " IF EXISTS " + s.text[t.start-s.start:]
		}
	}
	return s.text
}

// edit replaces a part of the text.
type edit struct {
	start, end int
	by         string
}

// without applies edits, which are in order.
func (s statement) without(edits []edit) string {
	var b strings.Builder
	at := s.start
	for _, e := range edits {
		b.WriteString(s.text[at-s.start : e.start-s.start])
		b.WriteString(e.by)
		at = e.end
	}
	b.WriteString(s.text[at-s.start:])
	return b.String()
}

// concurrently returns the word of that name, which comes right after the kind of the object.
func (s statement) concurrently() []edit {
	const last = 4
	for i, t := range s.tokens[:min(last, len(s.tokens))] {
		if i > 0 && t.text == "CONCURRENTLY" && t.depth == 0 {
			return []edit{{t.start, t.end, ""}}
		}
	}
	return nil
}

// tablespaces returns the clauses TABLESPACE name and USING INDEX TABLESPACE name of a CREATE. Columns and tables may have that name, too.
func (s statement) tablespaces() (edits []edit) {
	query := s.as()
	for i, t := range s.tokens {
		if i == query {
			break
		}
		if e, is := s.indexTablespace(i); is {
			edits = append(edits, e)
			continue
		}
		if t.text != "TABLESPACE" || t.depth > 0 || i+1 >= len(s.tokens) || !isName(s.tokens[i+1]) {
			continue
		}
		switch s.tokens[i-1].text {
		case "TABLE", "VIEW", "INDEX", "EXISTS", "ON", "ONLY", "OF", ".", "CONCURRENTLY", "LIKE", "USING":
		default:
			edits = append(edits, edit{t.start, s.tokens[i+1].end, ""})
		}
	}
	return edits
}

// indexTablespace returns the clause USING INDEX TABLESPACE name, if its third word is at that place.
func (s statement) indexTablespace(i int) (edit, bool) {
	const words = 2
	if i < words || i+1 >= len(s.tokens) || s.tokens[i].text != "TABLESPACE" || s.tokens[i-1].text != "INDEX" || s.tokens[i-words].text != "USING" {
		return edit{}, false
	}
	return edit{s.tokens[i-words].start, s.tokens[i+1].end, ""}, true
}

func isName(t token) bool { return t.kind == word || t.kind == name }

// moves reports whether the statement moves everything of a tablespace to another one: ALTER TABLE ALL IN TABLESPACE.
func (s statement) moves() bool {
	const last = 6 // of the words before a name: ALTER MATERIALIZED VIEW ALL IN TABLESPACE
	for i, t := range s.tokens[:min(last, len(s.tokens))] {
		if t.text == "TABLESPACE" && i > 2 && s.tokens[i-1].text == "IN" && s.tokens[i-2].text == "ALL" {
			return true
		}
	}
	return false
}

// alter returns an ALTER without CONCURRENTLY, and with the database's own tablespace.
func (s statement) alter() string {
	var edits []edit
	detach := false
	for i, t := range s.tokens {
		detach = detach || t.text == "DETACH" && t.depth == 0
		if e, is := s.indexTablespace(i); is {
			edits = append(edits, e)
			continue
		}
		switch {
		case t.text == "CONCURRENTLY" && t.depth == 0 && detach:
			edits = append(edits, edit{t.start, t.end, ""})
		case t.text == "FINALIZE" && detach && i == len(s.tokens)-1:
			return ""
		case t.text == "TABLESPACE" && t.depth == 0 && s.tokens[i-1].text == "SET" && i+1 < len(s.tokens):
			edits = append(edits, edit{s.tokens[i+1].start, s.tokens[i+1].end, "pg_default"})
		}
	}
	return s.without(edits)
}

// bounded returns the CREATE TABLE of a partition with its bounds from the catalog, if the text has a value that is computed, such as
// current_timestamp.
func (s statement) bounded(m Message) statement {
	if m.Bound == "" {
		return s
	}
	from := 0
	for i, t := range s.tokens {
		if from == 0 && t.depth == 0 && t.text == "VALUES" && i > 0 && s.tokens[i-1].text == "FOR" {
			from = i
		}
	}
	if from == 0 {
		return s // DEFAULT
	}
	to, computed := from, false
	for i, t := range s.tokens[from+1:] {
		if t.depth == 0 && t.text != "IN" && t.text != "FROM" && t.text != "TO" && t.text != "WITH" && t.text != ")" || t.text == "WITH" && s.tokens[from+i].text == ")" {
			break
		}
		to = from + 1 + i
		computed = computed || t.depth > 0 && !constant(t)
	}
	if !computed {
		return s
	}
	made := split(s.without([]edit{{s.tokens[from-1].start, s.tokens[to].end, m.Bound}}), m.Settings["standard_conforming_strings"] == "off")
	return made[0]
}

// constant reports whether a token within a partition's bounds is a value or punctuation.
func constant(t token) bool {
	switch t.text {
	case "MINVALUE", "MAXVALUE", "NULL", "TRUE", "FALSE", "MODULUS", "REMAINDER":
		return true
	}
	return t.kind != word && t.kind != name
}
