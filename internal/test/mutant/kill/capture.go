package main

import "github.com/daymill/daymill/internal/test/mutant"

// Packages and files of capture that several mutants use.
const (
	consumerPkg     = "./internal/capture/consumer"
	logPkg          = "./internal/capture/log"
	snapshotPkg     = "./internal/capture/snapshot"
	streamPkg       = "./internal/capture/stream"
	sinkPostgresPkg = "./internal/capture/sink/postgres"

	consumerSQL   = "internal/db/consumer.sql.go"
	deliverGo     = "internal/capture/consumer/deliver.go"
	chunkGo       = "internal/capture/snapshot/chunk.go"
	snapshotSQL   = "internal/db/snapshot.sql.go"
	streamGo      = "internal/capture/stream/stream.go"
	streamWALGo   = "internal/capture/stream/wal.go"
	triggerReadGo = "internal/capture/trigger/read.go"
	witnessGo     = "internal/capture/trigger/witness.go"
	triggerPkg    = "./internal/capture/trigger"
	upsertGo      = "internal/capture/sink/postgres/write.go"
	targetGo      = "internal/capture/sink/postgres/table.go"
)

// capture has mutants of what keeps changes from being lost, repeated or reordered.
func capture() []broken {
	var all []broken
	for _, more := range [][]broken{reading(), gaps(), snapshots(), delivering(), copying(), receivers(), holds(), contract(), brokers(), functions(), comparing(), filtering()} {
		all = append(all, more...)
	}
	return all
}

// reading has mutants of how changes get into the log.
func reading() []broken {
	const advance = "migrations/0019_snapshot.up.sql"
	return []broken{
		edit("Capture/Log/Fence", logPkg, "^TestLand_Fenced$", advance, "FUNCTION capture.advance", "s.id = the_stream AND s.token = the_token AND s.position", "s.id = the_stream AND s.position"),
		edit("Capture/Log/Moved", snapshotPkg, "^TestRun$", advance, "FUNCTION capture.advance", "AND s.position = from_position", "AND from_position IS NOT NULL"),
		edit("Capture/Log/Patience", streamPkg, "^TestOwner_Lock$", "internal/postgres/patience.go", "", "const tries = 15", "const tries = 1"),
		edit("Capture/WAL/Partial", streamPkg, "^TestWAL_Large$", "internal/capture/wal/decode.go", "", "d.ordinal <= d.config.Last.Ordinal", "d.ordinal < 0"),
		edit("Capture/WAL/ConfirmsEarly", streamPkg, "^TestWAL_Large$|^TestCrash$|^TestOwner$", "internal/capture/wal/wal.go", "func (r *Reader) status(", "pglogrepl.LSN(r.landed.Load())", "max(pglogrepl.LSN(r.landed.Load()), r.wal, r.decoder.finalLSN)"),
		edit("Capture/WAL/Key", streamPkg, "^TestWAL_DroppedKey$", streamWALGo, "", "t.Schema == schema && t.Name == name", "t.Schema == schema && t.Name == name && oid == 0"),
		edit("Capture/WAL/Type", streamPkg, "^TestWAL_Dropped$", "internal/capture/wal/decode.go", "", "Column{Name: c.Name, Type: kind}", "Column{Name: c.Name, Type: kind[:1]}"),
		edit("Capture/WAL/UnchangedKey", streamPkg, "^TestWAL_KeyAndTOAST$", "internal/capture/wal/decode.go", "", "len(unchanged) == 0 || d.config.Fill == nil", "len(unchanged) >= 0 || d.config.Fill == nil"),
		edit("Capture/Trigger/Late", streamPkg, "^TestTrigger_Late$", triggerReadGo, "", "WHERE q.xid >= pg_catalog.pg_snapshot_xmin($1::pg_catalog.pg_snapshot)", "WHERE q.xid >= pg_catalog.pg_snapshot_xmax($1::pg_catalog.pg_snapshot)"),
		edit("Capture/Trigger/Twice", streamPkg, "^TestTrigger_Late$|^TestContract$", triggerReadGo, "", "AND NOT pg_catalog.pg_visible_in_snapshot(q.xid, $1::pg_catalog.pg_snapshot)\n    AND", "AND"),
		edit("Capture/Trigger/EmptiesUnread", triggerPkg, "^TestReader_Rotate$", triggerReadGo, "", "if err != nil || unread {", "if err != nil {"),
	}
}

