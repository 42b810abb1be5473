package main

// archive has mutants of what keeps an archive complete, and a restore exact.
func archive() []broken {
	const (
		pkg        = "./internal/archive/restore"
		cmdPkg     = "./cmd/daymill"
		chainGo    = "internal/archive/chain/chain.go"
		copyGo     = "internal/archive/base/copy.go"
		baseGo     = "internal/archive/base/base.go"
		decodeGo   = "internal/archive/stream/decode.go"
		streamGo   = "internal/archive/stream/stream.go"
		installSQL = "internal/archive/ddl/install.sql"
		replayGo   = "internal/archive/restore/replay.go"
		restoreGo  = "internal/archive/restore/restore.go"
		retainGo   = "internal/archive/retention/retention.go"
	)
	return []broken{
		edit("Archive/Keeper/Unreadable", "./internal/archive/restore", "^TestUnreadable$", "internal/archive/keeper/keeper.go", "", "unreadable == wal.MostUnreadable", "unreadable < 0"),
		edit("Archive/Other/Cluster", pkg, "^TestOther$", "internal/archive/chain/belongs.go", "", "system != m.SystemID", "system == m.Slot"),
		edit("Archive/Other/Slot", pkg, "^TestOther$", "internal/archive/chain/belongs.go", "", "owner != database", "owner == m.Slot"),
		edit("Archive/Other/Publication", pkg, "^TestOther$", "internal/archive/chain/belongs.go", "", "!published && database", "!published && m.Slot == owner && database"),
		edit("Archive/Base/Lock", pkg, "^TestChain$/^LockedTables$", copyGo, "", `"LOCK TABLE ONLY "+table.Name+" IN ACCESS SHARE MODE"`, `"SELECT 1"`),
		edit("Archive/Base/Twice", pkg, "^TestRestore$/^ParallelBase$", copyGo, "", `arguments = append(arguments, "--exclude-table-data="+table.Name)`, "_ = table"),
		edit("Archive/Base/Vacate", pkg, "^TestFaults$/^InitInterrupted$", baseGo, "func vacate(", "return discard(ctx, config, m.Slot)", "return nil"),
		edit("Archive/Base/Discard", pkg, "^TestFaults$/^InitInterrupted$", baseGo, "", "errors.Join(err, discard(context.WithoutCancel(ctx), config, m.Slot))", "err"),
		edit("Archive/Base/Other", pkg, "^TestFaults$/^InitInterrupted$", baseGo, "func vacate(", "here.SystemID != m.SystemID || here.Database != m.Database", "here.SystemID != m.SystemID"),
		edit("Archive/Stream/Cut", pkg, "^TestRestore$/^ExactlyOnceAfterTornFiles$", "internal/archive/segment/writer.go", "", "w.file.Truncate(place)", "w.file.Sync()"),
		edit("Archive/Stream/Ahead", pkg, "^TestChain$/^ShorterFile$", "internal/archive/stream/stream.go", "", "case slot.Confirmed > to:", "case slot.Confirmed > to && to == 0:"),
		edit("Archive/Stream/Forged", pkg, "^TestRestore$/^ForgedMessage$", decodeGo, "", "case m.Prefix != d.prefix:", `case !strings.HasPrefix(m.Prefix, "daymill_archive"):`),
		edit("Archive/Stream/Sequence", pkg, "^TestChain$/^SequenceDropped$", "internal/archive/segment/sequence.go", "", "postgres.Code(err) == pgerrcode.InternalError", `postgres.Code(err) == "" + pgerrcode.UndefinedTable`),
		edit("Archive/DDL/Identity", pkg, "^TestRestore$/^Workload$", installSQL, "PERFORM daymill_archive.ship(the_table::oid);", "PERFORM daymill_archive.identify();", "NULL;"),
		edit("Archive/DDL/Unnoticed", pkg, "^TestChain$/^Unnoticed$", decodeGo, "", "case d.triggers && message.ReplicaIdentity == 'd'", "case d.triggers && message.ReplicaIdentity == 0"),
		edit("Archive/Base/Identify", pkg, "^TestChain$/^Unnoticed$", baseGo, "", "err = ddl.Identify(ctx, config.Source)", "err = ctx.Err()"),
		edit("Archive/DDL/Temporary", pkg, "^TestRestore$/^Workload$", "internal/archive/ddl/plain.go", "", "return s.permanent(m)", "return s.text"),
		edit("Archive/DDL/Rewritten", pkg, "^TestRestore$/^OddSettings$", installSQL, "", "PERFORM daymill_archive.ship(the_table::oid);", "NULL;"),
		edit("Archive/DDL/Role", pkg, "^TestRestore$/^RoleMadeLater$", installSQL, "", "INSERT INTO daymill_archive.role (name) VALUES (the.name);", "CONTINUE;"),
		edit("Archive/DDL/Member", pkg, "^TestChain$/^MemberLater$", decodeGo, "", `lent := settings["creates"] == "true" ||`, `lent := false &&`),
		edit("Archive/DDL/Super", pkg, "^TestLent$", installSQL, "", "ELSE jsonb_build_object('super', 'true') END", "END"),
		edit("Archive/DDL/SuperTakenBack", pkg, "^TestChain$/^SuperuserLater$", "internal/archive/base/begin.sql", "", "VALUES (format('ALTER ROLE %I NOSUPERUSER', the_role))", "VALUES ('SELECT 1')"),
		edit("Archive/DDL/Owner", pkg, "^TestChain$/^OwnDatabase$", "internal/archive/base/begin.sql", "", "EXECUTE format('ALTER DATABASE %I OWNER TO %I', current_database(), the_role);", ""),
		edit("Archive/DDL/Seal", pkg, "^TestRestore$/^ForgedSetting$", installSQL, "", "left(the_setting, 64) = daymill_archive.seal(the_name, substr(the_setting, 65), pg_current_xact_id()::text)", "length(the_setting) > 0"),
		edit("Archive/DDL/Tablespace", pkg, "^TestRestore$/^Tablespaces$", decodeGo, "", ` || name == "default_tablespace"`, ""),
		edit("Archive/DDL/LargeObject", pkg, "^TestRestore$/^Workload$", "internal/archive/ddl/plain.go", "", "case s.largeObject():", "case s.largeObject() && m.PID < 0:"),
		edit("Archive/DDL/LikeTemporary", pkg, "^TestChain$/^LikeTemporary$", "internal/archive/ddl/text.go", "", `message.Tag == "CREATE TABLE" && likeTemporary`, `message.Tag == "" && likeTemporary`),
		edit("Archive/DDL/TemporaryFunction", pkg, "^TestRestore$/^Workload$", installSQL, "", "c.classid IN ('pg_proc'::regclass, 'pg_type'::regclass)", "c.classid = 'pg_type'::regclass"),
		edit("Archive/DDL/TemporaryGrant", pkg, "^TestRestore$/^Workload$", "internal/archive/ddl/grant.go", "", "if functions && slices", "if functions && relations && slices"),
		edit("Archive/DDL/TemporaryType", pkg, "^TestRestore$/^Workload$", installSQL, "", "c.classid IN ('pg_proc'::regclass, 'pg_type'::regclass)", "c.classid = 'pg_proc'::regclass"),
		edit("Archive/DDL/TemporaryRule", pkg, "^TestRestore$/^Workload$", installSQL, "", "is_temporary OR object_identity ~ '\\mpg_temp(_\\d+)?\\.'", "is_temporary"),
		edit("Archive/DDL/TemporaryStatistics", pkg, "^TestRestore$/^Workload$", installSQL, "", "c.classid = 'pg_statistic_ext'::regclass AND", "c.classid = 0 AND"),
		edit("Archive/DDL/Place", pkg, "^TestText$/^Transactions$", "internal/archive/ddl/text.go", "", "message.Place != nil && len(firing) > 0", "message.Place == nil && len(firing) > 0"),
		edit("Archive/DDL/Counted", pkg, "^TestText$/^Transactions$", installSQL, "", "|| counts::text, false);", "|| counts::text, true);"),
		edit("Archive/DDL/RolledBack", pkg, "^TestText$/^RolledBack$", "internal/archive/ddl/fires.go", "", `case "ROLLBACK", "ABORT",`, `case "ABORT",`),
		edit("Archive/DDL/ScriptOf", pkg, "^TestText$/^NotCounted$", installSQL, "", "ELSIF daymill_archive.kept('extension') = 'on' THEN", "ELSIF false THEN"),
		edit("Archive/DDL/Continued", pkg, "^TestHostile$/^Continued$", "internal/archive/ddl/scan.go", "", "more := continued.FindString(s.sql[s.at:])", `more := ""`),
		edit("Archive/DDL/Return", pkg, "^TestHostile$/^Comment$", "internal/archive/ddl/scan.go", "", `strings.IndexAny(rest, "\n\r")`, `strings.IndexAny(rest, "\n")`),
		edit("Archive/DDL/Label", pkg, "^TestHostile$/^Body$", "internal/archive/ddl/split.go", "", `(before.text == ";" || before.text == "ATOMIC"):`, `before.text != "":`),
		edit("Archive/DDL/Conforming", pkg, "^TestTextSettings$/^Session$", installSQL, "CREATE FUNCTION daymill_archive.identify()", " SET standard_conforming_strings = on", ""),
		edit("Archive/Stream/Cascade", pkg, "^TestRestore$/^Workload$", decodeGo, "", `text + " CASCADE;\n"`, `text + ";\n"`),
		edit("Archive/Stream/SequenceReset", pkg, "^TestChain$/^SequenceReset$", streamGo, "", "if r.decoder.resets {", "if r.decoder.resets && ctx == nil {"),
		edit("Archive/Row/One", pkg, "^TestRestore$/^Workload$", "internal/archive/row/row.go", "", `condition + " LIMIT 1)"`, `condition + ")"`),
		edit("Archive/Restore/Verify", pkg, "^TestRestore$/^AlteredByOneByte$", restoreGo, "", "r.chain.VerifyFor(ctx, r.base); err != nil {", "r.chain.VerifyFor(ctx, r.base); err != nil && r.over {"),
		edit("Archive/Restore/Gap", pkg, "^TestChain$/^SlotDropped$", chainGo, "", "if g.From >= base.Position && beyond(g.From, g.At) {", "if g.From > g.From+base.Position {"),
		edit("Archive/Restore/Ahead", pkg, "^TestChain$/^BaseAhead$", chainGo, "", "case has && written < next.Position &&", "case has && written < base.Position &&"),
		edit("Archive/Restore/LaterThanAll", pkg, "^TestCover$/^LaterThanAll$", chainGo, "", "case !has && target.Time.After(last):", "case !has && target.Time.After(last) && lsn != \"\":"),
		edit("Archive/Script/LaterThanAll", pkg, "^TestCover$/^LaterThanAll$", "internal/archive/base/restore.sh", "", `{ [ -z "$next" ] || [ "$end" \< "$next" ]; }`, `[ "$end" \< "$next" ]`),
		edit("Archive/Script/Pruned", pkg, "^TestCover$/^PrunedScript$", "internal/archive/base/restore.sh", "", "if [ \"$first\" \\> \"$base\" ]; then", "if false; then"),
		edit("Archive/Script/Missing", pkg, "^TestRestore$/^AlteredByOneByte$", "internal/archive/base/restore.sh", "", `[ "$from" = "$final" ] ||`, `true ||`),
		edit("Archive/Script/Unsealed", pkg, "^TestRestore$/^AlteredByOneByte$", "internal/archive/base/restore.sh", "", `[ "$segment" = "${all##* }" ] ||`, `true ||`),
		edit("Archive/Script/AfterGap", pkg, "^TestCover$/^BeforeGap$", "internal/archive/base/restore.sh", "", `*" $final "*) ;; *)`, `*" $final $1 "*) ;; *)`),
		edit("Archive/Script/Deleted", pkg, "^TestCover$/^DeletedBeforeGap$", "internal/archive/base/restore.sh", "", `*" $final "*) ;; *)`, `*) ;; "")`),
		edit("Archive/Check/Deleted", pkg, "^TestCover$/^DeletedBeforeGap$", "internal/archive/chain/check.go", "", "g.Kind == GapSlot && g.From == position", "g.Kind == GapSlot && g.From >= position"),
		edit("Archive/Check/Ended", pkg, "^TestCheck$", "internal/archive/chain/check.go", "", "has && g.Kind == GapSlot && g.From > to", "has && g.Kind == GapSlot && g.From < to"),
		edit("Archive/Keeper/Removed", cmdPkg, "^TestArchiveLife$", "internal/archive/keeper/keeper.go", "", "err = manifest.Present(ctx, k.Source);", "err = ctx.Err();"),
		edit("Archive/Remove/Used", cmdPkg, "^TestArchiveLife$", "internal/archive/base/base.go", "", "case !found.Active:", "case found.Active || !found.Active:"),
		edit("Archive/Restore/Door", pkg, "^TestTwice$", "internal/archive/restore/restore.go", "", "SELECT pg_catalog.pg_advisory_lock(", "SELECT abs("),
		edit("Archive/Script/BeforeGap", pkg, "^TestCover$/^BeforeGap$", "internal/archive/base/restore.sh", "", "if (!over && end", "if (end"),
		edit("Archive/Base/Alone", pkg, "^TestCover$/^(LateBase|TwoKeepers)$", baseGo, "", "err = ErrBusy", "err = nil"),
		edit("Archive/Stream/Older", pkg, "^TestOlder$/^Shorter$", streamGo, "", "case system.WAL+unfinished < to,", "case system.WAL < to && to == 0,"),
		edit("Archive/Stream/OlderGap", pkg, "^TestOlder_AfterGap$", streamGo, "", "&& o.confirmed < begins {", "&& o.confirmed < 1 {"),
		edit("Archive/Stream/OlderQuiet", pkg, "^TestOlder$/^Quiet$", streamGo, "", "if !r.open && r.end > last.LSN {", "if r.open && r.end > last.LSN {"),
		edit("Archive/Stream/IdlePosition", pkg, "^TestIdlePosition$/^Open$", decodeGo, "", "case d.writer.Last.LSN == 0:", "case d.writer.Last.LSN >= 0:"),
		edit("Archive/Stream/IdleSealed", pkg, "^TestIdlePosition$/^Sealed$", "internal/archive/segment/writer.go", "", "!w.appends() || w.after > lsn", "!w.appends()"),
		edit("Archive/Keeper/OlderSlot", pkg, "^TestOlder$", "internal/archive/keeper/keeper.go", "case errors.Is(err, stream.ErrOlder):", "err = errors.Join(err, wal.DropSlot(ctx, k.Source, manifest.Slot))", "_ = wal.DropSlot"),
		edit("Archive/Gap/Ahead", pkg, "^TestChain$/^BaseAhead$", chainGo, "func (c *Chain) Missing(", "to, last := c.Written()", "to, last := c.End()"),
		edit("Archive/Gap/Later", pkg, "^TestChain$/^BaseAhead$", chainGo, "func (c *Chain) Missing(", "if b.Position > to {", "if b.Position > to && last.IsZero() {"),
		edit("Archive/Script/Ahead", pkg, "^TestChain$/^BaseAhead$", "internal/archive/base/restore.sh", "", `{ [ -z "$next" ] || [ "$end" \< "$next" ]; }`, `[ -z "$next" ]`),
		edit("Archive/Restore/Position", pkg, "^TestChain$/^Resumed$", replayGo, "", "skip = r.over || r.here < r.position", "skip = r.over || r.here < r.base.Position"),
		edit("Archive/Restore/Order", pkg, "^TestRestore$/^SentTogether$", "internal/archive/restore/joined.go", "func (j *joined) line(", "if err := j.flush(); err != nil {", "if err := error(nil); err != nil {"),
		edit("Archive/Restore/Locked", pkg, "^TestRestore$/^InterruptedSession$", "internal/archive/restore/psql.go", "", `+"SELECT pg_advisory_lock_shared("+lock+");\n"`, ""),
		edit("Archive/Restore/Waits", pkg, "^TestRestore$/^InterruptedSession$", restoreGo, "", `"SELECT pg_catalog.pg_advisory_xact_lock("+lock+")"`, `"SELECT " + lock`),
		edit("Archive/Restore/Calm", pkg, "^TestRestore$/^EnabledAlways$", "internal/archive/restore/parts.go", "", `"SELECT daymill_restore.calm();\n"`, `""`),
		edit("Archive/Proof/Due", cmdPkg, "^TestArchiveProof$", "internal/worker/archive.go", "", "now.Sub(archive.Proofs[n-1].At) > a.ProveEvery)", "now.Sub(archive.Proofs[n-1].At) < 0)"),
		edit("Archive/Proof/Verdict", cmdPkg, "^TestArchiveProof$", "internal/archive/standing/standing.go", "", "f.Chain.Proofs[n-1].Failure != \"\" {", "f.Chain.Proofs[n-1].Failure == \"-\" {"),
		edit("Archive/Proof/Verified", cmdPkg, "^TestArchiveProof$", "internal/archive/restore/restore.go", "", "r.chain.VerifyFor(ctx, r.base); err != nil {", "r.chain.VerifyFor(ctx, r.base); err != nil && r.over {"),
		edit("Archive/Row/Collation", pkg, "^TestCollation$", "internal/archive/row/row.go", "", "+\" AND \"+name+` COLLATE \"C\" = `+literal", ""),
		edit("Archive/Row/Domain", pkg, "^TestCollation$", "internal/archive/row/row.go", "", `COLLATE \"C\" = "+Literal`, `= "+Literal`),
		edit("Archive/Prune/Anchor", pkg, "^TestChain$/^Prune$", retainGo, "", "b.Position >= anchor.Position || ", ""),
		edit("Archive/Prune/Last", pkg, "^TestOlder_Pruned$", retainGo, "", "p.From = s.From //", "p.From = s.To //"),
		edit("Archive/Prune/Torn", pkg, "^TestFaults$/^BaseInterrupted$", retainGo, "", "if err := s.DeleteSubdirectory(dir); err != nil {", "if err := error(nil); err != nil {"),
		edit("Archive/Prune/Unfinished", pkg, "^TestFaults$/^BaseInterrupted$", retainGo, "", "dir < anchor && ", `anchor != "" && `),
	}
}
