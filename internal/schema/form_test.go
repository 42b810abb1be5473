package schema_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
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
	files, err := filepath.Glob("../../queries/*.sql")
	require.NoError(t, err)
	statements := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, statement := range regexp.MustCompile(`(?m)^-- name: `).Split(string(text), -1) {
			statement = regexp.MustCompile(`(?m)--.*$`).ReplaceAllString(statement, "")
			name, _, _ := strings.Cut(statement, " ")
			if !distributed.MatchString(statement) || slices.Contains(never, name) {
				continue
			}
			statements++
			for what, form := range refused {
				for _, found := range form.FindAllString(statement, -1) {
					require.Regexp(t, limit, found, "%s: %s", filepath.Base(file), what)
				}
			}
		}
	}
	require.Greater(t, statements, 10)
}
