package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

const (
	// commits is how many transactions of the application each second has.
	commits = 100
	// behind is how long after the application's last change everything has to be delivered, as a part of the time that the application wrote:
	// a consumer that takes fewer changes than there are needs longer, the longer the application writes.
	behind = 0.1
	// grows is by how much the rate grows from step to step.
	grows = 1.25
)

// sustain raises the rate of an application's changes in steps, until a webhook is more than a tenth of the step's time behind at its end.
func sustain(ctx context.Context, b *bench) (Result, error) {
	s, err := b.site(ctx, b.server, "sustain")
	if err != nil {
		return Result{}, err
	}
	defer s.Close()
	receiver, err := receive(ctx, false)
	if err != nil {
		return Result{}, err
	}
	defer receiver.server.Close()
	b.env = []string{"BENCH_HOOK_URL=" + receiver.url}
	err = s.apply(ctx, `capture: {tables: [public.item, public.mark]}
sinks:
  - {name: one, kind: webhook, url: $BENCH_HOOK_URL, tables: [public.item], batch: true, allow_private: true}
  - {name: four, kind: webhook, url: $BENCH_HOOK_URL, tables: [public.item], batch: true, allow_private: true, shards: 4}
`)
	if err != nil {
		return Result{}, err
	}
	do := func(arguments ...string) error {
		_, err := b.daymill(ctx, s.url, append([]string{"sink"}, arguments...)...)
		return err
	}
	if err := do("pause", "four"); err != nil {
		return Result{}, err
	}
	w, _, err := s.reads(ctx)
	if w != nil {
		defer w.kill()
	}
	if err == nil {
		err = s.landed(ctx)
	}
	if err != nil {
		return Result{}, err
	}
	var second *worker
	defer func() {
		if second != nil {
			second.kill()
		}
	}()
	got, notes := samples{}, []string{}
	all := []struct {
		name, sink string
		workers    int
		begin      func() error
	}{
		{"one worker, one shard", "one", 1, func() error { return nil }},
		{"one worker, four shards", "four", 1, func() error {
			var head int64
			if err := s.QueryRow(ctx, "SELECT position FROM capture.stream").Scan(&head); err != nil {
				return err
			}
			return errors.Join(do("pause", "one"), do("rewind", "four", "--to", strconv.FormatInt(head, 10)), do("resume", "four"))
		}},
		{"two workers, four shards", "four", 2, func() error {
			second, err = b.worker(ctx, s.url)
			return err
		}},
	}
	for _, c := range all {
		b.meter.step(c.name)
		if err := c.begin(); err != nil {
			return Result{}, fmt.Errorf("%s: %w", c.name, err)
		}
		one, why, err := s.raise(ctx, c.sink)
		if err != nil {
			return Result{}, fmt.Errorf("%s: %w", c.name, err)
		}
		got[c.name] = []sample{one}
		notes = append(notes, "With "+c.name+", "+why+".")
	}
	names := make([]string, len(all))
	ratios := make([]Ratio, len(all))
	for i, c := range all {
		names[i] = c.name
		ratios[i] = Ratio{
			ID: "sustain." + strconv.Itoa(c.workers) + "_" + c.sink, What: "changes per second to a webhook that does not fall behind, " + c.name,
			Value: got.of(c.name, throughput), Unit: "/s", AtLeast: true,
		}
	}
	return Result{
		Notes: append([]string{fmt.Sprintf("The application commits %d transactions a second for %d seconds, at first with %d changes a second in all, and then with %g times as many in each step, "+
			"at most %d. A step is kept up with if a webhook, which takes arrays and only answers, has everything %g seconds after the last commit.",
			commits, b.seconds, b.sustainFrom, grows, b.sustainMost, b.behind().Seconds())}, notes...),
		Rows: got.rows(names...), Ratios: ratios,
	}, nil
}

// behind is how long a consumer may need after the application's last change; a second at least, because deliveries come in batches.
func (b *bench) behind() time.Duration {
	return max(time.Second, time.Duration(behind*float64(b.seconds)*float64(time.Second)))
}

// raise returns the highest rate that a sink kept up with, and says why it ended there.
func (s *site) raise(ctx context.Context, sink string) (one sample, why string, err error) {
	one = sample{throughput: 0}
	for rate := s.bench.sustainFrom; ; rate = max(rate+1, int(float64(rate)*grows)) {
		if rate > s.bench.sustainMost {
			return one, fmt.Sprintf("no rate up to %d changes a second is too high", s.bench.sustainMost), nil
		}
		took, err := s.press(ctx, rate)
		if err != nil {
			return nil, "", err
		}
		if late := took - time.Duration(s.bench.seconds)*time.Second; late > s.bench.behind() {
			return one, fmt.Sprintf("the application itself was %.1f s late at %d changes a second", late.Seconds(), rate), nil
		}
		began := now()
		if err := s.landed(ctx); err != nil {
			return nil, "", err
		}
		landed := now().Sub(began)
		if err := s.delivered(ctx, sink); err != nil {
			return nil, "", err
		}
		if late := now().Sub(began); late > s.bench.behind() {
			return one, fmt.Sprintf("it took %.1f s after the last commit at %d changes a second, %.1f s of them until all were in the log", late.Seconds(), rate, landed.Seconds()), nil
		}
		one = sample{throughput: float64(rate)}
	}
}

// press inserts rows at a rate, and returns how long that took.
func (s *site) press(ctx context.Context, rate int) (time.Duration, error) {
	var last int64
	if err := s.QueryRow(ctx, "SELECT coalesce(max(id), 0) FROM public.item").Scan(&last); err != nil {
		return 0, err
	}
	began, made := now(), int64(0)
	for i := range s.bench.seconds * commits {
		if err := sleep(ctx, began.Add(time.Duration(i)*time.Second/commits).Sub(now())); err != nil {
			return 0, err
		}
		upTo := int64(i+1) * int64(rate) / commits
		if upTo == made {
			continue
		}
		_, err := s.Exec(ctx, "INSERT INTO public.item SELECT i, 0, repeat(md5(i::text), 3) FROM generate_series($1::bigint, $2::bigint) AS i", last+made+1, last+upTo)
		if err != nil {
			return 0, err
		}
		made = upTo
	}
	return now().Sub(began), nil
}
