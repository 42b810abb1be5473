package main

import "github.com/daymill/daymill/internal/test/mutant"

// broken is a mutant: the code without one safeguard, and the tests of one package that have to notice.
type broken struct {
	name  string
	pkg   string // below the repository's directory
	tests string // a pattern of go test's
	edits []mutant.Edit
}

// edit is a mutant of one edit.
func edit(name, pkg, tests, file, after, from, to string) broken {
	return broken{name, pkg, tests, []mutant.Edit{{File: file, After: after, From: from, To: to}}}
}

// Packages and files that several mutants use.
const (
	runPkg      = "./internal/rollup/run"
	postgresPkg = "./internal/postgres"
	workerPkg   = "./internal/worker"
	uiPkg       = "./ui"

	dateSQL       = "internal/db/date.sql.go"
	groupSQL      = "internal/db/group.sql.go"
	eventSQL      = "internal/db/event.sql.go"
	protectionSQL = "internal/db/protection.sql.go"
	metricSQL     = "internal/db/metric.sql.go"
	requestSQL    = "internal/db/request.sql.go"
	runSQL        = "internal/db/run.sql.go"

	protectionGo = "internal/rollup/protection/protection.go"
	fewGo        = "internal/rollup/run/few.go"
	ledgerGo     = "internal/rollup/run/ledger.go"
	leaseGo      = "internal/lease/lease.go"
	lastGo       = "internal/lease/last.go"
	vouchGo      = "internal/rollup/run/vouch.go"
	runGo        = "internal/rollup/run/run.go"
	batchGo      = "internal/rollup/batch/batch.go"
	diffGo       = "internal/rollup/batch/diff.go"
	sessionGo    = "internal/postgres/session.go"
)

// list returns every mutant.
func list() []broken {
	all := fence()
	for _, more := range [][]broken{owner(), requests(), sources(), protection(), counting(), publishing(), sessions(), queue(), access(), alerts(), views(), capture(), archive(), manyJobs(), calls(), retention(), groups(), pages()} {
		all = append(all, more...)
	}
	return all
}

// fence has mutants of each part of a lease, in each statement that compares it. A mutant keeps the statement's parameters, because Postgres
// needs a type for each.
func fence() []broken {
	statements := []struct{ name, file, after string }{
		{"DateAdvance", dateSQL, "const dateAdvance ="},
		{"DateBreakOff", dateSQL, "const dateBreakOff ="},
		{"DateComplete", dateSQL, "const dateComplete ="},
		{"DateHeartbeat", dateSQL, "const dateHeartbeat ="},
		{"ProtectionSet", protectionSQL, "const protectionSet ="},
	}
	parts := []struct{ name, from, to string }{
		{"Beat", "AND beat >= cast(", "AND beat + 1000 >= cast("},
		{"Date", "WHERE metric_date = ", "WHERE 1 = 1 OR metric_date = "},
		{"Life", "AND life = (SELECT daymill.life())", ""},
		{"Run", "AND run_id = ", "AND run_id >= "},
		{"State", "AND state = 'running'", ""},
		{"Token", "AND token = ", "AND token <> '00000000-0000-0000-0000-000000000000' AND gen_random_uuid() <> "},
	}
	var all []broken
	for _, s := range statements {
		for _, p := range parts {
			all = append(all, edit("Fence/"+s.name+"/"+p.name, runPkg, "^TestFence$/^"+s.name+"$", s.file, s.after, p.from, p.to))
		}
	}
	for _, s := range []struct{ name, file, after string }{
		{"DateHold", dateSQL, "const dateHold ="}, {"DateProgress", dateSQL, "const dateProgress ="}, {"DateSettle", dateSQL, "completed AS ("}, {"GroupSettle", groupSQL, "completed AS ("},
	} {
		for _, p := range []struct{ name, from, to string }{
			{"Beat", "AND d.beat >= cast(", "AND d.beat + 1000 >= cast("},
			{"Date", "WHERE d.metric_date = ", "WHERE 1 = 1 OR d.metric_date = "},
			{"Life", "AND d.life = (SELECT daymill.life())", ""},
			{"Run", "AND d.run_id = ", "AND d.run_id >= "},
			{"State", "AND d.state = 'running'", ""},
			{"Token", "AND d.token = ", "AND d.token <> '00000000-0000-0000-0000-000000000000' AND gen_random_uuid() <> "},
		} {
			all = append(all, edit("Fence/"+s.name+"/"+p.name, runPkg, "^TestFence$/^"+s.name+"$", s.file, s.after, p.from, p.to))
		}
	}
	return append(all,
		edit("Fence/NoRowIsNoError", runPkg, "^TestRunCancelledBetweenBatches$", leaseGo, "", "if err == nil && rows == 0 {", "if err == nil && rows < 0 {"),
		edit("Fence/NotInBatch", runPkg, "^TestRunCancelledBetweenBatches$", batchGo, "last := changes[len(changes)-1]", "err != nil {", "err != nil && len(changes) == 0 {"),
	)
}

