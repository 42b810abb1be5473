package main

import (
	"context"
	"fmt"
	"time"
)

// captures returns the scenarios of capture.
func captures() []scenario {
	rounds := func(each int) func(*bench) int { return func(b *bench) int { return each * b.rounds } }
	return []scenario{
		{"land", "From the WAL into the log", rounds(6), land},
		{"copy", "Into another Postgres", rounds(3), copyTo},
		{"lag", "From commit to log and webhook", func(*bench) int { return 2 }, lag},
		{"writers", "What an application loses", rounds(5), writers},
		{"sinks", "Redis and webhooks", rounds(4), sinks},
		{"sustain", "The rate at which a webhook falls behind", func(*bench) int { return 3 }, sustain},
		{"snapshot", "A snapshot against COPY", rounds(2), snapshots},
		{"bulk", "One large transaction", func(*bench) int { return 2 }, bulk},
	}
}

// Names of racers.
const (
	ofReceive   = "pg_recvlogical -P pgoutput"
	ofSubscribe = "a subscription"
	ofSmall     = ", transactions of one row"
)

// receives is pg_recvlogical into a file.
func (s *site) receives(name string) racer {
	return racer{
		name:    name,
		prepare: s.slot,
		run: func(ctx context.Context) (sample, error) {
			var end string
			if err := s.QueryRow(ctx, "SELECT pg_current_wal_flush_lsn()::text").Scan(&end); err != nil {
				return nil, err
			}
			began := now()
			w, err := s.bench.recvlogical(ctx, s, end)
			if err != nil {
				return nil, err
			}
			// It ends at the first message after the end, which a later change makes sure of.
			if err := s.exec(ctx, "INSERT INTO public.mark SELECT 1 + coalesce(max(id), 0) FROM public.mark"); err != nil {
				return nil, err
			}
			err = w.wait()
			return sample{wall: milliseconds(now().Sub(began))}, err
		},
		after: s.dropSlot,
	}
}

// subscribes is a subscription in the second cluster.
func (s *site) subscribes(target *site, name string) racer {
	return racer{
		name: name,
		prepare: func(ctx context.Context) error {
			for _, sql := range []string{
				"TRUNCATE public.item, public.mark",
				"CREATE SUBSCRIPTION bench CONNECTION " + quoted(s.url) + " PUBLICATION " + publication + " WITH (copy_data = false, enabled = false, create_slot = true, slot_name = 'bench_subscribe')",
			} {
				if err := target.exec(ctx, sql); err != nil {
					return err
				}
			}
			return nil
		},
		run: func(ctx context.Context) (sample, error) {
			var last int64
			if err := s.QueryRow(ctx, "SELECT max(id) FROM public.mark").Scan(&last); err != nil {
				return nil, err
			}
			began := now()
			if err := target.exec(ctx, "ALTER SUBSCRIPTION bench ENABLE"); err != nil {
				return nil, err
			}
			err := target.until(ctx, 2*time.Millisecond, "SELECT EXISTS (SELECT FROM public.mark WHERE id = $1)", last)
			return sample{wall: milliseconds(now().Sub(began))}, err
		},
		after: func(ctx context.Context) error { return target.exec(ctx, "DROP SUBSCRIPTION bench") },
	}
}

// lands is a worker of Daymill that writes to the log, in the same cluster.
func (s *site) lands(name string) racer {
	return racer{
		name: name, prepare: s.ready,
		run: func(ctx context.Context) (sample, error) {
			w, began, err := s.reads(ctx)
			if w != nil {
				defer w.kill()
			}
			if err != nil {
				return nil, err
			}
			if err := s.landed(ctx); err != nil {
				return nil, err
			}
			return sample{wall: milliseconds(now().Sub(began))}.with(w.peak()), nil
		},
	}
}

// works returns the changes before each turn.
func (s *site) works(changes, per int) func(ctx context.Context, one sample) error {
	return func(ctx context.Context, one sample) error {
		count, bytes, err := s.change(ctx, changes, per)
		one[made], one[source] = float64(count), bytes
		return err
	}
}

