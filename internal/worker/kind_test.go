package worker_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/worker"
	"github.com/daymill/daymill/jobs"
)

// TestKinds checks that every kind of arguments in package jobs is registered with all of its parts.
func TestKinds(t *testing.T) {
	t.Parallel()

	t.Run("AreComplete", func(t *testing.T) {
		t.Parallel()
		for _, kind := range worker.Kinds() {
			require.NotEmpty(t, kind.Name)
			require.NotEmpty(t, kind.Does, kind.Name)
			require.NotZero(t, kind.Timeout, kind.Name)
			require.NotZero(t, kind.MaxAttempts, kind.Name)
		}
		require.Len(t, slices.Compact(slices.Sorted(slices.Values(worker.KindNames()))), len(worker.Kinds()), "names are unique")
	})

	t.Run("AreInTheHistory", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		for _, kind := range worker.Kinds() {
			var kept bool
			err := b.db.QueryRow(t.Context(), `
				WITH inserted AS (
					INSERT INTO public.river_job (kind, queue, args, max_attempts, state, finalized_at)
					VALUES ($1, $2, '{}', 1, 'cancelled', now()) RETURNING id
				)
				SELECT count(*) = 1 FROM inserted`, kind.Name, kind.Queue).Scan(&kept)
			require.NoError(t, err)
			err = b.db.QueryRow(t.Context(), "SELECT count(*) > 0 FROM daymill.jobs WHERE kind = $1", kind.Name).Scan(&kept)
			require.NoError(t, err)
			require.Equal(t, kind.Queue != jobs.QueueCapture, kept, "jobs of all queues but this are in the history: %s", kind.Name)
		}
	})

	t.Run("AreRegistered", func(t *testing.T) {
		t.Parallel()
		files, err := filepath.Glob("../../jobs/*.go")
		require.NoError(t, err)
		registered := 0
		for _, name := range files {
			parsed, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
			require.NoError(t, err)
			for _, declared := range parsed.Decls {
				if method, is := declared.(*ast.FuncDecl); is && method.Recv != nil && method.Name.Name == "Kind" {
					registered++
				}
			}
		}
		require.Equal(t, len(worker.Kinds()), registered, "every type in package jobs with a Kind has an entry in worker.Kinds, and vice versa")
	})
}
