package chaos_test

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/riverqueue/river"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/source"
	"github.com/daymill/daymill/internal/test/pgtest"
)

var (
	seeds    = flag.Uint64("seeds", 2, "how many seeds to run")
	seedFrom = flag.Uint64("seed-from", 1, "the first seed to run")
	oneSeed  = flag.Uint64("seed", 0, "the only seed to run")
	laneMost = flag.Uint64("lanes", 6, "how many seeds to run at a time")
)

// dates is the number of dates; the last one is yesterday.
const dates = 6

// TestSeeds runs seeds. A failing seed prints what is wrong, its schedule, and the end of its workers' logs.
func TestSeeds(t *testing.T) {
	t.Parallel()
	first, last := *seedFrom, *seedFrom+*seeds-1
	if *oneSeed != 0 {
		first, last = *oneSeed, *oneSeed
	}
	h := newHarness(t, min(*laneMost, last-first+1))
	binary := build(t)
	begun := time.Now()
	failed := h.each(t.Context(), binary, first, last, func(r result) bool {
		if *oneSeed != 0 {
			t.Log(r.schedule.String(), r.dump)
		}
		t.Log(r.line())
		if len(r.wrong) > 0 {
			t.Errorf("seed %d fails (again with: make chaos SEED=%d)\n  %s\n%s%s",
				r.schedule.seed, r.schedule.seed, strings.Join(r.wrong, "\n  "), r.schedule, r.dump)
		}
		return true
	})
	t.Logf("%d seeds, %d failed, in %s", last-first+1, failed, time.Since(begun).Round(time.Second))
}

// harness has the lanes.
type harness struct {
	lanes chan *lane
}

func newHarness(t *testing.T, count uint64) *harness {
	t.Helper()
	h := &harness{lanes: make(chan *lane, count)}
	errs := make([]error, count)
	var wg sync.WaitGroup
	for i := range count {
		wg.Go(func() {
			var l *lane
			if l, errs[i] = newLane(context.WithoutCancel(t.Context())); errs[i] == nil {
				h.lanes <- l
			}
		})
	}
	wg.Wait()
	t.Cleanup(func() {
		close(h.lanes)
		for l := range h.lanes {
			require.NoError(t, l.close())
		}
	})
	require.NoError(t, errors.Join(errs...))
	return h
}

// build builds the worker, with the files of an overlay if one is given.
func build(t *testing.T, arguments ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "worker")
	arguments = append([]string{"build", "-C", pgtest.Root(t), "-buildvcs=false", "-o", path}, arguments...)
	output, err := exec.CommandContext(t.Context(), "go", append(arguments, "./internal/test/chaos/worker")...).CombinedOutput()
	require.NoError(t, err, string(output))
	return path
}

// result is the result of a seed.
type result struct {
	schedule schedule
	wrong    []string
	dump     string
	took     time.Duration
	figures  string
}

func (r result) line() string {
	verdict := "ok"
	if len(r.wrong) > 0 {
		verdict = "FAILED: " + r.wrong[0]
	}
	return fmt.Sprintf("seed %3d %5.1f s  %s  %s", r.schedule.seed, r.took.Seconds(), r.figures, verdict)
}

// each runs seeds, as many at a time as there are lanes, and passes the results to take one by one until take returns false. It
// returns how many failed.
func (h *harness) each(ctx context.Context, binary string, first, last uint64, take func(result) bool) (failed int) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	results := make(chan result)
	var wg sync.WaitGroup
	go func() {
		for seed := first; seed <= last && ctx.Err() == nil; seed++ {
			l := <-h.lanes
			wg.Go(func() {
				r := h.seed(ctx, l, binary, seed)
				h.lanes <- l
				results <- r
			})
		}
		wg.Wait()
		close(results)
	}()
	taking := true
	for r := range results {
		if !taking {
			continue
		}
		if len(r.wrong) > 0 {
			failed++
		}
		if taking = take(r); !taking {
			stop()
		}
	}
	return failed
}

// trial is a running seed.
type trial struct {
	schedule schedule
	lane     *lane
	name     string // of the database
	first    date.Date

	db     *postgres.DB // of the application and the judge: as superuser, without the proxy
	sql    *sql.DB
	app    *river.Client[pgx.Tx]
	sqlApp *river.Client[*sql.Tx]
	proxy  *toxiproxy.Proxy
	slots  []*slot

	mu    sync.Mutex
	wrong []string
	notes map[string]int // expected errors
}

// note records an error that faults cause.
func (x *trial) note(err error) {
	if err == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.notes[err.Error()]++
}

// fatal records an error of the harness itself.
func (x *trial) fatal(err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.wrong = append(x.wrong, "the harness: "+err.Error())
}

// seed runs a seed.
func (h *harness) seed(ctx context.Context, l *lane, binary string, seed uint64) result {
	begun := time.Now()
	x := &trial{schedule: newSchedule(seed), lane: l, name: fmt.Sprintf("seed_%d", seed), notes: map[string]int{}}
	r := result{schedule: x.schedule}
	if err := x.prepare(ctx); err != nil {
		x.fatal(err)
	} else {
		r.figures, r.dump = x.run(ctx, binary)
	}
	x.close(ctx)
	r.wrong, r.took = x.wrong, time.Since(begun)
	return r
}

