package chaos_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/pgserver"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/internal/test/redistest"
)

// The default seeds are quick: none of their faults takes long.
var (
	captureSeeds = flag.Uint64("capture-seeds", 2, "how many seeds of capture to run")
	captureFrom  = flag.Uint64("capture-from", 49, "the first seed of capture to run")
)

// TestCapture runs seeds of capture. A failing seed prints what is wrong, its schedule, and the end of its workers' logs.
func TestCapture(t *testing.T) {
	t.Parallel()
	first, last := *captureFrom, *captureFrom+*captureSeeds-1
	if *oneSeed != 0 {
		first, last = *oneSeed, *oneSeed
	}
	binary := buildDaymill(t)
	lanes := make(chan *captureLane, min(*laneMost, last-first+1))
	for range cap(lanes) {
		lanes <- newCaptureLane(t, binary)
	}
	begun := time.Now()
	var failed atomic.Int64
	var wg sync.WaitGroup
	for seed := first; seed <= last; seed++ {
		l := <-lanes
		wg.Go(func() {
			defer func() { lanes <- l }()
			r := l.seed(t, seed)
			if *oneSeed != 0 {
				t.Log(r.about, r.dump)
			}
			t.Log(r.line())
			if len(r.wrong) > 0 {
				failed.Add(1)
				t.Errorf("seed %d fails (again with: make chaos-capture SEED=%d)\n  %s\n%s%s",
					seed, seed, strings.Join(r.wrong, "\n  "), r.about, r.dump)
			}
		})
	}
	wg.Wait()
	t.Logf("%d seeds, %d failed, in %s", last-first+1, failed.Load(), time.Since(begun).Round(time.Second))
}

// buildDaymill builds the command that the workers run.
func buildDaymill(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "daymill")
	output, err := exec.CommandContext(t.Context(), "go", "build", "-C", pgtest.Root(t), "-buildvcs=false", "-o", path, "./cmd/daymill").CombinedOutput()
	require.NoError(t, err, string(output))
	return path
}

// captureLane is a Postgres and a Redis that run one seed of capture after another.
type captureLane struct {
	*lane

	binary string // daymill
	redis  *redistest.Server
}

// logical are settings of a cluster with logical decoding.
var logical = map[string]string{
	"wal_level": "logical", "max_replication_slots": "20", "max_wal_senders": "20", "max_prepared_transactions": "20",
}

func newCaptureLane(t *testing.T, binary string) *captureLane {
	t.Helper()
	server, err := newServer(t.Context(), logical)
	require.NoError(t, err)
	l := &captureLane{lane: &lane{server: server}, binary: binary}
	t.Cleanup(func() { require.NoError(t, l.close()) })
	require.NoError(t, l.install(t.Context()))
	l.redis = redistest.Start(t, "secret")
	return l
}

// captureResult is the result of a seed.
type captureResult struct {
	seed    uint64
	wrong   []string
	about   string
	dump    string
	figures string
	took    time.Duration
}

func (r captureResult) line() string {
	verdict := "ok"
	if len(r.wrong) > 0 {
		verdict = "FAILED: " + r.wrong[0]
	}
	return fmt.Sprintf("seed %3d %5.1f s  %s  %s", r.seed, r.took.Seconds(), r.figures, verdict)
}

// captureTrial is a running seed of capture.
type captureTrial struct {
	schedule captureSchedule
	lane     *captureLane
	name     string // of the database with the log, which is also the application's if it is not apart
	dir      string
	t        *testing.T

	db     *postgres.DB // with the log, as superuser, and not through a proxy
	rollup *trial       // of the same database, for its knowledge of the rollup
	source *application
	hook   *hook
	server *httptest.Server
	slots  []*slot

	home, target, shop, redis *toxiproxy.Proxy
	environment               []string

	patience time.Duration // how long until waits, if longer than for other seeds
	begun    int64         // the last entry of the truth before the writers began

	mu    sync.Mutex
	wrong []string
	notes map[string]int // expected errors
}

func (x *captureTrial) note(err error) {
	if err == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.notes[err.Error()]++
}

func (x *captureTrial) fatal(err error) {
	if err == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.wrong = append(x.wrong, "the harness: "+err.Error())
}

// seed runs a seed.
func (l *captureLane) seed(t *testing.T, seed uint64) captureResult {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	begun := time.Now()
	x := &captureTrial{
		schedule: newCaptureSchedule(seed), lane: l, name: fmt.Sprintf("capture_%d", seed), dir: t.TempDir(), t: t, notes: map[string]int{},
	}
	r := captureResult{seed: seed, about: x.schedule.String()}
	if err := x.prepare(ctx); err != nil {
		x.fatal(err)
	} else {
		r.figures, r.dump = x.run(ctx)
	}
	x.close(ctx)
	r.wrong, r.took = x.wrong, time.Since(begun)
	return r
}

// stream returns the name of the stream.
func (x *captureTrial) stream() string {
	if x.schedule.apart {
		return "shop"
	}
	return "app"
}