// gaps has mutants of how missing changes are noticed.
func gaps() []broken {
	return []broken{
		edit("Capture/Gap/Cluster", streamPkg, "^TestWAL_Life$", streamWALGo, "", "case system.ID != row.SystemID:", "case system.ID == \"\":"),
		edit("Capture/Gap/Behind", streamPkg, "^TestWAL_Life$", streamWALGo, "", "case system.WAL < landed ||", "case system.WAL == 0 ||"),
		edit("Capture/Gap/Lagged", streamPkg, "^TestWAL_Lagged$", streamWALGo, "", "if !is || left < landed {", "if !is || left < 0 {"),
		edit("Capture/Gap/Lost", streamPkg, "^TestWAL_Gap$", streamWALGo, "", "case slot.Lost():", "case slot.Lost() && landed == 0:"),
		edit("Capture/Gap/NoSlot", streamPkg, "^TestWAL_Gap$", streamWALGo, "", "case !has:", "case !has && landed == 0:"),
		edit("Capture/Gap/Ahead", streamPkg, "^TestWAL_Gap$", streamWALGo, "", "case slot.Confirmed > landed:", "case slot.Confirmed > landed && landed == 0:"),
		edit("Capture/Gap/Publication", streamPkg, "^TestWAL_Gap$", "internal/capture/wal/slot.go", "", "if len(missing) > 0 {", "if len(missing) > 1000 {"),
		edit("Capture/Gap/Disk", streamPkg, "^TestWAL_Guard$", streamWALGo, "", "case slot.Retained > limit:", "case slot.Retained < 0:"),
		edit("Capture/Gap/DiskUnowned", streamPkg, "^TestWAL_GuardUnowned$", "internal/capture/stream/guard.go", "", "err != nil || slot.Retained <= limit", "err != nil || slot.Retained >= 0"),
		edit("Capture/Witness/Source", streamPkg, "^TestRestored$/^trigger$", witnessGo, "", "return ErrRestored", "r.witness = witness\n\treturn nil"),
		edit("Capture/Witness/Log", triggerPkg, "^TestReader_LogRestored$", triggerReadGo, "", "if resting {", "if resting && len(r.watermarks) > 0 {"),
		edit("Capture/Witness/Later", triggerPkg, "^TestReader_Witness$", witnessGo, "", "case witness == r.witness:", "case witness >= r.witness:"),
		edit("Capture/Witness/WithinTurn", triggerPkg, "^TestReader_Witness$", witnessGo, "", "if tag.RowsAffected() != 1 {", "if tag.RowsAffected() > 1 {"),
		edit("Capture/Witness/Durable", triggerPkg, "^TestReader_Witness$", witnessGo, "func (r *Reader) bear(", `"synchronous_commit": "on"`, `"synchronous_commit": "off"`),
		edit("Capture/Witness/Crash", triggerPkg, "^TestReader_Crash$", witnessGo, "", "if tx != nil {", "if tx != nil && r.witness == 0 {"),
		edit("Capture/Witness/Idle", triggerPkg, "^TestReader_Crash$", witnessGo, "", "r.mark.Next, r.mark.Seq = \"\", 0", "r.mark = Mark{Seen: next}"),
		edit("Capture/Witness/Unlanded", triggerPkg, "^TestReader_Unlanded$", witnessGo, "", "r.witness, r.witnessed = witness, true\n\t\treturn r.land(ctx, nil, Batch{Mark: r.mark})", "r.witness, r.witnessed = witness, true\n\t\treturn nil"),
		edit("Capture/Witness/Suspended", triggerPkg, "^TestReader_Unlanded$", witnessGo, "func (r *Reader) recognize(", "return ErrAgain", "return ErrRestored"),
		edit("Capture/Witness/Upgrade", triggerPkg, "^TestInstall_Upgrade$", "internal/capture/trigger/install.go", "", "if !queue {", "if !queue || !witness {"),
		edit("Capture/WAL/Last", streamPkg, "^TestRestored$/^wal$", "internal/capture/wal/decode.go", "", "case last.is(m):", "case !last.is(m) || last.is(m):"),
		edit("Capture/WAL/LastIdle", streamPkg, "^TestRestored$/^wal$/^quiet$", "internal/capture/wal/wal.go", "", "if end > r.config.Last.Commit {", "if end == 0 {"),
		edit("Capture/WAL/Confirmed", streamPkg, "^TestRestored$/^wal$", streamWALGo, "", "after = slot.Confirmed", "after = max(landed, slot.Confirmed)"),
		edit("Capture/WAL/Part", streamPkg, "^TestWAL_RestoredInPart$", streamWALGo, "", " || last.XID != 0 && system.WAL <= last.Commit", ""),
		edit("Capture/WAL/Earlier", streamPkg, "^TestWAL_EarlierVersion$", "internal/capture/wal/last.go", "", " || parts[4] != position.String()", ""),
		edit("Capture/WAL/Marked", streamPkg, "^TestWAL_RestoredWatermark$", "internal/capture/wal/decode.go", "", "if d.marked {", "if d.marked && d.ordinal > 0 {"),
		edit("Capture/WAL/Message", streamPkg, "^TestWAL_Message$", "internal/capture/watermark/watermark.go", "func Is(", "return is && ", "return is || text != \"\" || "),
		edit("Capture/WAL/Stream", streamPkg, "^TestWatermark_Stream$", "internal/capture/watermark/watermark.go", "func Is(", "random, is := strings.CutPrefix(text, prefix(stream))", "_, random, is := strings.Cut(text, prefix(stream)[1:])"),
		edit("Capture/Gap/Unreadable", streamPkg, "^TestWAL_Unreadable$", streamWALGo, "", "s.unreadable >= wal.MostUnreadable", "s.unreadable < 0"),
		edit("Capture/WAL/Skip", streamPkg, "^TestWAL_Again$", "internal/capture/wal/decode.go", "", "d.found, d.skip = true, last.Ordinal == 0", "d.found, d.skip = true, false"),
		edit("Capture/WAL/RelationLater", streamPkg, "^TestWAL_Again$", "internal/capture/wal/decode.go", "case *pglogrepl.RelationMessage:", "if d.skip {", "if d.skip && d.xid == 0 {"),
		edit("Capture/Gap/QueueEmptied", streamPkg, "^TestTrigger_Gap$", triggerReadGo, "", "case emptied:", "case emptied && failed:"),
		edit("Capture/Gap/QueueFailed", streamPkg, "^TestTrigger_Gap$", triggerReadGo, "", "case failed:", "case failed && emptied:"),
		edit("Capture/Gap/Triggers", streamPkg, "^TestTrigger_Gap$", "internal/capture/stream/trigger.go", "", "if !slices.Contains(s.before, t.String()) {", "if !slices.Contains(s.before, t.String()) || t.OID != 0 {"),
		edit("Capture/Gap/TriggersFirst", streamPkg, "^TestGap_NotRecorded$", "internal/capture/trigger/install.go", "", "return made(ctx, t)", "if err := tx.Commit(ctx); err != nil {\n\t\t\t\treturn err\n\t\t\t}\n\t\t\treturn made(ctx, t)"),
		edit("Capture/Gap/TriggerLife", streamPkg, "^TestLife_Positions$", "internal/capture/stream/trigger.go", "", "row.SystemID != system || row.Timeline != timeline", "row.SystemID != system || timeline < 0"),
		edit("Capture/Gap/PositionsAgain", streamPkg, "^TestLife_Positions$", streamGo, "", "params.Skip = skip", "params.Skip = 0"),
		edit("Capture/Gap/PositionsPassed", streamPkg, "^TestLife_Positions$", "internal/capture/log/read.go", "", "case len(changes) == 0 && end < stream.Position:", "case len(changes) == 0 && end < 0:"),
		{"Capture/Gap/BeginsFirst", streamPkg, "^TestGap_NotRecorded$", []mutant.Edit{
			{File: streamGo, After: "func (s *session) begin(", From: "if err := s.lost(ctx, *missing); err != nil {", To: "if err := ctx.Err(); err != nil {"},
			{File: streamGo, From: "params.Skip = skip", To: "params.Skip = skip; if err := s.lost(ctx, *missing); err != nil { return err }"},
		}},
		{"Capture/Gap/PublishesFirst", streamPkg, "^TestGap_NotRecorded$", []mutant.Edit{
			{File: "internal/capture/wal/slot.go", After: "func Publish(", From: "if err := lost(missing); err != nil {", To: "if err := ctx.Err(); err != nil {"},
			{File: "internal/capture/wal/slot.go", After: `"publish the tables: %w"`, From: "return nil\n", To: "if len(missing) > 0 { return lost(missing) }; return nil\n"},
		}},
		edit("Capture/Gap/NotRepaired", snapshotPkg, "^TestRun_Gap$", streamGo, "", "return o.repair(ctx, tx, g.tables)", "return nil"),
	}
}

