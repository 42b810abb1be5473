package run_test

import (
	"context"
	"errors"
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/lease"
	"github.com/daymill/daymill/internal/pgserver"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/run"
	"github.com/daymill/daymill/internal/rollup/signal"
	"github.com/daymill/daymill/internal/rollup/source"
	"github.com/daymill/daymill/internal/telemetry"
	"github.com/daymill/daymill/internal/test/pgtest"
)

var (
	statementLine = regexp.MustCompile(`(?m)LOG:  (?:statement|execute [^:]*): .*`)
	beginLine     = regexp.MustCompile(`LOG:  (?:statement|execute [^:]*): BEGIN`)
	settingsLine  = regexp.MustCompile(`LOG:  execute [^:]*: SELECT pg_catalog.set_config`)
)

// A date of about a hundred events takes ten statements and two transactions, by the server's own log. BEGIN and its settings count as one.
func TestRunFew(t *testing.T) {
	t.Parallel()
	b := setup(t, installations[0])
	b.db.InsertDate(t, day, 112, 60)
	b.log(t)

	for _, test := range []struct {
		name, change string
		wrote        int64
	}{
		{"Again", "SELECT", 0},
		{"FromNothing", "DELETE FROM analytics.daily_entity_metrics; DELETE FROM analytics.rollup_dates", 60},
		{"Late", "INSERT INTO public.raw_events (entity_id, event_type, created_at) VALUES (1, 'odd', '2026-03-01 12:00+00')", 1},
		{"LessAndMore", `DELETE FROM public.raw_events WHERE entity_id = 1;
			INSERT INTO public.raw_events (entity_id, event_type, created_at) VALUES (2, 'view', '2026-03-01 12:00+00')`, 2},
	} {
		_, err := b.db.Exec(t.Context(), test.change)
		require.NoError(t, err)
		figures, statements, transactions := b.logged(t)
		require.LessOrEqual(t, len(statements), 10, "%s: %q", test.name, statements)
		require.Equal(t, 2, transactions, "%s: %q", test.name, statements)
		require.LessOrEqual(t, figures.Changed(), max(test.wrote, figures.Entities), test.name)
		if test.name != "FromNothing" {
			require.Equal(t, test.wrote, figures.Changed(), test.name)
		}
		require.Equal(t, 1, figures.Slices, test.name)
		pgtest.RequireExact(t, b.db)
		b.exact(t)
	}

	// Where Citus is installed, a small date is rolled up like others.
	_, err := b.db.Exec(t.Context(), "SET allow_system_table_mods = on; CREATE TABLE pg_catalog.pg_dist_partition (); RESET allow_system_table_mods")
	require.NoError(t, err)
	_, statements, transactions := b.logged(t)
	require.Greater(t, len(statements), 10, statements)
	require.Greater(t, transactions, 2)
}

// log makes the server log the statements of the runner, which has one connection. A new connection prepares its statements in the first run.
func (b *testBundle) log(t *testing.T) {
	t.Helper()
	_, err := b.db.Exec(t.Context(), "ALTER DATABASE "+pgx.Identifier{b.db.Name}.Sanitize()+" SET log_statement = 'all'")
	require.NoError(t, err)
	logged := open(t, postgres.Config{URL: b.db.URL, PoolSize: 1, Pooler: postgres.PoolerNone})
	b.runner.Primary, b.runner.Source = logged, logged
	b.rollup(t, day)
}

// logged rolls the date up, and returns the statements and the number of transactions in the server's log.
func (b *testBundle) logged(t *testing.T) (figures run.Report, statements []string, transactions int) {
	t.Helper()
	before, err := os.ReadFile(b.db.Server.LogFile())
	require.NoError(t, err)
	figures = b.rollup(t, day)
	after, err := os.ReadFile(b.db.Server.LogFile())
	require.NoError(t, err)
	statements = slices.DeleteFunc(statementLine.FindAllString(string(after[len(before):]), -1), settingsLine.MatchString)
	return figures, statements, len(beginLine.FindAll(after[len(before):], -1))
}