// owner has mutants of what decides who may have a date, and where a run continues.
func owner() []broken {
	return []broken{
		edit("Owner/Busy", runPkg, "^TestRunRefuses$", lastGo, "", "return !l.Alive || ", "return true || "),
		edit("Owner/BusyForEver", runPkg, "^TestRunRefuses$", dateSQL, "const dateTake =", "t.heartbeat_at >= now() - $1::interval", "t.heartbeat_at >= now() - 100 * $1::interval"),
		edit("Owner/SameAttempt", runPkg, "^TestRunSucceeds$", lastGo, "", "a.Number > last.Number", "a.Number < 0"),
		edit("Owner/OtherJob", runPkg, "^TestRunSucceeds$", lastGo, "", "*a.JobID == *last.JobID && ", ""),
		edit("Owner/EarlierAttempt", runPkg, "^TestRunSucceeds$", lastGo, "", "a.Number > last.Number", "a.Number >= last.Number"),
		edit("Owner/SettledMeanwhile", runPkg, "^TestRunSettledMeanwhile$", ledgerGo, "", "if began.Claimed == 0 && resumed == nil {", "if began.Claimed < 0 {"),
		edit("Owner/NotOverHere", runPkg, "^TestRunRefuses$|^TestRunClock$", ledgerGo, "", "!found.Over || a.bounds.To.After(a.Clock.Now())", "!found.Over"),
		edit("Owner/NotOverThere", runPkg, "^TestRunRefuses$|^TestRunClock$", ledgerGo, "", "!found.Over || a.bounds.To.After(a.Clock.Now())", "a.bounds.To.After(a.Clock.Now())"),
		edit("Owner/OldCursor", runPkg, "^TestRunOldCursor$", lastGo, "", "l.Moved && l.Recent && !fresh", "l.Moved && !fresh"),
		edit("Owner/CursorOfAnotherLife", runPkg, "^TestRunOldCursor$", dateSQL, "interval '10 minutes'", "AND t.life = (SELECT daymill.life())", ""),
		edit("Owner/RestartedPrimary", runPkg, "^TestRunLife$", vouchGo, "", "now.primary.Equal(a.servers.primary)", "true"),
		edit("Owner/RestartedFollower", runPkg, "^TestRunLife$", vouchGo, "", "now.source.Equal(a.servers.source)", "true"),
		edit("Owner/VouchUnwritten", runPkg, "^TestRunLife$", vouchGo, "var now servers", "a.held", "a.ledger"),
		edit("Owner/CursorDespiteRequest", runPkg, "^TestRunResumes$", lastGo, "", "l.Moved && l.Recent && !fresh", "l.Moved && l.Recent && (fresh || !fresh)"),
		edit("Owner/CursorKept", runPkg, "^TestRunResumes$", ledgerGo, "", "	a.cursor = nil\n", "	a.cursor = row.Cursor\n"),
		edit("Owner/CursorTotals", runPkg, "^TestRunResumes$", ledgerGo, "", "totals = batch.Totals{Events: row.CursorEvents", "totals = batch.Totals{Events: 0 * row.CursorEvents"),
		edit("Owner/SignsNotCounted", runPkg, "^TestRunLife$/^OlderCopyOfIt$", leaseGo, "", "		l.signs.Add(1)\n", "		l.signs.Add(0)\n"),
		edit("Owner/MarkNotAwaited", runPkg, "^TestRunLife$/^AbandonedTimeline$", "internal/rollup/replay/replay.go", "", "return at, errAbandoned", "return at, nil"),
	}
}

// requests has mutants of which requests a run satisfies.
func requests() []broken {
	return []broken{
		edit("Request/ClaimedLater", runPkg, "^TestRunRequestDuringRun$", requestSQL, "const requestSatisfy =", "r.run_id = $2::bigint", "$2::bigint IS NOT NULL"),
		edit("Request/OtherDateClaimed", runPkg, "^TestRunRequests$", runSQL, "const runBegin =", "r.metric_date = $2", "r.metric_date >= $2"),
		edit("Request/NotDueClaimed", runPkg, "^TestRunRequests$", runSQL, "const runBegin =", "AND r.due_at <= now()", ""),
		// A run that claims nothing does not begin either.
		{"Request/NotDueServed", runPkg, "^TestRunRequests$", []mutant.Edit{
			{File: dateSQL, After: "const dateTake =", From: "AND q.due_at <= now()", To: ""},
			{File: ledgerGo, From: "if began.Claimed == 0 && resumed == nil {", To: "if began.Claimed < 0 {"},
		}},
		edit("Request/Resumed", runPkg, "^TestRunResumes$", runSQL, "const runBegin =", "::bigint IS NULL AND q.id IN", "::bigint IS DISTINCT FROM 0 AND q.id IN"),
		edit("Request/Many", runPkg, "^TestRunManyRequests$", ledgerGo, "func (a *active) settle(", "resolved == mostRequests; {", "resolved == mostRequests && a.phase == \"\"; {"),
	}
}

// protection has mutants of what keeps metrics whose events no longer exist.
func protection() []broken {
	return []broken{
		edit("Protect/Retention", runPkg, "^TestRunProtected$", protectionGo, "", "case f.BeyondRetention:", "case f.BeyondRetention && f.Recorded < 0:"),
		edit("Protect/SweepSetting", runPkg, "^TestRunLosesPart$/^SweepSettingOfDatabase$", "migrations/0039_reads.up.sql", "", "= pg_current_xact_id_if_assigned()::text", "<> ''"),
		edit("Protect/Vanished", runPkg, "^TestRunProtected$", protectionGo, "", "	if !some {", "	if !some && f.Recorded < 0 {"),
		edit("Protect/Part", runPkg, "^TestRunLosesPart$", protectionGo, "", "events >= k.Recorded", "events >= 0"),
		edit("Protect/Strict", runPkg, "^TestRunLosesPart$", protectionGo, "", "f.MayLose == 0 && f.Recorded > 0", "f.MayLose < 0 && f.Recorded > 0"),
		edit("Protect/EraseOfAnother", runPkg, "^TestRunProtected$", protectionSQL, "const protectionGet =", "AND r.run_id = cast($3 AS bigint)", "AND cast($3 AS bigint) IS NOT NULL"),
		edit("Protect/EraseOfThePast", runPkg, "^TestRunProtected$", protectionSQL, "const protectionGet =", "AND r.resolved_at IS NULL AND r.run_id = cast($3 AS bigint)", "AND (r.run_id = cast($3 AS bigint) OR r.resolved_at IS NOT NULL)"),
		edit("Protect/AfterTheScan", runPkg, "^TestRunProtected$", runGo, "counts, err = a.scan(ctx, after)", "if err := a.checkProtected(ctx); err != nil {", "if err := a.checkProtected(ctx); err != nil && a.id < 0 {"),
		edit("Protect/PartOfAPass", runPkg, "^TestRunLosesPart$", "internal/rollup/run/protect.go", "func (a *active) checkLoss(", "if upTo == nil {", "if a.id > 0 {"),
		edit("Protect/EventsWithoutEntity", runPkg, "^TestRunProtected$", protectionSQL, "const protectionEvents =", "AND e.entity_id IS NOT NULL", ""),
	}
}

