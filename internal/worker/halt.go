package worker

import (
	"context"
	"fmt"
	"strings"

	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/presence"
)

// Halt is what prevents requested work.
type Halt struct {
	// NoWorker is true if no worker was seen for two minutes.
	NoWorker bool
	// Paused are the names of Daymill's paused queues.
	Paused []string
}

// Halt reads what prevents requested work, in one short query.
func (a *Admin) Halt(ctx context.Context) (halt Halt, err error) {
	err = a.db.Read(ctx, func(on postgres.DBTX) error {
		return on.QueryRow(ctx, `
			SELECT
				NOT EXISTS (SELECT FROM daymill.workers AS w WHERE w.last_seen_at > clock_timestamp() - $1::interval),
				ARRAY(
					SELECT q.name FROM `+a.queues+` AS q
					WHERE q.name = ANY($2) AND q.paused_at IS NOT NULL ORDER BY q.name
				)`, presence.Alive, queueNames()).Scan(&halt.NoWorker, &halt.Paused)
	})
	if err != nil {
		return Halt{}, fmt.Errorf("read whether workers take jobs: %w", err)
	}
	return halt, nil
}

// Sentence says what prevents requested work and what to do about it; empty if nothing does.
func (h Halt) Sentence() string {
	names := strings.Join(h.Paused, " and ")
	switch {
	case h.NoWorker && names != "":
		return "Requests wait: no worker has been seen for two minutes, and the queue " + names + " is paused. Start `daymill worker` and resume the queue."
	case h.NoWorker:
		return "Requests wait: no worker has been seen for two minutes. Start `daymill worker`, or check its log."
	case len(h.Paused) > 1:
		return "The queues " + names + " are paused, so their jobs wait until somebody resumes them."
	case names != "":
		return "The queue " + names + " is paused, so its jobs wait until somebody resumes it."
	default:
		return ""
	}
}