// sourceURL returns the URL of the application's database, as superuser and without a proxy.
func (x *captureTrial) sourceURL() string { return x.source.url() }

func (x *captureTrial) prepare(ctx context.Context) (err error) {
	replication := map[bool]string{true: "REPLICATION", false: "NOREPLICATION"}[x.schedule.wal]
	if err := admin(ctx, x.lane.server, "postgres", "ALTER ROLE "+role+" "+replication, "CREATE DATABASE "+x.name+"_target OWNER "+role); err != nil {
		return err
	}
	if err := x.lane.create(ctx, x.name, false); err != nil {
		return fmt.Errorf("create the database: %w", err)
	}
	x.db, err = postgres.Open(ctx, postgres.Config{
		URL: x.lane.server.URL(x.name), ApplicationName: "chaos judge", StatementTimeout: 30 * time.Second, LockTimeout: 5 * time.Second,
	})
	if err != nil {
		return err
	}
	if x.source, err = newApplication(ctx, x, replication); err != nil {
		return fmt.Errorf("make the application's database: %w", err)
	}
	x.rollup = &trial{schedule: schedule{seed: x.schedule.seed}, lane: x.lane.lane, name: x.name, db: x.db, notes: map[string]int{}}
	if err := x.rollup.fill(ctx); err != nil {
		return err
	}
	statements := []string{shopSQL}
	for _, t := range shopTables {
		statements = append(statements, t.tableSQL()...)
	}
	for _, t := range shopTables { // Rows from before the stream begins.
		statements = append(statements, "INSERT INTO "+t.sql+" (id, k, v) SELECT g, 'k' || g % 3, 'before' FROM generate_series(1, 200) AS g")
	}
	if err := x.source.admin(ctx, statements...); err != nil {
		return err
	}
	if err := x.listen(); err != nil {
		return err
	}
	return x.apply(ctx)
}

// listen starts the webhook and the proxies.
func (x *captureTrial) listen() error {
	x.hook = newHook(x.schedule.poison)
	x.server = httptest.NewUnstartedServer(x.hook)
	x.server.Config.ErrorLog = nil
	x.server.Start()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	redis := strings.TrimSuffix(strings.SplitN(x.lane.redis.URL, "@", 2)[1], "/0")
	for _, p := range []struct {
		to       **toxiproxy.Proxy
		name     string
		upstream string
	}{
		{&x.home, "home", port(x.lane.server)},
		{&x.target, "target", port(x.lane.server)},
		{&x.shop, "shop", port(x.source.current())},
		{&x.redis, "redis", redis},
	} {
		var err error
		if *p.to, err = startProxy(server, x.name+p.name, p.upstream); err != nil {
			return err
		}
	}
	x.environment = append(os.Environ(),
		"DATABASE_URL="+workerURL(x.lane.server, x.name, x.home.Listen), "SHOP_URL="+x.source.workerURL(x.shop.Listen),
		"COPY_URL="+workerURL(x.lane.server, x.name+"_target", x.target.Listen), "HOOK_URL="+x.server.URL,
		"REDIS_URL=redis://:secret@"+x.redis.Listen+"/0", "DAYMILL_PACE=0.2")
	return nil
}

// startProxy starts a proxy on a port that nobody takes while a fault stops the proxy.
func startProxy(server *toxiproxy.ApiServer, name, upstream string) (*toxiproxy.Proxy, error) {
	for try := 1; ; try++ {
		port, err := pgserver.FreePort()
		if err != nil {
			return nil, err
		}
		proxy := toxiproxy.NewProxy(server, name, net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), upstream)
		if err = proxy.Start(); err == nil || try == 10 { // Another process may have taken the port.
			return proxy, err
		}
	}
}

func port(server *pgserver.Server) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(server.Port))
}

// apply configures the captured tables and the sinks.
func (x *captureTrial) apply(ctx context.Context) error {
	var file strings.Builder
	fmt.Fprintf(&file, "databases: {shop: $SHOP_URL}\ncapture: {tables: {%s: [shop]}}\nsinks:\n", x.stream())
	fmt.Fprintf(&file, "  - {name: hook, kind: webhook, url: $HOOK_URL, tables: [shop.*], from: snapshot, allow_private: true, batch: %t, shards: %d, database: %s}\n",
		x.schedule.batch, x.schedule.shards, x.stream())
	fmt.Fprintf(&file, "  - {name: copy, kind: postgres, url: $COPY_URL, tables: [shop.*], from: snapshot, shards: %d, database: %s, on_schema_change: continue}\n",
		x.schedule.shards, x.stream())
	// In the log's own database: exactly once.
	fmt.Fprintf(&file, "  - {name: twin, kind: postgres, url: $DATABASE_URL, schema: twin, tables: [shop.*], from: snapshot, database: %s, on_schema_change: continue}\n", x.stream())
	if x.schedule.redis {
		if err := x.lane.redis.Client.FlushDB(ctx).Err(); err != nil {
			return err
		}
		fmt.Fprintf(&file, "  - {name: cache, kind: redis, url: $REDIS_URL, tables: [shop.plain, shop.whole], from: snapshot, set: \"{{ .table }}:{{ .key.id }}\", database: %s}\n", x.stream())
	}
	if x.schedule.views {
		file.WriteString(x.viewsFile())
		x.patience = 4 * time.Minute // Views repair gaps every half minute.
	}
	path := filepath.Join(x.dir, "daymill.yaml")
	if err := os.WriteFile(path, []byte(file.String()), 0o600); err != nil {
		return err
	}
	if err := x.daymill(ctx, "apply", "-f", path); err != nil {
		return err
	}
	if !x.schedule.rollup {
		return nil
	}
	if err := x.source.admin(ctx, "ALTER TABLE app.events REPLICA IDENTITY FULL"); err != nil {
		return err
	}
	return x.daymill(ctx, "source", "watch", "--from", "capture")
}

