package jobs

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/postgres"
)

// Depth is what stands in the queue: Daymill's jobs that are not finished.
type Depth struct {
	// ByState counts jobs by River's states.
	ByState map[string]int64 `json:"by_state"`
	// OldestWaiting is since when the oldest job has been ready to be worked; nil where none is.
	OldestWaiting *time.Time `json:"oldest_waiting,omitempty"`
}

// QueueDepth reads the queue.
func QueueDepth(ctx context.Context, conn *postgres.DB, riverSchema string) (Depth, error) {
	depth := Depth{ByState: map[string]int64{}}
	err := conn.Read(ctx, func(on postgres.DBTX) error {
		rows, err := on.Query(ctx, `
			SELECT j.state::text, count(*), min(j.scheduled_at) FILTER (WHERE j.state = 'available')
			FROM `+pgx.Identifier{riverSchema, "river_job"}.Sanitize()+` AS j
			WHERE j.state IN ('available', 'pending', 'retryable', 'running', 'scheduled')
				AND j.queue IN ($1, $2)
			GROUP BY j.state`, QueueRollup, QueueControl)
		if err != nil {
			return err
		}
		var state string
		var count int64
		var oldest *time.Time
		_, err = pgx.ForEachRow(rows, []any{&state, &count, &oldest}, func() error {
			depth.ByState[state] = count
			if oldest != nil {
				at := *oldest
				depth.OldestWaiting = &at
			}
			return nil
		})
		return err
	})
	if err != nil {
		return Depth{}, fmt.Errorf("read the queue: %w", err)
	}
	return depth, nil
}