// snapshots has mutants of what keeps a snapshot's rows from overwriting newer changes.
func snapshots() []broken {
	return []broken{
		edit("Capture/Snapshot/ChunkPaused", snapshotPkg, "^TestChunk_Twice$", snapshotSQL, "const snapshotMove =", "AND state = 'running'", ""),
		edit("Capture/Snapshot/ChunkTwice", snapshotPkg, "^TestChunk_Twice$", snapshotSQL, "const snapshotMove =", "AND chunks = $4", "AND $4::bigint IS NOT NULL"),
		edit("Capture/Snapshot/HighWatermark", snapshotPkg, "^TestChunk_Order$", chunkGo, "func (r *runner) chunk(", "if err := r.landed(ctx, read); err != nil {", "if err := error(nil); err != nil {"),
		edit("Capture/Snapshot/Restored", snapshotPkg, "^TestChunk_Restored$", chunkGo, "func (r *runner) landed(", "watermark.Take(ctx, r.DB, read.high)", "true, error(nil)"),
		edit("Capture/Snapshot/AheadOfChunk", snapshotPkg, "^TestAhead$/^AnotherWorker$", "internal/capture/snapshot/ahead.go", "", " && a.chunks == s.Chunks", ""),
		edit("Capture/Snapshot/AheadPaced", snapshotPkg, "^TestAhead_Pace$", "internal/capture/snapshot/ahead.go", "", "r.Pace.Pace() > 0", "r.Pace.Pace() < 0"),
		edit("Capture/Snapshot/AheadNever", snapshotPkg, "^TestAhead_Pace$", "internal/capture/snapshot/ahead.go", "", "if before.last == nil ||", "if len(before.last) >= 0 ||"),
		edit("Capture/Snapshot/AheadOfTable", snapshotPkg, "^TestAhead$/^Columns$", "internal/capture/snapshot/ahead.go", "", "reflect.DeepEqual(a.table, t)", "reflect.DeepEqual(t, t)"),
		edit("Capture/Snapshot/LowWatermark", snapshotPkg, "^TestRun$", chunkGo, "", "After: read.low.Position, Upto: head", "After: head, Upto: head"),
		edit("Capture/Snapshot/Newer", snapshotPkg, "^TestRun$", chunkGo, "", "if len(untouched) == 0 {\n					continue", "if len(untouched) == 0 && !has {\n					continue"),
		edit("Capture/Snapshot/Untouched", snapshotPkg, "^TestRun_Untouched$", chunkGo, "", "if len(untouched) == 0 {", "if len(untouched) >= 0 {"),
		edit("Capture/Snapshot/Sweep", snapshotPkg, "^TestRun_Gap$", upsertGo, "func (t *table) sweep(", "\" <= $1\"", "\" <= $1 AND false\""),
		edit("Capture/Snapshot/SweepHidden", "./internal/capture/sink/kind", "^TestOpened_Sweeps$", "internal/capture/sink/kind/kind.go", "", "return is && sweeper.Sweeps()", "return is && !sweeper.Sweeps()"),
	}
}

