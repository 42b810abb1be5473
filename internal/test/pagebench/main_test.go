package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPaths fails if the benchmark has no address for a page.
func TestPaths(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../../ui/*/*.go")
	require.NoError(t, err)
	mux, missing := http.NewServeMux(), map[string]bool{}
	for _, file := range files {
		source, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, match := range regexp.MustCompile(`mux\.Handle(?:Func)?\("(GET /[^"]*)", s\.`).FindAllStringSubmatch(string(source), -1) {
			mux.HandleFunc(match[1], func(http.ResponseWriter, *http.Request) {})
			missing[match[1]] = true
		}
	}
	require.Greater(t, len(missing), 30)
	for _, path := range paths(options{jobs: 1000, dates: 10}) {
		_, pattern := mux.Handler(httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody))
		delete(missing, pattern)
	}
	require.Empty(t, missing)
}
