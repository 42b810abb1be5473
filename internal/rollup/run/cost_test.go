package run_test

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/run"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// The tests below have statements whose cost depends little on their size. Each checks the number of statements: statements that become smaller
// without becoming faster become more and more.

// rolled runs the date through a database's other URL, counting statements by name.
func (b *testBundle) rolled(t *testing.T, url string) (run.Report, map[string]int) {
	t.Helper()
	sent := &statements{named: map[string]int{}}
	db := open(t, postgres.Config{URL: url, Tracer: sent})
	b.runner.Primary, b.runner.Source = db, db
	return b.rollup(t, day), sent.named
}

// distant is a clock and a tracer for a server that is far away and takes no time itself: each statement takes one delay. What a statement really takes
// depends on what else the machine does.
type distant struct {
	pace.SystemClock

	began      time.Time
	delay      time.Duration
	sent, slow atomic.Int64
}

func (d *distant) Now() time.Time {
	return d.began.Add(time.Duration(d.sent.Load()) * d.delay)
}

func (d *distant) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	d.sent.Add(1)
	return ctx
}

func (d *distant) TraceQueryEnd(_ context.Context, _ *pgx.Conn, data pgx.TraceQueryEndData) {
	if postgres.IsTimeout(data.Err) {
		d.slow.Add(1)
	}
}

// A round trip is no reason to make a statement smaller, and a long one is a reason to make a batch larger.
func TestRunLatency(t *testing.T) {
	t.Parallel()
	for milliseconds, entities := range map[int]int{30: 60_000, 120: 5_000} {
		t.Run(strconv.Itoa(milliseconds), func(t *testing.T) {
			t.Parallel()
			b := setup(t, installations[0])
			b.db.InsertDate(t, day, 120_000, entities)
			server := &distant{began: time.Now(), delay: time.Duration(milliseconds) * time.Millisecond}
			db := open(t, postgres.Config{URL: delayed(t, b.db, milliseconds), Tracer: server})
			b.runner.Primary, b.runner.Source, b.runner.Clock = db, db, server
			got := b.rollup(t, day)
			require.EqualValues(t, 120_000, pgtest.RequireExact(t, b.db).Events)
			halved := 2 * int(server.slow.Load()) // A statement that does reach its limit on a busy machine is two of half its size.
			require.LessOrEqual(t, got.Batches, 8+halved)
			require.LessOrEqual(t, got.Slices, 40+halved)
		})
	}
}

// As many events at one instant as a slice should have, a few more, and twice as many: some looks find out.
func TestRunJustTooDense(t *testing.T) {
	t.Parallel()
	for _, events := range []int{49_000, 50_050, 50_500, 76_000, 99_999, 101_000} {
		t.Run(strconv.Itoa(events), func(t *testing.T) {
			t.Parallel()
			b := setup(t, installations[0])
			b.db.InsertInstant(t, atNoon(t, b), events, 40_000)
			_, sent := b.rolled(t, b.db.URL)
			require.EqualValues(t, events, pgtest.RequireExact(t, b.db).Events)
			require.Less(t, sent["EventSliceSize"], 100, sent)
			require.Less(t, sent["EventSlice"]+sent["EventSliceRaw"], 100, sent)
		})
	}
}

// Planning a statement on many partitions takes longer than a statement's limit, whatever the statement reads.
func TestRunManyPartitions(t *testing.T) {
	t.Parallel()
	b := setup(t, installations[0])
	_, err := b.db.Exec(t.Context(), `
		CREATE TABLE public.parts (entity_id bigint NOT NULL, event_type text NOT NULL, created_at timestamp NOT NULL)
			PARTITION BY RANGE (created_at);
		CREATE INDEX ON public.parts ((created_at AT TIME ZONE 'UTC'));
		DO $$ BEGIN FOR i IN 0..999 LOOP EXECUTE format('CREATE TABLE public.parts_%s PARTITION OF public.parts FOR VALUES FROM (%L) TO (%L)',
			i, date '2024-01-01' + i, date '2024-01-02' + i); END LOOP; END $$;
		CREATE OR REPLACE VIEW analytics.events AS SELECT entity_id::analytics.entity_id AS entity_id, event_type,
			created_at AT TIME ZONE 'UTC' AS created_at FROM public.parts`)
	require.NoError(t, err)
	_, err = b.db.Exec(t.Context(), `INSERT INTO public.parts SELECT i % 500, 'view', timestamp '2026-03-01' + interval '4 seconds' * i
		FROM generate_series(0, 19999) AS i`)
	require.NoError(t, err)
	_, err = b.db.Exec(t.Context(), "ANALYZE public.parts")
	require.NoError(t, err)
	require.EqualValues(t, 20_000, b.rollup(t, day).Events)
}

// planned is a server whose statements that read slices take as long as their planning, and others no time.
type planned struct {
	distant

	statements *statements
}

func (p *planned) TraceQueryStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	ctx = p.statements.TraceQueryStart(ctx, conn, data)
	if strings.HasPrefix(data.SQL, "-- name: EventSlice") {
		ctx = p.distant.TraceQueryStart(ctx, conn, data)
	}
	return ctx
}