// counting has mutants of which events belong to a date.
func counting() []broken {
	var all []broken
	for _, q := range []struct{ name, tests string }{
		{"Slice", "^TestQueries$/^Counted$"}, {"SliceRaw", "^TestQueries$/^Raw$"}, {"Read", "^TestQueries$/^Dense$"},
	} {
		after := "const event" + q.name + " ="
		all = append(all,
			edit("Count/"+q.name+"/First", "./internal/rollup/slice", q.tests, eventSQL, after, "e.created_at >= ", "e.created_at > "),
			edit("Count/"+q.name+"/Last", "./internal/rollup/slice", q.tests, eventSQL, after, "e.created_at < ", "e.created_at <= "),
			edit("Count/"+q.name+"/After", "./internal/rollup/slice", q.tests, eventSQL, after, "e.entity_id > ", "e.entity_id >= "),
			edit("Count/"+q.name+"/UpTo", "./internal/rollup/slice", q.tests, eventSQL, after, "e.entity_id <= ", "e.entity_id < "),
			edit("Count/"+q.name+"/NoEntity", "./internal/rollup/slice", "^TestQueriesNoEntity$", eventSQL, after, "AND e.entity_id IS NOT NULL", ""),
			edit("Count/"+q.name+"/NoType", "./internal/rollup/slice", q.tests, eventSQL, after, "coalesce(e.event_type, 'unknown')", "coalesce(e.event_type, 'view')"),
		)
	}
	return append(all,
		edit("Count/Overflow", "./internal/rollup/merge", "^TestTableOverflow$", "internal/rollup/merge/merge.go", "", "sum > math.MaxInt32", "sum > math.MaxInt64-1"),
		edit("Count/Bound", "./internal/rollup/merge", "^TestTableBound", "internal/rollup/merge/merge.go", "", "float64(entities) > most ||", "float64(entities) > 100*most ||"),
		edit("Count/BoundOfBytes", "./internal/rollup/merge", "^TestTableBound", "internal/rollup/merge/merge.go", "", "float64(bytes) > most*bytesPerEntity", "float64(bytes) > 100*most*bytesPerEntity"),
		edit("Count/UpTo", "./internal/rollup/merge", "^TestTable", "internal/rollup/merge/merge.go", "", "string(id) > string(*upTo)", "string(id) < string(*upTo)"),
	)
}

