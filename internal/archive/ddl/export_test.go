package ddl

// Split returns the texts of a text's statements, and whether all quotes, comments and parentheses in them end.
func Split(sql string, backslashes bool) (all []string, whole bool) {
	whole = true
	for _, s := range split(sql, backslashes) {
		all = append(all, s.text)
		whole = whole && s.whole()
	}
	return all, whole
}

// Backslash reports whether a text has a backslash outside of quotes and comments, which is a command of psql.
func Backslash(sql string, backslashes bool) bool {
	for _, t := range tokens(sql, backslashes) {
		if t.kind == symbol && t.text == `\` {
			return true
		}
	}
	return false
}
