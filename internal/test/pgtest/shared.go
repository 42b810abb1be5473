package pgtest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// Shared returns the path of ../shared/data beside the repository, where real event logs lie. A test that wants them is
// skipped where the folder is absent, and fails in CI (where the variable CI is set), which has them.
func Shared(tb testing.TB) string {
	tb.Helper()
	dir := filepath.Join(filepath.Dir(Root(tb)), "shared", "data")
	if _, err := os.Stat(dir); err != nil {
		if os.Getenv("CI") != "" {
			require.NoError(tb, err, "CI should have the real event data")
		}
		tb.Skipf("the real event data is not there: put it in %s to run this test", dir)
	}
	return dir
}

// Root returns the repository's directory.
func Root(tb testing.TB) string {
	tb.Helper()
	dir, err := os.Getwd()
	require.NoError(tb, err)
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		require.NotEqual(tb, filepath.Dir(dir), dir, "no go.mod above the working directory")
		dir = filepath.Dir(dir)
	}
}
