package api

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/ledger"
	"github.com/daymill/daymill/ui/calendar"
	"github.com/daymill/daymill/ui/door"
	"github.com/daymill/daymill/ui/format"
	"github.com/daymill/daymill/ui/reply"
)

// How many dates a call lists.
const (
	apiDates     = 100
	apiMostDates = 1000
)

// apiStates returns the states that a call can filter by: those of the ledger.
func apiStates() []string {
	return slices.DeleteFunc(calendar.States(), func(state string) bool {
		return state == ledger.StatePlanned || state == calendar.StateNoEvents || state == calendar.StateMissing
	})
}

type datesAnswer struct {
	Dates []ledger.DateState `json:"dates"`
	// NextCursor is the cursor for the next call; null on the last page.
	NextCursor *string `json:"next_cursor"`
}

// apiListDates lists dates with their current state, earliest first.
func (s *API) apiListDates(w http.ResponseWriter, r *http.Request) error {
	ctx, query := r.Context(), r.URL.Query()
	dates := date.Range{First: date.New(1, time.January, 1), Last: date.New(9999, time.December, 31)}
	var after date.Date
	for name, into := range map[string]*date.Date{"from": &dates.First, "to": &dates.Last, "cursor": &after} {
		if value := query.Get(name); value != "" {
			parsed, err := date.Parse(format.Shortened(value, 30))
			if err != nil {
				return unprocessable(err)
			}
			*into = parsed
		}
	}
	if dates.Last.Before(dates.First) {
		return unprocessable(date.ErrReversed)
	}
	limit, err := limitOf(query)
	if err != nil {
		return err
	}
	state := query.Get("state")
	if state != "" && !slices.Contains(apiStates(), state) {
		return unprocessable(errors.New("there is no such state: use one of " + strings.Join(apiStates(), ", ")))
	}
	answer := datesAnswer{}
	err = s.DB.Read(ctx, func(on postgres.DBTX) (err error) {
		answer.Dates, err = ledger.DateStates(ctx, on, dates, after, state, limit+1)
		return err
	})
	if err != nil {
		return err
	}
	if len(answer.Dates) > limit {
		answer.Dates = answer.Dates[:limit]
		next := answer.Dates[limit-1].Date.String()
		answer.NextCursor = &next
	}
	reply.JSON(w, "application/json", http.StatusOK, answer)
	return nil
}

type cronAnswer struct {
	// Enqueued is false if the job is already waiting or running.
	Enqueued bool `json:"enqueued"`
}

// apiDailyRollup enqueues the daily job. A second call on the same day enqueues nothing.
func (s *API) apiDailyRollup(w http.ResponseWriter, r *http.Request) error {
	enqueued, err := s.Jobs.AskDaily(r.Context(), audit.Who{Actor: door.User(r.Context()), Via: audit.ViaCron})
	if err != nil {
		return err
	}
	reply.JSON(w, "application/json", http.StatusAccepted, cronAnswer{Enqueued: enqueued})
	return nil
}
