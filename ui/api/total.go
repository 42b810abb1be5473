package api

import (
	"errors"
	"net/http"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/rollup/merge"
	"github.com/daymill/daymill/internal/rollup/schedule"
	"github.com/daymill/daymill/ui/reply"
	"github.com/daymill/daymill/ui/total"
)

// typesAnswer holds the events of all entities by type.
type typesAnswer struct {
	Views  int64            `json:"views"`
	Clicks int64            `json:"clicks"`
	Saves  int64            `json:"saves"`
	Skips  int64            `json:"skips"`
	Other  map[string]int64 `json:"other"`
	Rest   int64            `json:"rest"`
}

type totalAnswer struct {
	Date   date.Date `json:"date"`
	Events int64     `json:"events"`
	// Types is null if the run that completed the date did not record them.
	Types *typesAnswer `json:"types"`
}

type totalsAnswer struct {
	From       date.Date     `json:"from"`
	To         date.Date     `json:"to"`
	Events     int64         `json:"events"`
	Incomplete int64         `json:"incomplete_dates"`
	Before     beforeAnswer  `json:"before"`
	Totals     []totalAnswer `json:"totals"`
}

// beforeAnswer has the events of the same number of dates before a range.
type beforeAnswer struct {
	From   date.Date `json:"from"`
	To     date.Date `json:"to"`
	Events int64     `json:"events"`
	Dates  int       `json:"dates"`
}

// apiShowTotals returns the events of all entities by date.
func (s *API) apiShowTotals(w http.ResponseWriter, r *http.Request) error {
	dates, err := s.rangeOf(r)
	if err != nil {
		return err
	}
	found, err := total.Read(r.Context(), s.DB, dates)
	if err != nil {
		return err
	}
	answer := totalsAnswer{
		From: dates.First, To: dates.Last, Incomplete: found.Incomplete, Totals: []totalAnswer{},
		Before: beforeAnswer{From: found.Before.First, To: found.Before.Last, Dates: len(found.EventsBefore)},
	}
	for d := dates.First; !d.After(dates.Last); d = d.AddDays(1) {
		events, known := found.Events[d]
		if !known {
			continue
		}
		answer.Events += events
		one := totalAnswer{Date: d, Events: events}
		if types, known := found.Types[d]; known && types.Total() == events {
			one.Types = newTypesAnswer(types)
		}
		answer.Totals = append(answer.Totals, one)
	}
	for _, events := range found.EventsBefore {
		answer.Before.Events += events
	}
	reply.JSON(w, "application/json", http.StatusOK, answer)
	return nil
}

func newTypesAnswer(sums merge.Sums) *typesAnswer {
	if sums.Other == nil {
		sums.Other = map[string]int64{}
	}
	answer := typesAnswer(sums)
	return &answer
}

// rangeOf returns the range of a call; by default the 30 days up to yesterday.
func (s *API) rangeOf(r *http.Request) (date.Range, error) {
	today, err := schedule.Today(r.Context(), s.DB, s.Clock)
	if err != nil {
		return date.Range{}, err
	}
	query := r.URL.Query()
	if query.Get("from") == "" && query.Get("to") == "" {
		return date.Range{First: today.AddDays(-apiDays), Last: today.AddDays(-1)}, nil
	}
	if query.Get("from") == "" || query.Get("to") == "" {
		return date.Range{}, unprocessable(errors.New("give both from and to, or neither"))
	}
	dates, err := date.Between(query.Get("from"), query.Get("to"))
	if err != nil {
		return date.Range{}, unprocessable(err)
	}
	return dates, nil
}
