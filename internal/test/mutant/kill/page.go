package main

// pages are the safeguards of the pages against much work and old forms.
func pages() []broken {
	const (
		ledgerPkg, open = "./internal/rollup/ledger", "^TestManyOpen$"
		pageGo          = "ui/page/page.go"
	)
	return []broken{
		edit("Page/OpenRequests", ledgerPkg, open, "internal/db/ledger.sql.go", "", " LIMIT 100000", ""),
		edit("Page/OpenOfDate", ledgerPkg, open, "migrations/0050_open.up.sql", "", "LIMIT 1000\n", "\n"),
		edit("Page/OpenWalk", ledgerPkg, "^TestDateStates$", "migrations/0050_open.up.sql", "", "w.due_at <= now() AND ", ""),
		edit("Page/OpenTrend", uiPkg, "^TestTrends$/^Backlog$", "internal/rollup/ledger/trend.go", "", "all.Deep = r.Open == MostTrend", ""),
		edit("Page/Gone", uiPkg, "^TestTabs$/^Stale$", pageGo, "", "if r.Method == http.MethodPost {", "if r.Method == http.MethodPut {"),
		edit("Page/Back", uiPkg, "^TestTabs$/^Browser$", pageGo, "", "door.From(r, s.BasePath)", `door.From(r, "")`),
	}
}
