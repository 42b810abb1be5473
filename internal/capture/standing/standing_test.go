package standing_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/log"
	"github.com/daymill/daymill/internal/capture/sink/sinktest"
	"github.com/daymill/daymill/internal/capture/standing"
	"github.com/daymill/daymill/internal/health"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/internal/test/promtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// TestFacts: each fault of capture is a finding, and a database without capture has none.
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
	require.Empty(t, sentences())
	db.Do(t, "INSERT INTO capture.stream (name, tables) VALUES ('app', '{public}')")
	require.Equal(t, []string{"stream bad"}, sentences())
	db.Do(t, "UPDATE capture.stream SET beat_at = now(), state = 'running'")
	require.Empty(t, sentences())
	db.Do(t, "UPDATE capture.stream SET state = 'stopped', reason = 'no right'")
	require.Equal(t, []string{"stream bad"}, sentences())
	db.Do(t, "UPDATE capture.stream SET state = 'running', reason = '', retained = 2::bigint << 30")
	require.Equal(t, []string{"retained_wal wait"}, sentences())
	db.Do(t, "UPDATE capture.stream SET retained = 0; INSERT INTO capture.gap (stream_id, kind, reason, after) SELECT id, 'slot', 'gone', 0 FROM capture.stream")
	require.Equal(t, []string{"gap wait"}, sentences())
	db.Do(t, "UPDATE capture.stream SET repair = false")
	require.Equal(t, []string{"gap bad"}, sentences())
	db.Do(t, "UPDATE capture.gap SET repaired_at = now(); INSERT INTO capture.consumer (name, stream, kind) VALUES ('hook', 'app', 'webhook');"+
		"INSERT INTO capture.shard (consumer, shard, position, failures, error) VALUES ('hook', 0, 0, 3, 'down')")
	require.Equal(t, []string{"sink wait"}, sentences())

	db.Do(t, "INSERT INTO capture.consumer (name, stream, kind) VALUES ('second', 'app', 'webhook');"+
		"INSERT INTO capture.shard (consumer, shard, position, failures, error) VALUES ('second', 0, 0, 1, 'no answer')")
	facts, err := standing.Read(t.Context(), db.DB)
	require.NoError(t, err)
	for _, check := range facts.Checks() {
		if found, is := check.Judge(); is {
			require.Equal(t, "sink hook does not accept changes: down; sink second does not accept changes: no answer", found.Sentence)
			require.Equal(t, "daymill sink list", found.Command)
		}
	}
	db.Do(t, "DELETE FROM capture.consumer WHERE name = 'second'; UPDATE capture.shard SET failures = 0;"+
		"INSERT INTO capture.letter (consumer, shard, position, key, key_hash, state, reason, change) VALUES ('hook', 0, 1, '{}', '\\x00', 'refused', 'no', '{}')")
	require.Equal(t, []string{"dead_letters wait"}, sentences())
	db.Do(t, "DELETE FROM capture.letter")

	// A change that was committed ten minutes ago is waiting, and the sink has not moved since.
	writer, err := log.Take(t.Context(), log.Config{DB: db.DB, Stream: "crm", Owner: "test"})
	require.NoError(t, err)
	db.Do(t, "UPDATE capture.stream SET tables = '{public}', state = 'running' WHERE name = 'crm'; UPDATE capture.shard SET failures = 0, error = NULL;"+
		"INSERT INTO capture.consumer (name, stream, kind, created_at) VALUES ('other', 'crm', 'webhook', now() - interval '1 hour');"+
		"INSERT INTO capture.shard (consumer, shard, position) VALUES ('other', 0, 0)")
	require.Empty(t, sentences())
	land := func(age time.Duration) {
		one := sinktest.Insert(0, 1)
		one.CommittedAt = time.Now().Add(-age)
		require.NoError(t, writer.Land(t.Context(), []change.Change{one}, log.Mark{}))
	}
	land(time.Minute)
	require.Empty(t, sentences())
	db.Do(t, "DELETE FROM capture.log")
	land(10 * time.Minute)
	require.Equal(t, []string{"sink_still bad"}, sentences())
	db.Do(t, "UPDATE capture.shard SET moved_at = now()") // It is slow, but it moves.
	require.Empty(t, sentences())
	db.Do(t, "UPDATE capture.shard SET moved_at = now() - interval '1 hour'; UPDATE capture.consumer SET paused_at = now() - interval '1 hour'")
	require.Empty(t, sentences())
	db.Do(t, "UPDATE capture.consumer SET paused_at = now() - interval '25 hours' WHERE name = 'other'")
	require.Equal(t, []string{"sink_paused wait"}, sentences())
	db.Do(t, "UPDATE capture.consumer SET paused_at = now() WHERE name = 'other'; UPDATE capture.stream SET forgotten = position WHERE name = 'crm'")
	require.Equal(t, []string{"sink_paused bad"}, sentences())
	db.Do(t, "UPDATE capture.stream SET forgotten = 0")

	// The gauges show the same.
	gauges := promtest.Read(t, standing.Gauges(db.DB, pace.SystemClock{}))
	require.Len(t, gauges, 2*8+2*5, "streams and consumers")
	require.InDelta(t, 2, gauges["daymill_consumer_lag_changes other"], 0)
	require.InDelta(t, 600, gauges["daymill_consumer_lag_seconds other"], 120)
}
