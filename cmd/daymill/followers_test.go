package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSourceURLs: URLs are separated by commas, which a URL may also have between its hosts.
func TestSourceURLs(t *testing.T) {
	t.Parallel()
	require.Empty(t, sourceOptions{SourceURL: []string{""}}.urls())
	require.Equal(t, []string{"postgres://a,b/x", "postgresql://c/x", "host=d,e"}, sourceOptions{SourceURL: []string{
		"postgres://a,b/x, postgresql://c/x", "host=d,e",
	}}.urls())
}
