package api

import (
	_ "embed" // openapi.json
	"errors"
	"net/http"
	"strings"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/metric"
	"github.com/daymill/daymill/ui/entity"
	"github.com/daymill/daymill/ui/reply"
)

//go:embed openapi.json
var openAPI []byte

// apiDescribe serves the OpenAPI document.
func (*API) apiDescribe(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(openAPI) // The client closed the connection.
	return nil
}

// countsAnswer holds counts by event type.
type countsAnswer struct {
	Views  int64            `json:"views"`
	Clicks int64            `json:"clicks"`
	Saves  int64            `json:"saves"`
	Skips  int64            `json:"skips"`
	Other  map[string]int64 `json:"other"`
}

func newCountsAnswer(c metric.Counts) countsAnswer {
	if c.Other == nil {
		c.Other = map[string]int64{}
	}
	return countsAnswer(c)
}

type dayAnswer struct {
	Date   date.Date        `json:"date"`
	Views  int64            `json:"views"`
	Clicks int64            `json:"clicks"`
	Saves  int64            `json:"saves"`
	Skips  int64            `json:"skips"`
	Other  map[string]int64 `json:"other"`
}

type metricsAnswer struct {
	EntityID string       `json:"entity_id"`
	From     date.Date    `json:"from"`
	To       date.Date    `json:"to"`
	Totals   countsAnswer `json:"totals"`
	Metrics  []dayAnswer  `json:"metrics"`
}

// apiDays is the default length of the range of metrics.
const apiDays = 30

// apiShowMetrics returns an entity's metrics as JSON or CSV.
func (s *API) apiShowMetrics(w http.ResponseWriter, r *http.Request) error {
	ctx, query := r.Context(), r.URL.Query()
	id, err := metric.ID(s.Installation.EntityType, r.PathValue("id"))
	if err != nil {
		return unprocessable(err)
	}
	dates, err := s.rangeOf(r)
	if err != nil {
		return err
	}
	wanted := query.Get("format")
	switch {
	case wanted == "" && prefersCSV(r.Header.Get("Accept")):
		wanted = "csv"
	case wanted == "":
		wanted = "json"
	case wanted != "csv" && wanted != "json":
		return unprocessable(errors.New("format must be json or csv"))
	}
	known := false
	err = s.DB.Read(ctx, func(on postgres.DBTX) error {
		_, known, err = metric.Bounds(ctx, on, id)
		if err == nil && wanted == "json" {
			err = metric.CheckSize(ctx, on, id, dates)
		}
		return err
	})
	if errors.Is(err, metric.ErrTooMuch) {
		return unprocessable(err)
	}
	if err != nil {
		return err
	}
	if !known {
		return apiError{http.StatusNotFound, "There are no metrics for this entity: it has no event on any date that was rolled up."}
	}
	w.Header().Set("Vary", "Accept")
	if wanted == "csv" {
		return entity.WriteCSV(w, r, s.Site, id, dates)
	}
	answer := metricsAnswer{EntityID: id, From: dates.First, To: dates.Last, Metrics: []dayAnswer{}}
	var totals metric.Counts
	err = metric.Each(ctx, s.DB, id, dates, func(day metric.Day) error {
		totals.Add(day.Counts)
		c := newCountsAnswer(day.Counts)
		answer.Metrics = append(answer.Metrics, dayAnswer{day.Date, c.Views, c.Clicks, c.Saves, c.Skips, c.Other})
		return nil
	})
	if err != nil {
		return err
	}
	answer.Totals = newCountsAnswer(totals)
	reply.JSON(w, "application/json", http.StatusOK, answer)
	return nil
}

// prefersCSV reports whether an Accept header asks for CSV and does not name JSON.
func prefersCSV(accept string) bool {
	accept = strings.ToLower(accept)
	return strings.Contains(accept, "text/csv") && !strings.Contains(accept, "json")
}
