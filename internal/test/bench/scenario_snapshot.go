package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"
)

// snapshots compares a snapshot of a table with COPY of it to a file and back into another table.
func snapshots(ctx context.Context, b *bench) (Result, error) {
	s, err := b.site(ctx, b.server, "snapshot")
	if err != nil {
		return Result{}, err
	}
	defer s.Close()
	err = s.exec(ctx, "INSERT INTO public.item SELECT g, 0, repeat(md5(g::text), 3) FROM generate_series(1, $1::bigint) AS g", b.snapshot)
	if err == nil {
		err = s.exec(ctx, "VACUUM ANALYZE public.item")
	}
	if err == nil {
		err = s.apply(ctx, "capture: {tables: [public.item, public.mark]}\nsinks: [{name: reader, kind: poll, tables: [public.item]}]\n")
	}
	if err != nil {
		return Result{}, err
	}
	const ofCopy = "COPY to a file and back"
	file := filepath.Join(b.dir, "copied")
	var w *worker
	got, longest := samples{}, 0.0
	err = b.race(ctx, s, got, nil,
		racer{
			name: ofCopy,
			prepare: func(ctx context.Context) error {
				return s.exec(ctx, "DROP TABLE IF EXISTS public.copied; CREATE TABLE public.copied (LIKE public.item INCLUDING ALL)")
			},
			run: func(ctx context.Context) (sample, error) { return sample{}, s.throughFile(ctx, file) },
		},
		racer{
			name: ofDaymill,
			prepare: func(ctx context.Context) (err error) {
				if w, _, err = s.reads(ctx, "--pace", "0"); err != nil {
					return err
				}
				if err := s.landed(ctx); err != nil || !s.tracks {
					return err
				}
				return s.exec(ctx, "SELECT pg_stat_statements_reset()")
			},
			run: func(ctx context.Context) (sample, error) {
				if _, err := b.daymill(ctx, s.url, "sink", "snapshot", "reader"); err != nil {
					return nil, err
				}
				began := now()
				err := s.until(ctx, 10*time.Millisecond, `SELECT NOT EXISTS (SELECT FROM capture.snapshot_request)
					AND coalesce((SELECT state = 'complete' FROM capture.snapshot ORDER BY id DESC LIMIT 1), false)`)
				return sample{wall: milliseconds(now().Sub(began))}.with(w.peak()), err
			},
			after: func(ctx context.Context) error {
				if w != nil {
					w.stop()
				}
				if !s.tracks {
					return nil
				}
				var most float64
				err := s.QueryRow(ctx, `SELECT coalesce(max(max_exec_time), 0) FROM pg_stat_statements
					WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND query !~* '^(checkpoint|vacuum|copy public)'`).Scan(&most)
				longest = max(longest, most)
				return err
			},
		})
	if err != nil {
		return Result{}, err
	}
	var rows int
	if err := s.QueryRow(ctx, "SELECT count(DISTINCT new ->> 'id') FROM capture.log WHERE table_name = 'item' AND snapshot AND op = 'insert'").Scan(&rows); err != nil {
		return Result{}, err
	}
	if rows != b.snapshot {
		return Result{}, fmt.Errorf("the snapshots have %d rows, and the table %d", rows, b.snapshot)
	}
	for _, all := range got {
		for _, one := range all {
			one[made] = float64(b.snapshot)
		}
	}
	got.perSecond()
	return Result{
		Notes: []string{fmt.Sprintf("A table of %d rows. The snapshot, at pace 0, puts them into the log; COPY writes them to a file, and from there into a table with the same primary key.", b.snapshot)},
		Rows:  got.rows(ofCopy, ofDaymill),
		Ratios: []Ratio{
			{ID: "snapshot.copy", What: "rows per second of a snapshot ÷ COPY to a file and back", Value: got.ratio(throughput, ofDaymill, ofCopy), Target: 0.3, AtLeast: true},
			{ID: "snapshot.longest", What: "longest statement of a snapshot", Value: spread([]float64{longest}), Unit: "ms", Target: 250},
		},
	}, nil
}

