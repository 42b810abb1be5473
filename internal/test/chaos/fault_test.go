package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/pgserver"
)

// do performs a fault and returns a function that undoes it. If a fault is impossible because of another one, that is not an error: the
// schedule continues without it.
func (x *trial) do(ctx context.Context, s step) (undo func()) {
	worker := x.slots[s.target%len(x.slots)]
	nothing := func() {}
	switch s.fault {
	case kill:
		worker.rest(s.lasts)
		worker.signal(syscall.SIGKILL)
		return nothing
	case term:
		worker.rest(s.lasts)
		worker.signal(syscall.SIGTERM)
		return nothing
	case freeze:
		worker.signal(syscall.SIGSTOP)
		return func() { worker.signal(syscall.SIGCONT) }
	case crash:
		return x.crash(ctx)
	case terminate:
		x.terminate(ctx, 1+int(s.size*6))
		return nothing
	case cut:
		x.proxy.Stop()
		return func() { x.note(listen(x.proxy)) }
	case stall:
		return x.toxic(ctx, "latency", []string{"upstream", "downstream"}[s.target%2], fmt.Sprintf(`{"latency": %d}`, 300+int(s.size*2_000)))
	case half:
		return x.toxic(ctx, "timeout", []string{"upstream", "downstream"}[s.target%2], `{"timeout": 0}`)
	case torn:
		return x.toxic(ctx, "limit_data", "downstream", fmt.Sprintf(`{"bytes": %d}`, 400+int(s.size*12_000)))
	case lockTable:
		return x.lock(ctx, "LOCK TABLE "+[]string{
			"analytics.daily_entity_metrics IN SHARE MODE", "analytics.daily_entity_metrics IN ACCESS EXCLUSIVE MODE",
			"app.events IN ACCESS EXCLUSIVE MODE",
		}[s.target%3])
	case lockRow:
		return x.lock(ctx, []string{
			"SELECT FROM analytics.rollup_dates WHERE metric_date = $1 FOR UPDATE",
			"SELECT FROM river.river_job WHERE args ->> 'date' = $1::date::text FOR UPDATE",
			"SELECT FROM analytics.daily_entity_metrics WHERE metric_date = $1 FOR UPDATE",
		}[s.target%3], x.first.AddDays(s.target%dates))
	case full:
		return x.role(ctx, fmt.Sprintf("CONNECTION LIMIT %d", 2+int(s.size*6)), "CONNECTION LIMIT -1", 1+s.target%8)
	case impatience:
		return x.role(ctx, "SET statement_timeout = '2ms'", "RESET statement_timeout", 1+s.target%8)
	case slow:
		x.setPace(ctx, "read", 150*time.Millisecond+time.Duration(s.size*float64(200*time.Millisecond)))
		return func() { x.setPace(context.WithoutCancel(ctx), "read", x.schedule.dawdle) }
	case jump:
		wrong := []time.Duration{
			-26 * time.Hour, -2 * time.Hour, -time.Minute, -3 * time.Second, 3 * time.Second, 11 * time.Minute, 2 * time.Hour, 26 * time.Hour,
		}[s.target%8]
		worker.correct(wrong)
		return func() { worker.correct(0) }
	case lag:
		x.note(admin(ctx, x.lane.follower, x.name, "SELECT pg_wal_replay_pause()"))
		return func() {
			x.note(admin(context.WithoutCancel(ctx), x.lane.follower, x.name, "SELECT pg_wal_replay_resume()"))
		}
	default:
		x.note(fmt.Errorf("nobody knows how to do %q", s.fault))
		return nothing
	}
}

// crash stops Postgres at once; undo starts it, which recovers.
func (x *trial) crash(ctx context.Context) (undo func()) {
	x.lane.mu.Lock()
	ctx = context.WithoutCancel(ctx)
	x.note(x.lane.server.Stop(ctx, pgserver.Immediate))
	return func() {
		defer x.lane.mu.Unlock()
		if err := x.lane.server.Start(ctx); err != nil {
			x.fatal(fmt.Errorf("start Postgres after a crash: %w", err))
		}
	}
}

