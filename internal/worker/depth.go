package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/jobs"
)

// Depth is the content of the queue: Daymill's unfinished jobs.
type Depth struct {
	// ByState counts jobs by River's states.
	ByState map[string]int64 `json:"by_state"`
	// OldestWaiting is when the oldest waiting job became ready; nil if none waits.
	OldestWaiting *time.Time `json:"oldest_waiting,omitempty"`
	// NextRetry is when the next failed job is retried; nil if none is.
	NextRetry *time.Time `json:"next_retry,omitempty"`
	// Paused has Daymill's paused queues, with the time at which each was paused.
	Paused map[string]time.Time `json:"paused,omitempty"`
}

// QueueDepth reads the queue.
func QueueDepth(ctx context.Context, conn *postgres.DB, riverSchema string) (Depth, error) {
	depth := Depth{ByState: map[string]int64{}}
	err := conn.Read(ctx, func(on postgres.DBTX) error {
		rows, err := on.Query(ctx, `
			SELECT j.state::text, '', count(*), min(j.scheduled_at)
			FROM `+pgx.Identifier{riverSchema, "river_job"}.Sanitize()+` AS j
			WHERE j.state IN ('available', 'pending', 'retryable', 'running', 'scheduled')
				AND j.queue IN ($1, $2)
			GROUP BY j.state
			UNION ALL
			SELECT '', q.name, 0, q.paused_at
			FROM `+pgx.Identifier{riverSchema, "river_queue"}.Sanitize()+` AS q
			WHERE q.name = ANY($3) AND q.paused_at IS NOT NULL`, jobs.QueueRollup, jobs.QueueControl, queueNames())
		if err != nil {
			return err
		}
		var state, queue string
		var count int64
		var at time.Time
		_, err = pgx.ForEachRow(rows, []any{&state, &queue, &count, &at}, func() error {
			depth.add(state, queue, count, at)
			return nil
		})
		return err
	})
	if err != nil {
		return Depth{}, fmt.Errorf("read the queue: %w", err)
	}
	return depth, nil
}

// add adds a row: a state of jobs with the earliest time they are due, or a queue with the time at which it was paused.
func (d *Depth) add(state, queue string, count int64, at time.Time) {
	if queue != "" {
		if d.Paused == nil {
			d.Paused = make(map[string]time.Time)
		}
		d.Paused[queue] = at
		return
	}
	d.ByState[state] = count
	switch state {
	case "available":
		d.OldestWaiting = &at
	case "retryable":
		d.NextRetry = &at
	default:
	}
}
