package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// site is a database whose table public.item is captured.
type site struct {
	*database

	bench *bench
	name  string
}

// siteSQL makes the table, and a procedure that changes it: every other transaction inserts rows, and the next one updates them.
const siteSQL = `
CREATE TABLE public.item (id bigint PRIMARY KEY, n integer NOT NULL, body text NOT NULL);
CREATE TABLE public.mark (id bigint PRIMARY KEY);
CREATE PROCEDURE public.work(first bigint, transactions integer, per integer) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 0 .. transactions - 1 LOOP
		IF i % 2 = 0 THEN
			INSERT INTO public.item SELECT first + i * per + g, i, repeat(md5(g::text), 3) FROM generate_series(0, per - 1) AS g;
		ELSE
			UPDATE public.item SET n = n + 1 WHERE id >= first + (i - 1) * per AND id < first + i * per;
		END IF;
		COMMIT;
	END LOOP;
END $$;
INSERT INTO daymill.schedules (name, last_due_at, paused_at)
VALUES ('daily_rollup', 'infinity', now()), ('prune_ledger', 'infinity', now()), ('verify_dates', 'infinity', now())`

// site makes a database on a server, with Daymill installed.
func (b *bench) site(ctx context.Context, on *server, name string) (*site, error) {
	b.meter.say("install")
	url, err := on.create(ctx, name)
	if err != nil {
		return nil, err
	}
	if _, err := b.daymill(ctx, url, "migrate", "--entity-type", "bigint"); err != nil {
		return nil, err
	}
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return nil, err
	}
	s := &site{database: &database{Pool: pool, url: url, tracks: on.tracks}, bench: b, name: name}
	if s.tracks {
		if err := s.exec(ctx, "CREATE EXTENSION pg_stat_statements"); err != nil {
			return nil, err
		}
	}
	return s, s.exec(ctx, siteSQL)
}

// apply applies a daymill.yaml.
func (s *site) apply(ctx context.Context, file string) error {
	path := filepath.Join(s.bench.dir, s.name+".yaml")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		return err
	}
	_, err := s.bench.daymill(ctx, s.url, "apply", "-f", path, "--remove")
	return err
}

// change makes about so many changes, in transactions of per rows, and returns how many, and how much WAL they are.
func (s *site) change(ctx context.Context, changes, per int) (changed int, written float64, err error) {
	transactions := max(2, changes/per) &^ 1
	var from string
	var first int64
	err = s.QueryRow(ctx, "SELECT pg_current_wal_insert_lsn()::text, (SELECT coalesce(max(id), 0) + 1 FROM public.item)").Scan(&from, &first)
	if err != nil {
		return 0, 0, err
	}
	conn, err := s.Acquire(ctx)
	if err != nil {
		return 0, 0, err
	}
	defer conn.Release()
	call := fmt.Sprintf("CALL public.work(%d, %d, %d)", first, transactions, per)
	for _, sql := range []string{"SET synchronous_commit = off", call, "RESET synchronous_commit", "INSERT INTO public.mark SELECT 1 + coalesce(max(id), 0) FROM public.mark"} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return 0, 0, fmt.Errorf("%s: %w", sql, err)
		}
	}
	err = conn.QueryRow(ctx, "SELECT (pg_current_wal_insert_lsn() - $1::text::pg_lsn)::float8", from).Scan(&written)
	return transactions * per, written, err
}

// end commits a last change, and returns where the WAL ended before.
func (s *site) end(ctx context.Context) (lsn string, err error) {
	if err := s.QueryRow(ctx, "SELECT pg_current_wal_insert_lsn()::text").Scan(&lsn); err != nil {
		return "", err
	}
	return lsn, s.exec(ctx, "INSERT INTO public.mark SELECT 1 + coalesce(max(id), 0) FROM public.mark")
}

// long is how long anything may take.
const long = 30 * time.Minute