// publishing has mutants of what is written, and of what is compared before that.
func publishing() []broken {
	all := []broken{
		edit("Publish/GoneStay", runPkg, "^TestRunAllVanished$", batchGo, "", "r.changed.GoneIds = append(r.changed.GoneIds, ", "_ = append(r.changed.GoneIds, "),
		edit("Publish/GoneOfAllDates", runPkg, "^TestRunNeighbors$", metricSQL, "const metricUpsert =", "m.metric_date = $1::date", "$1::date IS NOT NULL"),
		edit("Publish/RangeOfAllDates", runPkg, "^TestRunNeighbors$", metricSQL, "const metricRange =", "m.metric_date = $1::date", "m.metric_date >= $1::date"),
		edit("Publish/RangeAfter", runPkg, "^TestRunPasses$", metricSQL, "const metricRange =", "m.entity_id > ", "m.entity_id >= "),
		edit("Few/Stored", runPkg, "^TestRunFew_Guarded$/^Inexact$", fewGo, "", "stored != totals {", "stored.Entities < 0 {"),
		// What reads the rows, the server's start and the end of the date each notice that the date is not the run's.
		{"Few/Fence", runPkg, "^TestRunFew_Guarded$/^Cancelled$", []mutant.Edit{
			{File: fewGo, From: "case !held:", To: "case !held && len(rows) < 0:"},
			{File: fewGo, From: "!startedAt.Equal(a.servers.primary), ", To: "held && !startedAt.Equal(a.servers.primary), "},
			{File: fewGo, From: "case settled.Completed == 0:", To: "case settled.Completed < 0:"},
		}},
		edit("Few/AnotherServer", runPkg, "^TestRunFew_Guarded$/^AnotherServer$", fewGo, "", "!startedAt.Equal(a.servers.primary), ", "startedAt.IsZero(), "),
		edit("Few/Unnamed", runPkg, "^TestRunFew_Guarded$/^Unnamed$", "internal/rollup/batch/small.go", "", "named != nil && !is", "named == nil && !is && p == nil"),
		edit("Few/Month", runPkg, "^TestRunMonths$", fewGo, "", "if err := a.month(ctx); err != nil {", "if a.id < 0 {\n\t\tvar err error"),
		{"Few/Replaced", runPkg, "^TestRunFew_Guarded$/^Replaced$", []mutant.Edit{
			{File: fewGo, From: "case !held:", To: "case !held && len(rows) < 0:"},
			{File: fewGo, From: "!startedAt.Equal(a.servers.primary), ", To: "held && !startedAt.Equal(a.servers.primary), "},
			{File: fewGo, From: "case settled.Completed == 0:", To: "case settled.Completed < 0:"},
		}},
		edit("Few/Gone", runPkg, "^TestRunFew_Guarded$/^Lost$", fewGo, "", "return few.events > 0, nil", "return true, nil"),
		edit("Few/Lost", runPkg, "^TestRunFew_Guarded$/^Lost$", fewGo, "", "a.known.Check(few.events); err != nil {", "a.known.Check(few.events); err != nil && a.id < 0 {"),
		edit("Few/Late", runPkg, "^TestRunFew_Guarded$/^Late$", dateSQL, "satisfied AS (", "AND q.run_id = ", "AND 0 <> "),
		edit("Few/ManyRows", runPkg, "^TestRunFew_Guarded$/^ManyRows$", fewGo, "", "len(stored) > mostStored:", "len(stored) > 10*mostStored:"),
		edit("Few/Retention", runPkg, "^TestRunFew_Guarded$/^Retention$", runSQL, "const runBegin =", "- i.event_retention", "- 1000 * i.event_retention"),
		edit("Few/Claim", runPkg, "^TestRunFew_Guarded$/^Lost$", runSQL, "const runBegin =", "coalesce(bool_or(c.erase), false)", "false"),
		edit("Few/Most", "./internal/rollup/slice", "^TestFew$", "internal/rollup/slice/few.go", "", "newCounts(most)", "newCounts(most + 1)"),
		edit("Scope/NotComplete", runPkg, "^TestRunScope_Whole$", "internal/rollup/run/scope.go", "", "!a.before.complete || ", ""),
		edit("Scope/AllWanted", runPkg, "^TestRunScope_Whole$", requestSQL, "const requestScope =", "r.entities IS NULL OR r.erase", "r.erase"),
		edit("Scope/Totals", runPkg, "^TestRunScope$", "internal/rollup/run/scope.go", "", "a.before.totals.Events - was.Events", "a.before.totals.Events"),
		edit("Scope/Top", runPkg, "^TestRunScope_Top$", "internal/rollup/run/scope.go", "", "if least > 0 && (", "if least < 0 && ("),
		edit("Scope/Cursor", runPkg, "^TestRunScope_Interrupted$", "internal/rollup/run/scope.go", "",
			"_ entity.ID, _ batch.Totals) error {\n\t\treturn a.lease.Fence(ctx, queries)",
			"id entity.ID, totals batch.Totals) error {\n\t\treturn a.advance(ctx, queries, id, totals)"),
		edit("Publish/Totals", runPkg, "^TestRunStored$", runGo, "", "if stored != a.publisher.Totals {", "if stored.Entities < 0 {"),
		edit("Publish/StoredNotChecked", runPkg, "^TestRunStored$", ledgerGo, "func (a *active) settle(", "err != nil {", "err != nil && a.id < 0 {"),
		edit("Publish/Order", "./internal/rollup/batch", "^TestAscend$", "internal/rollup/batch/stored.go", "", "rows[i].EntityID <= *after", "rows[i].EntityID == \"\""),
		edit("Publish/OtherGone", "./internal/rollup/batch", "^TestEqual$", diffGo, "", "return len(others) == len(row.Other)", "return true"),
		edit("Publish/OtherChanged", "./internal/rollup/batch", "^TestEqual$", diffGo, "", "!has || n != other.Events", "!has || n < 0"),
		edit("Few/Planned", runPkg, "^TestRunFew_Planned$", "internal/db/stream.go", "EventFewEach(", "pgx.QueryExecModeCacheDescribe, ", ""),
		edit("Publish/Far", runPkg, "^TestRunLatency$", batchGo, "", "RoundTrip() >= far", "RoundTrip() < 0"),
		edit("Publish/BatchLimit", runPkg, "^TestRunBatches$", batchGo, "most := ", "mostChanges", "100*mostChanges"),
	}
	for _, column := range []string{"Views", "Clicks", "Saves", "Skips"} {
		lower := map[string]string{"Views": "views", "Clicks": "clicks", "Saves": "saves", "Skips": "skips"}[column]
		all = append(all,
			edit("Publish/Equal"+column, "./internal/rollup/batch", "^TestEqual$", diffGo, "", "row."+column+" != stored."+column+"Count", "false"),
			edit("Publish/Update"+column, runPkg, "^TestRunUpdates$", metricSQL, "const metricUpsert =", lower+"_count = excluded."+lower+"_count", lower+"_count = m."+lower+"_count"),
		)
	}
	return append(all,
		edit("Publish/UpdateOther", runPkg, "^TestRunUpdates$", metricSQL, "const metricUpsert =", "other_counts = excluded.other_counts", "other_counts = m.other_counts"))
}

