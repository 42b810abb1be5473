package backfill

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/backfill"
	"github.com/daymill/daymill/ui/door"
	"github.com/daymill/daymill/ui/format"
	"github.com/daymill/daymill/ui/page"
)

// backfillDaysShown is how many dates of a backfill a page lists.
const backfillDaysShown = 100

// backfillView is one backfill and some of its dates.
type backfillView struct {
	backfill.Status

	Days    []backfill.Day
	State   string // lists only dates in this state; all if empty
	beside  page.Neighbours
	Confirm bool // ask for confirmation before cancelling
}

// backfillStates returns the states of a backfill's dates, in display order.
func backfillStates() []string {
	return []string{"waiting", "requested", "complete", "failed", "cancelled", "protected"}
}

// count returns how many dates are in a state.
func (v backfillView) count(state string) int64 {
	switch state {
	case "requested":
		return v.DatesRequested
	case "complete":
		return v.DatesComplete
	case "failed":
		return v.DatesFailed
	case "cancelled":
		return v.DatesCancelled
	case "protected":
		return v.DatesProtected
	case "waiting":
		return v.Dates - v.DatesRequested - v.Done()
	default:
		return v.Dates
	}
}

func (v backfillView) name() string { return "Backfill " + strconv.FormatInt(v.ID, 10) }

// which says which dates were requested, and in what order.
func (v backfillView) which() string {
	text := "only incomplete ones"
	if v.EveryDate {
		text = "all, including complete ones"
	}
	if v.NewestFirst {
		return text + ", newest first"
	}
	return text + ", oldest first"
}

func (v backfillView) open() bool { return v.FinishedAt == nil }

// showBackfill shows a backfill's progress.
func (s *Pages) showBackfill(w http.ResponseWriter, r *http.Request) error {
	id, err := page.PathID(r)
	if err != nil {
		return err
	}
	view, err := s.readBackfill(r.Context(), id, r.URL.Query())
	if err != nil {
		return err
	}
	return s.Render(w, r, http.StatusOK, view.name(), backfillPage(*view))
}

// readBackfill reads a backfill and a page of its dates.
func (s *Pages) readBackfill(ctx context.Context, id int64, query url.Values) (*backfillView, error) {
	view := &backfillView{State: query.Get("state"), Confirm: query.Has("cancel")}
	if view.State != "" && !slices.Contains(backfillStates(), view.State) {
		return nil, page.Mistake(fmt.Errorf("there is no state %q: it is one of %s",
			format.Shortened(view.State, 40), strings.Join(backfillStates(), ", ")))
	}
	var err error
	from := backfill.DayCursor{PastFailed: query.Has("past_failed")}
	if text := query.Get("after"); text != "" {
		if from.After, err = date.Parse(text); err != nil {
			return nil, page.Mistake(err)
		}
	}
	err = s.DB.Read(ctx, func(on postgres.DBTX) error {
		if view.Status, err = backfill.Get(ctx, on, id); err != nil {
			return err
		}
		view.Days, err = backfill.Days(ctx, on, id, view.State, from, backfillDaysShown+1)
		return err
	})
	if errors.Is(err, backfill.ErrNotFound) {
		return nil, page.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	if len(view.Days) > backfillDaysShown {
		view.Days = view.Days[:backfillDaysShown]
		last := view.Days[backfillDaysShown-1].Cursor()
		later := url.Values{"after": {last.After.String()}}
		if last.PastFailed {
			later.Set("past_failed", "")
		}
		if view.State != "" {
			later.Set("state", view.State)
		}
		view.beside = page.ByQuery(ctx, nil, later, "backfills", strconv.FormatInt(id, 10))
		view.beside.OlderLabel = "More dates"
	}
	return view, nil
}

// changeBackfill pauses, resumes or cancels a backfill.
func (s *Pages) changeBackfill(w http.ResponseWriter, r *http.Request) error {
	id, err := page.PathID(r)
	if err != nil {
		return err
	}
	change, ok := map[string]struct{ state, notice string }{
		"pause":  {backfill.Paused, "paused"},
		"resume": {backfill.Running, "resumed"},
		"cancel": {backfill.Cancelled, "cancelled"},
	}[r.PostFormValue("action")]
	if !ok {
		return page.Mistake(errors.New("the action must be pause, resume or cancel"))
	}
	err = backfill.SetState(r.Context(), s.DB, id, change.state, audit.Who{Actor: door.User(r.Context()), Via: audit.ViaWeb})
	switch {
	case errors.Is(err, backfill.ErrNotFound):
		return page.ErrNotFound
	case errors.Is(err, backfill.ErrEnded):
		return page.Mistake(err)
	case err != nil:
		return err
	}
	s.Done(w, r, change.notice, nil, "backfills", strconv.FormatInt(id, 10))
	return nil
}