func (x *trial) prepare(ctx context.Context) error {
	if err := x.lane.create(ctx, x.name, x.schedule.follower); err != nil {
		return fmt.Errorf("create the database: %w", err)
	}
	var err error
	x.db, err = postgres.Open(ctx, postgres.Config{
		URL: x.lane.server.URL(x.name), ApplicationName: "chaos application", PoolSize: 12,
		StatementTimeout: 30 * time.Second, LockTimeout: 5 * time.Second,
	})
	if err != nil {
		return err
	}
	x.sql = stdlib.OpenDBFromPool(x.db.Pool)
	if err := x.newApps(); err != nil {
		return err
	}
	if err := x.fill(ctx); err != nil {
		return err
	}
	logger := zerolog.Nop()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), logger)
	x.proxy, err = startProxy(server, x.name, port(x.lane.server))
	return err
}

// fill gives dates their first events. The daily job does not run, because it would fix lost requests.
func (x *trial) fill(ctx context.Context) error {
	if err := x.db.QueryRow(ctx, "SELECT analytics.date_of(now()) - $1::integer", dates).Scan(&x.first); err != nil {
		return err
	}
	_, err := x.db.Exec(ctx, `
		INSERT INTO app.events (entity_id, event_type, created_at)
		SELECT CASE WHEN n = 0 THEN 0 ELSE 1 + (hashint4(n + 1000 * i) & 1023) % 40 END, (ARRAY['view', 'click', 'share'])[1 + n % 3],
			b.first + (b.last - b.first) * (n / 80.0)
		FROM generate_series(0, $2::integer - 1) AS i, generate_series(0, 79) AS n,
			LATERAL (SELECT analytics.date_start($1::date + i), analytics.date_start($1::date + i + 1)) AS b (first, last)`,
		x.first, dates)
	if err != nil {
		return fmt.Errorf("make events: %w", err)
	}
	_, err = x.db.Exec(ctx, `INSERT INTO daymill.schedules (name, last_due_at)
		VALUES ('daily_rollup', 'infinity'), ('prune_ledger', 'infinity'), ('verify_dates', 'infinity')`)
	if err != nil {
		return err
	}
	_, err = x.db.Exec(ctx, `INSERT INTO river.river_job (kind, args, max_attempts, queue, state, scheduled_at, unique_key, unique_states)
		SELECT 'daily_rollup', '{}', 6, 'daymill_control', 'scheduled', now() + interval '1 year', NULL, NULL`)
	if err != nil {
		return err
	}
	if x.schedule.watch {
		if _, err := source.Watch(ctx, x.db, installation(ctx, x.db), source.WatchOptions{}); err != nil {
			return fmt.Errorf("watch the source: %w", err)
		}
	}
	if _, err = x.db.Exec(ctx, "SELECT analytics.enqueue_rollup($1, $2)", x.first, x.first.AddDays(dates-1)); err != nil {
		return err
	}
	x.setPace(ctx, "read", x.schedule.dawdle)
	x.setPace(ctx, "write", x.schedule.drag)
	return nil
}

// run runs workers, writers and faults at the same time, and judges the result.
func (x *trial) run(ctx context.Context, binary string) (figures, dump string) {
	arguments := []string{
		"-database-url", workerURL(x.lane.server, x.name, x.proxy.Listen), "-workers", "2",
		"-max-entities", strconv.Itoa(x.schedule.maxEntities), "-slice-counts", x.schedule.sliceCounts(), "-pace", fmt.Sprint(x.schedule.pace),
		"-silence", silence.String(), "-backoff", "2ms",
	}
	if x.schedule.follower {
		arguments = append(arguments, "-source-url", workerURL(x.lane.follower, x.name, ""))
	}
	working, stopWorking := context.WithCancel(ctx)
	defer stopWorking()
	var processes, others sync.WaitGroup
	for range x.schedule.workers {
		one := &slot{binary: binary, arguments: arguments}
		x.slots = append(x.slots, one)
		processes.Go(func() {
			if wrong := one.supervise(working); wrong != "" {
				x.fatal(errors.New(wrong))
			}
		})
	}

	during, stop := context.WithTimeout(ctx, x.schedule.length)
	defer stop()
	writers := make([]*writer, x.schedule.writers)
	for i := range writers {
		writers[i] = &writer{trial: x, random: rand.New(rand.NewPCG(x.schedule.seed, uint64(i+1)))}
		others.Go(func() { writers[i].write(during) })
	}
	for _, step := range x.schedule.steps {
		others.Go(func() {
			if !sleep(during, step.at) {
				return
			}
			undo := x.do(during, step)
			until := during
			if step.fault == freeze { // It must be rescued.
				until = ctx
			}
			sleep(until, step.lasts)
			undo()
		})
	}
	begun := time.Now()
	others.Wait()
	x.heal(ctx)
	healed := time.Now()
	wrong := x.judge(ctx)
	quiet := time.Now()
	x.mu.Lock()
	x.wrong = append(x.wrong, wrong...)
	x.mu.Unlock()
	figures = x.figures(ctx, writers)
	stopWorking()
	processes.Wait()
	figures += fmt.Sprintf(", faults %.1f s, quiet after %.1f s, stopped after %.1f s",
		healed.Sub(begun).Seconds(), quiet.Sub(healed).Seconds(), time.Since(quiet).Seconds())
	if len(x.wrong) > 0 || *oneSeed != 0 {
		dump = x.dump(ctx)
	}
	return figures, dump
}

// close releases a seed's resources.
func (x *trial) close(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	if x.proxy != nil {
		x.proxy.Stop()
	}
	if x.db != nil {
		x.db.Close()
	}
	if err := x.lane.drop(ctx, x.name); err != nil {
		x.fatal(err)
	}
}
