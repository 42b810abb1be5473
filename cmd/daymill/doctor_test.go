package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/doctor"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
)

func TestDoctor(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint})
	run := func(args ...string) (code int, stdout, stderr string) {
		var out, errs bytes.Buffer
		a := &app{stdin: strings.NewReader(""), stdout: &out, stderr: &errs}
		code = execute(t.Context(), a, append(args, "--database-url", db.URL))
		return code, out.String(), errs.String()
	}

	code, stdout, stderr := run("doctor")
	require.Equal(t, exitFailed, code)
	require.Contains(t, stdout, "failure  source        analytics.events reads no table\n                       run `daymill source set")
	require.Contains(t, stdout, "ok       river         River's tables in schema public are at version")
	require.Equal(t, "daymill: "+errDoctor.Error()+"\n", stderr)

	code, _, _ = run("source", "create")
	require.Equal(t, exitOK, code)
	_, err := db.Exec(t.Context(), `INSERT INTO daymill.workers (name, version, workers, pace, max_entities, daily_hour, lookback, retention_seconds, follower)
		VALUES ('worker.1/4/abcd', 'v1', 2, 1, 1000, 2, 2, 0, false)`)
	require.NoError(t, err)
	code, stdout, stderr = run("doctor", "--json")
	require.Equal(t, exitOK, code, stderr)
	var findings []doctor.Finding
	require.NoError(t, json.Unmarshal([]byte(stdout), &findings))
	require.Equal(t, "version", findings[0].ID)

	_, err = db.Exec(t.Context(), "DELETE FROM river_migration WHERE version = (SELECT max(version) FROM river_migration)")
	require.NoError(t, err)
	code, stdout, _ = run("doctor", "--source-url", db.URL)
	require.Equal(t, exitFailed, code)
	require.Contains(t, stdout, "failure  river         River's tables are at version")
	require.Contains(t, stdout, "failure  follower      the follower accepts writes, because it was promoted or never was a follower")
}

func TestSourceWatch(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint})
	run := func(args ...string) (code int, stdout, stderr string) {
		var out, errs bytes.Buffer
		a := &app{stdin: strings.NewReader(""), stdout: &out, stderr: &errs}
		code = execute(t.Context(), a, append(args, "--database-url", db.URL))
		return code, out.String(), errs.String()
	}
	code, _, _ := run("source", "create")
	require.Equal(t, exitOK, code)
	code, stdout, stderr := run("source", "watch")
	require.Equal(t, exitOK, code, stderr)
	require.Contains(t, stdout, "watched: public.raw_events by created_at\n")
	require.Regexp(t, `a statement that inserts one row of today +\d+\.\d µs without, +\d+\.\d µs with the triggers: \d+\.\d\d times`, stdout)
	code, stdout, _ = run("source", "watch", "--no-measure")
	require.Equal(t, exitOK, code)
	require.Equal(t, "watched: public.raw_events by created_at\n", stdout)

	for _, verb := range [][]string{{"source", "show"}, {"status"}} {
		_, stdout, _ = run(verb...)
		require.Regexp(t, `watched +public\.raw_events by created_at\n`, stdout)
	}
	_, stdout, _ = run("source", "show", "--json")
	require.Contains(t, stdout, `"watched": [`)
	code, _, stderr = run("source", "watch", "--table", "raw_events")
	require.Equal(t, exitUsage, code)
	require.Contains(t, stderr, "--table needs --time")

	code, stdout, _ = run("source", "unwatch")
	require.Equal(t, exitOK, code)
	require.Equal(t, "no longer watched: public.raw_events\n", stdout)
	code, stdout, _ = run("source", "unwatch")
	require.Equal(t, exitOK, code)
	require.Equal(t, "nothing to do: no table is watched\n", stdout)
}

// TestDoctorCollation: ids that a collation or citext considers equal are different entities, and the doctor says so.
func TestDoctorCollation(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Text})
	_, err := db.Exec(t.Context(), `CREATE COLLATION public.loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
		CREATE TABLE public.events (who text COLLATE public.loose NOT NULL, what text, at timestamptz NOT NULL);
		CREATE INDEX ON public.events (at)`)
	require.NoError(t, err)
	requireOK(t, db.URL, "source", "set", "--table", "public.events", "--entity", "who", "--type", "what", "--time", "at")
	_, text, _ := command(t.Context(), db.URL, "doctor")
	require.Contains(t, text, "warning  source        public.events.who has a nondeterministic collation: ids that it considers equal are counted as different entities")
}
