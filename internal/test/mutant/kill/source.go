package main

// sources has mutants of what notices that analytics.events reads something else than people think, and of the watch's triggers.
func sources() []broken {
	const (
		pkg        = "./internal/rollup/source"
		schemaPkg  = "./internal/schema"
		sourceSQL  = "internal/db/source.sql.go"
		faultGo    = "internal/rollup/source/fault.go"
		functionGo = "internal/rollup/source/watch_function.go"
	)
	return []broken{
		edit("Source/Swapped", schemaPkg+"/inventory", "^TestSwapped$", sourceSQL, "const sourceSwapped =", "c.oid <> k.oid", "c.oid = 0"),
		edit("Source/Exchanged", pkg, "^TestWatchScope_Exchanged$", faultGo, "func Faults(", "checkSwapped(ctx, tx); err == nil {", "checkSwapped(ctx, tx); err != nil {"),
		edit("Source/SwappedReads", pkg, "^TestSwappedReads$", sourceSQL, "const sourceReadsSwapped =", "k.oid <> c.oid", "k.oid = 0"),
		edit("Source/ReadsKept", pkg, "^TestSwappedReads$", sourceSQL, "const sourceReadsRecord =", "(WHERE s.written <> ", "(WHERE s.relation_name <> '' OR s.written <> "),
		edit("Source/ReadsWritten", pkg, "^TestSwappedReads$", sourceSQL, "const sourceReadsSwapped =", "WHERE s.written = ", "WHERE s.written <> '' OR s.written = "),
		edit("Source/ReadsBehind", pkg, "^TestSwappedReads$/^ViewBehind$", sourceSQL, "const sourceReadsNow =", "AND c.relkind = 'v'", "AND c.relkind = 'm'"),
		edit("Watch/Typed", pkg, "^TestWatchScope_Casts$", functionGo, "", "IF NOT daymill_typed THEN", "IF false THEN"),
		edit("Watch/Columns", pkg, "^TestWatchScope_Exchanged$", functionGo, "", "SELECT count(*) = %d FROM", "SELECT count(*) <= %d FROM"),
		edit("Schema/Role", schemaPkg, "/^MissingRights$", "internal/schema/schema.go", "", `role != "none"`, `role == ""`),
		edit("Schema/Rights", schemaPkg, "/^MissingRights$", "internal/schema/schema.go", "func rights(", "connect as the role that ran `daymill migrate`, or grant this role that one: %w", "%w"),
	}
}
