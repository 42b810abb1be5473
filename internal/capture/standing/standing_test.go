package standing_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/standing"
	"github.com/daymill/daymill/internal/health"
	"github.com/daymill/daymill/internal/test/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// TestFacts: each fault of capture is a finding, and a database of which nothing is captured has none.
func TestFacts(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{})
	sentences := func() (found []string) {
		facts, err := standing.Read(t.Context(), db.DB)
		require.NoError(t, err)
		for _, finding := range health.Judge(facts.Checks()) {
			found = append(found, finding.Check+" "+string(finding.Level))
		}
		return found
	}
	exec := func(sql string) {
		_, err := db.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	require.Empty(t, sentences())
	exec("INSERT INTO capture.stream (name, tables) VALUES ('app', '{public}')")
	require.Equal(t, []string{"stream bad"}, sentences())
	exec("UPDATE capture.stream SET beat_at = now(), state = 'running'")
	require.Empty(t, sentences())
	exec("UPDATE capture.stream SET state = 'stopped', reason = 'no right'")
	require.Equal(t, []string{"stream bad"}, sentences())
	exec("UPDATE capture.stream SET state = 'running', reason = '', retained = 2::bigint << 30")
	require.Equal(t, []string{"retained_wal wait"}, sentences())
	exec("UPDATE capture.stream SET retained = 0; INSERT INTO capture.gap (stream_id, kind, reason, after) SELECT id, 'slot', 'gone', 0 FROM capture.stream")
	require.Equal(t, []string{"gap wait"}, sentences())
	exec("UPDATE capture.stream SET repair = false")
	require.Equal(t, []string{"gap bad"}, sentences())
	exec("UPDATE capture.gap SET repaired_at = now(); INSERT INTO capture.consumer (name, stream, kind) VALUES ('hook', 'app', 'webhook');" +
		"INSERT INTO capture.shard (consumer, shard, position, failures, error) VALUES ('hook', 0, 0, 3, 'down')")
	require.Equal(t, []string{"sink wait"}, sentences())
}
