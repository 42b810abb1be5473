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

// TestDocument: docs/benchmarks.md matches the scenarios, targets and plots.
func TestDocument(t *testing.T) {
	t.Parallel()
	document := read(t, "docs/benchmarks.md")
	_, rest, begins := strings.Cut(document, beginMarker)
	generated, _, ends := strings.Cut(rest, endMarker)
	require.True(t, begins && ends)
	require.Contains(t, document, statementSQL(largeDate(), within(largeDate())))

	for _, target := range regexp.MustCompile(`(?m)^(bench[a-z-]*):`).FindAllStringSubmatch(read(t, "Makefile"), -1) {
		if target[1] != "bench-pages" { // It belongs to the benchmark of the pages.
			require.Contains(t, document, "make "+target[1])
		}
	}
	plots := regexp.MustCompile(`\((images/bench-[a-z]+\.svg)\)`).FindAllStringSubmatch(generated, -1)
	require.GreaterOrEqual(t, len(plots), len(scenarios())-1, "one may be missing, if there is no psql")
	for _, plot := range plots {
		require.Contains(t, read(t, "docs/"+plot[1]), "<svg")
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
