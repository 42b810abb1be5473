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
	exec := func(sql string) {
		_, err := db.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	require.Empty(t, found())
	exec("INSERT INTO view.view (name) VALUES ('a'); INSERT INTO view.version (view_id, state, table_name, plan) VALUES (1, 'serving', 'a', '{}'); INSERT INTO view.task (view_id, version_id, kind) VALUES (1, 1, 'build')")
	require.Empty(t, found(), "a worker will take the task soon")
	exec("UPDATE view.task SET created_at = now() - interval '1 hour'")
	require.Equal(t, []string{"view_waiting wait: daymill view show a"}, found())
	exec("UPDATE view.task SET failures = 2, error = 'no'")
	require.Equal(t, []string{"view_failing wait: daymill view show a"}, found())
	exec("UPDATE view.task SET state = 'failed'")
	require.Equal(t, []string{"view_failed bad: daymill view rebuild a"}, found())
	exec("INSERT INTO view.task (view_id, version_id, kind, state) VALUES (1, 1, 'build', 'done')")
	require.Empty(t, found(), "a later task has repaired it")
	exec("INSERT INTO view.task (view_id, version_id, kind, state, differing, repaired) VALUES (1, 1, 'verify', 'done', 3, 1)")
	require.Equal(t, []string{"view_differs bad: daymill view verify --repair a"}, found())
	exec("INSERT INTO view.task (view_id, version_id, kind, state, differing, repaired) VALUES (1, 1, 'verify', 'done', 2, 2)")
	require.Empty(t, found())
	exec("INSERT INTO view.task (view_id, version_id, kind, state, error) VALUES (1, 1, 'verify', 'failed', 'no')")
	require.Equal(t, []string{"view_failed bad: daymill view verify a"}, found(), "building again would not help")
	exec("UPDATE view.task SET state = 'done' WHERE state = 'failed'")
	exec("UPDATE view.view SET paused_at = now(), paused_because = 'maintenance'")
	require.Equal(t, []string{"view_paused wait: daymill view resume a"}, found())
	exec("INSERT INTO view.drift (view_id, kind, table_index, sentence, state) VALUES (1, 'retyped', 0, 's', 'open')")
	require.Equal(t, []string{"view_drift bad: daymill view drift accept a"}, found())
}
