package api

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/backfill"
	"github.com/daymill/daymill/internal/rollup/ledger"
	"github.com/daymill/daymill/internal/rollup/schedule"
	"github.com/daymill/daymill/ui/door"
	"github.com/daymill/daymill/ui/page"
	"github.com/daymill/daymill/ui/reply"
)

// rollupRequest names either one date or a range.
type rollupRequest struct {
	Date string `json:"date"`
	From string `json:"from"`
	To   string `json:"to"`
}

// enqueueRequest asks for dates, and may erase metrics whose events no longer exist.
type enqueueRequest struct {
	Date  string `json:"date"`
	From  string `json:"from"`
	To    string `json:"to"`
	Erase bool   `json:"erase"`
	// Entities are the entities of one date to count again; all if absent.
	Entities []string `json:"entities"`
}

// maxRequestEntities is how many entities a request may name.
const maxRequestEntities = 10_000

// entities returns the entities as the database writes them, without duplicates.
func (q *enqueueRequest) entities(dates date.Range, of entity.Type) ([]string, error) {
	switch {
	case len(q.Entities) == 0:
		return nil, nil
	case dates.Len() > 1 || q.Erase:
		return nil, errors.New("entities can be given only with one date, and without erase")
	case len(q.Entities) > maxRequestEntities:
		return nil, fmt.Errorf("there are %d entities, and a request may name %d: leave them out to count the whole date again",
			len(q.Entities), maxRequestEntities)
	}
	known := make(map[string]bool, len(q.Entities))
	for _, text := range q.Entities {
		id, err := of.Parse(text)
		if err != nil {
			return nil, err
		}
		known[of.Format(id)] = true
	}
	return slices.Sorted(maps.Keys(known)), nil
}

type rollupAnswer struct {
	Dates int       `json:"dates"`
	From  date.Date `json:"from"`
	To    date.Date `json:"to"`
}

func (q rollupRequest) dates() (date.Range, error) {
	switch {
	case q.Date != "" && q.From == "" && q.To == "":
		q.From, q.To = q.Date, q.Date
	case q.Date != "" || q.From == "" || q.To == "":
		return date.Range{}, errors.New("give either date, or from and to")
	}
	return date.Between(q.From, q.To)
}

// apiRequestDates requests a rollup of a date or a range.
func (s *API) apiRequestDates(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	var request enqueueRequest
	if err := decode(r, &request); err != nil {
		return err
	}
	if request.Erase && !door.Who(ctx).Role.MayErase() {
		return errMayNotErase
	}
	dates, err := rollupRequest{Date: request.Date, From: request.From, To: request.To}.dates()
	if err != nil {
		return unprocessable(err)
	}
	today, err := schedule.Today(ctx, s.DB, s.Clock)
	if err != nil {
		return err
	}
	entities, err := request.entities(dates, s.Installation.EntityType)
	if err != nil {
		return unprocessable(err)
	}
	all := make([]date.Date, dates.Len())
	for i := range all {
		all[i] = dates.First.AddDays(i)
	}
	err = s.DB.Tx(ctx, func(tx pgx.Tx) error {
		return ledger.RequestDates(ctx, tx, all, ledger.Ask{By: door.User(ctx), Via: audit.ViaAPI, Erase: request.Erase, Today: today, Entities: entities})
	})
	if errors.Is(err, ledger.ErrFuture) {
		return unprocessable(err)
	}
	if err != nil {
		return err
	}
	reply.JSON(w, "application/json", http.StatusAccepted, rollupAnswer{Dates: len(all), From: dates.First, To: dates.Last})
	return nil
}

// apiStartBackfill starts a backfill.
func (s *API) apiStartBackfill(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	var request backfill.Request
	if err := decode(r, &request); err != nil {
		return err
	}
	today, err := schedule.Today(ctx, s.DB, s.Clock)
	if err != nil {
		return err
	}
	if request.Erase && !door.Who(ctx).Role.MayErase() {
		return errMayNotErase
	}
	request.Key = r.Header.Get(keyHeader)
	plan, err := request.Plan(today)
	if err != nil {
		return unprocessable(err)
	}
	plan.By, plan.Via = door.User(ctx), audit.ViaAPI
	var started backfill.Status
	err = s.DB.Tx(ctx, func(tx pgx.Tx) error {
		id, _, err := backfill.Start(ctx, tx, plan)
		if err != nil {
			return err
		}
		started, err = backfill.Get(ctx, tx, id)
		return err
	})
	if errors.Is(err, backfill.ErrKey) {
		return unprocessable(err)
	}
	if err != nil {
		return err
	}
	w.Header().Set("Location", page.Link(s.BasePath, "api", "backfills", strconv.FormatInt(started.ID, 10)))
	reply.JSON(w, "application/json", http.StatusCreated, started)
	return nil
}

// apiShowBackfill returns a backfill's progress.
func (s *API) apiShowBackfill(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	id, err := apiID(r, "backfill")
	if err != nil {
		return err
	}
	var status backfill.Status
	err = s.DB.Read(ctx, func(on postgres.DBTX) error {
		status, err = backfill.Get(ctx, on, id)
		return err
	})
	if errors.Is(err, backfill.ErrNotFound) {
		return apiError{http.StatusNotFound, "There is no such backfill."}
	}
	if err != nil {
		return err
	}
	reply.JSON(w, "application/json", http.StatusOK, status)
	return nil
}
