package ui_test

import (
	"cmp"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSetup follows an empty installation to its first complete date.
func TestSetup(t *testing.T) {
	t.Parallel()
	s := serve(t, database(t), nil)
	// steps returns the states of the setup's steps, in words.
	steps := func() (all []string) {
		body := s.get(t, "/").body
		_, list, _ := strings.Cut(body, `<ol class="setup">`)
		list, _, _ = strings.Cut(list, "</ol>")
		for _, found := range regexp.MustCompile(`(?s)<li>.*?>(done|to do)</span>.*?</strong>(?:\s*<span class="quietly">(.*?)</span>)?`).FindAllStringSubmatch(list, -1) {
			all = append(all, cmp.Or(found[2], found[1]))
		}
		return all
	}
	await := func(want ...string) {
		t.Helper()
		require.Eventually(t, func() bool {
			got := steps()
			if len(got) != len(want) {
				return false
			}
			for i := range want {
				if !strings.HasPrefix(got[i], want[i]) {
					return false
				}
			}
			return true
		}, waitFor, tick, "want %q, got %q", want, steps())
	}

	await("analytics.events reads no table", "after the first step", "no worker", "after the first step")
	require.NotContains(t, s.get(t, "/").body, `class="calendar`, "without a source no dates are known")

	s.db.RawEvents(t)
	s = serve(t, s.db, nil)
	await("done", "done", "no worker", "there are no events yet")

	s.db.Do(t, workerSQL)
	s.db.Do(t, "INSERT INTO analytics.rollup_requests (metric_date) VALUES ('2026-03-02')")
	await("done", "done", "done", "there are no events yet")

	s.db.Do(t, completeSQL, "2026-03-01", "2026-03-01")
	await()
}
