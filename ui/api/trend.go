package api

import (
	"errors"
	"net/http"
	"time"

	"github.com/daymill/daymill/internal/rollup/ledger"
	"github.com/daymill/daymill/ui/reply"
	"github.com/daymill/daymill/ui/trend"
)

// mostTrends is the highest number of hours or days of a call.
const mostTrends = 400

// spreadAnswer has seconds.
type spreadAnswer struct {
	Median float64 `json:"median"`
	P95    float64 `json:"p95"`
}

// trendAnswer is what happened in an hour or a day.
type trendAnswer struct {
	At       time.Time     `json:"at"`
	Complete int64         `json:"runs_complete"`
	Failed   int64         `json:"runs_not_complete"`
	Events   int64         `json:"events"`
	Run      *spreadAnswer `json:"run_seconds"` // null if no run completed
	Requests int64         `json:"requests_satisfied"`
	Waited   *spreadAnswer `json:"due_to_complete_seconds"` // null if no request was satisfied
	Open     int64         `json:"requests_open"`
}

type trendsAnswer struct {
	By  string `json:"by"`
	Cut bool   `json:"cut"`
	// Trends are earliest first.
	Trends []trendAnswer `json:"trends"`
}

// apiShowTrends returns how the work of the rollup goes, by hour or by day.
func (s *API) apiShowTrends(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	unit, usual := ledger.ByDay, 30
	switch query.Get("by") {
	case "", string(ledger.ByDay):
	case string(ledger.ByHour):
		unit, usual = ledger.ByHour, 24
	default:
		return unprocessable(errors.New("by must be hour or day"))
	}
	count, err := number(query, "number", usual, mostTrends)
	if err != nil {
		return err
	}
	found, err := trend.Read(r.Context(), s.Site, unit, count)
	if err != nil {
		return err
	}
	if found.Slow {
		return unprocessable(errors.New("it took too long to add up the runs and requests of the ledger: choose a smaller number, or try again in a minute"))
	}
	answer := trendsAnswer{By: string(unit), Cut: found.Cut || found.Deep, Trends: []trendAnswer{}}
	for _, t := range found.Each {
		answer.Trends = append(answer.Trends, trendAnswer{
			At: t.At, Complete: t.Complete, Failed: t.Failed, Events: t.Events, Run: newSpread(t.Run, t.Complete),
			Requests: t.Requests, Waited: newSpread(t.Waited, t.Requests), Open: t.Open,
		})
	}
	reply.JSON(w, "application/json", http.StatusOK, answer)
	return nil
}

func newSpread(s ledger.Spread, n int64) *spreadAnswer {
	if n == 0 {
		return nil
	}
	return &spreadAnswer{Median: s.Median.Seconds(), P95: s.Most.Seconds()}
}
