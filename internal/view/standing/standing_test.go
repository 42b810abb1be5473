package standing_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/health"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/internal/view/standing"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// TestFacts: each fault of a view is a finding, and a view that is well has none.
func TestFacts(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{})
	found := func() (found []string) {
		facts, err := standing.Read(t.Context(), db.DB)
		require.NoError(t, err)
		for _, finding := range health.Judge(facts.Checks()) {
			found = append(found, finding.Check+" "+string(finding.Level)+": "+finding.Command)
		}
		return found
	}
	gauges := standing.Gauges(db.DB)
	read := func() map[string]float64 {
		samples, err := gauges.Read(t.Context())
		require.NoError(t, err)
		values := map[string]float64{}
		for _, sample := range samples {
			require.Equal(t, []string{"a"}, sample.Labels)
			values[sample.Metric] = sample.Value
		}
		return values
	}
	require.Empty(t, found())
	require.Empty(t, read())
	db.Do(t, "INSERT INTO view.view (name) VALUES ('a'); INSERT INTO view.version (view_id, state, table_name, plan) VALUES (1, 'serving', 'a', '{}'); INSERT INTO view.task (view_id, version_id, kind) VALUES (1, 1, 'build')")
	require.Empty(t, found(), "a worker will take the task soon")
	db.Do(t, "UPDATE view.task SET created_at = now() - interval '1 hour'")
	require.Equal(t, []string{"view_waiting wait: daymill view show a"}, found())
	require.Len(t, read(), len(gauges.All))
	require.InDelta(t, 1, read()["daymill_view_waiting"], 0)
	db.Do(t, "UPDATE view.task SET failures = 2, error = 'no'")
	require.Equal(t, []string{"view_failing wait: daymill view show a"}, found())
	require.InDelta(t, 1, read()["daymill_view_failing"], 0)
	require.Zero(t, read()["daymill_view_waiting"])
	db.Do(t, "UPDATE view.task SET state = 'failed'")
	require.Equal(t, []string{"view_failed bad: daymill view rebuild a"}, found())
	require.InDelta(t, 1, read()["daymill_view_failing"], 0)
	db.Do(t, "INSERT INTO view.task (view_id, version_id, kind, state) VALUES (1, 1, 'build', 'done')")
	require.Empty(t, found(), "a later task has repaired it")
	for name, value := range read() {
		require.Zero(t, value, name)
	}
	db.Do(t, "INSERT INTO view.task (view_id, version_id, kind, state, differing, repaired) VALUES (1, 1, 'verify', 'done', 3, 1)")
	require.Equal(t, []string{"view_differs bad: daymill view verify --repair a"}, found())
	require.InDelta(t, 2, read()["daymill_view_unrepaired_keys"], 0)
	db.Do(t, "INSERT INTO view.task (view_id, version_id, kind, state, differing, repaired) VALUES (1, 1, 'verify', 'done', 2, 2)")
	require.Empty(t, found())
	db.Do(t, "INSERT INTO view.task (view_id, version_id, kind, state, error) VALUES (1, 1, 'verify', 'failed', 'no')")
	require.Equal(t, []string{"view_failed bad: daymill view verify a"}, found(), "building again would not help")
	db.Do(t, "UPDATE view.task SET state = 'done' WHERE state = 'failed'")
	db.Do(t, "INSERT INTO view.task (view_id, version_id, kind, state, error) VALUES (1, 1, 'refresh', 'failed', 'no'), (1, 1, 'refresh', 'done', '')")
	require.Equal(t, []string{"view_failed bad: daymill view verify --repair a"}, found(), "another refresh is about other rows")
	db.Do(t, "INSERT INTO view.task (view_id, version_id, kind, state) VALUES (1, 1, 'verify', 'done')")
	require.Empty(t, found(), "all rows are right")
	db.Do(t, "UPDATE view.view SET paused_at = now(), paused_because = 'maintenance'")
	require.Equal(t, []string{"view_paused wait: daymill view resume a"}, found())
	require.InDelta(t, 1, read()["daymill_view_paused"], 0)
	db.Do(t, "INSERT INTO view.drift (view_id, kind, table_index, sentence, state) VALUES (1, 'retyped', 0, 's', 'open')")
	require.Equal(t, []string{"view_drift bad: daymill view drift accept a"}, found())
	require.InDelta(t, 1, read()["daymill_view_open_drift"], 0)
}
