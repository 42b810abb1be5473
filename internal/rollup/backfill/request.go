package backfill

import (
	"time"

	"github.com/daymill/daymill/internal/date"
)

// Request asks for a backfill: what the form and the API send.
type Request struct {
	From         string  `json:"from"`
	To           string  `json:"to"`
	NewestFirst  bool    `json:"newest_first"`
	EveryDate    bool    `json:"every_date"`
	InFlight     *int    `json:"in_flight"` // 1 if absent
	PauseSeconds float64 `json:"pause_seconds"`
	Erase        bool    `json:"erase"`
	Key          string  `json:"-"` // see [Plan]
}

// Plan returns the plan that a request describes. The caller adds who requests it. Its errors are sentences for the user.
func (r Request) Plan(today date.Date) (Plan, error) {
	if r.From == "" || r.To == "" {
		return Plan{}, ErrNoDate
	}
	dates, err := date.Between(r.From, r.To)
	if err != nil {
		return Plan{}, err
	}
	plan := Plan{Range: dates, NewestFirst: r.NewestFirst, EveryDate: r.EveryDate, Erase: r.Erase, InFlight: 1, Key: r.Key}
	if r.InFlight != nil {
		if plan.InFlight = *r.InFlight; plan.InFlight < 1 {
			return Plan{}, ErrInFlight
		}
	}
	if !(r.PauseSeconds >= 0 && r.PauseSeconds <= (24*time.Hour).Seconds()) { // It may be no number.
		return Plan{}, ErrPause
	}
	plan.Pause = time.Duration(r.PauseSeconds * float64(time.Second))
	return plan, plan.Validate(today)
}
