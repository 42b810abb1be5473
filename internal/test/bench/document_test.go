package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const root = "../../.."

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	require.NoError(t, err)
	return string(text)
}

// TestDocument: the documents match the scenarios, targets and plots.
func TestDocument(t *testing.T) {
	t.Parallel()
	require.Contains(t, read(t, "docs/benchmarks.md"), statementSQL(largeDate(), within(largeDate())))
	both := read(t, "docs/benchmarks.md") + read(t, "docs/benchmarks-capture.md")
	for _, target := range regexp.MustCompile(`(?m)^(bench[a-z-]*):`).FindAllStringSubmatch(read(t, "Makefile"), -1) {
		if target[1] != "bench-pages" { // It belongs to the benchmark of the pages.
			require.Contains(t, both, "make "+target[1])
		}
	}
	for name, all := range map[string][]scenario{"docs/benchmarks.md": scenarios(), "docs/benchmarks-capture.md": captures()} {
		_, rest, begins := strings.Cut(read(t, name), beginMarker)
		generated, _, ends := strings.Cut(rest, endMarker)
		require.True(t, begins && ends, name)
		plots := regexp.MustCompile(`\((images/bench-[a-z]+\.svg)\)`).FindAllStringSubmatch(generated, -1)
		require.GreaterOrEqual(t, len(plots), len(all)-1, "%s: one may be missing, if there is no psql", name)
		for _, plot := range plots {
			require.Contains(t, read(t, "docs/"+plot[1]), "<svg")
		}
	}
}

// TestRatios: the committed ratios can be used by bench-check.
func TestRatios(t *testing.T) {
	t.Parallel()
	kept, err := readKept("ratios.json")
	require.NoError(t, err)
	require.Greater(t, len(kept), 15)
	var ids []string
	for _, k := range kept {
		name, _, _ := strings.Cut(k.ID, ".")
		require.Contains(t, names(), name)
		require.Positive(t, k.Value, k.ID)
		require.Positive(t, k.Margin, k.ID)
		ids = append(ids, k.ID)
	}
	require.True(t, slices.IsSorted(ids))
	require.Len(t, slices.Compact(ids), len(kept))
}