// land compares how fast changes that wait in the WAL are read and stored.
func land(ctx context.Context, b *bench) (Result, error) {
	s, target, err := b.pair(ctx, "land")
	if err != nil {
		return Result{}, err
	}
	if err := s.apply(ctx, "capture: {tables: [public.item, public.mark]}\n"); err != nil {
		return Result{}, err
	}
	got := samples{}
	err = b.race(ctx, s, got, s.works(b.changes, 100), s.receives(ofReceive), s.subscribes(target, ofSubscribe), s.lands(ofDaymill))
	if err != nil {
		return Result{}, err
	}
	err = b.race(ctx, s, got, s.works(b.changes/5, 1),
		s.receives(ofReceive+ofSmall), s.subscribes(target, ofSubscribe+ofSmall), s.lands(ofDaymill+ofSmall))
	if err != nil {
		return Result{}, err
	}
	got.perSecond()
	amplified, peak := make([]float64, 0, b.rounds), make([]float64, 0, b.rounds)
	for _, one := range got[ofDaymill] {
		amplified, peak = append(amplified, one[wal]/one[source]), append(peak, one[memory]/(1<<20))
	}
	var disk float64
	err = s.QueryRow(ctx, `SELECT (SELECT sum(pg_total_relation_size(i.inhrelid)) FROM pg_inherits AS i INNER JOIN pg_inherits AS p ON p.inhrelid = i.inhparent
		WHERE p.inhparent = 'capture.log'::regclass)::float8 / (SELECT greatest(position, 1) FROM capture.stream)`).Scan(&disk)
	s.Close()
	target.Close()
	all := []string{ofReceive, ofSubscribe, ofDaymill, ofReceive + ofSmall, ofSubscribe + ofSmall, ofDaymill + ofSmall}
	return Result{
		Notes: []string{fmt.Sprintf(
			"%d changes in transactions of 100 rows, then %d in transactions of one, inserts and updates in turns, wait in the WAL. `pg_recvlogical` writes them to a file, the "+
				"subscription applies them in a second cluster, and `daymill worker` writes them to its log in the same cluster; its time begins when it reads.", b.changes, b.changes/5)},
		Rows: got.rows(all...),
		Ratios: []Ratio{
			{ID: "land.receive", What: "changes per second into the log ÷ `pg_recvlogical`, transactions of 100", Value: got.ratio(throughput, ofDaymill, ofReceive), Target: 0.9, AtLeast: true},
			{ID: "land.receive_small", What: "changes per second into the log ÷ `pg_recvlogical`, transactions of one", Value: got.ratio(throughput, ofDaymill+ofSmall, ofReceive+ofSmall), Target: 0.8, AtLeast: true},
			{ID: "land.subscription", What: "changes per second into the log ÷ the subscription, transactions of 100", Value: got.ratio(throughput, ofDaymill, ofSubscribe), Target: 1, AtLeast: true},
			{ID: "land.subscription_small", What: "changes per second into the log ÷ the subscription, transactions of one", Value: got.ratio(throughput, ofDaymill+ofSmall, ofSubscribe+ofSmall), Target: 1, AtLeast: true},
			{ID: "land.wal", What: "WAL of the log per byte of WAL of the changes", Value: spread(amplified)},
			{ID: "land.disk", What: "the log on disk per change", Value: spread([]float64{disk}), Unit: "bytes"},
			{ID: "land.memory", What: "memory of the worker that reads", Value: spread(peak), Unit: "MiB", Target: 50},
		},
	}, err
}

// pair makes a database to capture, with a publication, and one in the second cluster to write to.
func (b *bench) pair(ctx context.Context, name string) (s, target *site, err error) {
	if s, err = b.site(ctx, b.server, name); err != nil {
		return nil, nil, err
	}
	if target, err = b.site(ctx, b.other, name); err != nil {
		return nil, nil, err
	}
	b.env = []string{"BENCH_TARGET_URL=" + target.url}
	return s, target, s.exec(ctx, "CREATE PUBLICATION "+publication+" FOR TABLE public.item, public.mark")
}

