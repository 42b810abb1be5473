package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/test/recount"
)

// tiny returns sizes that only prove that the benchmark works.
func tiny(t *testing.T) options {
	t.Helper()
	return options{
		buffers: "16MB", events: 4_000, entities: 1_400, few: 100, history: 100, backfill: 100, rows: 1_000, requests: 2, rounds: 1,
		viewRows: 1_000, viewDependants: 500,
		loadRate: 200, loadClients: 2, run: "first,few,rerun,changed,scan,longest,pages,history,tenfold,workers,latency,distance,enqueue,import," +
			"viewbuild,viewchange,viewlatency,viewdimension",
	}
}

// TestBenchmark runs nearly every scenario at a tiny size, with the checks at the end of each.
func TestBenchmark(t *testing.T) {
	t.Parallel()
	o, out := tiny(t), &bytes.Buffer{}
	dir := t.TempDir()
	o.json, o.write, o.markdown = filepath.Join(dir, "results.json"), filepath.Join(dir, "ratios.json"), filepath.Join(dir, "doc.md")
	require.NoError(t, os.WriteFile(o.markdown, []byte("before\n"+beginMarker+"OUTDATED\n"+endMarker+"after\n"), 0o600))
	require.NoError(t, benchmark(t.Context(), o, out), out.String())

	kept, err := readKept(o.write)
	require.NoError(t, err)
	require.Greater(t, len(kept), 10)
	text, err := os.ReadFile(o.markdown)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(text), "before\n"+beginMarker) && strings.HasSuffix(string(text), endMarker+"after\n"))
	require.NotContains(t, string(text), "OUTDATED")
	for name := range strings.SplitSeq(o.run, ",") {
		require.Contains(t, string(text), "images/bench-"+name+".svg")
	}
	require.Contains(t, out.String(), "are exact")
}

// TestBenchmark_Capture runs three scenarios of capture at a tiny size. All of them would take a minute.
func TestBenchmark_Capture(t *testing.T) {
	t.Parallel()
	o, out := tiny(t), &bytes.Buffer{}
	o.capture, o.run, o.changes, o.seconds, o.snapshot, o.bulk = true, "lag,sustain,snapshot", 2_000, 1, 3_000, 5_000
	o.sustainFrom, o.sustainMost = 100, 100
	require.NoError(t, benchmark(t.Context(), o, out), out.String())
	for _, title := range []string{"delivered to a webhook, p99", "With two workers, four shards, ", "COPY to a file and back"} {
		require.Contains(t, out.String(), title)
	}
}

// TestExact: the checks find wrong metrics.
func TestExact(t *testing.T) {
	t.Parallel()
	b, err := open(t.Context(), tiny(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.close(t.Context())) })
	db, err := b.install(t.Context(), "exact")
	require.NoError(t, err)
	t.Cleanup(db.Close)
	require.NoError(t, db.fill(t.Context(), dayOf{largeDate(), 500, 100}))
	_, err = b.rollup(t.Context(), db.url, largeDate(), "0")
	require.NoError(t, err)
	require.NoError(t, db.exact(t.Context(), largeDate()))
	require.Error(t, db.same(t.Context(), largeDate()), "the contender has written nothing")
	require.NoError(t, db.exec(t.Context(), `UPDATE analytics.daily_entity_metrics SET views_count = views_count + 1
		WHERE entity_id = (SELECT min(entity_id::text)::uuid FROM analytics.daily_entity_metrics)`))
	require.ErrorIs(t, db.exact(t.Context(), largeDate()), recount.ErrDiffers)
}
