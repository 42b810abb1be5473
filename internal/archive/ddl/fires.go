package ddl

// fires reports whether event triggers fire for the statement, and count it. They fire for objects of the database, but not for what belongs to the
// server, such as roles, nor for event triggers. CREATE TABLE AS and SELECT INTO are not counted, because their SQL comes from the catalog.
func (s statement) fires() bool {
	first, object := s.tokens[0].text, ""
	if len(s.tokens) > 1 {
		object = s.object()
	}
	switch first {
	case "IMPORT", "REFRESH":
		return true
	case "COMMENT", "SECURITY", "GRANT", "REVOKE":
		at := s.word("ON")
		return at > 0 && at+1 < len(s.tokens) && local(s.tokens[at+1:])
	case "DROP":
		return object == "OWNED" || local(s.tokens[1:])
	case "ALTER":
		return object != "SYSTEM" && local(s.tokens[1:])
	case "CREATE":
		return local(s.tokens[1:]) && (object != "TABLE" || s.as() <= 0)
	}
	return false
}

// word returns the place of a word outside of parentheses, or -1.
func (s statement) word(text string) int {
	for i, t := range s.tokens {
		if t.kind == word && t.text == text && t.depth == 0 && (i == 0 || s.tokens[i-1].text != ".") {
			return i
		}
	}
	return -1
}

// as returns the place of the AS before the query that fills a table, or -1.
func (s statement) as() int { return s.word("AS") }

// local reports whether the words after a verb name an object of the database. A table may have the name of a kind of object: GRANT SELECT ON role TO x.
func local(words []token) bool {
	next := ""
	if len(words) > 1 {
		next = words[1].text
	}
	named := next != "TO" && next != "FROM" && next != "," && next != "."
	switch words[0].text {
	case "DATABASE", "ROLE", "GROUP", "TABLESPACE", "PARAMETER":
		return !named
	case "USER":
		return !named || next == "MAPPING"
	case "EVENT":
		return next != "TRIGGER"
	}
	return true
}

// rollsBack reports whether a text may roll back a part of what it does, or forget what was counted.
func rollsBack(text []statement) bool {
	for _, s := range text {
		switch s.tokens[0].text {
		case "ROLLBACK", "ABORT", "SAVEPOINT", "DISCARD":
			return true
		case "RESET":
			if len(s.tokens) > 1 && s.tokens[1].text == "ALL" {
				return true
			}
		}
	}
	return false
}
