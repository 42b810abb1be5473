package main

import "github.com/daymill/daymill/internal/test/mutant"

// groups has mutants of what several small dates in one transaction rely on.
func groups() []broken {
	const (
		guarded = "^TestGroup_Guarded$/"
		groupGo = "internal/rollup/run/group.go"
		sql     = groupSQL
		worker  = "internal/worker/group.go"
	)
	return []broken{
		edit("Group/Held", runPkg, guarded+"^Held$", sql, "const groupTake =", "FOR UPDATE OF d SKIP LOCKED", ""),
		edit("Group/HeldNew", runPkg, guarded+"^Held$", sql, "const groupTake =", "'interrupted',\n        0,\n        0\n    FROM wanted AS w\n    WHERE", "'interrupted',\n        0,\n        0\n    FROM wanted AS w\n    WHERE w.metric_date IS NULL AND"),
		edit("Group/Locked", runPkg, guarded+"^LeftLocked$", sql, "const groupTake =", "FOR UPDATE OF d SKIP LOCKED", "FOR UPDATE OF d"),
		edit("Group/NotComplete", runPkg, guarded+"^LeftFailed$", sql, "const groupTake =", "d.run_id = 0 OR d.state = 'complete' AND", "d.run_id = 0 OR"),
		{"Group/NotOver", runPkg, guarded + "^LeftOver$", []mutant.Edit{
			{File: sql, After: "locked AS MATERIALIZED (", From: "WHERE w.to_instant <= clock_timestamp()", To: "WHERE w.to_instant IS NOT NULL"},
			{File: sql, After: "added AS (", From: "WHERE w.to_instant <= clock_timestamp()", To: "WHERE w.to_instant IS NOT NULL"},
			{File: groupGo, From: "m.bounds.To.After(g.Clock.Now()):", To: "m.bounds.To.IsZero():"},
		}},
		edit("Group/Erase", runPkg, guarded+"^LeftErase$", sql, "const groupFacts =", "r.erase OR r.entities", "r.entities"),
		edit("Group/Named", runPkg, guarded+"^LeftNamed$", sql, "const groupFacts =", "r.erase OR r.entities IS NOT NULL", "r.erase"),
		edit("Group/Lost", runPkg, guarded+"^LeftProtected$", groupGo, "", "err = known.Check(m.events)", "err = known.Check(m.events + known.Recorded)"),
		edit("Group/Retention", runPkg, guarded+"^Retention$", sql, "const groupFacts =", "- i.event_retention", "- 1000 * i.event_retention"),
		edit("Group/ManyEvents", runPkg, guarded+"^LeftManyEvents$", "internal/rollup/slice/group.go", "", "events[i] = -1; many[i] {", "events[i] = -1; many[i] && c.Len() < 0 {"),
		edit("Group/ManyRows", runPkg, guarded+"^LeftManyRows$", groupGo, "", "len(m.stored) > mostStored", "len(m.stored) > 10*mostStored"),
		edit("Group/Trace", runPkg, guarded+"^LeftNew$", sql, "const groupLeave =", "run_id = 0", "run_id < 0"),
		edit("Group/Full", runPkg, guarded+"^Full$", groupGo, "", "sum > mostGroupRead", "sum > 10*mostGroupRead"),
		edit("Group/Late", runPkg, guarded+"^LateGroupEvents$", sql, "const groupBegin =", "q.id = r.id AND ", ""),
		edit("Group/LateClaim", runPkg, guarded+"^LateGroupSettle$", sql, "const groupSettle =", "AND q.run_id = c.run_id", ""),
		edit("Group/Inexact", runPkg, guarded+"^Inexact$", groupGo, "", "stored != m.totals ||", "stored.Entities < 0 ||"),
		edit("Group/Gone", runPkg, "^TestGroup$/^bigint$", "internal/rollup/batch/group.go", "", "append(r.GoneIds, id)", "append(r.GoneIds, \"0\")"),
		edit("Group/GoneOfOthers", runPkg, "^TestGroup$/^bigint$", sql, "const groupWrite =", "m.metric_date = r.metric_date", "m.metric_date IS NOT NULL"),
		edit("Group/Along", workerPkg, "^TestGroup_Killed$", worker, "", "\"5 s\"", "\"1 hour\""),
		edit("Group/Sooner", workerPkg, "^TestGroup_Sooner$", worker, "", "!is || priority > int(d.Priority)", "!is || priority < 0"),
		edit("Group/Slow", workerPkg, "^TestGroup_Slow$", worker, "", "g.until.Store(now.Add(groupRests).UnixNano())", "g.until.Store(0)"),
	}
}