// throughFile copies public.item to a file, and the file to public.copied.
func (s *site) throughFile(ctx context.Context, path string) error {
	conn, err := pgx.Connect(ctx, s.url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	to, err := os.Create(path)
	if err != nil {
		return err
	}
	if _, err = conn.PgConn().CopyTo(ctx, to, "COPY public.item TO STDOUT"); err == nil {
		err = to.Sync()
	}
	if closed := to.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	from, err := os.Open(path)
	if err != nil {
		return err
	}
	defer from.Close()
	_, err = conn.PgConn().CopyFrom(ctx, from, "COPY public.copied FROM STDIN")
	return err
}

// bulk measures the memory of a worker while one transaction changes many rows, in both modes.
func bulk(ctx context.Context, b *bench) (Result, error) {
	const byWAL, byTrigger = "from the WAL", "by triggers"
	rows := b.bulk
	if b.large10 {
		rows = max(rows, 10_000_000)
	}
	got := samples{}
	for name, servers := range map[string][2]*server{byWAL: {b.server, b.other}, byTrigger: {b.other, b.server}} {
		b.meter.step(name)
		one, err := b.oneTransaction(ctx, servers[0], servers[1], rows)
		if err != nil {
			return Result{}, fmt.Errorf("%s: %w", name, err)
		}
		got[name] = []sample{one}
	}
	got.perSecond()
	mebibytes := func(name string) Spread { return spread([]float64{got.of(name, memory).Median / (1 << 20)}) }
	return Result{
		Notes: []string{fmt.Sprintf("One statement inserts %d rows while a worker captures the table and copies it to Postgres in another cluster. The time is from its commit until the copy has the rows.", rows)},
		Rows:  got.rows(byWAL, byTrigger),
		Ratios: []Ratio{
			{ID: "bulk.wal", What: "memory of the worker, from the WAL", Value: mebibytes(byWAL), Unit: "MiB", Target: 256},
			{ID: "bulk.trigger", What: "memory of the worker, by triggers", Value: mebibytes(byTrigger), Unit: "MiB", Target: 256},
		},
	}, nil
}

func (b *bench) oneTransaction(ctx context.Context, on, to *server, rows int) (sample, error) {
	s, err := b.site(ctx, on, "bulk")
	if err != nil {
		return nil, err
	}
	defer s.Close()
	target, err := b.site(ctx, to, "bulk_copy")
	if err != nil {
		return nil, err
	}
	defer target.Close()
	b.env = []string{"BENCH_TARGET_URL=" + target.url}
	err = s.apply(ctx, `capture: {tables: [public.item, public.mark]}
sinks: [{name: copy, kind: postgres, url: $BENCH_TARGET_URL, schema: copied, tables: [public.item]}]
`)
	if err != nil {
		return nil, err
	}
	w, _, err := s.reads(ctx)
	if w != nil {
		defer w.kill()
	}
	if err == nil {
		err = s.exec(ctx, "INSERT INTO public.item SELECT g, 0, repeat(md5(g::text), 3) FROM generate_series(1, $1::bigint) AS g", rows)
	}
	began := now()
	if err == nil {
		err = s.landed(ctx)
	}
	if err == nil {
		err = s.delivered(ctx, "copy")
	}
	if err != nil {
		return nil, err
	}
	one := sample{wall: milliseconds(now().Sub(began)), made: float64(rows)}.with(w.peak())
	var copied int
	if err := target.QueryRow(ctx, "SELECT count(*) FROM copied.item").Scan(&copied); err != nil {
		return nil, err
	}
	if copied != rows {
		return nil, fmt.Errorf("the copy has %d rows, and the table %d", copied, rows)
	}
	return one, nil
}
