package schema_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestForm checks that statements over events and metrics have a form that Citus takes, where these tables may be distributed. It was
// tried with Citus 13.2. An empty target list and now() in DO UPDATE are errors there, and so is a statement that changes a local table and reads
// a distributed one, if it calls clock_timestamp(). EXISTS without LIMIT fetches all rows.
func TestForm(t *testing.T) {
	t.Parallel()
	distributed := regexp.MustCompile(`FROM\s+analytics\.(events|daily_entity_metrics)\b|INTO\s+analytics\.daily_entity_metrics\b`)
	refused := map[string]*regexp.Regexp{
		"an empty target list":             regexp.MustCompile(`SELECT\s+FROM\s+analytics\.(events|daily_entity_metrics)\b`),
		"a volatile function in an update": regexp.MustCompile(`(?s)DO UPDATE.*\b(now|clock_timestamp|statement_timestamp|random)\(`),
		"a change of a local table":        regexp.MustCompile(`(UPDATE|INSERT\s+INTO|DELETE\s+FROM)\s+(daymill\.|analytics\.([^d]|d[^a]))`),
		"EXISTS without LIMIT":             regexp.MustCompile(`EXISTS\s*\(\s*SELECT[^()]*FROM\s+analytics\.(events|daily_entity_metrics)\b(?:[^()]|\([^()]*\))*\)`),
	}
	never := []string{"DateHold", "DateSettle"} // Of small dates, which a run takes like others where there is Citus: see TestRunFew.
	limit := regexp.MustCompile(`LIMIT 1\s*\)$`)
	check := func(file, statement string) bool {
		if !distributed.MatchString(statement) {
			return false
		}
		for what, form := range refused {
			for _, found := range form.FindAllString(statement, -1) {
				require.Regexp(t, limit, found, "%s: %s", file, what)
			}
		}
		return true
	}
	statements := 0
	files, err := filepath.Glob("../../queries/*.sql")
	require.NoError(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, statement := range regexp.MustCompile(`(?m)^-- name: `).Split(string(text), -1) {
			statement = regexp.MustCompile(`(?m)--.*$`).ReplaceAllString(statement, "")
			name, _, _ := strings.Cut(statement, " ")
			if !slices.Contains(never, name) && check(filepath.Base(file), statement) {
				statements++
			}
		}
	}
	require.Greater(t, statements, 10)

	// Some statements are texts in Go, because sqlc cannot have them.
	inGo := 0
	for _, statement := range literals(t, "../../cmd", "../../internal", "../../ui") {
		if check("a text in Go", statement) {
			inGo++
		}
	}
	require.Greater(t, inGo, 3)
}

// literals returns the texts in the Go files of folders, other than those of tests and generated ones.
func literals(t *testing.T, folders ...string) (all []string) {
	t.Helper()
	for _, folder := range folders {
		err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
			slashed := filepath.ToSlash(path)
			switch {
			case err != nil:
				return err
			case entry.IsDir() && (strings.HasSuffix(slashed, "/internal/db") || strings.HasSuffix(slashed, "/internal/test")):
				return filepath.SkipDir
			case filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go"):
				return nil
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(node ast.Node) bool {
				if literal, ok := node.(*ast.BasicLit); ok && literal.Kind == token.STRING {
					text, err := strconv.Unquote(literal.Value)
					require.NoError(t, err)
					all = append(all, text)
				}
				return true
			})
			return nil
		})
		require.NoError(t, err)
	}
	return all
}
