package run_test

import (
	"context"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/run"
	"github.com/daymill/daymill/internal/rollup/signal"
	"github.com/daymill/daymill/internal/rollup/source"
	"github.com/daymill/daymill/internal/telemetry"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// days returns dates, of which the first is day.
func days(n int) []date.Date {
	dates := make([]date.Date, n)
	for i := range dates {
		dates[i] = day.AddDays(-i)
	}
	return dates
}

// attempt is Runner.Group, again if a statement took too long: the machine may be busy. Then the group has done nothing.
func (b *testBundle) attempt(t *testing.T, lead date.Date, along []date.Date) (report run.Report, complete int, alone []date.Date, err error) {
	t.Helper()
	for {
		report, complete, alone, err = b.runner.Group(t.Context(), run.Order{Date: lead}, along)
		if !postgres.IsTimeout(err) || t.Context().Err() != nil {
			return report, complete, alone, err
		}
	}
}

// group rolls up the dates in one transaction, and requires that all are complete.
func (b *testBundle) group(t *testing.T, dates []date.Date) run.Report {
	t.Helper()
	for _, d := range dates {
		b.request(t, d)
	}
	report, complete, alone, err := b.attempt(t, dates[0], dates[1:])
	require.NoError(t, err)
	require.Empty(t, alone)
	require.Equal(t, len(dates), complete)
	require.Zero(t, b.openRequests(t))
	return report
}

// Whatever changes between them, a group leaves the same rows and the same ledger as runs of single dates, and writes what differs.
func TestGroup(t *testing.T) {
	t.Parallel()
	for _, installed := range installations {
		t.Run(string(installed.EntityType), func(t *testing.T) {
			t.Parallel()
			b := setup(t, installed)
			dates := days(12)
			for i, d := range dates[:10] { // The last two have no events.
				b.db.InsertDate(t, d, 60+7*i, 20+i)
			}
			heard := &ear{}
			b.runner.Listeners = telemetry.Listeners{heard}
			random := rand.New(rand.NewPCG(7, uint64(len(installed.EntityType))))
			for round := range 8 {
				report := b.group(t, dates)
				pgtest.RequireExact(t, b.db, dates...)
				b.db.Do(t, "UPDATE analytics.daily_entity_metrics SET last_updated_at = '2001-01-01'")
				require.Zero(t, b.group(t, dates).Changed())
				require.Zero(t, pgtest.Value[int](t, b.db, "SELECT count(*) FROM analytics.daily_entity_metrics WHERE last_updated_at > '2001-01-01'"))
				require.Equal(t, pgtest.Value[int64](t, b.db, `SELECT count(*) FROM public.raw_events
					WHERE created_at >= analytics.date_start($1) AND created_at < analytics.date_start($2)`, day, day.AddDays(1)), report.Events)
				b.db.Do(t, `DELETE FROM public.raw_events WHERE hashint8extended(id, $1) & 15 = 0`, round)
				b.db.Do(t, `UPDATE public.raw_events SET event_type = (ARRAY['view', 'odd', 'save', 'ö"x'])[1 + (hashint8extended(id, $1) & 3)]
					WHERE hashint8extended(id, $1) & 48 = 0`, round+100)
				d := dates[random.IntN(10)]
				b.db.InsertDate(t, d, 1+random.IntN(30), 50)
				b.db.Do(t, `UPDATE analytics.daily_entity_metrics SET views_count = views_count + 1 WHERE metric_date = $1`, d)
			}
			b.group(t, dates)
			b.exact(t)

			// The runs of a group share its time, and each has its own figures and signals.
			require.Equal(t, "12 12 0 t", pgtest.Value[string](t, b.db, `SELECT concat_ws(' ', count(*), count(DISTINCT r.metric_date),
					count(*) FILTER (WHERE r.state <> 'complete' OR r.finished_at < r.started_at OR r.finished_at > now() OR r.slices <> 1),
					bool_and(r.events = d.events AND r.entities = d.entities))
				FROM analytics.rollup_runs AS r JOIN analytics.rollup_dates AS d ON d.metric_date = r.metric_date AND d.run_id = r.id AND d.complete_run_id = r.id`))
			require.Zero(t, pgtest.Value[int](t, b.db, `SELECT count(*) FROM (
					SELECT started_at < lag(finished_at) OVER (ORDER BY id) - interval '1 microsecond' AS early FROM analytics.rollup_runs
				) AS r WHERE early`))
			stops := map[date.Date]int{}
			for _, one := range heard.signals {
				if stop, is := one.(signal.RunStop); is {
					require.Equal(t, signal.Complete, stop.Outcome)
					stops[stop.Date]++
				}
			}
			require.Len(t, stops, 12)
			require.Equal(t, pgtest.Value[int](t, b.db, "SELECT count(*) FROM analytics.rollup_runs WHERE metric_date = $1", dates[3]), stops[dates[3]])
		})
	}
}

// A group of dates takes no more statements than one date.
func TestGroup_Statements(t *testing.T) {
	t.Parallel()
	b := setup(t, installations[0])
	dates := days(30)
	for _, d := range dates {
		b.db.InsertDate(t, d, 50, 20)
	}
	b.log(t)
	b.group(t, dates)
	b.db.Do(t, "UPDATE public.raw_events SET event_type = 'skip' WHERE id % 3 = 0")
	before, err := os.ReadFile(b.db.Server.LogFile())
	require.NoError(t, err)
	b.group(t, dates)
	after, err := os.ReadFile(b.db.Server.LogFile())
	require.NoError(t, err)
	logged := strings.Split(string(after[len(before):]), "\n")
	own := slices.DeleteFunc(logged, func(line string) bool { return !strings.Contains(line, "-- name: ") })
	begin := 0 // of the last attempt
	for i, line := range own {
		if strings.Contains(line, "-- name: DateTake ") {
			begin = i
		}
	}
	own = own[begin:]
	require.LessOrEqual(t, len(own), 8, own)
	pgtest.RequireExact(t, b.db)
}

// A group works through a pooler in transaction mode, and leaves the dates to runs of their own if events are read from somewhere else.
func TestGroup_Elsewhere(t *testing.T) {
	t.Parallel()
	b := setup(t, installations[2])
	dates := days(8)
	for _, d := range dates {
		b.db.InsertDate(t, d, 50, 20)
	}
	pooled := open(t, postgres.Config{URL: pgtest.PgBouncer(t, b.db)})
	require.True(t, pooled.Pooled())
	b.runner.Primary, b.runner.Source = pooled, pooled
	b.group(t, dates)
	pgtest.RequireExact(t, b.db)
	b.db.Do(t, "DELETE FROM public.raw_events WHERE id % 3 = 0")
	b.group(t, dates)
	pgtest.RequireExact(t, b.db)

	b.runner.Source = b.db.DB
	b.request(t, day)
	_, _, alone, err := b.attempt(t, day, dates[1:])
	require.ErrorIs(t, err, run.ErrAlone)
	require.Empty(t, alone)
}

// hook does something just before the group sends a statement.
type hook struct {
	before string
	did    atomic.Bool
	do     func(conn *pgx.Conn)
}

func (h *hook) TraceQueryStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	if strings.HasPrefix(data.SQL, "-- name: "+h.before+" ") && h.did.CompareAndSwap(false, true) {
		h.do(conn)
	}
	return ctx
}

