package api

import (
	"errors"
	"net/http"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/rollup/metric"
	"github.com/daymill/daymill/internal/rollup/schedule"
	"github.com/daymill/daymill/ui/reply"
)

// mostTop is the highest limit of a call for the top entities.
const mostTop = 100

type rankedAnswer struct {
	ID    string `json:"entity_id"`
	Count int64  `json:"count"`
	// Before is null if the period before cannot be compared.
	Before *int64 `json:"before"`
}

type topAnswer struct {
	Metric   string         `json:"metric"`
	Dates    []date.Date    `json:"dates"`
	LeftOut  int            `json:"dates_left_out"`
	Entities []rankedAnswer `json:"entities"`
}

// apiListTop lists the entities with the highest counts.
func (s *API) apiListTop(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	days, err := number(query, "days", 7, metric.MaxPeriod)
	if err != nil {
		return err
	}
	limit, err := number(query, "limit", 25, mostTop)
	if err != nil {
		return err
	}
	wanted := metric.Metric{Column: query.Get("metric"), EventType: query.Get("event_type")}
	switch wanted.Column {
	case "":
		if wanted.EventType == "" {
			wanted.Column = metric.Events
		}
	case metric.Events, metric.Views, metric.Clicks, metric.Saves, metric.Skips:
		if wanted.EventType != "" {
			return unprocessable(errors.New("give metric or event_type, not both"))
		}
	default:
		return unprocessable(errors.New("metric must be events, views, clicks, saves or skips; for another event type, give event_type"))
	}
	if err := metric.CheckType(wanted.EventType); err != nil {
		return unprocessable(err)
	}
	today, err := schedule.Today(r.Context(), s.DB, s.Clock)
	if err != nil {
		return err
	}
	top, err := metric.FindTop(r.Context(), s.DB, s.Installation.EntityType, wanted, date.Range{First: today.AddDays(-days), Last: today.AddDays(-1)}, limit)
	if err != nil {
		return err
	}
	if top.Cut {
		return unprocessable(errors.New("even one date has too many entities to add up while you wait: query analytics.daily_entity_metrics in SQL"))
	}
	answer := topAnswer{Metric: wanted.Column, Dates: top.Dates, LeftOut: top.Others, Entities: []rankedAnswer{}}
	if answer.Metric == "" {
		answer.Metric = wanted.EventType
	}
	if answer.Dates == nil {
		answer.Dates = []date.Date{}
	}
	for _, e := range top.Entities {
		one := rankedAnswer{ID: e.ID, Count: e.Count}
		if top.Compared {
			one.Before = &e.Before
		}
		answer.Entities = append(answer.Entities, one)
	}
	reply.JSON(w, "application/json", http.StatusOK, answer)
	return nil
}
