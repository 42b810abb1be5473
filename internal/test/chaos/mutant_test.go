package chaos_test

import (
	"flag"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/test/mutant"
	"github.com/daymill/daymill/internal/test/pgtest"
)

var mutantSeeds = flag.Uint64("mutants", 0, "run each mutant until it is caught, for so many seeds at most")

// broken is a mutant: the code with one fault.
type broken struct {
	name  string
	edits []mutant.Edit
}

var mutants = []broken{
	{"Fence", []mutant.Edit{{
		File: "internal/lease/lease.go", From: "	if err == nil && rows == 0 {\n		return ErrFenced\n	}\n	return err\n", To: "	return err\n",
	}}},
	{"ConsumeAll", []mutant.Edit{{ // A run satisfies the requests that are open when it settles, not the ones that it claimed.
		File: "internal/db/request.sql.go", After: "const requestSatisfy =", From: "WHERE r.metric_date = $1 AND r.resolved_at IS NULL AND r.run_id = $2::bigint", To: "WHERE r.metric_date = $1 AND r.resolved_at IS NULL AND $2::bigint IS NOT NULL",
	}}},
	{"ClaimLate", []mutant.Edit{{ // A run also claims the requests that arrived while it scanned.
		File: "internal/rollup/run/run.go", From: "			return a.during(ctx, PhaseSettle, a.settle)\n", To: "			a.claimed = mostRequests\n			if err := a.claim(ctx); err != nil {\n				return err\n			}\n			return a.during(ctx, PhaseSettle, a.settle)\n",
	}}},
	{"CursorKept", []mutant.Edit{{ // A scan from the start begins after the cursor of the previous run.
		File: "internal/rollup/run/ledger.go", From: "	if last.Resumable(fresh) {", To: "	a.cursor = row.Cursor\n	if last.Resumable(fresh) {",
	}}},
	{"CursorResumedForAll", []mutant.Edit{ // A resumed run satisfies newer requests.
		{File: "internal/rollup/run/ledger.go", From: "last.Resumable(fresh) {", To: "last.Resumable(fresh && !fresh) {"},
		{File: "internal/rollup/run/ledger.go", From: "if a.scanRun != a.id {\n		return nil\n	}", To: "if a.scanRun != a.id {\n		a.claimed = mostRequests\n	}"},
		{File: "internal/rollup/run/ledger.go", From: "RunID: a.id, MetricDate: a.order.Date, MaxRows: mostRequests,", To: "RunID: a.scanRun, MetricDate: a.order.Date, MaxRows: mostRequests,"},
	}},
	{"CursorAhead", []mutant.Edit{{ // The cursor moves in a separate transaction, before the batch.
		File: "internal/rollup/batch/batch.go", From: "		return p.Session.Tx(ctx, limit, func(ctx context.Context, on postgres.DBTX) error {\n			queries", To: `		if err := p.Session.Tx(ctx, limit, func(ctx context.Context, on postgres.DBTX) error {
			last := changes[len(changes)-1]
			return p.Advance(ctx, db.New(on), last.id, last.through)
		}); err != nil {
			return err
		}
		return p.Session.Tx(ctx, limit, func(ctx context.Context, on postgres.DBTX) error {
			queries`,
	}}},
	{"RemoveNone", []mutant.Edit{{ // Rows of vanished entities stay.
		File: "internal/rollup/batch/batch.go", From: "r.changed.GoneIds = append(r.changed.GoneIds, ", To: "_ = append(r.changed.GoneIds, ",
	}}},
}

// TestMutants breaks the code in one way after another, and finds out how many seeds it takes to notice. Without -mutants it checks that the
// mutants still match the code.
func TestMutants(t *testing.T) { //nolint:tparallel // One mutant after another: each has the machine to itself.
	t.Parallel()
	var h *harness
	if *mutantSeeds > 0 {
		h = newHarness(t, *laneMost)
	}
	for _, m := range mutants { //nolint:paralleltest // See above.
		t.Run(m.name, func(t *testing.T) {
			overlay, err := mutant.Overlay(pgtest.Root(t), t.TempDir(), m.edits...)
			require.NoError(t, err)
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