// daymill runs a command as an operator does.
func (x *captureTrial) daymill(ctx context.Context, arguments ...string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, x.lane.binary, arguments...)
	cmd.Env, cmd.Dir = x.environment, x.dir
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("daymill %s: %w: %s", strings.Join(arguments, " "), err, output)
	}
	return nil
}

// run runs workers, writers and faults at the same time, and judges the result.
func (x *captureTrial) run(ctx context.Context) (figures, dump string) {
	working, stopWorking := context.WithCancel(ctx)
	defer stopWorking()
	var processes, others sync.WaitGroup
	for range x.schedule.workers {
		one := &slot{binary: x.lane.binary, arguments: []string{"worker"}, environment: x.environment}
		x.slots = append(x.slots, one)
		processes.Go(func() {
			if wrong := one.supervise(working); wrong != "" {
				x.fatal(errors.New(wrong))
			}
		})
	}
	// A schedule begins when the stream is being read.
	if err := x.until(ctx, "SELECT EXISTS (SELECT FROM capture.stream WHERE name = '"+x.stream()+"' AND state = 'running')"); err != nil {
		x.fatal(err)
	}
	x.fatal(x.source.query(ctx, "SELECT max(seq) FROM truth.note", &x.begun))
	x.fatal(x.early(ctx))
	during, stop := context.WithTimeout(ctx, x.schedule.length)
	defer stop()
	if x.schedule.has(sourceRestore) {
		others.Go(func() {
			if sleep(during, x.schedule.length/4) {
				x.fatal(x.source.keep(ctx))
			}
		})
	}
	writers := make([]*shopper, x.schedule.writers)
	for i := range writers {
		writers[i] = &shopper{captureTrial: x, number: i, random: rand.New(rand.NewPCG(x.schedule.seed, uint64(i+100)))}
		others.Go(func() { writers[i].write(during) })
	}
	if x.schedule.views {
		others.Go(func() { x.rebuild(during) })
	}
	for _, step := range x.schedule.steps {
		others.Go(func() {
			if !sleep(during, step.at) {
				return
			}
			undo := x.do(during, step)
			until := during
			if step.fault == freeze { // It must count as dead.
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
	failed := len(x.wrong) > 0 || *oneSeed != 0
	if failed {
		dump = x.dump(ctx)
	}
	if len(x.wrong) > 0 {
		for _, slot := range x.slots {
			slot.signal(syscall.SIGQUIT) // Its log has what it waits for then.
		}
	}
	stopWorking()
	processes.Wait()
	if failed {
		for i, slot := range x.slots {
			dump += fmt.Sprintf("worker %d wrote:\n%s\n", i, slot.log.String())
		}
	}
	figures += fmt.Sprintf(", faults %.1f s, equal after %.1f s, stopped after %.1f s",
		healed.Sub(begun).Seconds(), quiet.Sub(healed).Seconds(), time.Since(quiet).Seconds())
	return figures, dump
}

// until waits for a condition.
func (x *captureTrial) until(ctx context.Context, sql string) error {
	for begun := time.Now(); ; {
		var is bool
		err := x.db.QueryRow(ctx, sql).Scan(&is)
		if err == nil && is {
			return nil
		}
		if err == nil {
			err = errors.New("false")
		}
		if within := max(patience, x.patience); time.Since(begun) > within {
			return fmt.Errorf("after %s it is still not so (%w): %s", within, err, sql)
		}
		sleep(ctx, 50*time.Millisecond)
	}
}

// close releases a seed's resources.
func (x *captureTrial) close(ctx context.Context) {
	for _, proxy := range []*toxiproxy.Proxy{x.home, x.target, x.shop, x.redis} {
		if proxy != nil {
			proxy.Stop()
		}
	}
	if x.server != nil {
		x.server.CloseClientConnections()
		x.server.Close()
	}
	if x.db != nil {
		x.db.Close()
	}
	if x.source != nil {
		x.fatal(x.source.close(ctx))
	}
	for _, name := range []string{x.name, x.name + "_target"} {
		x.fatal(x.lane.drop(ctx, name))
	}
}

var _ http.Handler = (*hook)(nil)
