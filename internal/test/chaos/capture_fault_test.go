package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/pgserver"
)

// do performs a fault and returns a function that undoes it. If a fault is impossible because of another one, that is not an error: the
// schedule continues without it.
func (x *captureTrial) do(ctx context.Context, s step) (undo func()) {
	after := context.WithoutCancel(ctx)
	worker := x.slots[s.target%len(x.slots)]
	nothing := func() {}
	t := shopTables[s.target%len(shopTables)]
	proxies := []*toxiproxy.Proxy{x.home, x.target, x.shop, x.redis}
	proxy := proxies[s.target%len(proxies)]
	direction := []string{"upstream", "downstream"}[s.target%2]
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
		x.note(admin(ctx, x.lane.server, "postgres", fmt.Sprintf(`SELECT pg_terminate_backend(a.pid) FROM (
			SELECT pid FROM pg_stat_activity WHERE usename = '%s' ORDER BY random() LIMIT %d) AS a`, role, 1+int(s.size*6))))
		return nothing
	case cut:
		x.home.Stop()
		return func() { x.note(listen(x.home)) }
	case stall:
		return x.toxic(ctx, proxy, "latency", direction, fmt.Sprintf(`{"latency": %d}`, 300+int(s.size*2_000)))
	case half:
		return x.toxic(ctx, proxy, "timeout", direction, `{"timeout": 0}`)
	case torn:
		return x.toxic(ctx, proxy, "limit_data", "downstream", fmt.Sprintf(`{"bytes": %d}`, 400+int(s.size*40_000)))
	case lockTable:
		if s.target%2 == 0 {
			return x.hold(ctx, x.source.url(), "LOCK TABLE "+t.sql+" IN ACCESS EXCLUSIVE MODE")
		}
		return x.hold(ctx, x.lane.server.URL(x.name), "SELECT FROM capture.stream WHERE name = '"+x.stream()+"' FOR UPDATE")
	case openLong:
		undo := x.hold(ctx, x.source.url(), "INSERT INTO "+t.sql+" (id, v) VALUES ("+strconv.Itoa(20_000+s.target)+", 'long') ON CONFLICT DO NOTHING")
		return undo
	case snapshotAgain:
		err := x.daymill(after, "sink", "snapshot", []string{"hook", "copy", "twin"}[s.target%3])
		x.note(err)
		return nothing
	case sinkAnswers:
		return x.hook.fail(s.target % wrongAnswers)
	case sinkCut:
		x.target.Stop()
		return func() { x.note(listen(x.target)) }
	case redisKill:
		x.lane.redis.Stop(x.t)
		return func() { x.lane.redis.Start(x.t) }
	case tableAgain:
		x.note(x.source.admin(ctx, t.again()...))
		return nothing
	case columnMore:
		x.note(x.source.admin(ctx, "SET lock_timeout = '2s'", fmt.Sprintf("ALTER TABLE %s ADD COLUMN IF NOT EXISTS more_%d integer DEFAULT 7", t.sql, s.target%3)))
		return nothing
	case slotDrop, slotAgain, slotAdvance, publishNot, publishGone:
		x.note(x.slotFault(ctx, s, t))
		return nothing
	case triggersGone:
		if s.target%2 == 0 {
			x.note(x.source.admin(ctx, "ALTER TABLE "+t.sql+" DISABLE TRIGGER "+x.queue()+"_update"))
		} else {
			x.note(x.source.admin(ctx, "DROP TRIGGER "+x.queue()+"_insert ON "+t.sql))
		}
		return nothing
	case queueEmpty:
		x.note(x.source.admin(ctx, "SET lock_timeout = '2s'", "TRUNCATE "+x.queue()+".queue_0, "+x.queue()+".queue_1"))
		return nothing
	case sourceCut:
		x.shop.Stop()
		return func() { x.note(listen(x.shop)) }
	case sourceCrash:
		x.note(x.source.crash(after, func(*pgserver.Server) error { return nil }))
		return nothing
	case sourceRestore:
		return x.replace(func() error { return x.source.restore(after) })
	case sourceFailover:
		return x.replace(func() error { return x.source.failOver(after, time.Duration(s.size*float64(500*time.Millisecond))) })
	default:
		x.fatal(fmt.Errorf("nobody knows how to do %q", s.fault))
		return nothing
	}
}

