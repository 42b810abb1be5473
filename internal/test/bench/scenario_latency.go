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
	var all []float64
	for i := range b.requests {
		b.meter.step("request")
		// A random pause, so that requests are not in step with what the worker does every second.
		if err := sleep(ctx, time.Duration(rand.IntN(200))*time.Millisecond); err != nil {
			return Result{}, err
		}
		d := dates[i%len(dates)]
		if err := db.exec(ctx, "SELECT analytics.enqueue_rollup($1)", d); err != nil {
			return Result{}, err
		}
		committed := now()
		err := await(ctx, time.Minute, time.Millisecond, func() (done bool, err error) {
			err = db.QueryRow(ctx, "SELECT NOT EXISTS (SELECT FROM analytics.rollup_requests WHERE resolved_at IS NULL)").Scan(&done)
			return done, err
		})
		if err != nil {
			return Result{}, err
		}
		all = append(all, milliseconds(now().Sub(committed)))
	}
	if err := db.exact(ctx, dates[:min(len(dates), b.requests)]...); err != nil {
		return Result{}, err
	}
	slices.Sort(all)
	one := sample{p50: quantile(all, 0.5), p99: quantile(all, 0.99), worst: quantile(all, 1)}
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