// delivering has mutants of what delivers each change, and the changes of a key in order.
func delivering() []broken {
	return []broken{
		edit("Capture/Shard/FenceOfMove", consumerPkg, "^TestRun_Fenced$", consumerSQL, "const shardMove =", "AND fence = $5", "AND $5::bigint IS NOT NULL"),
		edit("Capture/Shard/FenceOfOnce", consumerPkg, "^TestRun_Once$", deliverGo, "func (u unit) Heartbeat(", "return queries.ShardHold(ctx, db.ShardHoldParams{Consumer: u.consumer, Shard: u.shard, Fence: term.ID})", "_, err := queries.ShardHold(ctx, db.ShardHoldParams{Consumer: u.consumer, Shard: u.shard, Fence: term.ID})\n\treturn 1, err"),
		edit("Capture/Shard/Position", consumerPkg, "^TestRun$", deliverGo, "", "d.position, d.failures = upTo, 0", "d.position, d.failures = upTo+1, 0"),
		edit("Capture/Letter/NotWritten", consumerPkg, "^TestRun_Parked$", deliverGo, "func (d *deliverer) write(", "if len(letters) == 0 {", "if len(letters) >= 0 {"),
		edit("Capture/Letter/Parked", consumerPkg, "^TestRun_Parked$", deliverGo, "", "case len(parked) > 0 && parked[sink.Key(c)]:", "case len(parked) > 0 && parked[sink.Key(c)] && c.Position < 0:"),
		edit("Capture/Letter/Any", consumerPkg, "^TestRun_Parked$", deliverGo, "", "if !d.letters {", "if !d.letters || len(changes) > 0 {"),
		edit("Capture/Letter/AnyNew", consumerPkg, "^TestRun_Parked$", "internal/capture/consumer/retry.go", "", "d.letters = pending.Any;", "d.letters = pending.Replay;"),
		edit("Capture/Ahead/Other", consumerPkg, "^TestRun_AheadCut$", "internal/capture/consumer/ahead.go", "", "a.after == d.position && a.limit <= d.limit() && ", "a.limit > 0 && "),
		edit("Capture/Ahead/None", consumerPkg, "^TestRun_Ahead$", deliverGo, "", "if len(changes) == d.limit() {", "if len(changes) > d.limit() {"),
		edit("Capture/Lazy/Letters", consumerPkg, "^TestRun_Lazy$", deliverGo, "", "Lazy: len(letters) == 0 && !d.Once,", "Lazy: !d.Once,"),
		edit("Capture/Lazy/Once", consumerPkg, "^TestRun_Lazy$", deliverGo, "", "Lazy: len(letters) == 0 && !d.Once,", "Lazy: len(letters) == 0,"),
		edit("Capture/Take/Settings", consumerPkg, "^TestRun_Changed$/^Settings$", deliverGo, "", "!bytes.Equal(row.Settings, c.Settings)", "!bytes.Equal(c.Settings, c.Settings)"),
		edit("Capture/Take/Kind", consumerPkg, "^TestRun_Changed$/^Kind$", deliverGo, "", "row.Kind != c.Kind || ", ""),
		edit("Capture/Take/Stream", consumerPkg, "^TestRun_Changed$/^Stream$", deliverGo, "", "row.Stream != c.Stream || ", ""),
		edit("Capture/Take/Shards", consumerPkg, "^TestRun_Changed$/^Shards$", deliverGo, "", "int(row.Shards) != c.Shards", "int(row.Shards) < 0"),
		edit("Capture/Take/Fence", consumerPkg, "^TestRun_Fence", "internal/db/consumer.sql.go", "", "pg_current_xact_id()::text::bigint FROM", "0 FROM"),
		edit("Capture/Slow/Most", consumerPkg, "^TestRun_Slow$", deliverGo, "", "cmp.Or(d.Most, most)", "time.Hour+d.Most"),
		edit("Capture/Witness/Snapshot", consumerPkg, "^TestRun_Witness$", "internal/capture/consumer/retry.go", "", "Limit: d.Batch,\n			Consumer: d.Consumer.Name,", "Limit: d.Batch,"),
		edit("Capture/Witness/Fence", consumerPkg, "^TestRun_WitnessFenced$", "internal/capture/consumer/retry.go", "", "err := d.hold(ctx, tx); err != nil {\n				return err", "err := d.hold(ctx, tx); err == nil && tx == nil {\n				return err"),
		edit("Capture/Witness/Schema", consumerPkg, "^TestRun_WitnessSchema$", "internal/capture/consumer/retry.go", "", "if d.Judge != nil && c.SchemaVersion", "if d.Judge == nil && c.SchemaVersion"),
		edit("Capture/Letter/ReplayOfFunction", "./jobs", "^TestOnChange_ReplayMeanwhile$", "internal/capture/consumer/letter.go", "func Replay(", "queries.ShardFence(ctx, consumer)", "int64(0), ctx.Err()"),
		edit("Capture/Letter/Replay", consumerPkg, "^TestRun_ReplayMeanwhile$", "internal/capture/consumer/letter.go", "func Replay(", "queries.ShardFence(ctx, consumer)", "int64(0), ctx.Err()"),
		edit("Capture/Letter/Sweep", consumerPkg, "^TestRun_SweepLetter$", deliverGo, "", "if c.Op == change.Sweep {\n		return", "if c.Op == \"\" {\n		return"),
		edit("Capture/Letter/Counted", consumerPkg, "^TestRun_Parked$", "internal/capture/consumer/retry.go", "", "if taken > 0 {", "if taken < 0 {"),
		edit("Capture/Pause/Reason", consumerPkg, "^TestRun_Paused$", consumerSQL, "", "coalesce($1, paused_because)", "$1"),
		edit("Capture/Read/Large", logPkg, "^TestRead_Wide$", "internal/capture/log/land.go", "", "e.rest = e.rest[count:]\n		return count, nil", "return count, nil"),
		edit("Capture/Note/Condition", "./cmd/daymill", "^TestApply_Notes$", "cmd/daymill/capture_note.go", "", "{\"condition\", filter.Named(settings.Condition)},", ""),
		edit("Capture/Note/Tail", "./cmd/daymill", "^TestCapture_TailWaits$", "cmd/daymill/capture.go", "", "if !p.Excludes() && !slices.ContainsFunc(captured", "if p.Excludes() && !slices.ContainsFunc(captured"),
		edit("Capture/File/SecondDocument", "./internal/config", "^TestParse_Syntax$", "internal/document/document.go", "", "case err == nil:\n		p.Wrongf(&second", "case err == nil && second.Line < 0:\n		p.Wrongf(&second"),
		edit("Capture/File/Column", "./internal/config", "^TestParse_Syntax$", "internal/document/document.go", "", "load.Mark.Line, load.Mark.Column, load.Message", "load.Mark.Line, 1, load.Message"),
		edit("Capture/Letter/Release", consumerPkg, "^TestRun_Discarded$", "internal/capture/consumer/letter.go", "", "if count = int64(len(keys)); err == nil {", "if count = int64(len(keys)); err != nil {"),
		edit("Capture/Letter/ReleaseBehindAnother", consumerPkg, "^TestRun_Discarded$", "internal/db/consumer.sql.go", "const letterRelease =", "r.state = 'refused'", "r.state = ''"),
		edit("Capture/Read/Probe", logPkg, "^TestRead_Wide$", "internal/capture/log/read.go", "", "step := min(query.Limit, probe)", "step := query.Limit"),
		edit("Capture/Crash/Append", logPkg, "^TestAppend_Crash$", "internal/capture/log/append.go", "", "postgres.Durable(ctx, tx)", "ctx.Err()"),
		edit("Capture/Crash/Target", "./internal/capture/sink/postgres", "^TestDeliver_Crash$", "internal/capture/sink/postgres/postgres.go", "", "database.Durable(ctx, tx)", "ctx.Err()"),
		edit("Capture/Sink/AtCommit", consumerPkg, "^TestRun_RefusedAtCommit$", "internal/capture/sink/postgres/postgres.go", "", `"SET CONSTRAINTS ALL IMMEDIATE"`, `"SELECT 1"`),
		edit("Capture/Sink/Connection", "./internal/capture/sink/kind", "^TestOpen_OneConnection$", "internal/capture/sink/kind/kind.go", "", "return s.readColumns(ctx, tx, c)", "return s.columnsOf(env.DB)(ctx, c)"),
		edit("Capture/Sink/Sweeps", "./internal/capture/sink/postgres", "^TestDeliver_Sweeps$", "internal/capture/sink/collapse.go", "", "later < earlier", "later < min(earlier, 0)"),
		edit("Capture/Version/Lost", streamPkg, "^TestWAL_Altered$", "internal/capture/stream/land.go", "", "s.unsaved = append(s.unsaved, next)", "s.unsaved = []*version{next}"),
		edit("Capture/Version/OfSnapshot", streamPkg, "^TestWAL_VersionOfSnapshot$", "internal/capture/stream/land.go", "", "err = errVersion", "err = nil"),
		edit("Capture/Due/Waits", "./internal/worker", "^TestDue$", "internal/worker/deliver.go", "", "if s.Waits {\n				continue", "if s.Waits {\n				consumers = false\n				continue"),
		edit("Capture/Due/Idle", "./internal/worker", "^TestDue$", "internal/worker/deliver.go", "", "(!idle || s.IsIdle)", "(!idle || s.IsIdle || s.Position >= 0)"),
		edit("Capture/Letter/BehindInBatch", consumerPkg, "^TestRun_Parked$", deliverGo, "func refused(", "case keys[key]:", "case keys[key] && i < 0:"),
		edit("Capture/Letter/Poison", consumerPkg, "^TestRun_Poison$", deliverGo, "", "if d.failures >= last && len(changes) == 1 {", "if d.failures >= 1000*last && len(changes) == 1 {"),
		edit("Capture/Order/Shards", logPkg, "^TestRead_Shards$", "internal/capture/log/land.go", "", "h.Write([]byte(sink.Key(c)))", "h.Write([]byte(sink.Key(c) + string(c.Op)))"),
		edit("Capture/Order/Read", logPkg, "^TestRead_Shards$|^TestLand$", "internal/capture/log/read.go", "", "ORDER BY l.position\nLIMIT", "ORDER BY l.position DESC\nLIMIT"),
	}
}

// copying has mutants of how a Postgres sink handles repeated changes.
func copying() []broken {
	return []broken{
		edit("Capture/Copy/Older", sinkPostgresPkg, "^TestPostgres$|^TestPostgres_Concurrent$", targetGo, "", `older: "<"`, `older: "<>"`),
		edit("Capture/Copy/Tombstone", sinkPostgresPkg, "^TestPostgres", upsertGo, "", "OR NOT EXISTS (", "OR EXISTS (SELECT) OR NOT EXISTS ("),
		edit("Capture/Copy/TombstoneKept", sinkPostgresPkg, "^TestPostgres", upsertGo, "func (t *table) delete(", "WHERE d.position < EXCLUDED.position", "WHERE false"),
		edit("Capture/Copy/DeleteNewer", sinkPostgresPkg, "^TestPostgres", upsertGo, "func (t *table) delete(", "` x.position)", "` x.position OR true)"),
		edit("Capture/Copy/Unchanged", sinkPostgresPkg, "^TestPostgres", "internal/capture/sink/collapse.go", "", "if len(c.Unchanged) > 0 {", "if len(c.Unchanged) > 1000 {"),
	}
}
