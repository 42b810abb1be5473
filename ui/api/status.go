package api

import (
	"net/http"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/health"
	"github.com/daymill/daymill/internal/rollup/schedule"
	"github.com/daymill/daymill/internal/worker"
	"github.com/daymill/daymill/ui/reply"
)

type statusAnswer struct {
	Today date.Date `json:"today"`
	// Verdict is the first of the findings, which are sorted by level, worst first.
	Verdict  health.Finding   `json:"verdict"`
	Findings []health.Finding `json:"findings"`
	// Dates is how many dates are in each state.
	Dates map[string]int64 `json:"dates"`
	// Queue counts the jobs that have not ended.
	Queue worker.Depth `json:"queue"`
	// Workers is how many worker processes are alive.
	Workers int `json:"workers"`
}

// apiShowStatus shows whether everything is well, and what to do if not.
func (s *API) apiShowStatus(w http.ResponseWriter, r *http.Request) error {
	today, err := schedule.Today(r.Context(), s.DB, s.Clock)
	if err != nil {
		return err
	}
	read, err := s.Judge(r.Context(), today)
	if err != nil {
		return err
	}
	answer := statusAnswer{
		Today: today, Verdict: read.Findings[0], Findings: read.Findings, Dates: map[string]int64{}, Queue: read.Queue, Workers: len(read.Rollup.Workers),
	}
	for state, count := range read.Rollup.States {
		answer.Dates[state] = count.Dates
	}
	reply.JSON(w, "application/json", http.StatusOK, answer)
	return nil
}