// Postgres plans the ledger's statements of small dates once, and the one that reads events for the events' bounds each time.
func TestRunFew_Planned(t *testing.T) {
	t.Parallel()
	b := setup(t, installations[0])
	b.db.InsertDate(t, day, 112, 60)
	one := open(t, postgres.Config{URL: b.db.URL, PoolSize: 1, Pooler: postgres.PoolerNone})
	b.runner.Primary, b.runner.Source = one, one
	const runs = 20
	for range runs {
		b.rollup(t, day)
	}
	rows, err := one.Query(t.Context(), `SELECT substring(statement FROM '-- name: (\w+)'), custom_plans FROM pg_prepared_statements WHERE statement LIKE '-- name: %'`)
	require.NoError(t, err)
	custom := map[string]int{}
	var name string
	var plans int
	_, err = pgx.ForEachRow(rows, []any{&name, &plans}, func() error { custom[name] = plans; return nil })
	require.NoError(t, err)
	for _, name := range []string{"DateTake", "RunBegin", "DateHold", "DateSettle"} {
		require.Contains(t, custom, name)
		require.Less(t, custom[name], runs/2, name)
	}
	require.NotContains(t, custom, "EventFew")
}

// What keeps a run from writing keeps it from writing a small date, too.
func TestRunFew_Guarded(t *testing.T) {
	t.Parallel()
	// begin returns a date that is complete, and whose events have changed.
	begin := func(t *testing.T) *testBundle {
		t.Helper()
		b := setup(t, installations[0])
		b.db.InsertDate(t, day, 200, 40)
		b.rollup(t, day)
		return b
	}
	exec := func(t *testing.T, b *testBundle, sql string) {
		t.Helper()
		_, err := b.db.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	stored := func(t *testing.T, b *testBundle) (text string) {
		t.Helper()
		require.NoError(t, b.db.QueryRow(t.Context(), "SELECT md5(string_agg(m::text, ',' ORDER BY entity_id)) FROM analytics.daily_entity_metrics AS m").
			Scan(&text))
		return text
	}
	// between runs the date, and does something after it has begun and been read.
	between := func(t *testing.T, b *testBundle, do func(stop context.CancelCauseFunc)) (run.Report, error) {
		t.Helper()
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		did := false
		b.runner.Listeners = telemetry.Listeners{&ear{do: func(one telemetry.Signal) {
			if start, is := one.(signal.PhaseStart); is && start.Phase == run.PhasePublish && !did {
				did = true
				do(cancel)
			}
		}}}
		b.request(t, day)
		report, err := b.runner.Run(ctx, run.Order{Date: day})
		require.True(t, did)
		return report, err
	}
	const changed = "UPDATE public.raw_events SET event_type = 'skip'"

	t.Run("AnotherServer", func(t *testing.T) {
		t.Parallel()
		server := pgtest.Server(t, nil)
		conn := pgtest.On(t, server, installations[0])
		conn.RawEvents(t)
		conn.InsertDate(t, day, 200, 40)
		b := &testBundle{db: conn, runner: newRunner(conn, "a")}
		report, err := between(t, b, func(context.CancelCauseFunc) {
			require.NoError(t, server.Stop(t.Context(), pgserver.Fast))
			require.NoError(t, server.Start(t.Context()))
			b.db.Reset()
			b.db.InsertDate(t, day, 10, 5) // As if the server had an older copy than the one that was read.
		})
		require.NoError(t, err)
		require.EqualValues(t, 210, report.Events, "what was read is read again")
		require.EqualValues(t, 210, pgtest.RequireExact(t, b.db).Events)
	})

	t.Run("Cancelled", func(t *testing.T) {
		t.Parallel()
		b := begin(t)
		exec(t, b, changed)
		before := stored(t, b)
		_, err := between(t, b, func(context.CancelCauseFunc) { exec(t, b, "UPDATE analytics.rollup_dates SET state = 'cancelled'") })
		require.ErrorIs(t, err, lease.ErrFenced)
		require.Equal(t, before, stored(t, b))
		require.Equal(t, 1, b.openRequests(t))
	})

	t.Run("Inexact", func(t *testing.T) {
		t.Parallel()
		b := begin(t)
		exec(t, b, changed+`; CREATE FUNCTION public.more() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
				IF pg_trigger_depth() = 1 THEN
					INSERT INTO analytics.daily_entity_metrics (entity_id, metric_date, other_counts) VALUES (-77, '2026-03-01', '{"odd": 3}');
				END IF;
				RETURN NULL;
			END $$;
			CREATE TRIGGER more AFTER INSERT ON analytics.daily_entity_metrics FOR EACH STATEMENT EXECUTE FUNCTION public.more()`)
		before := stored(t, b)
		_, err := between(t, b, func(context.CancelCauseFunc) {})
		require.ErrorIs(t, err, run.ErrInexact)
		require.Equal(t, before, stored(t, b))
		require.Equal(t, "retrying", b.state(t, day))
		exec(t, b, "DROP TRIGGER more ON analytics.daily_entity_metrics")
		b.rollup(t, day)
		pgtest.RequireExact(t, b.db)
	})

	t.Run("Interrupted", func(t *testing.T) {
		t.Parallel()
		b := begin(t)
		exec(t, b, changed)
		before, stop := stored(t, b), errors.New("stop")
		_, err := between(t, b, func(cancel context.CancelCauseFunc) { cancel(stop) })
		require.ErrorIs(t, err, stop)
		require.Equal(t, before, stored(t, b))
		require.Equal(t, "retrying", b.state(t, day))
		_, err = b.runner.Run(t.Context(), run.Order{Date: day})
		require.NoError(t, err)
		pgtest.RequireExact(t, b.db)
	})

	// A request that commits after the date was read needs another run.
	t.Run("Late", func(t *testing.T) {
		t.Parallel()
		b := begin(t)
		_, err := between(t, b, func(context.CancelCauseFunc) {
			b.db.InsertDate(t, day, 10, 5)
			b.request(t, day)
		})
		require.NoError(t, err)
		require.Equal(t, 1, b.openRequests(t))
		_, err = b.runner.Run(t.Context(), run.Order{Date: day})
		require.NoError(t, err)
		require.EqualValues(t, 210, pgtest.RequireExact(t, b.db).Events)
	})

	t.Run("Lost", func(t *testing.T) {
		t.Parallel()
		b := begin(t)
		exec(t, b, "DELETE FROM public.raw_events WHERE id = (SELECT max(id) FROM public.raw_events)")
		before := stored(t, b)
		b.sweep(t, day)
		_, err := b.runner.Run(t.Context(), run.Order{Date: day})
		require.ErrorIs(t, err, run.ErrProtected)
		require.ErrorContains(t, err, "it has 199 events and its last complete run counted 200")
		exec(t, b, "TRUNCATE public.raw_events; INSERT INTO analytics.rollup_requests (metric_date, may_lose) VALUES ('2026-03-01', 'some')")
		_, err = b.runner.Run(t.Context(), run.Order{Date: day})
		require.ErrorIs(t, err, run.ErrProtected)
		require.Equal(t, before, stored(t, b))
		require.Equal(t, "protected", b.state(t, day))
		require.Zero(t, b.openRequests(t))
		exec(t, b, "SELECT analytics.enqueue_erase('2026-03-01', '2026-03-01')")
		require.EqualValues(t, 40, b.rollup(t, day).Deleted)
		require.Equal(t, "complete", b.state(t, day))
		var erased string
		require.NoError(t, b.db.QueryRow(t.Context(), `SELECT string_agg(concat_ws(' ', detail ->> 'events before', detail ->> 'events'), ', ')
			FROM daymill.audit WHERE action = 'erase metrics'`).Scan(&erased))
		require.Equal(t, "200 0", erased)
	})

	// Another worker takes the date of a run that hangs after it has read: the first writes nothing any more.
	t.Run("Replaced", func(t *testing.T) {
		t.Parallel()
		b := begin(t)
		exec(t, b, changed)
		other := newRunner(b.db, "b")
		var after string
		_, err := between(t, b, func(context.CancelCauseFunc) {
			_, err := other.Run(t.Context(), run.Order{Date: day})
			require.ErrorIs(t, err, run.ErrBusy)
			b.db.InsertDate(t, day, 10, 5)
			exec(t, b, "UPDATE analytics.rollup_dates SET heartbeat_at = heartbeat_at - interval '1 hour'")
			report, err := other.Run(t.Context(), run.Order{Date: day})
			require.NoError(t, err)
			require.EqualValues(t, 210, report.Events)
			after = stored(t, b)
		})
		require.ErrorIs(t, err, lease.ErrFenced)
		require.Equal(t, after, stored(t, b))
		require.Equal(t, "complete", b.state(t, day))
		require.Zero(t, b.openRequests(t))
		var states string
		require.NoError(t, b.db.QueryRow(t.Context(), "SELECT string_agg(state, ', ' ORDER BY id) FROM analytics.rollup_runs").Scan(&states))
		require.Equal(t, "complete, lost, complete", states)
		pgtest.RequireExact(t, b.db)
	})

	// The source changes after the date was read: nothing of the former one is written.
	t.Run("SourceSet", func(t *testing.T) {
		t.Parallel()
		b := begin(t)
		exec(t, b, changed)
		before := stored(t, b)
		_, err := between(t, b, func(context.CancelCauseFunc) {
			require.NoError(t, source.Set(t.Context(), b.db.DB, b.db.Installation, source.Options{
				Table: "public.raw_events", Entity: "entity_id", Type: "event_type", Time: "created_at", Where: "entity_id % 2 = 0",
			}))
		})
		require.ErrorIs(t, err, lease.ErrFenced)
		require.Equal(t, before, stored(t, b))
		require.Less(t, b.rollup(t, day).Events, int64(200))
		pgtest.RequireExact(t, b.db)
	})

	// A request that names entities does not concern the metrics of others, whose events may be gone.
	t.Run("Unnamed", func(t *testing.T) {
		t.Parallel()
		b := begin(t)
		named := b.some(t, 1)
		exec(t, b, "DELETE FROM public.raw_events WHERE entity_id <> "+named[0]+"; UPDATE public.raw_events SET event_type = 'skip'")
		require.Equal(t, 1, b.about(t, named...))
		var rows, skips int
		require.NoError(t, b.db.QueryRow(t.Context(), "SELECT count(*), count(*) FILTER (WHERE skips_count > 0 AND entity_id = "+named[0]+
			") FROM analytics.daily_entity_metrics").Scan(&rows, &skips))
		require.Equal(t, 40, rows)
		require.Equal(t, 1, skips)
	})

	t.Run("Retention", func(t *testing.T) {
		t.Parallel()
		b := begin(t)
		exec(t, b, changed)
		before := stored(t, b)
		require.NoError(t, source.SetRetention(t.Context(), b.db.DB, 24*time.Hour, audit.Who{}))
		b.request(t, day)
		_, err := b.runner.Run(t.Context(), run.Order{Date: day})
		require.ErrorIs(t, err, run.ErrProtected)
		require.Equal(t, before, stored(t, b))
	})

	// A date that has more rows than a small one, although it has few events, is rolled up like others.
	t.Run("ManyRows", func(t *testing.T) {
		t.Parallel()
		b := begin(t)
		exec(t, b, `INSERT INTO analytics.daily_entity_metrics (entity_id, metric_date) SELECT -i, '2026-03-01' FROM generate_series(1, 3000) AS i
			ON CONFLICT DO NOTHING`)
		require.Greater(t, b.rollup(t, day).Deleted, int64(2_000))
		pgtest.RequireExact(t, b.db)
	})
}
