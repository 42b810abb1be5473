package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// routed returns the routes of all pages, and a mux that knows them.
func routed(t *testing.T) (mux *http.ServeMux, patterns map[string]bool) {
	t.Helper()
	files, err := filepath.Glob("../../../ui/*/*.go")
	require.NoError(t, err)
	mux, patterns = http.NewServeMux(), map[string]bool{}
	for _, file := range files {
		source, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, match := range regexp.MustCompile(`mux\.Handle(?:Func)?\("(GET /[^"]*)", s\.`).FindAllStringSubmatch(string(source), -1) {
			mux.HandleFunc(match[1], func(http.ResponseWriter, *http.Request) {})
			patterns[match[1]] = true
		}
	}
	require.Greater(t, len(patterns), 30)
	return mux, patterns
}

// TestPaths fails if the benchmark has no address for a page.
func TestPaths(t *testing.T) {
	t.Parallel()
	mux, missing := routed(t)
	for _, path := range paths(options{jobs: 1000, dates: 10}) {
		_, pattern := mux.Handler(httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody))
		delete(missing, pattern)
	}
	require.Empty(t, missing)
}

// TestKinds fails if no browser looks at a page, or if the table in docs/ui.md lacks it.
func TestKinds(t *testing.T) {
	t.Parallel()
	mux, missing := routed(t)
	document, err := os.ReadFile("../../../docs/ui.md")
	require.NoError(t, err)
	_, text, _ := strings.Cut(string(document), "## How fast the pages are")
	text, _, _ = strings.Cut(text, "### The server's time")
	addresses := kinds(options{jobs: 1000, dates: 10})
	require.Contains(t, addresses, "/login")
	for _, path := range addresses {
		_, pattern := mux.Handler(httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody))
		delete(missing, pattern)
		at, _, _ := strings.Cut(path, "?")
		require.Contains(t, text, "| `"+kind(at)+"` |", "run pagebench with -browser, and put its table into docs/ui.md")
	}
	for pattern := range missing {
		require.Contains(t, filepath.Base(pattern), ".", "only files have no page")
	}
}
