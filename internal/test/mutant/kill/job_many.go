package main

// manyJobs are the safeguards of calls that change many jobs.
func manyJobs() []broken {
	const tests, call, many = "^TestAPIManyJobsLimits$", "ui/api/job_many.go", "ui/job/many.go"
	return []broken{
		edit("ManyJobs/IDs", uiPkg, tests, call, "", "case len(q.IDs) > mostIDs:", "case len(q.IDs) > 2*mostIDs:"),
		edit("ManyJobs/CursorID", uiPkg, tests, call, "", "at.MaxID == 1<<63-1 || ", ""),
		edit("ManyJobs/CursorBefore", uiPkg, tests, call, "", "at.Before < 0 || ", ""),
		edit("ManyJobs/CursorYear", uiPkg, tests, call, "", "at.At.Year() < 2000 || ", ""),
		edit("ManyJobs/Twice", uiPkg, tests, many, "", "ids = slices.Compact(ids)", ""),
		edit("ManyJobs/BeforeOfIDs", uiPkg, tests, many, "", "if s.Before != 0 {", "if s.Before < 0 {"),
		edit("ManyJobs/BeforeOfFilter", uiPkg, tests, many, "", "b := bulk{filter: s.Filter, since: s.Since, before: s.Before}", "b := bulk{filter: s.Filter, since: s.Since}"),
		edit("ManyJobs/Sweep", uiPkg, tests, many, "", ", IDs: ids, Sweep: true}", ", IDs: ids}"),
		edit("ManyJobs/AuditOfNothing", uiPkg, tests, many, "", "if err != nil || outcome.Done == 0 {", "if err != nil {"),
		edit("ManyJobs/FirstChunk", uiPkg, tests, many, "", "if b.before == selection.Before {", "if b.before < 0 {"),
		edit("ManyJobs/LaterChunk", uiPkg, tests, many, "", "if b.before == selection.Before {", "if b.before >= 0 {"),
	}
}
