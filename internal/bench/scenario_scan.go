package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/run"
	"github.com/daymill/daymill/internal/telemetry"
)

// scanTimer adds up how long the scan phases of runs take, as they tell it.
type scanTimer struct {
	mu           sync.Mutex
	phase, slice time.Duration
}

// Listen takes what is of interest.
func (s *scanTimer) Listen(ctx context.Context, event telemetry.Event) context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch e := event.(type) {
	case telemetry.PhaseStop:
		if e.Phase == run.PhaseScan {
			s.phase += e.Duration
		}
	case telemetry.Slice:
		s.slice += e.Took
	default:
	}
	return ctx
}

// scans is Daymill in this process, since only a listener hears how long its phases take.
func scans(d date.Date) contender {
	return contender{
		name: ofDaymill,
		run: func(ctx context.Context, url string) (sample, error) {
			conn, err := postgres.Open(ctx, postgres.Config{URL: url, ApplicationName: "bench"})
			if err != nil {
				return nil, err
			}
			defer conn.Close()
			_, err = db.New(conn).RequestEnqueue(ctx, db.RequestEnqueueParams{FirstDate: d, LastDate: d, Via: "bench"})
			if err != nil {
				return nil, err
			}
			timer := &scanTimer{}
			runner := &run.Runner{
				Primary: conn, Source: conn, Type: entity.UUID, Clock: pace.SystemClock{},
				Options: run.Options{Worker: "bench"}, Listeners: telemetry.Listeners{timer},
			}
			figures, err := runner.Run(ctx, run.Order{Date: d})
			if err == nil && timer.phase == 0 {
				err = errors.New("the run told nothing of its scan phase")
			}
			return sample{
				wall: milliseconds(timer.phase), scanned: milliseconds(timer.slice), lasted: milliseconds(figures.Longest),
			}, err
		},
	}
}

func scan(ctx context.Context, b *bench) (Result, error) {
	db, err := b.settled(ctx)
	if err != nil {
		return Result{}, err
	}
	got, err := b.turns(ctx, db, nil,
		scans(largeDate()),
		runs(ofFloor, floorSQL(largeDate()), nil, nil, "SET max_parallel_workers_per_gather = 0"),
		runs(ofFloorSpread, floorSQL(largeDate()), nil, nil))
	if err != nil {
		return Result{}, err
	}
	if err := db.exact(ctx, largeDate()); err != nil {
		return Result{}, err
	}
	return Result{
		Notes: []string{
			"Daymill's time is that of its scan phase: the slices' statements, the counts over the wire, and merging them. " +
				"The bare aggregate counts per entity and type in one process, and sends one row.",
		},
		Rows: got.rows(ofDaymill, ofFloor, ofFloorSpread),
		Ratios: []Ratio{
			{ID: "scan.time", What: "scan phase, against the bare aggregate", Value: got.ratio(wall, ofDaymill, ofFloor), Target: 1.3},
			{ID: "scan.parallel", What: "scan phase, against the parallel one", Value: got.ratio(wall, ofDaymill, ofFloorSpread)},
		},
	}, nil
}