// terminate ends connections of the workers.
func (x *trial) terminate(ctx context.Context, most int) {
	x.note(admin(ctx, x.lane.server, x.name, fmt.Sprintf(`SELECT pg_terminate_backend(a.pid) FROM (
		SELECT pid FROM pg_stat_activity WHERE datname = '%s' AND usename = '%s' ORDER BY random() LIMIT %d) AS a`, x.name, role, most)))
}

// role changes the workers' role, and ends some connections so that they are opened again.
func (x *trial) role(ctx context.Context, do, undo string, connections int) func() {
	x.note(admin(ctx, x.lane.server, x.name, "ALTER ROLE "+role+" "+do))
	x.terminate(ctx, connections)
	return func() { x.retry(ctx, "ALTER ROLE "+role+" "+undo) }
}

// retry runs a statement that has to succeed, sooner or later.
func (x *trial) retry(ctx context.Context, sql string) {
	ctx = context.WithoutCancel(ctx)
	var err error
	for range 200 {
		if err = admin(ctx, x.lane.server, x.name, sql); err == nil {
			return
		}
		sleep(ctx, 100*time.Millisecond)
	}
	x.fatal(err)
}

// toxic makes the proxy disturb one direction.
func (x *trial) toxic(ctx context.Context, kind, stream, attributes string) (undo func()) {
	_, err := x.proxy.Toxics.AddToxicJson(strings.NewReader(fmt.Sprintf(
		`{"name": "%s", "type": "%s", "stream": "%s", "attributes": %s}`, kind+stream, kind, stream, attributes)))
	x.note(err)
	return func() {
		if err == nil {
			x.note(x.proxy.Toxics.RemoveToxic(context.WithoutCancel(ctx), kind+stream))
		}
	}
}

// lock takes locks in a transaction of the application, which then idles.
func (x *trial) lock(ctx context.Context, sql string, args ...any) (undo func()) {
	conn, err := pgx.Connect(ctx, x.lane.server.URL(x.name))
	if err != nil {
		x.note(err)
		return func() {}
	}
	_, err = conn.Exec(ctx, "SET lock_timeout = '1s'; BEGIN")
	if err == nil {
		_, err = conn.Exec(ctx, sql, args...)
	}
	x.note(err)
	return func() { _ = conn.Close(context.WithoutCancel(ctx)) } // This frees what it held.
}

func (x *trial) setPace(ctx context.Context, kind string, d time.Duration) {
	x.note(admin(ctx, x.lane.server, x.name, fmt.Sprintf("UPDATE chaos.pace SET seconds = %f WHERE kind = '%s'", d.Seconds(), kind)))
}

// heal removes what faults may have left, in whatever order they were undone.
func (x *trial) heal(ctx context.Context) {
	x.retry(ctx, "ALTER ROLE "+role+" CONNECTION LIMIT -1")
	x.retry(ctx, "ALTER ROLE "+role+" RESET statement_timeout")
	x.retry(ctx, "UPDATE chaos.pace SET seconds = 0.001")
	x.proxy.Stop()
	x.proxy.Toxics.ResetToxics(context.WithoutCancel(ctx))
	if err := listen(x.proxy); err != nil {
		x.fatal(err)
	}
	for _, slot := range x.slots {
		slot.signal(syscall.SIGCONT)
		slot.correct(time.Minute)
	}
}

// listen opens the port of a proxy that was stopped. On a busy machine, a process that this one is starting holds the port until it runs its program.
func listen(proxy *toxiproxy.Proxy) error {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for tries := 1_000; ; tries-- {
		err := proxy.Start()
		if !errors.Is(err, syscall.EADDRINUSE) || tries == 0 {
			return err
		}
		<-ticker.C
	}
}
