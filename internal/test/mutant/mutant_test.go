package mutant_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/test/mutant"
)

func TestOverlay(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(root, "a.go"), []byte("first a = 1; second a = 1"), 0o600))

	dir := t.TempDir()
	path, err := mutant.Overlay(root, dir, mutant.Edit{File: "a.go", After: "second", From: "1", To: "2"})
	require.NoError(t, err)
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	require.JSONEq(t, `{"Replace": {"`+filepath.Join(root, "a.go")+`": "`+filepath.Join(dir, "0.go")+`"}}`, string(content))
	content, err = os.ReadFile(filepath.Join(dir, "0.go"))
	require.NoError(t, err)
	require.Equal(t, "first a = 1; second a = 2", string(content))

	for _, edit := range []mutant.Edit{
		{File: "a.go", From: "a = 1", To: ""},
		{File: "a.go", From: "third", To: ""},
		{File: "a.go", After: "second", From: "first", To: ""},
		{File: "a.go", After: "a =", From: "1", To: "2"},
	} {
		_, err = mutant.Overlay(root, dir, edit)
		require.ErrorIs(t, err, mutant.ErrChanged)
	}
}