// A fixed part of each statement that is longer than the limit of a statement does not make slices small.
func TestRunFixedCost(t *testing.T) {
	t.Parallel()
	b := setup(t, installations[0])
	b.db.InsertDate(t, day, 120_000, 500)
	server := &planned{distant{began: time.Now(), delay: 300 * time.Millisecond}, &statements{named: map[string]int{}}}
	db := open(t, postgres.Config{URL: b.db.URL, Tracer: server})
	b.runner.Primary, b.runner.Source, b.runner.Clock = db, db, server
	require.EqualValues(t, 120_000, b.rollup(t, day).Events)
	sent := server.statements.named
	require.Less(t, sent["EventSliceSize"]+sent["EventSlice"]+sent["EventSliceRaw"], 60, sent)
}

// errorsOf counts errors by SQLSTATE.
type errorsOf struct {
	mu    sync.Mutex
	codes map[string]int
}

func (*errorsOf) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

func (e *errorsOf) TraceQueryEnd(_ context.Context, _ *pgx.Conn, data pgx.TraceQueryEndData) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.codes[postgres.Code(data.Err)]++
}

func (e *errorsOf) of(code string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.codes[code]
}

// Somebody holds a row, or the source, for longer than a statement may wait: the run waits and tries again, and does not
// make its batches smaller.
func TestRunLocked(t *testing.T) {
	t.Parallel()
	for name, lock := range map[string]string{
		"Row":    "SELECT FROM analytics.daily_entity_metrics ORDER BY entity_id LIMIT 1 FOR UPDATE",
		"Source": "LOCK TABLE public.raw_events IN ACCESS EXCLUSIVE MODE",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, installations[0])
			b.db.InsertDate(t, day, 10_000, 1_000)
			b.rollup(t, day)
			_, err := b.db.Exec(t.Context(), "UPDATE public.raw_events SET event_type = 'skip'")
			require.NoError(t, err)
			b.request(t, day)

			seen := &errorsOf{codes: map[string]int{}}
			db := open(t, postgres.Config{URL: b.db.URL, Tracer: seen})
			b.runner.Primary, b.runner.Source = db, db
			tx, err := b.db.Begin(t.Context())
			require.NoError(t, err)
			_, err = tx.Exec(t.Context(), lock)
			require.NoError(t, err)
			ended := make(chan error, 1)
			var figures run.Report
			go func() {
				var err error
				figures, err = b.runner.Run(t.Context(), run.Order{Date: day})
				ended <- err
			}()
			require.Eventually(t, func() bool { return seen.of("55P03") >= 4 }, time.Minute, 10*time.Millisecond)
			require.NoError(t, tx.Commit(t.Context()))
			require.NoError(t, <-ended)
			require.EqualValues(t, 10_000, pgtest.RequireExact(t, b.db).Events)
			require.LessOrEqual(t, figures.Batches, 3)
		})
	}
}

// Each COPY takes longer than a batch should, whatever it brings, as into a distributed table. Batches that shrink because of
// that end at three rows, which is thousands of batches; how many there are otherwise depends on how busy the machine is.
func TestRunCopyOfFixedCost(t *testing.T) {
	t.Parallel()
	b := setup(t, installations[0])
	b.db.InsertInstant(t, atNoon(t, b), 40_000, 40_000)
	_, err := b.db.Exec(t.Context(), `
		CREATE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.15); RETURN NULL; END';
		CREATE TRIGGER slow BEFORE INSERT ON analytics.daily_entity_metrics FOR EACH STATEMENT EXECUTE FUNCTION public.slow()`)
	require.NoError(t, err)
	figures, _ := b.rolled(t, b.db.URL)
	recount := pgtest.RequireExact(t, b.db)
	require.EqualValues(t, 40_000, recount.Events)
	require.Less(t, figures.Batches, 400)
}

// Connections are cut while a COMMIT is on its way, before or after the server has seen it: the run takes another connection and continues where it
// was.
func TestRunCut(t *testing.T) {
	t.Parallel()
	for name, passOn := range map[string]bool{"After": true, "Before": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, installations[0])
			b.db.InsertDate(t, day, 40_000, 20_000)
			b.request(t, day)
			proxy := &cutter{choose: func(commit int64) (cut, pass bool) { return commit%2 == 0, passOn || commit%2 == 1 }}
			db := open(t, postgres.Config{URL: proxy.start(t, b.db), Pooler: postgres.PoolerNone})
			b.runner.Primary, b.runner.Source = db, db
			figures, err := b.runner.Run(t.Context(), run.Order{Date: day})
			require.NoError(t, err)
			require.Positive(t, proxy.cuts.Load())
			recount := pgtest.RequireExact(t, b.db)
			require.EqualValues(t, 40_000, recount.Events)
			require.Equal(t, recount.Rows, figures.Inserted)
			require.Equal(t, "complete", b.state(t, day))
			require.Zero(t, b.openRequests(t))
		})
	}
}

// The answer to a COMMIT does not arrive: the run finds out through another connection that it was committed, and continues there.
func TestRunHeld(t *testing.T) {
	t.Parallel()
	b := setup(t, installations[0])
	b.db.InsertDate(t, day, 40_000, 20_000)
	b.request(t, day)
	proxy := &cutter{holds: true, choose: func(commit int64) (cut, pass bool) { return commit == 6, true }}
	db := open(t, postgres.Config{URL: proxy.start(t, b.db), Pooler: postgres.PoolerNone})
	b.runner.Primary, b.runner.Source = db, db
	figures, err := b.runner.Run(t.Context(), run.Order{Date: day})
	require.NoError(t, err)
	require.EqualValues(t, 1, proxy.cuts.Load())
	recount := pgtest.RequireExact(t, b.db)
	require.Equal(t, recount.Rows, figures.Inserted, "no batch is written twice")
	require.Equal(t, "complete", b.state(t, day))
}
