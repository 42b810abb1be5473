package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/date"
)

// scans returns a contender: a worker that rolls up the date and logs how long each part takes.
func (b *bench) scans(d date.Date) contender {
	return contender{
		name: ofDaymill,
		run: func(ctx context.Context, url string) (sample, error) {
			w, err := b.worker(ctx, url, "--workers", "1", "--pace", "0", "--log-level", "debug", "--log-format", "json")
			if w != nil {
				defer w.kill()
			}
			if err != nil {
				return nil, err
			}
			conn, err := pgx.Connect(ctx, url)
			if err != nil {
				return nil, err
			}
			defer conn.Close(context.WithoutCancel(ctx))
			if _, err := conn.Exec(ctx, "SELECT analytics.enqueue_rollup($1::date)", d); err != nil {
				return nil, err
			}
			err = await(ctx, 5*time.Minute, 20*time.Millisecond, func() (bool, error) {
				return bytes.Contains(w.written(), []byte(`"run stopped"`)), nil
			})
			if err != nil {
				return nil, err
			}
			got, err := scanTimes(w.written(), d)
			w.stop()
			return got, err
		},
	}
}

// scanTimes adds up the times of the scan phase in a worker's log, which has only one date.
func scanTimes(log []byte, d date.Date) (sample, error) {
	var phase, slices, most float64
	for line := range bytes.Lines(log) {
		var said struct {
			Message  string  `json:"msg"`
			Date     string  `json:"date"`
			Phase    string  `json:"phase"`
			Duration float64 `json:"duration_ms"`
			Took     float64 `json:"took_ms"`
		}
		if json.Unmarshal(line, &said) != nil || said.Date == "" {
			continue
		}
		if said.Date != d.String() {
			return nil, fmt.Errorf("the worker has rolled up %s, which nobody requested", said.Date)
		}
		switch {
		case said.Message == "phase stopped" && said.Phase == "scan":
			phase += said.Duration
		case said.Message == "slice":
			slices += said.Took
			most = max(most, said.Took)
		}
	}
	if phase == 0 || slices == 0 {
		return nil, errors.New("the worker has logged nothing of its scan phase")
	}
	return sample{wall: phase, scanned: slices, lasted: most}, nil
}

func scan(ctx context.Context, b *bench) (Result, error) {
	db, err := b.settled(ctx)
	if err != nil {
		return Result{}, err
	}
	got, err := b.turns(ctx, db, nil,
		b.scans(largeDate()),
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
			"Daymill's time is that of its scan phase, as a worker logs it: the slices' statements, the counts over the wire, and merging them. " +
				"Its other figures are those of the whole rerun. The bare aggregate counts per entity and type in one process, and sends one row.",
		},
		Rows: got.rows(ofDaymill, ofFloor, ofFloorSpread),
		Ratios: []Ratio{
			{ID: "scan.time", What: "scan phase, against the bare aggregate", Value: got.ratio(wall, ofDaymill, ofFloor), Target: 1.3},
			{ID: "scan.parallel", What: "scan phase, against the parallel aggregate", Value: got.ratio(wall, ofDaymill, ofFloorSpread)},
		},
	}, nil
}
