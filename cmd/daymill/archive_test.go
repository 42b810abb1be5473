package main

import (
	"testing"

	"github.com/stretchr/testify/require"
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
