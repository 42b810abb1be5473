package ui_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestHelp checks that every state of docs/states.md is explained, and that every explained word leads to its explanation.
func TestHelp(t *testing.T) {
	t.Parallel()
	s := troubled(t)
	help := s.get(t, "/help").body
	states, err := os.ReadFile(filepath.Join(pgtest.Root(t), "docs", "states.md"))
	require.NoError(t, err)
	_, table, found := strings.Cut(string(states), "\n## Dates\n")
	require.True(t, found)
	table, _, _ = strings.Cut(table, "\n## ")
	rows := regexp.MustCompile("(?m)^\\| `([a-z]+)` \\|").FindAllStringSubmatch(table, -1)
	require.Greater(t, len(rows), 8)
	for _, row := range rows {
		require.Contains(t, help, `id="`+row[1]+`"`)
	}
	for _, path := range []string{"/dates/2026-03-02", "/backfills", "/schedule", "/verifications"} {
		body := s.get(t, path).body
		require.Contains(t, body, `href="/help"`, path)
		words := regexp.MustCompile(`class="term" href="/help#([a-z_]+)" title="[^"]+"`).FindAllStringSubmatch(body, -1)
		require.NotEmpty(t, words, path)
		for _, word := range words {
			require.Contains(t, help, `id="`+word[1]+`"`, path)
		}
	}
}