// sessions has mutants of what a statement may do, and for how long.
func sessions() []broken {
	return []broken{
		edit("Session/PreparedAgain", postgresPkg, "^TestSession_Opening$", "internal/postgres/opening.go", "", "delete(o.known(), sql)", "_ = sql"),
		edit("Session/StatementTimeout", postgresPkg, "^TestSession$", sessionGo, "", "milliseconds(limit),", "milliseconds(100 * limit),"),
		edit("Session/LockTimeout", postgresPkg, "^TestSession$", sessionGo, "", "milliseconds(lockLimit(limit))", "milliseconds(100 * lockLimit(limit))"),
		edit("Session/LockTimeoutMost", postgresPkg, "^TestSession$", sessionGo, "", "min(limit/2, DefaultLockTimeout)", "limit / 2"),
		edit("Session/LockHolder", postgresPkg, "^TestSession_LockedAtOnce$", "internal/postgres/patience.go", "", "if !look && s.patient {", "if !look {"),
		edit("Session/Idle", postgresPkg, "^TestSession$", sessionGo, "", "sessionIdle = 10 * time.Second", "sessionIdle = 1000 * time.Second"),
		edit("Session/LimitKept", postgresPkg, "^TestSession$", sessionGo, "func (s *Session) Release(", "if s.limit != 0 {", "if s.limit < 0 {"),
		edit("Session/LookReads", postgresPkg, "^TestSession$", sessionGo, "func (s *Session) Look(", "readOnly", "readWrite"),
		edit("Session/LookPlan", postgresPkg, "^TestSession$", sessionGo, "", `settings["enable_seqscan"] = "off"`, `settings["enable_seqscan"] = "on"`),
		edit("Session/CursorPlan", postgresPkg, "^TestSession$", "internal/postgres/cursor.go", "", `settings["enable_seqscan"] = "off"`, `settings["enable_seqscan"] = "on"`),
		edit("Session/PoolerSettings", postgresPkg, "^TestSession$", sessionGo, "", "		for name, value := range s.db.settings {", "		for name, value := range map[string]string{} {"),
		edit("Session/SearchPath", postgresPkg, "^TestSession$", "internal/postgres/postgres.go", "", `SearchPath = "pg_catalog, pg_temp"`, `SearchPath = "public, pg_catalog, pg_temp"`),
		edit("Session/Isolation", postgresPkg, "^TestSession$", "internal/postgres/postgres.go", "", "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;", "BEGIN READ WRITE;"),
		edit("Session/PoolTimeout", postgresPkg, "^TestSession$", "internal/postgres/settings.go", "", "milliseconds(cmp.Or(config.StatementTimeout", "milliseconds(100 * cmp.Or(config.StatementTimeout"),
		edit("Session/Encoding", "./cmd/daymill", "^TestEncoding$", "internal/postgres/encoding.go", "", `if encoding != "UTF8" {`, `if encoding == "" {`),
		edit("Reconcile/Early", "./internal/worker", "^TestReconciler_Rests$", "internal/worker/step.go", "", "p.rests = len(rest) > 0", "p.rests = len(rest) < 0"),
		edit("Reconcile/Always", "./internal/worker", "^TestReconciler_Rests$", "internal/worker/step.go", "", "p.rests = len(rest) > 0", "p.rests = len(rest) >= 0"),
		edit("Reconcile/Rests", "./internal/worker", "^TestReconciler_Await$", "internal/worker/reconcile.go", "", "finished, rested = nil, timer.C", "rested = timer.C"),
		edit("Size/Floor", "./internal/pace", "^TestSize_Floor$", "internal/pace/size.go", "", "size*factor, min(size, s.floor)", "size*factor"),
		edit("Size/FloorPatient", "./internal/pace", "^TestSize_Floor$", "internal/pace/size.go", "", "size > s.floor || 2*s.limit <= patientLimit", "size > s.floor"),
		edit("Session/Pace", "./internal/pace", "^TestPace", "internal/pace/pace.go", "", "p.Pace.Pace()", "p.Pace.Pace()/100"),
		edit("Session/Rest", "./internal/pace", "^TestPacer$/^RoundTripsArePauses$", "internal/pace/pace.go", "", "-p.rested", ""),
		edit("Session/Suspended", "./internal/pace", "^TestPacer$", "internal/pace/pace.go", "", "min(passed, took+mostWaited)", "passed"),
		edit("Session/Overslept", "./internal/pace", "^TestPacer$", "internal/pace/pace.go", "", "min(p.Clock.Now().Sub(start), pause)", "p.Clock.Now().Sub(start)"),
		edit("Session/PauseMost", "./internal/pace", "^TestPace", "internal/pace/pace.go", "", "maxPause = 10 * time.Second", "maxPause = 1000 * time.Second"),
		edit("Session/SizeLimit", "./internal/pace", "^TestPace|^TestLimit$|^TestSize", "internal/pace/pace.go", "", "Limit = 200 * time.Millisecond", "Limit = 20 * time.Second"),
	}
}

