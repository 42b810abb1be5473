package main

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// redis starts a Redis that stores nothing on disk; nil if there is none to start.
func (b *bench) redis(ctx context.Context) (w *worker, url string, err error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, "", nil //nolint:nilerr // Then it is left out.
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		return nil, "", err
	}
	_, port, _ := net.SplitHostPort(address)
	w = &worker{cmd: exec.CommandContext(ctx, path, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", b.dir), done: make(chan struct{})}
	w.cmd.Stdout, w.cmd.Stderr = w, w
	if err := w.cmd.Start(); err != nil {
		return nil, "", err
	}
	go func() {
		_ = w.cmd.Wait() // How it ended does not matter.
		close(w.done)
	}()
	err = await(ctx, time.Minute, 5*time.Millisecond, func() (bool, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			return false, nil //nolint:nilerr // Not yet.
		}
		return true, conn.Close()
	})
	return w, "redis://" + address, err
}

// sinks measures how fast Redis and a webhook take what is in the log, with one shard and with four.
func sinks(ctx context.Context, b *bench) (Result, error) {
	s, err := b.site(ctx, b.server, "sinks")
	if err != nil {
		return Result{}, err
	}
	defer s.Close()
	receiver, err := receive(ctx, false)
	if err != nil {
		return Result{}, err
	}
	defer receiver.server.Close()
	server, url, err := b.redis(ctx)
	if server != nil {
		defer server.kill()
	}
	if err != nil {
		return Result{}, err
	}
	b.env = []string{"BENCH_HOOK_URL=" + receiver.url, "BENCH_REDIS_URL=" + url}
	var file strings.Builder
	file.WriteString("capture: {tables: [public.item, public.mark]}\nsinks:\n")
	all := []string{}
	for _, shards := range []int{1, 4} {
		name := strconv.Itoa(shards)
		fmt.Fprintf(&file, "  - {name: hook-%[1]s, kind: webhook, url: $BENCH_HOOK_URL, tables: [public.item], batch: true, allow_private: true, shards: %[1]s}\n", name)
		all = append(all, "hook-"+name)
		if server != nil {
			fmt.Fprintf(&file, "  - {name: redis-%[1]s, kind: redis, url: $BENCH_REDIS_URL, tables: [public.item], set: \"item:{{ .new.id }}\", shards: %[1]s}\n", name)
			all = append(all, "redis-"+name)
		}
	}
	if err := s.apply(ctx, file.String()); err != nil {
		return Result{}, err
	}
	do := func(ctx context.Context, verb, sink string, more ...string) error {
		_, err := b.daymill(ctx, s.url, append([]string{"sink", verb, sink}, more...)...)
		return err
	}
	for _, sink := range all {
		if err := do(ctx, "pause", sink); err != nil {
			return Result{}, err
		}
	}
	w, _, err := s.reads(ctx)
	if w != nil {
		defer w.kill()
	}
	if err != nil {
		return Result{}, err
	}
	if err := s.landed(ctx); err != nil {
		return Result{}, err
	}
	var start int64
	if err := s.QueryRow(ctx, "SELECT position FROM capture.stream").Scan(&start); err != nil {
		return Result{}, err
	}
	count, _, err := s.change(ctx, b.changes, 100)
	if err == nil {
		err = s.landed(ctx)
	}
	if err != nil {
		return Result{}, err
	}
	racers := make([]racer, 0, len(all))
	for _, sink := range all {
		racers = append(racers, racer{
			name:    sink,
			prepare: func(ctx context.Context) error { return do(ctx, "rewind", sink, "--to", strconv.FormatInt(start, 10)) },
			run: func(ctx context.Context) (sample, error) {
				if err := do(ctx, "resume", sink); err != nil {
					return nil, err
				}
				began := now()
				err := s.delivered(ctx, sink)
				return sample{wall: milliseconds(now().Sub(began)), made: float64(count)}, err
			},
			after: func(ctx context.Context) error { return do(ctx, "pause", sink) },
		})
	}
	got := samples{}
	if err := b.race(ctx, s, got, nil, racers...); err != nil {
		return Result{}, err
	}
	got.perSecond()
	return Result{
		Notes: []string{fmt.Sprintf("%d changes that have landed; each sink is rewound and resumed. Redis compares positions in a script for each key; the webhook gets arrays of up to 500 changes and only answers.", count)},
		Rows:  got.rows(all...),
		Ratios: []Ratio{
			{ID: "sinks.redis", What: "changes per second to Redis, one shard", Value: got.of("redis-1", throughput), Unit: "/s", Target: 20_000, AtLeast: true},
			{ID: "sinks.redis_shards", What: "Redis, four shards ÷ one", Value: got.ratio(throughput, "redis-4", "redis-1"), Target: 1.5, AtLeast: true},
			{ID: "sinks.webhook", What: "changes per second to a webhook, one shard", Value: got.of("hook-1", throughput), Unit: "/s", Target: 10_000, AtLeast: true},
			{ID: "sinks.webhook_shards", What: "webhook, four shards ÷ one", Value: got.ratio(throughput, "hook-4", "hook-1"), Target: 1.5, AtLeast: true},
		},
	}, nil
}
