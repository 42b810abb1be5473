package main

import (
	"context"
	"errors"
	"syscall"
	"time"
)

// crash kills a worker in the middle of a date. Another running worker takes over the date.
func crash(ctx context.Context, b *bench) (Result, error) {
	db, err := b.install(ctx, "crash")
	if err != nil {
		return Result{}, err
	}
	if err := db.fill(ctx, dayOf{largeDate(), b.events / 5, b.entities / 5}); err != nil {
		return Result{}, err
	}
	// The pauses are so long that the date cannot be complete before the kill.
	victim, err := b.worker(ctx, db.url, "--workers", "1", "--pace", "20")
	if victim != nil {
		defer victim.kill()
	}
	if err != nil {
		return Result{}, err
	}
	if err := db.exec(ctx, "SELECT analytics.enqueue_rollup($1)", largeDate()); err != nil {
		return Result{}, err
	}
	b.meter.step("begin")
	err = await(ctx, time.Minute, 10*time.Millisecond, func() (running bool, err error) {
		var state string
		err = db.QueryRow(ctx, "SELECT coalesce(max(state), ''), coalesce(max(slices) > 0, false) FROM analytics.rollup_runs").Scan(&state, &running)
		if err == nil && state == "complete" {
			err = errors.New("the date was complete before the worker could be killed: give it more -events")
		}
		return running, err
	})
	if err != nil {
		return Result{}, err
	}
	heir, err := b.worker(ctx, db.url, "--workers", "1")
	if heir != nil {
		defer heir.kill()
	}
	if err != nil {
		return Result{}, err
	}
	b.meter.step("kill")
	if err := victim.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		return Result{}, err
	}
	killed := now()
	err = await(ctx, 5*time.Minute, 20*time.Millisecond, func() (done bool, err error) {
		err = db.QueryRow(ctx, "SELECT EXISTS (SELECT FROM analytics.rollup_dates WHERE state = 'complete')").Scan(&done)
		return done, err
	})
	if err != nil {
		return Result{}, err
	}
	took := now().Sub(killed).Seconds()
	b.meter.step("complete")
	if err := db.exact(ctx, largeDate()); err != nil {
		return Result{}, err
	}
	size, err := db.size(ctx, largeDate())
	return Result{
		Notes: []string{size + ". A run counts as dead after half a minute without a sign of life."},
		Rows:  samples{"Daymill": {{wall: took * 1000}}}.rows("Daymill"),
		Ratios: []Ratio{
			{ID: "crash.seconds", What: "worker killed with -9 → its date complete", Value: spread([]float64{took}), Unit: "s", Target: 90},
		},
	}, err
}
