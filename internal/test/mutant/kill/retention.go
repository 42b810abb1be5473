package main

// retention has mutants of what keeps months of metrics from being dropped too early, counted again once they are dropped, or shown as wrong.
func retention() []broken {
	const (
		tests     = "^TestRunRetention$"
		retention = "internal/schema/retention.go"
		months    = "migrations/0044_metric_retention.up.sql"
		kept      = "metric_date >= (SELECT analytics.metrics_from(now()))"
		always    = "metric_date >= (SELECT least('-infinity', analytics.metrics_from(now())))"
		old       = "metric_date < (SELECT analytics.metrics_from(now()))"
		never     = "metric_date < (SELECT least('-infinity', analytics.metrics_from(now())))"
	)
	return []broken{
		edit("Retention/Months", runPkg, tests, retention, "", "months < 0 || months > MaxMonths", "months == 5000"),
		edit("Retention/NotPartitioned", runPkg, tests, retention, "", "!is && months > 0", "!is && months > 5000"),
		edit("Retention/Drop", runPkg, tests, retention, "", "len(retention.Old) > 0 && !drop", "len(retention.Old) > 5000 && !drop"),
		edit("Retention/Waits", runPkg, tests, retention, "", "!postgres.IsLockTimeout(err) ||", "err == nil || err != nil ||"),
		edit("Retention/WholeMonths", runPkg, tests, months, "", "m.next_date <= analytics.metrics_from", "m.first_date <= analytics.metrics_from"),
		edit("Retention/OldMonths", runPkg, tests, "internal/db/metric_month.sql.go", "const metricMonthsOld =", "m.next_date <=", "m.first_date <="),
		edit("Retention/Run", runPkg, tests, protectionGo, "", "case f.NotKept:", "case f.NotKept && f.Recorded < 0:"),
		edit("Retention/RunBegin", runPkg, tests, runSQL, "const runBegin =", "($2 < analytics.metrics_from(cast($3 AS timestamptz)))", "($2 < least('-infinity', analytics.metrics_from(cast($3 AS timestamptz))))"),
		edit("Retention/Missing", runPkg, tests, "internal/db/schedule.sql.go", "const scheduleMissing =", "(SELECT analytics.metrics_from(now()))", "(SELECT least('-infinity', analytics.metrics_from(now())))"),
		edit("Retention/Attention", runPkg, tests, "internal/db/ledger_date.sql.go", "const ledgerAttention =", kept, always),
		edit("Retention/Broken", runPkg, tests, "internal/db/ledger.sql.go", "const ledgerBroken =", kept, always),
		edit("Retention/States", runPkg, tests, "internal/db/ledger.sql.go", "const ledgerDates =", old, never),
		edit("Retention/Top", runPkg, tests, "internal/db/metric_read.sql.go", "const metricReadDates =", kept, always),
		edit("Retention/Candidates", runPkg, tests, "internal/db/verification.sql.go", "const verificationCandidates =", kept, always),
		edit("Retention/Due", runPkg, tests, "internal/db/verification.sql.go", "const verificationDue =", kept, always),
		edit("Month/Distributed", "./internal/schema", "^TestPartition$/^Distributed$", "internal/schema/partition.go", "", "if elsewhere[oid] == postgres.Citus {", "if elsewhere[oid] == postgres.Citus && oid == 0 {"),
		edit("Month/Detached", "./internal/schema", "^TestPartition$/^Detached$", "internal/db/metric_month.sql.go", "const metricMonthsDetached =", "coalesce(i.inhdetachpending, true)", "coalesce(i.inhdetachpending, false)"),
		edit("Month/Elsewhere", "./internal/rollup/source", "^TestElsewhere$", "internal/rollup/source/watch.go", "", `extension := elsewhere[uint32(part.ID)]; extension != ""`, `extension := elsewhere[uint32(part.ID)]; extension == "none"`),
		edit("Month/Erasable", "./cmd/daymill", "^TestMonths$/^NotKept$", "internal/db/protection.sql.go", "const protectionRecorded =", "(SELECT analytics.metrics_from(now()))", "(SELECT least('-infinity', analytics.metrics_from(now())))"),
		edit("Retention/Sample", runPkg, tests, "internal/db/verification.sql.go", "const verificationSample =", kept, always),
	}
}
