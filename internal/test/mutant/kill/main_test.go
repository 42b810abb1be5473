package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/test/mutant"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestList: the mutants match the current code. `make mutants` runs the tests on each.
func TestList(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, m := range list() {
		require.False(t, names[m.name], m.name)
		names[m.name] = true
		_, err := mutant.Overlay(pgtest.Root(t), t.TempDir(), m.edits...)
		require.NoError(t, err, m.name)
	}
}