// views has mutants of what keeps the table of a view equal to its SELECT.
func views() []broken {
	const (
		pkg         = "./internal/view"
		viewSQL     = "internal/db/view.sql.go"
		touched     = "internal/view/plan/touched.go"
		sinkGo      = "internal/view/sink.go"
		unseenGo    = "internal/view/unseen.go"
		partitionGo = "internal/view/plan/partition.go"
		workGo      = "internal/view/work.go"
		fillGo      = "internal/view/fill.go"
	)
	return []broken{
		edit("View/Lock", pkg, "^TestLock$", viewSQL, "const viewLock =", "FOR NO KEY UPDATE", ""),
		edit("View/Fence", pkg, "^TestFence$", viewSQL, "const viewTaskMove =", "AND fence = ", "AND fence >= "),
		edit("View/CapturedFirst", pkg, "^TestCapturedFirst$", workGo, "", "if !captured {", "if !captured && source.OID == 0 {"),
		edit("View/Settle/Restored", pkg, "^TestSettle_Restored$", "internal/view/settle.go", "if !has(token) && (", "return errRestored", "continue"),
		edit("View/Settle/Later", pkg, "^TestSettle_Restored$", "internal/view/settle.go", "", " || slices.ContainsFunc(later, passed)", ""),
		edit("View/Settle/EachChunk", pkg, "^TestSettle_RestoredBetween$", "internal/view/copy.go", "", "s.copied+s.repaired == 0 {", "s.copied+s.repaired == 0 || !s.end {"),
		edit("View/Settle/End", pkg, "^TestSettle_Waits$", workGo, "", "if err := w.settle(ctx, 0); err != nil {", "if err := ctx.Err(); err != nil {"),
		edit("View/Settle/Pruned", pkg, "^TestSettle_Pruned$", "internal/db/capture.sql.go", "const watermarkPrune =", "AND w.token = ANY(t.watermarks)", "AND w.token <> ALL(t.watermarks)"),
		edit("View/Partitions/Compared", pkg, "^TestPartitions$/^wal$/^app$/^Attached$", unseenGo, "", "if !moved {", "if versions != nil {"),
		edit("View/Partitions/Attached", pkg, "^TestPartitions$/^wal$/^app$/^Attached$", partitionGo, "", " || attached && filled", ""),
		edit("View/Partitions/AttachedInOneTransaction", pkg, "^TestPartitions$/^wal$/^app$/^AttachedInOneTransaction$", partitionGo, "", " AND a.cmin = s.cmin", ""),
		edit("View/Partitions/AttachedAgain", pkg, "^TestPartitions$/^wal$/^app$/^AttachedAgain$", partitionGo, "", "format('%s:%s', i.inhrelid, i.xmin)", "format('%s', i.inhrelid)"),
		edit("View/Partitions/Gone", pkg, "^TestPartitions$/^wal$/^app$/^Detached$", partitionGo, "", "moved || len(before) > 0", "moved"),
		edit("View/Partitions/Truncated", pkg, "^TestPartitions$/^wal$/^app$/^Truncated$", partitionGo, "", "p.File != old.File", "p.File != old.File && p.OID == 0"),
		edit("View/Partitions/CreatedAndTruncated", pkg, "^TestPartitions$/^wal$/^app$/^CreatedAndTruncated$", partitionGo, "", "p.File != p.OID || ", ""),
		edit("View/Partitions/Empty", pkg, "^TestPartitions$/^wal$/^app$/^AttachedEmpty$", partitionGo, "", " || attached && filled", " || attached"),
		edit("View/Partitions/Created", pkg, "^TestPartitions$/^wal$/^app$/^Created$", partitionGo, "", "!p.born[k] && ", "k >= 0 && "),
		edit("View/Partitions/Within", pkg, "^TestPartitions$/^wal$/^app$/^AttachedWithItsPartitions$", partitionGo, "", "!edges[edge]", `edge != ""`),
		edit("View/Partitions/Untriggered", pkg, "^TestPartitions_Untriggered$", partitionGo, "", "if missed {", "if missed && p.OID == 0 {"),
		edit("View/Names/Taken", pkg, "^TestTaken$/^wal$/^app$/^Accepted$", "internal/view/difference.go", "", "if !swapped {", "if !swapped || old.OID > 0 {"),
		edit("View/Names/Same", pkg, "^TestTaken$/^wal$/^Delivered$", "internal/view/view.go", "", "if other != nil {", "if other != nil && ctx.Err() != nil {"),
		edit("View/Names/Captured", pkg, "^TestTaken$/^wal$/^Waits$", unseenGo, "", "Oid: int64(source.OID)})", "Oid: int64(source.OID)}) || len(rows) > 1"),
		edit("View/Names/GivenUp", pkg, "^TestTaken$/^wal$/^app$/^OneAfterTheOther$", unseenGo, "", "if !taken {", "if !taken || name[0] != \"\" {"),
		edit("View/Names/Held", pkg, "^TestTaken$/^trigger$/^crm$/^AcceptedOnlyItIsCaptured$", "internal/view/maintain.go", "", "err != nil || held {", "err != nil || held && ctx.Err() != nil {"),
		edit("View/Bar/After", pkg, "^TestTaken$/^trigger$/^crm$/^Accepted$", "internal/view/mirror.go", "", " || c.Position <= source.After", ""),
		edit("View/Bar/Passed", pkg, "^TestDriftMirrored_Waiting$/^trigger$", "internal/view/copy.go", "", "len(versions) > 1 {", "len(versions) > 2 {"),
		edit("View/Bar/Emptied", pkg, "^TestTaken$/^trigger$/^crm$/^AcceptedOnlyItIsCaptured$", "internal/view/copy.go", "", `"TRUNCATE "+pgx`, `"ANALYZE "+pgx`),
		edit("View/Key/Misfits", pkg, "^TestKeys$/^wal$/^RenamedLabelOfTheRoot$", sinkGo, "", "if odd(err) {", "if odd(err) && ctx.Err() != nil {"),
		edit("View/Key/MisfitsWhileFilling", pkg, "^TestKeys$/^wal$/^RenamedLabelWhileFilling$", "internal/view/chunk.go", "", "w.task.Via != viaCapture", "w.task.Via != \"\""),
		edit("View/Key/OtherColumn", pkg, "^TestKeys$/^trigger$/^OtherColumn$", "internal/view/key.go", "", " && !another {", " && (another || !another) {"),
		edit("View/Key/Swapped", pkg, "^TestKeys$/^wal$/^Swapped$", "internal/view/drift.go", "", "if d.compare {", "if d.compare && d.fill {"),
		edit("View/Relabeled", pkg, "^TestRelabeled$", "internal/view/unseen.go", "", "slices.Clone(v.Plan.Sources), d.compare, false", "slices.Clone(v.Plan.Sources), false, false"),
		edit("View/MirrorRefuses", pkg, "^TestMirrorRefuses$", "internal/view/mirror.go", "", "for _, refusal := range refusals {", "for _, refusal := range refusals[:0] {"),
		edit("View/Visible", pkg, "^TestVisible$", sinkGo, "", "case hidden == 0:", "case hidden >= 0:"),
		edit("View/RowsThatWere", pkg, "^TestFaults$", touched, "", `matches(p.key(i), p.Keys[i], "v")`, `matches(p.key(i), p.Keys[i], "v") + " AND false"`),
		edit("View/RowsThatAre", pkg, "^TestInsightForge$/^trigger$", touched, "", `quote(p.Definition.Tables[to].Alias()) + p.on(at))`, `quote(p.Definition.Tables[to].Alias()) + " ON false")`),
		edit("View/Delete", pkg, "^TestFaults$", "internal/view/view.go", "func (v Version) refresh(", "if err := execute(ctx, tx, remove, arguments...); err != nil {", "if err := error(nil); remove == \"\" {"),
		edit("View/ChangesWhileFilling", pkg, "^TestFill$", sinkGo, "", "err = hold(ctx, tx, version, p.table, p.keys)", "err = nil"),
		edit("View/CaughtUp", pkg, "^TestFill$", workGo, "if err := w.index(ctx); err != nil {", "w.version.State == Building {", "w.version.State == \"\" {"),
		edit("View/FilledAgain", pkg, "^TestFill$", "internal/view/chunk.go", "", "case w.task.Cursor == nil:", "case w.task.Kind == \"\":"),
		edit("View/Reaches", pkg, "^TestRefresh_WalksTheView$", "internal/view/chunk.go", "", "if p.Filling {", "if p != nil {"),
		edit("View/PauseStops", pkg, "^TestPause$", "internal/view/apply.go", "", "err = db.New(tx).ViewTaskStop(ctx, v.ID)", "err = nil"),
		edit("View/WaitsAreOver", pkg, "^TestCapturedFirst$", workGo, "", "if t.Waits() {", "if t.Waits() && ctx == nil {"),
		edit("View/ScheduleVerified", pkg, "^TestSchedule$/^VerifyReadsTheTables$", "internal/view/verify_mirror.go", "", "if source.Scheduled {", "if source.Scheduled && ctx == nil {"),
		edit("View/Comparable", pkg, "^TestRefusedKinds$", "internal/view/plan/plan.go", "", "if !fits {", "if !fits && i < 0 {"),
		edit("View/Parsed", pkg, "^TestRefusedKinds$", "internal/view/plan/parse.go", "func (m *maker) statement(", "if refusal != \"\" {", "if refusal == \"-\" {"),
		edit("View/LooksUp", pkg, "^TestBuild_LooksUp$", workGo, "", `lookupCost = "1.1"`, `lookupCost = "4"`),
		edit("View/Walks", pkg, "^TestRefresh_Walks$", "internal/view/chunk.go", "", "w.walks = true", "w.walks = false"),
		edit("View/WalksOn", pkg, "^TestRefresh_Walks$", "internal/view/chunk.go", "", "< size && upper == nil}", "< size}"),
		edit("View/ReadsSome", pkg, "^TestDeliver_ReadsSome$", sinkGo, "", "v.Plan.Some(i, v.Table, keys != nil), append(arguments, most+1)...)", "v.Plan.Some(i, v.Table, keys != nil), append(arguments, 1_000_000)...)"),
		edit("View/Analyzed", pkg, "^TestFill$", workGo, "", "w.analyze(ctx, plan.Schema, w.version.Table)", "ctx.Err()"),
		edit("View/MirrorAnalyzed", pkg, "^TestVerifyMirror$", workGo, "", "if w.task.Stage < w.copies() {\n\t\t\tif err", "if w.task.Stage < 0 {\n\t\t\tif err"),
		edit("View/CharacterKeys", pkg, "^TestKeyTypes$", "internal/view/plan/type.go", "", "return other + dimensions", "return short + other[:0] + dimensions"),
		edit("View/RenamedByNumber", pkg, "^TestDriftOfNames$", "internal/view/difference.go", "func (d *difference) renamed(", "d.columnNumbers[k] == before.Number", "c.Name == before.Name"),
		edit("View/MirrorCollation", pkg, "^TestMirrorCollation$", "internal/view/plan/source.go", "func (s Source) collation(", "return \"\"", "return c.Collation"),
		edit("View/ResumeHeld", pkg, "^TestDrift$/^trigger$/^Asks$", "internal/view/apply.go", "func Resume(", "if held {", "if held && ctx == nil {"),
		edit("View/RedefineResumes", pkg, "^TestDrift$/^trigger$/^DroppedAndNeeded$", "internal/view/drift.go", "func (e *Engine) redefine(", "return resume(ctx, tx, v, who)", "return nil"),
		edit("View/KeyFits", pkg, "^TestSchedule$/^RefreshByKeyReadsTheTables$", "internal/view/request.go", "", "if len(wrong) > 0 {", "if len(wrong) > 5000 {"),
		edit("View/FilledByOne", pkg, "^TestFill$", fillGo, "", "return id == w.task.ID, nil", "return id != 0, nil"),
		edit("View/CopyOverwrites", pkg, "^TestFillUntouched$", "internal/view/copy.go", "", "Sources[table].Stream, true)", "Sources[table].Stream, false)"),
		edit("View/CopyWaits", pkg, "^TestCopyWaits$", "internal/capture/log/settled.go", "", "return !is, nil", "return !is || is, nil"),
		edit("View/MirrorCompared", pkg, "^TestVerifyMirror$", "internal/view/verify_mirror.go", "", "!equalRows(a.row, b.row)", "len(a.row)+len(b.row) == 0"),
		edit("View/ScheduleOverlap", pkg, "^TestSchedule$/^LateCommits$", viewSQL, "const viewTaskAgain =", "since = CASE WHEN mark_at <= started_at - ", "since = CASE WHEN mark_at <= started_at + "),
		edit("View/ScheduleDeletes", pkg, "^TestSchedule$/^ComparisonFindsTheRest$", "internal/view/schedule.go", "", "s.cursor = []string{compareKeys}", "s.end = true"),
		edit("View/ScheduleUnchanged", pkg, "^TestSchedule$/^PollFindsWhatHasGrown$", "internal/view/schedule.go", "", "!is || before != string(r.row)", "!is || before != \"\""),
	}
}

