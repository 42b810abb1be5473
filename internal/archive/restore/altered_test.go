package restore_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/archive/restore"
	"github.com/daymill/daymill/internal/archive/segment"
)

// alteredByOneByte: verify, a restore and the script refuse files that are altered, truncated or missing.
func alteredByOneByte(t *testing.T, b *testBundle) {
	t.Helper()
	stop := b.run(t, 1)
	b.psql(t, "-c", "CREATE TABLE t (id int PRIMARY KEY)", "-c", "INSERT INTO t VALUES (12345)")
	b.caughtUp(t)
	stop()
	archive := b.chain(t)
	_, err := archive.Verify(t.Context())
	require.NoError(t, err)
	at := slices.IndexFunc(archive.Segments, func(seal segment.Seal) bool { return strings.Contains(read(t, b.path(seal.File)), "12345") })
	require.GreaterOrEqual(t, at, 0)
	path := b.path(archive.Segments[at].File)
	whole := read(t, path)
	atOnce := func(what string) {
		into := b.fresh(t)
		require.Contains(t, b.refused(t, into), what)
		require.Equal(t, "0", b.value(t, into, "SELECT count(*)::text FROM pg_namespace WHERE nspname = 'daymill_restore'"), "the script has restored the base before it refused")
	}
	for content, want := range map[string]string{
		strings.Replace(whole, "12345", "12346", 1): "was modified after it was written",
		whole[:len(whole)-7]:                        "is truncated",
	} {
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		_, err := archive.Verify(t.Context())
		require.ErrorContains(t, err, want)
		_, err = restore.Run(t.Context(), restore.Config{Store: b.store, Into: b.fresh(t)})
		require.ErrorContains(t, err, want)
		atOnce("FAILED")
	}
	require.NoError(t, os.Remove(path))
	require.NoError(t, os.Remove(strings.TrimSuffix(path, ".zst")+".json"))
	archive = b.chain(t)
	_, err = archive.Verify(t.Context())
	require.ErrorContains(t, err, "a segment is missing")
	atOnce("a segment is missing: after ")
	// A segment that has lost its seal looks like the one that is being written, but others follow.
	seal := strings.TrimSuffix(b.path(archive.Segments[0].File), ".zst") + ".json"
	require.NoError(t, os.Rename(seal, seal+".lost"))
	atOnce("is not sealed, but others follow")
	require.NoError(t, os.Rename(seal+".lost", seal))
	// begin.sql and its neighbours are a part of what a restore runs.
	require.NoError(t, os.WriteFile(filepath.Join(b.archive, "end.sql"), []byte("SELECT 1;\n"), 0o600))
	require.Contains(t, b.refused(t, b.fresh(t)), "end.sql: FAILED")
}