// until waits until a query returns true.
func (s *site) until(ctx context.Context, every time.Duration, sql string, arguments ...any) error {
	err := await(ctx, long, every, func() (done bool, err error) {
		err = s.QueryRow(ctx, sql, arguments...).Scan(&done)
		return done, err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	return nil
}

// landed waits until everything that was committed before the call is in the log.
func (s *site) landed(ctx context.Context) error {
	var mode string
	if err := s.until(ctx, 2*time.Millisecond, "SELECT coalesce((SELECT state = 'running' FROM capture.stream), false)"); err != nil {
		return err
	}
	if err := s.QueryRow(ctx, "SELECT mode FROM capture.stream").Scan(&mode); err != nil {
		return err
	}
	if mode == "wal" {
		lsn, err := s.end(ctx)
		if err != nil {
			return err
		}
		return s.until(ctx, 2*time.Millisecond, "SELECT lsn::pg_lsn > $1::text::pg_lsn FROM capture.stream", lsn)
	}
	return s.until(ctx, 2*time.Millisecond, `
		SELECT NOT EXISTS (
			SELECT FROM (SELECT xid FROM daymill_capture.queue_0 UNION ALL SELECT xid FROM daymill_capture.queue_1) AS q
			WHERE q.xid >= pg_snapshot_xmin(s.seen) AND NOT pg_visible_in_snapshot(q.xid, s.seen))
		FROM (SELECT split_part(seen, ' ', 1)::pg_snapshot AS seen FROM capture.stream) AS s`)
}

// delivered waits until a sink has everything that is in the log.
func (s *site) delivered(ctx context.Context, sink string) error {
	return s.until(ctx, 2*time.Millisecond, `SELECT min(h.position) >= (SELECT position FROM capture.stream)
		FROM capture.shard AS h WHERE h.consumer = $1`, sink)
}

// reads starts a worker, and returns once it reads the changes, and when it began to.
func (s *site) reads(ctx context.Context, arguments ...string) (*worker, time.Time, error) {
	w, err := s.bench.worker(ctx, s.url, arguments...)
	if err != nil {
		return w, time.Time{}, err
	}
	err = await(ctx, time.Minute, time.Millisecond, func() (bool, error) { return bytes.Contains(w.written(), []byte("stream started")), nil })
	return w, now(), err
}

// ready lands everything, and stops the worker, so that the next changes wait for the next worker.
func (s *site) ready(ctx context.Context) error {
	w, _, err := s.reads(ctx)
	if w != nil {
		defer w.kill()
	}
	if err == nil {
		err = s.landed(ctx)
	}
	if err != nil {
		return err
	}
	w.stop()
	return s.until(ctx, 10*time.Millisecond, "SELECT NOT EXISTS (SELECT FROM pg_replication_slots WHERE active AND database = current_database())")
}

// peak returns the most memory that a running worker has had, in bytes; 0 where the system does not say.
func (w *worker) peak() int64 {
	match := regexp.MustCompile(`VmHWM:\s*(\d+) kB`).FindSubmatch(file("/proc/" + strconv.Itoa(w.cmd.Process.Pid) + "/status"))
	if match == nil {
		return 0
	}
	kilobytes, _ := strconv.ParseInt(string(match[1]), 10, 64) // The pattern matched digits.
	return kilobytes << 10
}

// publication is what pg_recvlogical and a subscription read.
const publication = "bench"

// received is the slot of pg_recvlogical.
const received = "bench_receive"

// slot makes the slot of pg_recvlogical.
func (s *site) slot(ctx context.Context) error {
	return s.exec(ctx, "SELECT pg_create_logical_replication_slot($1, 'pgoutput')", received)
}

func (s *site) dropSlot(ctx context.Context) error {
	if err := s.until(ctx, 10*time.Millisecond, "SELECT NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1 AND active)", received); err != nil {
		return err
	}
	return s.exec(ctx, "SELECT pg_drop_replication_slot($1)", received)
}

// recvlogical returns a run of pg_recvlogical into a file, up to a place in the WAL or, if that is empty, until it is interrupted.
func (b *bench) recvlogical(ctx context.Context, s *site, upto string) (*worker, error) {
	path := filepath.Join(b.dir, "recvlogical")
	_ = os.Remove(path) // It may not be there.
	arguments := []string{"-d", s.url, "--slot", received, "--start", "--no-loop", "-o", "proto_version=1", "-o", "publication_names=" + publication, "-f", path}
	if upto != "" {
		arguments = append(arguments, "--endpos", upto)
	}
	return b.program(ctx, "pg_recvlogical", arguments...)
}

// program starts a program of Postgres.
func (b *bench) program(ctx context.Context, name string, arguments ...string) (*worker, error) {
	w := &worker{cmd: b.command(ctx, "", arguments...), done: make(chan struct{})}
	w.cmd.Path = filepath.Join(b.server.own.Binaries.Dir, name)
	w.cmd.Args[0] = w.cmd.Path
	w.cmd.Stdout, w.cmd.Stderr = w, w
	if err := w.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = w.cmd.Wait() // Its state says how it ended.
		close(w.done)
	}()
	return w, nil
}

// wait waits until a program ends.
func (w *worker) wait() error {
	<-w.done
	if !w.cmd.ProcessState.Success() {
		return fmt.Errorf("%s: %s: %s", filepath.Base(w.cmd.Path), w.cmd.ProcessState, w.written())
	}
	return nil
}

// racer takes part in a race.
type racer struct {
	name string
	// prepare runs before the changes, run is timed unless its sample says otherwise, and after cleans up; each may be nil, but run.
	prepare func(ctx context.Context) error
	run     func(ctx context.Context) (sample, error)
	after   func(ctx context.Context) error
}

// race gives every racer a turn in each round, and begins each round with another one. Before each turn, work runs, which may be nil.
func (b *bench) race(ctx context.Context, s *site, got samples, work func(ctx context.Context, one sample) error, racers ...racer) error {
	for round := range b.rounds {
		for i := range racers {
			r := racers[(i+round)%len(racers)]
			b.meter.step(r.name)
			if err := b.lap(ctx, s, got, work, r); err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
		}
	}
	return nil
}

func (b *bench) lap(ctx context.Context, s *site, got samples, work func(ctx context.Context, one sample) error, r racer) (err error) {
	if r.prepare != nil {
		if err := r.prepare(ctx); err != nil {
			return fmt.Errorf("prepare: %w", err)
		}
	}
	if r.after != nil {
		defer func() { err = errors.Join(err, r.after(ctx)) }()
	}
	one := sample{}
	if work != nil {
		if err := work(ctx, one); err != nil {
			return fmt.Errorf("work: %w", err)
		}
	}
	if err := s.exec(ctx, "CHECKPOINT -- before a turn"); err != nil {
		return err
	}
	var from string
	if err := s.QueryRow(ctx, "SELECT pg_current_wal_insert_lsn()::text").Scan(&from); err != nil {
		return err
	}
	began := now()
	figures, err := r.run(ctx)
	took := milliseconds(now().Sub(began))
	if err != nil {
		return err
	}
	one[wall] = took
	maps.Copy(one, figures)
	var written float64
	if err := s.QueryRow(ctx, "SELECT (pg_current_wal_insert_lsn() - $1::text::pg_lsn)::float8", from).Scan(&written); err != nil {
		return err
	}
	one[wal] = written
	got[r.name] = append(got[r.name], one)
	return nil
}

// perSecond sets the rate of changes of all samples that took part in a race over so many changes.
func (s samples) perSecond() {
	for _, all := range s {
		for _, one := range all {
			if one[made] > 0 && one[wall] > 0 {
				one[throughput] = one[made] / one[wall] * 1000
			}
		}
	}
}

// Keys of samples; no table shows made and source.
const (
	throughput = "throughput" // changes of rows per second
	made       = "made"       // changes of rows
	source     = "source"     // bytes of WAL that they are
)

// quoted returns a text as SQL.
func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }
