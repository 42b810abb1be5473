package main

// calls are the safeguards of calls with a key.
func calls() []broken {
	const tests, once, call, sql = "^TestAPIOnce$", "ui/api/once.go", "internal/call/call.go", "internal/db/call.sql.go"
	return []broken{
		edit("Call/Body", uiPkg, tests, once, "", `fmt.Appendf(nil, "%s %s\n%s", r.Method, r.URL.EscapedPath(), body)`, `fmt.Appendf(nil, "%s %s", r.Method, r.URL.EscapedPath())`),
		edit("Call/Path", uiPkg, tests, once, "", `fmt.Appendf(nil, "%s %s\n%s", r.Method, r.URL.EscapedPath(), body)`, `fmt.Appendf(nil, "%s", body)`),
		edit("Call/Actor", uiPkg, tests, once, "", "Actor: door.User(r.Context())", `Actor: "somebody"`),
		edit("Call/ClientGone", uiPkg, tests, once, "", "ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), route.limit())", "ctx, cancel := context.WithTimeout(r.Context(), route.limit())"),
		edit("Call/Stored", uiPkg, tests, once, "", "s.logUnstored(after, this.End(after, s.DB, answer))", ""),
		edit("Call/Refused", uiPkg, tests, once, "", "s.logUnstored(after, this.Forget(after, s.DB))", ""),
		edit("Call/Unknown", uiPkg, tests, once, "", "s.logUnstored(after, this.Fail(after, s.DB))", "s.logUnstored(after, this.Forget(after, s.DB))"),
		edit("Call/Location", uiPkg, tests, once, "", `header.Set("Location", answer.Location)`, ""),
		edit("Call/Long", uiPkg, tests, call, "", "len(c.Key) > mostKey || ", ""),
		edit("Call/Text", uiPkg, tests, call, "", "!utf8.ValidString(c.Key)", "!utf8.ValidString(\"\")"),
		edit("Call/Other", uiPkg, tests, call, "", "case !known.Same:", "case known.Status < -1:"),
		edit("Call/Interrupted", uiPkg, tests, call, "", "case known.Interrupted:", "case known.Status < -1:"),
		edit("Call/Waits", uiPkg, tests, call, "", "case known.Status == 0:\n		return false, nil, nil", "case known.Status == 0:\n		return true, nil, nil"),
		edit("Call/Died", uiPkg, tests, sql, "", " OR (c.status = 0 AND c.began_at < now() - $2::interval)", " OR (c.status = -2 AND c.began_at < now() - $2::interval)"),
	}
}
