package event

import (
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMemory imports a file of rows of 2 KB with ids of 1 KB, half a gigabyte of it: the memory in use is that of the
// chunks, and the same at the end as at the beginning.
func TestMemory(t *testing.T) { //nolint:paralleltest // Other tests take memory, too.
	b := setup(t, textInUTC)
	b.importer.DryRun = true
	b.importer.MaxErrors = 1 << 40
	row := strings.Repeat("é", MaxLength/2) + ",view,2026-03-01T00:00:00Z," + strings.Repeat("x", 1000) + "\n"
	row += strings.Replace(row, "view", "", 1) // a bad one
	const size = 512 << 20
	most := uint64(0)
	chunks := 0
	b.importer.Observe = func(Progress) {
		chunks++
		if chunks%8 != 0 {
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
	require.Greater(t, report.Bad, int64(100_000))
	require.Len(t, b.bad, mostShown)
	require.Greater(t, chunks, 8)
	t.Logf("%d chunks, %d MiB", chunks, most>>20)
	require.Less(t, most, uint64(64<<20))
}
