package event

import (
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMemory reads a gigabyte of rows of 20 KB with ids of 1 KB: what is in memory is two chunks of ids, 16 MB.
func TestMemory(t *testing.T) { //nolint:paralleltest // Other tests take memory, too.
	b := setup(t, textInUTC)
	b.importer.DryRun = true
	b.importer.MaxErrors = 1 << 40
	row := strings.Repeat("é", MaxLength/2) + ",view,2026-03-01T00:00:00Z," + strings.Repeat("x", 19_000) + "\n"
	row += strings.Replace(row, "view", "", 1) // a bad one
	const size = 1 << 30
	most := uint64(0)
	chunks := 0
	b.importer.Observe = func(Progress) {
		chunks++
		if chunks%2 != 0 {
			return
		}
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		most = max(most, stats.HeapAlloc)
	}
	input := io.MultiReader(strings.NewReader(strings.TrimSuffix(header, "\n")+",rest\n"), io.LimitReader(&endless{text: row}, size))
	report, err := b.importer.Import(t.Context(), "", input)
	require.NoError(t, err)
	require.Greater(t, report.Bad, int64(25_000))
	require.Len(t, b.bad, mostShown)
	require.Greater(t, chunks, 2)
	t.Logf("%d chunks, %d MiB", chunks, most>>20)
	require.Less(t, most, uint64(150<<20)) // This includes memory that is not collected yet.
}
