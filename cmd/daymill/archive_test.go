package main

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestArchive: the verbs that read an archive need no database, and count in words.
func TestArchive(t *testing.T) {
	t.Parallel()
	dir := archiveOfAnother(t)
	run := func(args ...string) string {
		_, stdout, _ := command(t.Context(), "postgres://127.0.0.1:1/nothing", append([]string{"archive", "--archive", "file://" + dir}, args...)...)
		return stdout
	}
	require.Equal(t, "2 files compared, all unchanged; segments follow one another, except at 1 known gap\n", run("verify"))
	require.Equal(t, "would delete 0 segments and 0 bases, 0 bytes\n", run("prune", "--dry-run"))
	status := run("status")
	require.Contains(t, status, "segments\t1 sealed, 1 transaction, 1 bytes")
	require.Contains(t, status, ", 1 relation and 1 row equal\n")
}

// TestArchiveOfOther: verbs that change an archive or its database refuse another database, and remove says what it has done.
func TestArchiveOfOther(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t, map[string]string{"wal_level": "logical"})
	db := pgtest.On(t, server, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	other := pgtest.On(t, server, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	at := "file://" + filepath.Join(t.TempDir(), "archive")
	run := func(db *pgtest.DB, args ...string) (code int, stdout, stderr string) {
		return command(t.Context(), db.URL, append([]string{"archive", "--archive", at}, args...)...)
	}
	code, _, stderr := run(db, "init")
	require.Equal(t, exitOK, code, stderr)
	triggers := func(db *pgtest.DB) (n int) {
		return pgtest.Value[int](t, db, "SELECT count(*) FROM pg_event_trigger WHERE evtname LIKE 'daymill%'")
	}
	before := triggers(db)
	require.Positive(t, before)
	for _, args := range [][]string{{"base"}, {"run"}, {"prove", "--scratch", db.URL}, {"remove"}} {
		code, stdout, stderr := run(other, args...)
		require.Equal(t, exitFailed, code, args)
		require.Empty(t, stdout, args)
		require.Equal(t, "daymill: the archive belongs to database "+db.Name+", and not to "+other.Name+": give the archive's own database with --database-url\n", stderr, args)
	}
	require.Equal(t, before, triggers(db))
	code, stdout, stderr := run(db, "remove")
	require.Equal(t, exitOK, code, stderr)
	require.Equal(t, db.Name+" has no slot, publication and event triggers of the archive any more; the archive's files stay\n", stdout)
	require.Zero(t, triggers(db))
}