// replace replaces the application's cluster. Until undo, the workers cannot reach it, and the application writes to it.
func (x *captureTrial) replace(do func() error) (undo func()) {
	x.shop.Stop()
	x.fatal(do())
	return func() {
		x.shop.Upstream = net.JoinHostPort("127.0.0.1", strconv.Itoa(x.source.current().Port))
		x.note(listen(x.shop))
	}
}

// early prepares faults: it creates a follower that will be promoted.
func (x *captureTrial) early(ctx context.Context) error {
	if x.schedule.has(sourceFailover) {
		return x.source.follow(ctx)
	}
	return nil
}

// crash stops Postgres at once; undo starts it, which recovers.
func (x *captureTrial) crash(ctx context.Context) (undo func()) {
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

// queue returns the schema of the queue of changes.
func (x *captureTrial) queue() string {
	var name string
	err := x.source.query(context.Background(), "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'daymill\\_capture%'", &name)
	if err != nil || name == "" {
		return "daymill_capture"
	}
	return name
}

// slotFault changes the slot, while nobody reads it, or the publication.
func (x *captureTrial) slotFault(ctx context.Context, s step, t shopTable) error {
	var slot string
	if err := x.db.QueryRow(ctx, "SELECT coalesce(slot, '') FROM capture.stream WHERE name = $1", x.stream()).Scan(&slot); err != nil || slot == "" {
		return errors.Join(err, errors.New("there is no slot"))
	}
	switch s.fault {
	case publishNot:
		return x.source.admin(ctx, "SET lock_timeout = '2s'", "ALTER PUBLICATION "+slot+" DROP TABLE "+t.sql)
	case publishGone:
		return x.source.admin(ctx, "DROP PUBLICATION "+slot)
	default:
	}
	statement := "SELECT pg_drop_replication_slot('" + slot + "')"
	if s.fault == slotAdvance {
		statement = "SELECT pg_replication_slot_advance('" + slot + "', pg_current_wal_lsn())"
	}
	var err error
	for range 100 { // Its reader reconnects soon.
		err = x.source.admin(ctx, "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '"+slot+"'", statement)
		if err == nil || strings.Contains(err.Error(), "does not exist") || !sleep(ctx, 5*time.Millisecond) {
			break
		}
	}
	if err == nil && s.fault == slotAgain {
		err = x.source.admin(ctx, "SELECT pg_create_logical_replication_slot('"+slot+"', 'pgoutput')")
	}
	return err
}

// toxic makes a proxy disturb one direction.
func (x *captureTrial) toxic(ctx context.Context, proxy *toxiproxy.Proxy, kind, stream, attributes string) (undo func()) {
	_, err := proxy.Toxics.AddToxicJson(strings.NewReader(fmt.Sprintf(
		`{"name": "%s", "type": "%s", "stream": "%s", "attributes": %s}`, kind+stream, kind, stream, attributes)))
	x.note(err)
	return func() {
		if err == nil {
			x.note(proxy.Toxics.RemoveToxic(context.WithoutCancel(ctx), kind+stream))
		}
	}
}

// hold runs a statement in a transaction of the application, which then idles until undo, and commits.
func (x *captureTrial) hold(ctx context.Context, url, sql string) (undo func()) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		x.note(err)
		return func() {}
	}
	_, err = conn.Exec(ctx, "SET lock_timeout = '1s'; BEGIN")
	if err == nil {
		_, err = conn.Exec(ctx, sql)
	}
	x.note(err)
	return func() {
		ctx := context.WithoutCancel(ctx)
		_, err := conn.Exec(ctx, "COMMIT")
		x.note(err)
		_ = conn.Close(ctx) // This frees what it held.
	}
}

// heal removes what faults may have left, in whatever order they were undone.
func (x *captureTrial) heal(ctx context.Context) {
	for _, proxy := range []*toxiproxy.Proxy{x.home, x.target, x.shop, x.redis} {
		proxy.Stop()
		proxy.Toxics.ResetToxics(ctx)
		if err := listen(proxy); err != nil {
			x.fatal(err)
		}
	}
	for _, slot := range x.slots {
		slot.signal(syscall.SIGCONT)
	}
	x.hook.eat()
	x.source.settle(ctx, x)
}
