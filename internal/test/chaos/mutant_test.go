package chaos_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/test/pgtest"
)

var mutantSeeds = flag.Uint64("mutants", 0, "run each mutant until it is caught, for so many seeds at most")

// mutant is the code broken in one way.
type mutant struct {
	name  string
	edits []edit
}

// edit replaces text that is in a file exactly once.
type edit struct{ file, from, to string }

var mutants = []mutant{
	{"Fence", []edit{{
		"internal/rollup/run/lease.go", "	if err == nil && rows == 0 {\n		return ErrFenced\n	}\n	return err\n", "	return err\n",
	}}},
	{"ConsumeAll", []edit{{ // A run satisfies what is open when it settles, and not what it claimed.
		"internal/db/request.sql.go",
		"WHERE r.metric_date = $1 AND r.resolved_at IS NULL AND r.run_id = $2::bigint",
		"WHERE r.metric_date = $1 AND r.resolved_at IS NULL AND $2::bigint IS NOT NULL",
	}}},
	{"ClaimLate", []edit{
		{"internal/rollup/run/run.go", "	if err := a.claim(ctx); err != nil {\n		return err\n	}\n	if err := a.follow", "	if err := a.follow"},
		{"internal/rollup/run/run.go", "			return a.during(ctx, PhaseSettle, a.settle)\n", "			if err := a.claim(ctx); err != nil {\n				return err\n			}\n			return a.during(ctx, PhaseSettle, a.settle)\n"},
	}},
	{"CursorKept", []edit{{ // A scan from the start begins above the cursor of the run before.
		"internal/rollup/run/ledger.go", "	if last.Cursor != nil && last.Recent && !fresh {", "	a.cursor = last.Cursor\n	if last.Cursor != nil && last.Recent && !fresh {",
	}}},
	{"CursorResumedForAll", []edit{ // A run that resumes serves requests that came since.
		{"internal/rollup/run/ledger.go", "last.Recent && !fresh {", "last.Recent && (fresh || !fresh) {"},
		{"internal/rollup/run/ledger.go", "a.scanRun == a.id && claimed == mostRequests", "claimed == mostRequests"},
		{"internal/rollup/run/ledger.go", "RunID: a.id, MetricDate: a.order.Date, MaxRows: mostRequests,", "RunID: a.scanRun, MetricDate: a.order.Date, MaxRows: mostRequests,"},
	}},
	{"CursorAhead", []edit{{ // The cursor moves in a transaction of its own, before the batch.
		"internal/rollup/batch/batch.go", "		return p.Session.Tx(ctx, limit, func(on postgres.DBTX) error {\n			queries",
		`		if err := p.Session.Tx(ctx, limit, func(on postgres.DBTX) error {
			last := changes[len(changes)-1]
			return p.Advance(ctx, db.New(on), last.id, last.through)
		}); err != nil {
			return err
		}
		return p.Session.Tx(ctx, limit, func(on postgres.DBTX) error {
			queries`,
	}}},
	{"RemoveNone", []edit{{ // Entities that vanished stay.
		"internal/rollup/batch/batch.go", "if len(r.gone.EntityIds) > 0 {", "if len(r.gone.EntityIds) > 1<<30 {",
	}}},
}

// overlay writes the mutant's files, and the overlay that has the build take them instead of the repository's.
func (m mutant) overlay(t *testing.T) string {
	t.Helper()
	dir, root := t.TempDir(), pgtest.Root(t)
	texts := map[string]string{}
	for _, e := range m.edits {
		path := filepath.Join(root, e.file)
		if _, has := texts[path]; !has {
			content, err := os.ReadFile(path)
			require.NoError(t, err)
			texts[path] = string(content)
		}
		require.Equal(t, 1, strings.Count(texts[path], e.from), "the code has changed: change the mutant %s as well", m.name)
		texts[path] = strings.Replace(texts[path], e.from, e.to, 1)
	}
	replace := map[string]string{}
	for path, text := range texts {
		replace[path] = filepath.Join(dir, strconv.Itoa(len(replace))+".go")
		require.NoError(t, os.WriteFile(replace[path], []byte(text), 0o600))
	}
	content, err := json.Marshal(map[string]any{"Replace": replace})
	require.NoError(t, err)
	path := filepath.Join(dir, "overlay.json")
	require.NoError(t, os.WriteFile(path, content, 0o600))
	return path
}

// TestMutants breaks the code, one way after another, and finds out how many seeds it takes to notice. Without -mutants it
// holds that the mutants still are of this code.
func TestMutants(t *testing.T) { //nolint:tparallel // One mutant after another: each has the machine to itself.
	t.Parallel()
	var h *harness
	if *mutantSeeds > 0 {
		h = newHarness(t, *laneMost)
	}
	for _, m := range mutants { //nolint:paralleltest // As above.
		t.Run(m.name, func(t *testing.T) {
			overlay := m.overlay(t)
			if h == nil {
				return
			}
			binary := build(t, "-overlay", overlay)
			seen := 0
			caught := h.each(t.Context(), binary, 1, *mutantSeeds, func(r result) bool {
				seen++
				if len(r.wrong) > 0 {
					t.Logf("caught by seed %d, the %d. to end:\n  %s", r.schedule.seed, seen, strings.Join(r.wrong, "\n  "))
				}
				return len(r.wrong) == 0
			})
			require.Positive(t, caught, "it was not noticed in %d seeds", seen)
		})
	}
}
