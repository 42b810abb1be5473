package main

// Packages and files of consumers that several mutants use.
const (
	clickhousePkg = "./internal/capture/sink/clickhouse"
	kafkaPkg      = "./internal/capture/sink/kafka"
	jobsPkg       = "./jobs"
	filterPkg     = "./internal/capture/filter"
	e2ePkg        = "./internal/test/e2e"

	clickhouseGo = "internal/capture/sink/clickhouse/clickhouse.go"
	kafkaGo      = "internal/capture/sink/kafka/kafka.go"
	functionGo   = "jobs/change_run.go"
	compareGo    = "internal/capture/comparison/comparison.go"
	awaitGo      = "internal/capture/comparison/await.go"
	sweepSQL     = "migrations/0042_sweep.up.sql"
	filterGo     = "internal/capture/filter/filter.go"
)

// brokers has mutants of what keeps ClickHouse and Kafka right when changes come twice, or when they refuse some.
func brokers() []broken {
	const (
		tableGo   = "internal/capture/sink/clickhouse/table.go"
		requestGo = "internal/capture/sink/clickhouse/request.go"
	)
	return []broken{
		edit("Capture/Sink/ClickHouse/Older", clickhousePkg, "^TestClickHouse$/^Repeats$", tableGo, "", `"ReplacingMergeTree("+PositionColumn+")", ""`, `"ReplacingMergeTree()", ""`),
		edit("Capture/Sink/ClickHouse/Deleted", clickhousePkg, "^TestClickHouse$/^Order$", "internal/capture/sink/clickhouse/row.go", "", `object, deleted = c.Key, "1"`, `object, deleted = c.Key, "0"`),
		edit("Capture/Sink/ClickHouse/Token", clickhousePkg, "^TestClickHouse_Versions$", requestGo, "", "body != nil && c.version.atLeast(22, 3)", "body != nil && c.version.atLeast(2200, 3)"),
		edit("Capture/Sink/ClickHouse/FinalDeletes", clickhousePkg, "^TestClickHouse_Versions$", tableGo, "", "if c.version.atLeast(23, 2) {", "if c.version.atLeast(2300, 2) {"),
		edit("Capture/Sink/ClickHouse/Truncate", clickhousePkg, "^TestClickHouse_Truncate$", clickhouseGo, "", `truncated = append(truncated, func() error { return c.remove(ctx, t, one.Change) })`, `truncated = append(truncated, ctx.Err)`),
		edit("Capture/Sink/ClickHouse/Sweep", clickhousePkg, "^TestClickHouse_Sweep$", clickhouseGo, "", `at, older = before, " <= "`, `at, older = max(before, one.Position), " <= "`),
		edit("Capture/Sink/ClickHouse/Unchanged", clickhousePkg, "^TestClickHouse_Unchanged$", clickhouseGo, "", "if len(g.incomplete) == 0 {", "if len(g.incomplete) >= 0 {"),
		edit("Capture/Sink/ClickHouse/Refused", clickhousePkg, "^TestClickHouse$/^Refusals$", requestGo, "", "case slices.Contains(codesOfRows, code):", "case slices.Contains(codesOfRows, -code):"),
		edit("Capture/Sink/ClickHouse/Busy", clickhousePkg, "^TestClickHouse_Busy$", requestGo, "", "case slices.Contains(codesBusy, code):", "case slices.Contains(codesBusy, -code):"),
		edit("Capture/Sink/ClickHouse/Foreign", clickhousePkg, "^TestClickHouse_Foreign$", tableGo, "", "len(t.types) > 0 && !ours", "len(t.types) > 1000 && !ours"),
		edit("Capture/Sink/Kafka/Idempotent", kafkaPkg, "^TestKafka_Repeats$", kafkaGo, "", "kgo.RequiredAcks(kgo.AllISRAcks()),", "kgo.RequiredAcks(kgo.AllISRAcks()), kgo.DisableIdempotentWrite(),"),
		edit("Capture/Sink/Kafka/Refused", kafkaPkg, "^TestKafka_TooLarge$", kafkaGo, "", "case refuses(err):", "case refuses(err) && len(records) < 0:"),
		edit("Capture/Sink/Kafka/Together", kafkaPkg, "^TestKafka_TooLarge$", kafkaGo, "", "if len(failed) > 0 {", "if len(failed) > 1000 {"),
		edit("Capture/Sink/Kafka/Behind", kafkaPkg, "^TestKafka_TooLarge$", kafkaGo, "func (k *Kafka) alone(", "|| parked.Behind(indexes[i], c)", ""),
		edit("Capture/Sink/Kafka/Down", kafkaPkg, "^TestKafka$/^Outages$", kafkaGo, "", `return nil, fmt.Errorf("Kafka does not accept the changes: %w", reason(result.Err))`, "continue"),
	}
}