// queue has mutants of how jobs end.
func queue() []broken {
	const enqueue, backlog = "migrations/0004_enqueue.up.sql", "migrations/0051_worked.up.sql"
	return []broken{
		edit("Queue/ReconcilerTwice", workerPkg, "^TestReconcileLock$", "internal/db/reconcile.sql.go", "", "SELECT pg_try_advisory_xact_lock($1::bigint)", "SELECT $1::bigint IS NOT NULL"),
		edit("Queue/JobTwice", workerPkg, "^TestReconcileDates$", backlog, "", "r.metric_date NOT IN (SELECT analytics.dates_with_job())", "true"),
		edit("Queue/JobBesideRun", workerPkg, "^TestReconcileDates$", backlog, "FUNCTION analytics.dates_to_enqueue", "d.state = 'running'", "d.state = ''"),
		edit("Queue/Backlog", workerPkg, "^TestEnqueueRange$", backlog, "", "LIMIT greatest(max_rows - (", "LIMIT greatest(max_rows + ("),
		edit("Queue/BacklogRead", workerPkg, "^TestBacklog$", backlog, "FUNCTION analytics.dates_to_enqueue", "ORDER BY q.metric_date DESC", "ORDER BY q.metric_date + 0 DESC"),
		edit("Queue/RestSuspended", workerPkg, "^TestReconcileDates$", backlog, "", "n.worked_ms + 1000", "n.worked_ms + 100000"),
		edit("Queue/RestPauses", workerPkg, "^TestReconcileDates$", backlog, "", " - n.paused_ms * interval '1 ms'", ""),
		edit("Queue/Future", workerPkg, "^TestReconcileDates$", backlog, "", "AND q.metric_date < (SELECT analytics.date_of(at_instant))", ""),
		edit("Queue/FetchDeadline", workerPkg, "^TestFetchDeadline$", "internal/worker/driver.go", "", "return e.Executor.JobGetAvailable(ctx, params)", "return e.Executor.JobGetAvailable(context.WithoutCancel(ctx), params)"),
		edit("Queue/RescueAlive", workerPkg, "^TestRescue$", enqueue, "FUNCTION analytics.rescue_jobs", "AND n.job_id = r.id AND n.attempt = r.attempt", "AND n.job_id < 0"),
		edit("Queue/RescueOfAnotherAttempt", workerPkg, "^TestRescue$", enqueue, "FUNCTION analytics.rescue_jobs", "AND n.attempt = r.attempt", ""),
		edit("Queue/OwnJobsAsk", workerPkg, "^TestReconcileDates$", enqueue, "CREATE TRIGGER daymill_request_insert", "NOT NEW.metadata ? 'daymill'", "NEW.metadata IS NOT NULL"),
		edit("Queue/StuckJobsOfOthers", workerPkg, "^TestStuckJobsOfOthers$", "internal/worker/driver.go", "", "!slices.Contains(queueNames(), job.Queue)", "!slices.Contains(append(queueNames(), job.Queue), job.Queue)"),
	}
}