func (*hook) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// What is unusual about a date keeps it out of the group, and the others do not notice.
func TestGroup_Guarded(t *testing.T) {
	t.Parallel()
	dates := days(5)
	odd, rest := dates[2], []date.Date{dates[0], dates[1], dates[3], dates[4]}
	// begin returns dates that are complete and requested, and whose events have changed.
	begin := func(t *testing.T) *testBundle {
		t.Helper()
		b := setup(t, installations[0])
		for _, d := range dates {
			b.db.InsertDate(t, d, 100, 40)
		}
		b.group(t, dates)
		b.db.Do(t, "UPDATE public.raw_events SET event_type = 'skip' WHERE id % 2 = 0")
		for _, d := range rest {
			b.request(t, d)
		}
		return b
	}
	stored := func(t *testing.T, b *testBundle) string {
		t.Helper()
		return pgtest.Value[string](t, b.db, "SELECT coalesce(md5(string_agg(m::text, ',' ORDER BY entity_id)), '') FROM analytics.daily_entity_metrics AS m WHERE metric_date = $1", odd)
	}
	group := func(t *testing.T, b *testBundle) (int, []date.Date, error) {
		t.Helper()
		_, complete, alone, err := b.attempt(t, dates[0], dates[1:])
		return complete, alone, err
	}
	// hooked does something before a statement of the group.
	hooked := func(t *testing.T, b *testBundle, before string, do func(conn *pgx.Conn)) (int, []date.Date, error) {
		t.Helper()
		h := &hook{before: before, do: do}
		conn := open(t, postgres.Config{URL: b.db.URL, Tracer: h})
		b.runner.Primary, b.runner.Source = conn, conn
		for {
			_, complete, alone, err := b.runner.Group(t.Context(), run.Order{Date: dates[0]}, dates[1:])
			if !postgres.IsTimeout(err) || t.Context().Err() != nil {
				require.True(t, h.did.Load())
				return complete, alone, err
			}
			h.did.Store(false) // It happens in each attempt.
		}
	}

	// left are changes after which the odd date is not in the group; alone reports whether it needs a job of its own.
	left := map[string]struct {
		change string
		alone  bool
	}{
		"Erase":      {"SELECT analytics.enqueue_erase($1, $1)", true},
		"Failed":     {"UPDATE analytics.rollup_dates SET state = 'failed' WHERE metric_date = $1", false},
		"ManyEvents": {"INSERT INTO public.raw_events (entity_id, event_type, created_at) SELECT i % 7, 'view', analytics.date_start($1) + interval '1 hour' FROM generate_series(1, 1500) AS i", true},
		"ManyRows":   {"INSERT INTO analytics.daily_entity_metrics (entity_id, metric_date) SELECT -i, $1::date FROM generate_series(1, 3000) AS i", true},
		"Named":      {"SELECT analytics.enqueue_entities($1, ARRAY['1'])", true},
		"Requests":   {"INSERT INTO analytics.rollup_requests (metric_date) SELECT $1::date FROM generate_series(1, 101)", true},
		"Running":    {"UPDATE analytics.rollup_dates SET state = 'running' WHERE metric_date = $1", false},
	}
	for name, test := range left {
		t.Run("Left"+name, func(t *testing.T) {
			t.Parallel()
			b := begin(t)
			b.request(t, odd)
			b.db.Do(t, test.change, odd)
			before := stored(t, b)
			complete, alone, err := group(t, b)
			require.NoError(t, err)
			require.Equal(t, 4, complete)
			require.Equal(t, before, stored(t, b))
			require.Equal(t, test.alone, slices.Contains(alone, odd), alone)
			require.Positive(t, b.openRequests(t))
			pgtest.RequireExact(t, b.db, rest...)
			require.Equal(t, "complete", b.state(t, dates[1]))
		})
	}

	// A request that names nobody's date is not invented, and a date that is not over is left.
	t.Run("LeftOver", func(t *testing.T) {
		t.Parallel()
		b := begin(t)
		before := stored(t, b)
		today := pgtest.Value[date.Date](t, b.db, "SELECT analytics.date_of(now())")
		b.request(t, today)
		_, complete, alone, err := b.attempt(t, dates[0], append(days(5)[1:], today, today.AddDays(9)))
		require.NoError(t, err)
		require.Equal(t, 4, complete)
		require.Empty(t, alone)
		require.Equal(t, before, stored(t, b))
		require.Equal(t, 1, b.openRequests(t))
		require.Equal(t, 5, pgtest.Value[int](t, b.db, "SELECT count(*) FROM analytics.rollup_dates"))
	})

	// A date without runs that turns out to be unusual leaves no trace.
	t.Run("LeftNew", func(t *testing.T) {
		t.Parallel()
		b := begin(t)
		b.db.Do(t, "DELETE FROM analytics.rollup_dates WHERE metric_date = $1", odd)
		b.db.InsertDate(t, odd, 1_500, 40)
		b.request(t, odd)
		complete, alone, err := group(t, b)
		require.NoError(t, err)
		require.Equal(t, 4, complete)
		require.Equal(t, []date.Date{odd}, alone)
		require.Equal(t, "requested", b.state(t, odd))
	})

	t.Run("LeftProtected", func(t *testing.T) {
		t.Parallel()
		b := begin(t)
		b.db.Do(t, "DELETE FROM public.raw_events WHERE id = (SELECT max(id) FROM public.raw_events WHERE created_at >= analytics.date_start($1) AND created_at < analytics.date_start($1 + 1))", odd)
		before := stored(t, b)
		b.sweep(t, odd)
		complete, alone, err := group(t, b)
		require.NoError(t, err)
		require.Equal(t, 4, complete)
		require.Equal(t, []date.Date{odd}, alone)
		require.Equal(t, before, stored(t, b))
	})

	// Metrics whose events are too old to exist stay as they are.
	t.Run("Retention", func(t *testing.T) {
		t.Parallel()
		b := begin(t)
		b.request(t, odd)
		before := stored(t, b)
		require.NoError(t, source.SetRetention(t.Context(), b.db.DB, 24*time.Hour, audit.Who{}))
		_, alone, err := group(t, b)
		require.ErrorIs(t, err, run.ErrAlone)
		require.ElementsMatch(t, dates[1:], alone)
		require.Equal(t, before, stored(t, b))
		require.Equal(t, 5, b.openRequests(t))
	})

	// Somebody else holds a date: the group does not wait.
	t.Run("LeftLocked", func(t *testing.T) {
		t.Parallel()
		b := begin(t)
		b.request(t, odd)
		before := stored(t, b)
		tx, err := b.db.Begin(t.Context())
		require.NoError(t, err)
		defer tx.Rollback(t.Context()) //nolint:errcheck // It only locks.
		_, err = tx.Exec(t.Context(), "SELECT FROM analytics.rollup_dates WHERE metric_date = $1 FOR UPDATE", odd)
		require.NoError(t, err)
		complete, alone, err := group(t, b)
		require.NoError(t, err)
		require.Equal(t, 4, complete)
		require.Empty(t, alone)
		require.Equal(t, before, stored(t, b))
		require.Equal(t, 1, b.openRequests(t))

		_, err = tx.Exec(t.Context(), "LOCK TABLE analytics.daily_entity_metrics IN EXCLUSIVE MODE")
		require.NoError(t, err)
		b.db.Do(t, "UPDATE public.raw_events SET event_type = 'save'")
		for _, d := range rest {
			b.request(t, d)
		}
		_, alone, err = group(t, b)
		require.ErrorIs(t, err, run.ErrAlone)
		require.Equal(t, dates[1:], alone)
	})

	// Nobody else can begin a run of any of its dates before the group ends.
	t.Run("Held", func(t *testing.T) {
		t.Parallel()
		b := begin(t)
		b.db.Do(t, "DELETE FROM analytics.rollup_dates WHERE metric_date = $1", odd)
		b.request(t, odd)
		complete, _, err := hooked(t, b, "GroupEvents", func(*pgx.Conn) {
			for _, d := range dates {
				_, err := b.db.Exec(t.Context(), `SET lock_timeout = '20ms'`)
				require.NoError(t, err)
				_, err = b.db.Exec(t.Context(), `INSERT INTO analytics.rollup_dates (metric_date, state, run_id, scan_run_id) VALUES ($1, 'running', 0, 0)
					ON CONFLICT (metric_date) DO UPDATE SET state = 'running'`, d)
				require.True(t, postgres.IsLockTimeout(err), "%s: %v", d, err)
			}
		})
		require.NoError(t, err)
		require.Equal(t, 5, complete)
		pgtest.RequireExact(t, b.db)
	})

	// What is stored differs from what was counted: nothing is written, and nothing is complete.
	t.Run("Inexact", func(t *testing.T) {
		t.Parallel()
		b := begin(t)
		b.request(t, odd)
		b.db.Do(t, `CREATE FUNCTION public.more() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
				IF pg_trigger_depth() = 1 THEN
					INSERT INTO analytics.daily_entity_metrics (entity_id, metric_date, other_counts) VALUES (-77, '`+odd.String()+`', '{"odd": 3}');
				END IF;
				RETURN NULL;
			END $$;
			CREATE TRIGGER more AFTER INSERT ON analytics.daily_entity_metrics FOR EACH STATEMENT EXECUTE FUNCTION public.more()`)
		before := stored(t, b)
		_, alone, err := group(t, b)
		require.ErrorIs(t, err, run.ErrAlone)
		require.ErrorIs(t, err, run.ErrInexact)
		require.Equal(t, dates[1:], alone)
		require.Equal(t, before, stored(t, b))
		require.Equal(t, 5, b.openRequests(t))
	})

	// A request that commits after the group has begun needs another run, whether its events were read or not.
	for _, before := range []string{"GroupFacts", "GroupEvents", "GroupBegin", "GroupSettle"} {
		t.Run("Late"+before, func(t *testing.T) {
			t.Parallel()
			b := begin(t)
			b.request(t, odd)
			complete, _, err := hooked(t, b, before, func(*pgx.Conn) {
				b.db.InsertDate(t, odd, 10, 5)
				b.request(t, odd)
			})
			require.NoError(t, err)
			require.Equal(t, 5, complete)
			require.Equal(t, 1, b.openRequests(t))
			_, err = b.runner.Run(t.Context(), run.Order{Date: odd})
			require.NoError(t, err)
			require.GreaterOrEqual(t, pgtest.RequireExact(t, b.db, odd).Events, int64(110))
		})
	}

	// The connection is cut in the middle: the group begins again, and nothing is written twice.
	t.Run("Cut", func(t *testing.T) {
		t.Parallel()
		b := begin(t)
		b.request(t, odd)
		complete, _, err := hooked(t, b, "GroupSettle", func(conn *pgx.Conn) {
			b.db.Do(t, "SELECT pg_terminate_backend($1, 5000)", conn.PgConn().PID())
		})
		require.NoError(t, err)
		require.Equal(t, 5, complete)
		pgtest.RequireExact(t, b.db)
		require.Equal(t, 10, pgtest.Value[int](t, b.db, "SELECT count(*) FROM analytics.rollup_runs"))
	})

	// Dates of which nobody knew how large they are fill the group: the rest is for another one.
	t.Run("Full", func(t *testing.T) {
		t.Parallel()
		b := setup(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
		many := days(14)
		for _, d := range many {
			b.db.InsertDate(t, d, 900, 300)
			b.request(t, d)
		}
		_, complete, alone, err := b.attempt(t, many[0], many[1:])
		require.NoError(t, err)
		require.Empty(t, alone)
		require.Greater(t, complete, 9)
		require.Less(t, complete, 14)
		require.Equal(t, 14-complete, b.openRequests(t))
		require.Equal(t, complete, pgtest.Value[int](t, b.db, "SELECT count(*) FROM analytics.rollup_dates"))
		require.Equal(t, "complete", b.state(t, day))
	})

	// The group's own date decides whether there is one.
	t.Run("Lead", func(t *testing.T) {
		t.Parallel()
		b := begin(t)
		_, alone, err := func() (run.Report, []date.Date, error) {
			report, _, alone, err := b.attempt(t, odd, rest)
			return report, alone, err
		}()
		require.ErrorIs(t, err, run.ErrNothingToDo)
		require.Empty(t, alone)
		b.db.InsertDate(t, odd, 1_500, 40)
		b.request(t, odd)
		_, _, alone, err = b.attempt(t, odd, rest)
		require.ErrorIs(t, err, run.ErrAlone)
		require.Empty(t, alone)
		require.Equal(t, 5, b.openRequests(t))
		require.Equal(t, 5, pgtest.Value[int](t, b.db, "SELECT count(*) FROM analytics.rollup_runs"))
	})
}