// functions has mutants of what keeps Go functions of applications exact.
func functions() []broken {
	return []broken{
		edit("Capture/Function/Held", jobsPkg, "^TestOnChange_Program$", pollSQL, "FUNCTION capture.take_changes(", "FOR UPDATE SKIP LOCKED", ""),
		edit("Capture/Function/BatchUndone", jobsPkg, "^TestOnChange_Fails$", functionGo, "", `if err := tx.Exec(ctx, "ROLLBACK TO SAVEPOINT daymill_batch"); err != nil {`, "if err := ctx.Err(); err != nil {"),
		edit("Capture/Function/RefusedUndone", jobsPkg, "^TestOnChange_Permanent$", functionGo, "", `if err := tx.Exec(ctx, "ROLLBACK TO SAVEPOINT daymill_function"); err != nil {`, "if err := ctx.Err(); err != nil {"),
		edit("Capture/Function/Parked", jobsPkg, "^TestOnChange_Permanent$", functionGo, "", "if made.parked[hexHash(c)] {", "if made.parked[hexHash(c)] && c.Position < 0 {"),
		edit("Capture/Function/ParkedBefore", jobsPkg, "^TestOnChange_Permanent$", functionGo, "func (r *changeRun[TTx]) parked(", "if !batch.Parked {", "if batch.Shard >= 0 {"),
		edit("Capture/Function/ReplayOrder", jobsPkg, "^TestOnChange_Permanent$", functionGo, "func (r *changeRun[TTx]) replay(", "if parked[hexHash(l.Change)] {", "if parked[hexHash(l.Change)] && l.Position < 0 {"),
		edit("Capture/Function/Suspect", jobsPkg, "^TestOnChange_Suspect$", functionGo, "", "|| !r.takesAnother(ctx, tx, batch, parked) {", "{"),
		edit("Capture/Function/WitnessUndone", jobsPkg, "^TestOnChange_Suspect$", functionGo, "", "r.call(ctx, tx, []Change{c}, true)", "r.call(ctx, tx, []Change{c}, false)"),
		edit("Capture/Function/Swallowed", jobsPkg, "^TestOnChange_Swallowed$", functionGo, "", "failed == nil && !undo {", "failed == nil && !undo {\n\t\treturn nil, nil"),
		edit("Capture/Function/Paused", jobsPkg, "^TestOnChange_Paused$", pollSQL, "FUNCTION capture.take_changes(", "AND x.paused_at IS NULL", ""),
		edit("Capture/Function/Tables", jobsPkg, "^TestOnChange$", pollSQL, "FUNCTION capture.matches(", "NOT coalesce(bool_or(m.hit) FILTER (WHERE m.negative), false) AND", ""),
	}
}

// comparing has mutants of how `daymill sink verify` finds rows that differ, and of what it waits for before it says so.
func comparing() []broken {
	const test = "^TestSinkVerify$/^trigger$"
	return []broken{
		edit("Capture/Verify/Missing", e2ePkg, test, compareGo, "", "if !is || !from.target && !equal(", "if is && !from.target && !equal("),
		edit("Capture/Verify/Extra", e2ePkg, test, compareGo, "", "if from.target && !exists {", "if from.target {"),
		edit("Capture/Verify/Different", e2ePkg, test, compareGo, "", "!from.target && !equal(rows[key].document, has.document)", `!from.target && rows[key].document == "" && has.document == "?"`),
		edit("Capture/Verify/Landed", e2ePkg, test, awaitGo, "", "if err := until(func() (bool, error) { return landed(ctx) }); err != nil {", "if _, err := landed(ctx); err != nil {"),
		edit("Capture/Verify/Delivered", e2ePkg, "^TestSinkVerify$/^wal$", awaitGo, "", "behind = behind || s.Position < there.Position", "behind = behind && s.Position < there.Position"),
		edit("Capture/Verify/RepairPosition", e2ePkg, test, "internal/capture/comparison/repair.go", "", "Position: position, Stream:", "Position: position + 1_000_000, Stream:"),
	}
}

// filtering has mutants of which changes and columns a consumer receives.
func filtering() []broken {
	return []broken{
		edit("Capture/Filter/Tables", filterPkg, "^TestFilter_Tables$", filterGo, "", "if !f.tables.Match(c.Schema, c.Table) || ", "if "),
		edit("Capture/Filter/Excluded", filterPkg, "^TestFilter_Tables$|^TestPattern$", "internal/capture/filter/pattern.go", "", "if p.not {\n", "if p.not && meant {\n"),
		edit("Capture/Filter/Ops", filterPkg, "^TestFilter_Ops$", filterGo, "", "!slices.Contains(f.config.Ops, c.Op)", `c.Op == ""`),
		edit("Capture/Filter/OpsOfPoll", consumerPkg, "^TestPoll$", sweepSQL, "", "AND (cardinality($6) = 0 OR l.op = ANY ($6))", "AND cardinality($6) >= 0"),
		edit("Capture/Filter/SweepOfPoll", consumerPkg, "^TestPoll_Sweep$", sweepSQL, "", "(l.op <> 'sweep' OR $10)", "($10 OR NOT $10)"),
		edit("Capture/Filter/Columns", filterPkg, "^TestFilter_Shape$", filterGo, "", "return slices.Contains(f.config.Columns, name)", "return true"),
		edit("Capture/Filter/Without", filterPkg, "^TestFilter_Shape$", filterGo, "", "return !slices.Contains(f.config.Without, name)", "return true"),
		edit("Capture/Filter/Key", filterPkg, "^TestFilter_Shape$", filterGo, "", "if _, is := key[name]; is {", `if _, is := key[name]; is && name == "" {`),
		edit("Capture/Filter/Unchanged", filterPkg, "^TestFilter_Shape$", filterGo, "", "if sent(name) {", `if sent(name) || name != "" {`),
		edit("Capture/Filter/Condition", filterPkg, "^TestFilter_Apply$", filterGo, "", "if is, _ := result.(bool); !is {", "if is, _ := result.(bool); !is && f.shapes {"),
		edit("Capture/Filter/ConditionFails", consumerPkg, "^TestRun_Filter$", deliverGo, "", "parked[sink.Key(c)] = true\n			letters = append(letters, letter{change: c, state: Refused, reason: err.Error()})", "continue"),
		edit("Capture/Filter/Sweep", consumerPkg, "^TestRun_Filter$", deliverGo, "", "d.sweeps() && d.Filter.Takes(c.Schema, c.Table)", "d.sweeps()"),
		edit("Capture/Filter/Loops", filterPkg, "^TestNew_Hostile$", filterGo, "", `if loops.found != "" {`, `if loops.found == "." {`),
	}
}