// alerts has mutants of what keeps messages from being lost, repeated, and read by others.
func alerts() []broken {
	const (
		pkg        = "./internal/alert"
		channelPkg = "./internal/alert/channel"
		alertSQL   = "internal/db/alert.sql.go"
	)
	return []broken{
		edit("Alert/Lease", pkg, "^TestKeeper$/^KilledBetweenSendAndRecord$", alertSQL, "const alertClaim =", "AND q.due_at <= now()", ""),
		edit("Alert/Recorded", pkg, "^TestKeeper$/^KilledBetweenSendAndRecord$", alertSQL, "const alertClaim =", "q.sent_at IS NULL", "q.id IS NOT NULL"),
		edit("Alert/Order", pkg, "^TestKeeper$/^Retries$", alertSQL, "const alertClaim =", "q.event = 'close' AND EXISTS", "q.event = '' AND EXISTS"),
		edit("Alert/Patience", pkg, "^TestKeeper$/^Retries$", alertSQL, "const alertFailed =", "OR m.created_at < now() - ", "OR m.created_at > now() + "),
		edit("Alert/Lasting", pkg, "^TestKeeper$/^Lasting$", alertSQL, "const alertTell =", "began_at <= now() - ", "began_at <= now() + "),
		edit("Alert/Variable", pkg, "^TestKeeper$/^Variable$", "internal/alert/keeper.go", "", "if errors.Is(err, channel.ErrVariable) {", "if err == nil && one.Name == \"\" {"),
		edit("Alert/Secret", channelPkg, "^TestMail$", "internal/alert/channel/channel.go", "", "strings.ReplaceAll(said, secret, \"…\")", "strings.ReplaceAll(said, secret, secret)"),
		edit("Alert/Private", channelPkg, "^TestMail$", "internal/alert/channel/mail.go", "", "s.AllowPrivate)", "s.AllowPrivate || policy == mail.TLSMandatory)"),
		edit("Alert/TLS", channelPkg, "^TestMail$", "internal/alert/channel/mail.go", "", "policy := mail.TLSMandatory", "policy := mail.TLSOpportunistic"),
		edit("Alert/Admin", uiPkg, "^TestAlerts$", "ui/alert/alert.go", "", "door.Who(r.Context()).Role != door.Admin", "door.Who(r.Context()).Role == \"\""),
	}
}

// access has mutants of who may do what.
func access() []broken {
	return []broken{
		edit("Access/Viewer", uiPkg, "^Test.*(Viewer|Access|Role|Authoriz|Login)", "ui/door/login.go", "", "who.Role.MayChange() || r.Method", "who.Name != \"\" || r.Method"),
		edit("Access/Erase", uiPkg, "Erase", "ui/door/account.go", "", "return r == Admin }", "return r != Viewer }"),
		edit("Login/Until", uiPkg, "^TestLogin$", "ui/door/session.go", "", "|| !d.Clock.Now().Before(time.Unix(value.Until, 0))", ""),
		edit("Login/Secrets", uiPkg, "^TestLogin$", "ui/door/session.go", "", "range access.named()", "range (Access{}).named()"),
		edit("Login/State", uiPkg, "^TestLoginProvider$", "ui/login/oidc.go", "", "subtle.ConstantTimeCompare([]byte(one.State), []byte(query.Get(\"state\"))) != 1", "subtle.ConstantTimeCompare([]byte(one.State), []byte(one.State)) != 1"),
		edit("Login/Nonce", uiPkg, "^TestLoginProvider$", "ui/login/oidc.go", "", "identity.Nonce != one.Nonce", "identity.Nonce == \"\""),
		edit("Login/Throttle", uiPkg, "^TestLogin$/^Wrong$", "ui/door/credential.go", "", "strong := wanted.strong()", "strong := true"),
		edit("Login/Next", uiPkg, "^TestLogin$/^Next$", "ui/door/login.go", "", "strings.HasPrefix(text, \"//\") || ", ""),
		edit("Login/MayErase", uiPkg, "^TestLogin$/^EditorMayNotErase$", "ui/backfill/backfills.go", "", "form.Erase && !page.CanErase(ctx)", "form.Erase && !page.CanChange(ctx)"),
		edit("Login/Verified", uiPkg, "^TestLoginProvider$", "ui/login/oidc.go", "", "|| !said.Verified", ""),
		edit("Access/Origin", uiPkg, "/^CrossSite$", "ui/door/secure.go", "", "return protection.Handler(next)", "return next"),
		edit("Access/EraseInSQL", "./internal/schema/...", "^TestFunctions$|^TestAttack$", "migrations/0012_erase.up.sql", "", "REVOKE ALL ON FUNCTION analytics.enqueue_erase(date, date, text) FROM PUBLIC;", ""),
		edit("Access/FutureInSQL", workerPkg, "^TestEnqueueRange$|^TestEnqueueDay$", "migrations/0012_erase.up.sql", "CREATE FUNCTION analytics.check_request", "last_date > today", "last_date > today + 100000"),
	}
}