// copyTo compares a Postgres sink with a subscription: from a log that has landed, and from the WAL.
func copyTo(ctx context.Context, b *bench) (Result, error) {
	s, target, err := b.pair(ctx, "copy")
	if err != nil {
		return Result{}, err
	}
	const sink = "copy"
	err = s.apply(ctx, `capture: {tables: [public.item, public.mark]}
sinks: [{name: copy, kind: postgres, url: $BENCH_TARGET_URL, schema: copied, tables: [public.item, public.mark]}]
`)
	if err != nil {
		return Result{}, err
	}
	if err := s.ready(ctx); err != nil { // Capture begins here.
		return Result{}, err
	}
	const fromLog, fromEnd = "Daymill, from the log", "Daymill, from the WAL"
	var w *worker
	stop := func(context.Context) error {
		if w != nil {
			w.stop()
			w = nil
		}
		return nil
	}
	pause := func(ctx context.Context, verb string) error {
		_, err := b.daymill(ctx, s.url, "sink", verb, sink)
		return err
	}
	landed := racer{
		name: fromLog,
		prepare: func(ctx context.Context) error {
			if err := s.ready(ctx); err != nil {
				return err
			}
			return pause(ctx, "pause")
		},
		run: func(ctx context.Context) (sample, error) {
			if w, _, err = s.reads(ctx); err != nil {
				return nil, err
			}
			if err := s.landed(ctx); err != nil {
				return nil, err
			}
			if err := pause(ctx, "resume"); err != nil {
				return nil, err
			}
			began := now()
			err := s.delivered(ctx, sink)
			return sample{wall: milliseconds(now().Sub(began))}.with(w.peak()), err
		},
		after: stop,
	}
	through := racer{
		name:    fromEnd,
		prepare: s.ready,
		run: func(ctx context.Context) (sample, error) {
			var began time.Time
			if w, began, err = s.reads(ctx); err != nil {
				return nil, err
			}
			if err := s.landed(ctx); err != nil {
				return nil, err
			}
			err := s.delivered(ctx, sink)
			return sample{wall: milliseconds(now().Sub(began))}.with(w.peak()), err
		},
		after: stop,
	}
	got := samples{}
	if err := b.race(ctx, s, got, s.works(b.changes, 100), s.subscribes(target, ofSubscribe), landed, through); err != nil {
		return Result{}, err
	}
	got.perSecond()
	var differ int64
	err = target.QueryRow(ctx, "SELECT count(*) FROM copied.item").Scan(&differ)
	var rows int64
	if err == nil {
		err = s.QueryRow(ctx, "SELECT count(*) FROM public.item").Scan(&rows)
	}
	if err == nil && rows != differ {
		err = fmt.Errorf("the copy has %d rows, and the table %d", differ, rows)
	}
	peak := make([]float64, 0, b.rounds)
	for _, one := range got[fromLog] {
		peak = append(peak, one[memory]/(1<<20))
	}
	s.Close()
	target.Close()
	return Result{
		Notes: []string{fmt.Sprintf("%d changes in transactions of 100 rows into a table of a second cluster. From the log: they have landed, and the sink is resumed. "+
			"From the WAL: the worker begins to read. At the end the copy has as many rows as the table.", b.changes)},
		Rows: got.rows(ofSubscribe, fromLog, fromEnd),
		Ratios: []Ratio{
			{ID: "copy.log", What: "changes per second from the log into Postgres ÷ the subscription", Value: got.ratio(throughput, fromLog, ofSubscribe), Target: 0.9, AtLeast: true},
			{ID: "copy.wal", What: "changes per second from the WAL into Postgres ÷ the subscription", Value: got.ratio(throughput, fromEnd, ofSubscribe), Target: 0.55, AtLeast: true},
			{ID: "copy.memory", What: "memory of the worker that delivers", Value: spread(peak), Unit: "MiB", Target: 50},
		},
	}, err
}
