package worker_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/archive/base"
	"github.com/daymill/daymill/internal/archive/chain"
	"github.com/daymill/daymill/internal/archive/retention"
	"github.com/daymill/daymill/internal/archive/standing"
	"github.com/daymill/daymill/internal/archive/store"
	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/health"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/internal/test/promtest"
	"github.com/daymill/daymill/internal/worker"
)

// TestArchive keeps an archive with a worker alone: the worker reads the slot, and makes the bases and the proofs that are due. The verdict says
// when a segment was modified.
func TestArchive(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t, map[string]string{"wal_level": "logical"})
	db := pgtest.On(t, server, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	dir := filepath.Join(t.TempDir(), "archive")
	place, err := store.Directory(dir)
	require.NoError(t, err)
	super, err := postgres.Open(t.Context(), postgres.Config{URL: db.URL})
	require.NoError(t, err)
	t.Cleanup(super.Close)
	config := base.Config{Source: super, URL: db.URL, Store: place, Clock: pace.SystemClock{}}
	_, err = base.Init(t.Context(), config, base.Options{Compression: store.Gzip})
	require.NoError(t, err)
	b := &testBundle{db: db}
	b.start(t, func(c *worker.Config) {
		c.Machine, c.Capture = pace.SystemClock{}, &worker.Capture{}
		c.Archive = &worker.Archive{
			URL: db.URL, Store: place, Size: 1000, Age: 500 * time.Millisecond, Rule: retention.Default(), Scratch: server.URL("postgres"),
			BaseEvery: 24 * time.Hour, ProveEvery: 24 * time.Hour,
		}
	})
	source := &standing.Source{Store: place}
	facts := func() standing.Facts {
		facts, err := source.Read(t.Context(), super, time.Now())
		require.NoError(t, err)
		return facts
	}
	admin, err := worker.NewAdmin(super, db.Installation)
	require.NoError(t, err)
	who := audit.Who{Actor: "a test", Via: audit.ViaCLI}
	_, err = admin.ArchiveJob(t.Context(), false, who)
	require.NoError(t, err)
	var archive chain.Chain
	require.Eventually(t, func() bool {
		var err error
		archive, err = chain.Read(t.Context(), place)
		return err == nil && len(archive.Bases) == 2 && len(archive.Proofs) == 1 && len(archive.After(archive.Bases[1])) > 0
	}, 4*patience, 50*time.Millisecond)
	require.Empty(t, archive.Proofs[0].Failure)
	require.Zero(t, health.Count(health.Judge(facts().Checks()), health.Bad)) // The disk may be full.

	// The history has the jobs, and the gauges have the archive's state.
	require.Eventually(t, func() bool {
		var kinds []string
		err := db.QueryRow(t.Context(), "SELECT array_agg(j.kind ORDER BY j.kind) FROM daymill.jobs AS j WHERE j.state = 'completed' AND j.queue = 'daymill_archive'").Scan(&kinds)
		return err == nil && slices.Equal(kinds, []string{"base_archive", "prove_archive", "prune_archive"})
	}, patience, 50*time.Millisecond)
	gauges := promtest.Read(t, standing.Gauges(source, super, pace.SystemClock{}))
	require.Len(t, gauges, 13)
	require.InDelta(t, 1, gauges["daymill_archive_up"], 0)
	require.InDelta(t, 1, gauges["daymill_archive_proof_good"], 0)
	require.InDelta(t, 0, gauges["daymill_archive_known_gaps"], 0)
	require.Positive(t, gauges["daymill_archive_bytes base"])
	require.Positive(t, gauges["daymill_archive_bytes segment"])
	require.Less(t, gauges["daymill_archive_segment_age_seconds"], (24 * time.Hour).Seconds())

	// Modify a segment after the last base: the next proof finds it, and the verdict says so.
	path := filepath.Join(dir, archive.After(archive.Bases[1])[0].File.Name)
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	content[len(content)/2] ^= 1
	require.NoError(t, os.WriteFile(path, content, 0o600))
	// The proof is written before its job ends, and until then a new job would be a duplicate.
	require.Eventually(t, func() bool {
		var ended bool
		err := db.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM public.river_job WHERE kind = 'prove_archive' AND state = 'completed')").Scan(&ended)
		return err == nil && ended
	}, patience, 50*time.Millisecond)
	inserted, err := admin.ArchiveJob(t.Context(), true, who)
	require.NoError(t, err)
	require.True(t, inserted)
	require.Eventually(t, func() bool {
		return slices.ContainsFunc(health.Judge(facts().Checks()), func(found health.Finding) bool {
			return found.Level == health.Bad && strings.Contains(found.Sentence, "the last proof of the archive failed")
		})
	}, 4*patience, 50*time.Millisecond)
}
