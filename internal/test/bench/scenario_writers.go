package main

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"time"
)

// writers measures how many transactions per second a closed loop of pgbench loses to each way of capturing.
func writers(ctx context.Context, b *bench) (Result, error) {
	const alone, followed, logged, aloneToo, triggers = "pgbench alone", "beside pg_recvlogical", "captured from the WAL", "pgbench alone, without logical decoding", "captured by triggers"
	sites := map[*server]*site{}
	for _, on := range []*server{b.server, b.other} {
		s, err := b.site(ctx, on, "writers")
		if err != nil {
			return Result{}, err
		}
		defer s.Close()
		sites[on] = s
		if err := b.pgbench(ctx, s, nil, "-i", "-q", "-s", "10"); err != nil {
			return Result{}, err
		}
	}
	s, other := sites[b.server], sites[b.other]
	if err := s.exec(ctx, "CREATE PUBLICATION "+publication+" FOR TABLE pgbench_accounts"); err != nil {
		return Result{}, err
	}
	// race returns a racer that runs pgbench. begin starts what runs beside it.
	race := func(name string, on *site, begin, after func(ctx context.Context) error) racer {
		return racer{name: name, prepare: begin, after: after, run: func(ctx context.Context) (sample, error) {
			one := sample{}
			return one, b.pgbench(ctx, on, one, "-b", "simple-update", "-c", "4", "-j", "1", "-T", strconv.Itoa(b.seconds))
		}}
	}
	var running *worker
	end := func(context.Context) error { //nolint:unparam // A racer wants an error.
		if running != nil {
			running.stop()
			running = nil
		}
		return nil
	}
	captured := func(on *site) func(ctx context.Context) error {
		return func(ctx context.Context) (err error) {
			if err := on.apply(ctx, "capture: {tables: [public.pgbench_accounts, public.mark]}\n"); err != nil {
				return err
			}
			if running, _, err = on.reads(ctx); err != nil {
				return err
			}
			return on.landed(ctx)
		}
	}
	uncaptured := func(on *site) func(ctx context.Context) error {
		return func(ctx context.Context) error {
			if err := on.apply(ctx, "capture: {tables: []}\n"); err != nil {
				return err
			}
			err := on.until(ctx, 20*time.Millisecond, "SELECT bool_and(mode IS NULL) FROM capture.stream") // It is taken down.
			if err != nil {
				return err
			}
			return end(ctx)
		}
	}
	got := samples{}
	err := b.race(ctx, s, got, nil,
		race(alone, s, nil, nil),
		race(followed, s, func(ctx context.Context) (err error) {
			if err := s.slot(ctx); err != nil {
				return err
			}
			running, err = b.recvlogical(ctx, s, "")
			return err
		}, func(ctx context.Context) error {
			_ = running.cmd.Process.Signal(os.Interrupt) // It may have ended.
			<-running.done
			running = nil
			return s.dropSlot(ctx)
		}),
		race(logged, s, captured(s), uncaptured(s)))
	if err == nil {
		err = b.race(ctx, other, got, nil, race(aloneToo, other, nil, nil), race(triggers, other, captured(other), uncaptured(other)))
	}
	if err != nil {
		return Result{}, err
	}
	lost := func(name, against string) Spread {
		kept := got.ratio(rate, name, against)
		return Spread{Median: 1 - kept.Median, Low: 1 - kept.High, High: 1 - kept.Low}
	}
	return Result{
		Notes: []string{fmt.Sprintf("`pgbench -b simple-update -c 4` for %d seconds a turn, scale 10. The log is in the same database. Triggers write whole rows, in a cluster without logical decoding.", b.seconds)},
		Rows:  got.rows(alone, followed, logged, aloneToo, triggers),
		Ratios: []Ratio{
			{ID: "writers.receive", What: "share of transactions per second lost to `pg_recvlogical`", Value: lost(followed, alone)},
			{ID: "writers.wal", What: "share of transactions per second lost to capture from the WAL", Value: lost(logged, alone), Target: 0.3},
			{ID: "writers.trigger", What: "share of transactions per second lost to capture by triggers", Value: lost(triggers, aloneToo), Target: 0.25},
		},
	}, nil
}

var tpsPattern = regexp.MustCompile(`(?m)^tps = ([0-9.]+)`)

// pgbench runs pgbench, and sets the transactions per second, unless one is nil.
func (b *bench) pgbench(ctx context.Context, on *site, one sample, arguments ...string) error {
	w, err := b.program(ctx, "pgbench", append(arguments, on.url)...)
	if err != nil {
		return err
	}
	if err := w.wait(); err != nil || one == nil {
		return err
	}
	match := tpsPattern.FindSubmatch(w.written())
	if match == nil {
		return fmt.Errorf("pgbench said no tps: %s", w.written())
	}
	one[rate], err = strconv.ParseFloat(string(match[1]), 64)
	return err
}
