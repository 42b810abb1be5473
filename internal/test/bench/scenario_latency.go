package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/daymill/daymill/internal/date"
)

// latency measures the time from the commit of a request until its tiny date is complete, with a running worker.
func latency(ctx context.Context, b *bench) (Result, error) {
	db, err := b.install(ctx, "latency")
	if err != nil {
		return Result{}, err
	}
	const events = 20
	dates, days := []date.Date{}, []dayOf{}
	for i := range 30 {
		dates = append(dates, largeDate().AddDays(i))
		days = append(days, dayOf{largeDate().AddDays(i), events, events})
	}
	if err := db.fill(ctx, days...); err != nil {
		return Result{}, err
	}
	w, err := b.worker(ctx, db.url)
	if w != nil {
		defer w.kill()
	}
	if err != nil {
		return Result{}, err
	}
	one, err := b.requestEach(ctx, func(i int) (until func() (bool, error), err error) {
		d := dates[i%len(dates)]
		return func() (done bool, err error) {
			err = db.QueryRow(ctx, "SELECT NOT EXISTS (SELECT FROM analytics.rollup_requests WHERE resolved_at IS NULL)").Scan(&done)
			return done, err
		}, db.exec(ctx, "SELECT analytics.enqueue_rollup($1)", d)
	})
	if err != nil {
		return Result{}, err
	}
	if err := db.exact(ctx, dates[:min(len(dates), b.requests)]...); err != nil {
		return Result{}, err
	}
	got := samples{"Daymill": {one}}
	return Result{
		Notes: []string{fmt.Sprintf("%d requests by `SELECT analytics.enqueue_rollup(…)`, one after another, of dates of %d events; a worker with the default options.", b.requests, events)},
		Rows:  got.rows("Daymill"),
		Ratios: []Ratio{
			{ID: "latency.p50", What: "request committed → date complete, p50", Value: spread([]float64{one[p50]}), Unit: "ms", Target: 150},
			{ID: "latency.p99", What: "request committed → date complete, p99", Value: spread([]float64{one[p99]}), Unit: "ms", Target: 1000},
		},
	}, nil
}

// requestEach measures, for one request after another, how long it takes from the commit until a condition holds.
func (b *bench) requestEach(ctx context.Context, request func(i int) (until func() (bool, error), err error)) (sample, error) {
	var all []float64
	for i := range b.requests {
		b.meter.step("request")
		// A random pause, so that requests are not in step with what the worker does every second.
		if err := sleep(ctx, time.Duration(rand.IntN(200))*time.Millisecond); err != nil {
			return nil, err
		}
		until, err := request(i)
		if err != nil {
			return nil, err
		}
		committed := now()
		if err := await(ctx, time.Minute, time.Millisecond, until); err != nil {
			return nil, err
		}
		all = append(all, milliseconds(now().Sub(committed)))
	}
	slices.Sort(all)
	return sample{p50: quantile(all, 0.5), p99: quantile(all, 0.99), worst: quantile(all, 1)}, nil
}

// late measures the time from the commit of one late event until its entity's row is right. The trigger on the source names the entity.
func late(ctx context.Context, b *bench) (Result, error) {
	db, err := b.install(ctx, "late")
	if err != nil {
		return Result{}, err
	}
	const events = 5_000
	dates, days := []date.Date{}, []dayOf{}
	for i := range 30 {
		dates = append(dates, largeDate().AddDays(i))
		days = append(days, dayOf{dates[i], events, events / 4})
	}
	if err := db.fill(ctx, days...); err != nil {
		return Result{}, err
	}
	if err := db.exec(ctx, "CREATE INDEX ON public.raw_events (entity_id, created_at)"); err != nil {
		return Result{}, err
	}
	if _, err := b.daymill(ctx, db.url, "source", "watch"); err != nil {
		return Result{}, err
	}
	w, err := b.worker(ctx, db.url)
	if w != nil {
		defer w.kill()
	}
	if err != nil {
		return Result{}, err
	}
	complete := func() (done bool, err error) {
		err = db.QueryRow(ctx, "SELECT NOT EXISTS (SELECT FROM analytics.rollup_requests WHERE resolved_at IS NULL)").Scan(&done)
		return done, err
	}
	if err := db.exec(ctx, "SELECT analytics.enqueue_rollup($1, $2)", dates[0], dates[len(dates)-1]); err != nil {
		return Result{}, err
	}
	if err := await(ctx, 5*time.Minute, 20*time.Millisecond, complete); err != nil {
		return Result{}, err
	}
	one, err := b.requestEach(ctx, func(i int) (until func() (bool, error), err error) {
		d, entity := dates[i%len(dates)], fmt.Sprintf("00000000-0000-0000-0000-%012d", i+1)
		return func() (done bool, err error) {
			err = db.QueryRow(ctx, "SELECT EXISTS (SELECT FROM analytics.daily_entity_metrics WHERE metric_date = $1 AND entity_id = $2)", d, entity).Scan(&done)
			return done, err
		}, db.exec(ctx, "INSERT INTO public.raw_events (entity_id, event_type, created_at) VALUES ($1, 'view', $2::date + interval '12 hours')", entity, d)
	})
	if err == nil {
		err = await(ctx, time.Minute, 20*time.Millisecond, complete)
	}
	if err == nil {
		err = db.exact(ctx, dates...)
	}
	if err != nil {
		return Result{}, err
	}
	return Result{
		Notes: []string{fmt.Sprintf("%d late events, one after another, each in one of 30 complete dates of %d events whose source is watched and has an index by entity; a worker with the default options.", b.requests, events)},
		Rows:  samples{ofDaymill: {one}}.rows(ofDaymill),
		Ratios: []Ratio{
			{ID: "late.p50", What: "event committed → row right, p50", Value: spread([]float64{one[p50]}), Unit: "ms", Target: 50},
			{ID: "late.p99", What: "event committed → row right, p99", Value: spread([]float64{one[p99]}), Unit: "ms", Target: 250},
		},
	}, nil
}
