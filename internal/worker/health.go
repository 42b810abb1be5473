package worker

import (
	"maps"
	"net/url"
	"slices"
	"time"

	"github.com/daymill/daymill/internal/health"
	"github.com/daymill/daymill/internal/text"
)

// waitedTooLong is how long a job may stay ready while workers are running before that counts as a fault.
const waitedTooLong = 5 * time.Minute

// Checks returns the queue's checks for package health.
func (d *Depth) Checks(now time.Time) []health.Check {
	return []health.Check{
		{Name: "queue_paused", Rank: health.Standstill, Judge: func() (health.Finding, bool) {
			halt := Halt{Paused: slices.Sorted(maps.Keys(d.Paused))}
			return health.Finding{
				Level: health.Wait, Sentence: halt.Sentence(),
				Link: health.Link{Label: "Go to the schedule", Parts: []string{"schedule"}},
			}, len(d.Paused) > 0
		}},
		{Name: "queue_stands", Rank: health.Behind, Judge: func() (health.Finding, bool) {
			if d.OldestWaiting == nil || now.Sub(*d.OldestWaiting) <= waitedTooLong || d.ByState["running"] > 0 {
				return health.Finding{}, false
			}
			return health.Finding{
				Level: health.Bad,
				Sentence: "Jobs have been waiting for " + text.Duration(now.Sub(*d.OldestWaiting)) +
					" and no worker takes them: check the workers' log.",
				Command: "daymill doctor",
				Link:    health.Link{Label: "See the jobs", Parts: []string{"jobs"}, Query: url.Values{"state": {"available"}}},
			}, true
		}},
	}
}
