package restore_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/archive/chain"
	"github.com/daymill/daymill/internal/archive/restore"
	"github.com/daymill/daymill/internal/archive/retention"
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
		whole + "\n":                                fmt.Sprintf("was modified after it was written: it has %d bytes, and had %d", len(whole)+1, len(whole)),
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

// deletedBeforeGap: a gap excuses what was lost with the open segment, and not that sealed segments before it were deleted.
func deletedBeforeGap(t *testing.T, b *testBundle) {
	t.Helper()
	stop := b.run(t, 1)
	b.psql(t, "-c", "INSERT INTO t VALUES (2)")
	b.caughtUp(t)
	m := b.now(t)
	b.psql(t, "-c", "INSERT INTO t VALUES (3)")
	b.caughtUp(t)
	stop()
	stop = b.run(t, 0)
	b.psql(t, "-c", "INSERT INTO t VALUES (4)")
	b.caughtUp(t)
	stop()
	archive := b.chain(t)
	require.NoError(t, os.Remove(archive.OpenPath())) // As if it was lost with a machine.
	stop = b.keepSoon(t)
	b.gapped(t, "is ahead of the last segment")
	b.psql(t, "-c", "INSERT INTO t VALUES (5)")
	b.caughtUp(t)
	stop()
	archive = b.chain(t)
	_, err := archive.Verify(t.Context())
	require.NoError(t, err)
	b.equal(t, b.restored(t, restore.Config{}))
	b.exact(t, m)

	last := archive.Segments[len(archive.Segments)-1]
	require.Equal(t, archive.Gaps[0].From, last.To)
	require.NoError(t, os.Remove(b.path(last.File)))
	require.NoError(t, os.Remove(b.path(last.File)+".json"))
	for _, comes := range []string{segment.Name(archive.Open), "the gap from " + last.To + " on"} {
		missing := "a segment is missing: after " + last.From + " comes " + comes
		read := b.chain(t)
		_, err = read.Verify(t.Context())
		require.ErrorContains(t, err, missing)
		_, err = restore.Run(t.Context(), restore.Config{Store: b.store, Into: b.fresh(t)})
		require.ErrorContains(t, err, missing)
		require.Contains(t, b.refused(t, b.fresh(t)), missing)
		b.denied(t, m, missing, missing, missing)
		if read.Open != "" {
			require.NoError(t, os.Remove(read.OpenPath()))
		}
	}
}

// TestCheck: a gap begins where a segment ends, or at a base after which nothing was archived.
func TestCheck(t *testing.T) {
	t.Parallel()
	at := func(n string) string { return "00000000/0" + n + "000000" }
	base := func(n string) chain.Base { return chain.Base{Position: at(n)} }
	gap := func(n string) chain.Gap { return chain.Gap{From: at(n), Kind: chain.GapSlot} }
	seal := func(from, to string) segment.Seal { return segment.Seal{From: at(from), To: at(to)} }
	c := chain.Chain{
		Manifest: chain.Manifest{From: at("1")}, Bases: []chain.Base{base("1"), base("3"), base("4"), base("7")},
		Gaps: []chain.Gap{gap("2"), gap("3"), {From: at("5"), Kind: chain.GapSchema}, gap("6")}, Segments: []segment.Seal{seal("1", "2"), seal("4", "6"), seal("7", "8")},
	}
	require.NoError(t, c.Check())
	for i, want := range []string{"after " + at("1") + " comes ", "after " + at("4") + " comes "} {
		c := c
		c.Segments = slices.Delete(slices.Clone(c.Segments), i, i+1)
		require.ErrorContains(t, c.Check(), want)
	}
	c.Segments = c.Segments[:1]
	require.ErrorContains(t, c.Check(), "after "+at("4")+" comes the gap from "+at("6"))
}

// strayFiles: nothing reads files that somebody has put into the archive, and pruning does not delete them.
func strayFiles(t *testing.T, b *testBundle) {
	t.Helper()
	strays := []string{"bases/.notes/list", "bases/notes/base.json", "gaps/notes.json", "notes", "proofs/notes.json", "segments/.notes", "segments/notes.sql", "segments/notes.sql.json"}
	for _, name := range strays {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(b.archive, name)), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(b.archive, name), []byte("-"), 0o600))
	}
	_, err := retention.Prune(t.Context(), b.store, retention.Default(), time.Now())
	require.NoError(t, err)
	archive := b.chain(t)
	found, err := archive.Strays(t.Context())
	require.NoError(t, err)
	require.Equal(t, strays, found)
	_, err = archive.Verify(t.Context())
	require.EqualError(t, err, "bases/.notes/list does not belong to the archive, nor do 7 others: nothing reads it, so move it elsewhere")
	b.equal(t, b.restored(t, restore.Config{}))
}
