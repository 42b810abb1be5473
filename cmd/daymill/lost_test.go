package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/pgserver"
	"github.com/daymill/daymill/internal/test/pgtest"
)

const workerSeen = `INSERT INTO daymill.workers (name, version, workers, pace, max_entities, daily_hour, lookback, retention_seconds, follower)
	VALUES ('worker.1/4/abcd', 'v1', 2, 1, 1000, 2, 2, 0, false)`

// TestFollowerDown: when a follower is down, another one is read, and when the last one that a worker reads from goes down, status,
// the page and the doctor say so.
func TestFollowerDown(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t, nil)
	db := pgtest.On(t, server, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	db.RawEvents(t)
	follower, err := server.Follower(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, follower.Close()) })
	source := follower.URL(db.Name)
	// A verb whose database is the follower says what to set instead.
	for _, arguments := range [][]string{
		{"backfill", "start", "2026-03-01"},
		{"enqueue", "2026-03-01"},
		{"migrate"},
		{"rollup", "2026-03-01"},
		{"serve", "--listen", "127.0.0.1:0"},
		{"status"},
		{"verify", "2026-03-01"},
		{"web", "--listen", "127.0.0.1:0"},
		{"worker"},
	} {
		code, _, stderr := command(t.Context(), source, arguments...)
		require.Equal(t, exitNoDatabase, code, arguments)
		require.Contains(t, stderr, "daymill: the database is a standby, which accepts no writes: set --database-url to the URL of the primary", arguments)
	}
	const dead = "postgres://nobody@127.0.0.1:1/x?sslmode=disable"
	several := start(t, "worker", "--database-url", db.URL, "--source-url", dead+","+source)
	require.Eventually(t, func() bool { return workersAlive(t, db) == 1 }, waitFor, tick, several.stderr.String())
	require.Contains(t, several.stderr.String(), "a follower cannot be opened: events are read from the others")
	text := statusText(t, db.URL)
	require.Contains(t, text, "reads events from its other followers, because follower 1 does not answer.")
	require.Regexp(t, `(?m)^follower 1 +does not answer, says `, text)
	require.Regexp(t, `(?m)^follower 2 +keeps up, says `, text)
	code, text, _ := command(t.Context(), db.URL, "doctor", "--source-url", source, "--source-url", dead)
	require.Equal(t, exitOK, code, text)
	require.Contains(t, text, "ok       follows       follower 1 of --source-url follows this primary")
	require.Contains(t, text, "warning  follower      follower 2 of --source-url cannot be reached, so runs read from the others")
	db.InsertDate(t, date.MustParse("2026-03-01"), 100, 10)
	requireOK(t, db.URL, "enqueue", "2026-03-01")
	require.Eventually(t, func() bool {
		var complete bool
		require.NoError(t, db.QueryRow(t.Context(),
			"SELECT EXISTS (SELECT FROM analytics.date_states WHERE metric_date = '2026-03-01' AND state = 'complete')").Scan(&complete))
		return complete
	}, waitFor, tick)
	pgtest.RequireExact(t, db, date.MustParse("2026-03-01"))

	p := start(t, "serve", "--database-url", db.URL, "--source-url", source, "--listen", "127.0.0.1:0")
	address := p.address(t, &p.stderr, `address=(http://127\.0\.0\.1:\d+/)`)
	require.Eventually(t, func() bool { return workersAlive(t, db) == 2 }, waitFor, tick, p.stderr.String())
	_, page := send(t, "GET", address+"schedule", nil)
	require.Contains(t, page, "Follower 2 keeps up.")
	code, text, _ = command(t.Context(), db.URL, "doctor", "--source-url", source)
	require.Equal(t, exitOK, code, text)
	require.Contains(t, text, "ok       follows       the follower follows this primary")

	require.NoError(t, follower.Stop(t.Context(), pgserver.Immediate))
	const said = "the follower that it reads events from (--source-url) does not answer"
	require.Eventually(t, func() bool {
		var down int
		require.NoError(t, db.QueryRow(t.Context(), "SELECT count(*) FROM daymill.workers WHERE trouble <> ''").Scan(&down))
		return down == 2
	}, waitFor, tick, p.stderr.String())
	var trouble string
	require.NoError(t, db.QueryRow(t.Context(), "SELECT trouble FROM daymill.workers WHERE followers -> 1 IS NOT NULL").Scan(&trouble))
	require.Equal(t, "it can read events from no follower of --source-url: follower 1 does not answer, follower 2 does not answer", trouble)
	for _, verb := range []string{"status", "doctor"} {
		code, text, _ := command(t.Context(), db.URL, verb)
		require.Equal(t, exitFailed, code, verb)
		require.Contains(t, text, said, verb)
		require.NotContains(t, text, "All is well", verb)
	}
	_, page = send(t, "GET", address, nil)
	require.Contains(t, page, said)
	_, page = send(t, "GET", address+"doctor", nil)
	require.Contains(t, page, "The follower cannot be reached, so workers that read events from it cannot roll up dates: the log says why")
	require.NotContains(t, page, source, "users who can see the page may not be allowed to know the host")
}

// TestLost: if something that reports need is missing, they say what, and how to restore it, instead of Postgres's error.
func TestLost(t *testing.T) {
	t.Parallel()
	setup := func(t *testing.T) *pgtest.DB {
		t.Helper()
		db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
		requireOK(t, db.URL, "source", "create")
		return db
	}
	t.Run("Events", func(t *testing.T) {
		t.Parallel()
		db := setup(t)
		_, err := db.Exec(t.Context(), workerSeen+"; DROP VIEW analytics.events CASCADE")
		require.NoError(t, err)
		for _, verb := range []string{"status", "doctor"} {
			code, text, _ := command(t.Context(), db.URL, verb)
			require.Equal(t, exitFailed, code, verb)
			require.Contains(t, text, "analytics.events is missing: it was dropped", verb)
			require.NotContains(t, text, "No source of events is set")
		}
		p := start(t, "web", "--database-url", db.URL, "--listen", "127.0.0.1:0")
		_, page := send(t, "GET", p.address(t, &p.stderr, `address=(http://127\.0\.0\.1:\d+/)`), nil)
		require.Contains(t, page, "analytics.events is missing: it was dropped")
		requireOK(t, db.URL, "migrate")
		require.NotContains(t, requireOK(t, db.URL, "status"), "is missing")
	})
	t.Run("Schema", func(t *testing.T) {
		t.Parallel()
		db := setup(t)
		_, err := db.Exec(t.Context(), "DROP SCHEMA daymill, capture CASCADE")
		require.NoError(t, err)
		code, _, said := command(t.Context(), db.URL, "status")
		require.Equal(t, exitFailed, code)
		require.Contains(t, said, ": `daymill doctor` says what is missing, and `daymill migrate` restores what it can")
		code, text, _ := command(t.Context(), db.URL, "doctor")
		require.Equal(t, exitFailed, code)
		require.Contains(t, text, "failure  inventory     the schema daymill is missing")
		require.NotContains(t, text, "the column")
		text = requireOK(t, db.URL, "migrate")
		require.Contains(t, text, "restored: the schema daymill, which was missing; its content is lost unless a backup has it\n")
		require.NotContains(t, text, "the constraint")
		_, err = db.Exec(t.Context(), workerSeen)
		require.NoError(t, err)
		requireOK(t, db.URL, "status")
	})
}
