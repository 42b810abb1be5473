// Package backfill starts backfills and shows their progress.
package backfill

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/backfill"
	"github.com/daymill/daymill/internal/rollup/estimate"
	"github.com/daymill/daymill/internal/rollup/protection"
	"github.com/daymill/daymill/internal/rollup/schedule"
	"github.com/daymill/daymill/ui/door"
	"github.com/daymill/daymill/ui/format"
	"github.com/daymill/daymill/ui/page"
)

// backfillsShown is how many backfills a page lists.
const backfillsShown = 10

// Pages are the list of backfills with the form, and the page of each.
type Pages struct {
	*page.Site
}

// Places returns the entry of the navigation.
func (*Pages) Places() []page.Place { return []page.Place{{Name: "Backfills", Path: "backfills"}} }

// Route adds the pages to a mux.
func (s *Pages) Route(mux *http.ServeMux) {
	mux.Handle("GET /backfills", s.Page(s.showBackfills))
	mux.Handle("POST /backfills", s.Page(s.startBackfill))
	mux.Handle("GET /backfills/{id}", s.Page(s.showBackfill))
	mux.Handle("POST /backfills/{id}", s.Page(s.changeBackfill))
}

// backfillForm holds the form's values as the user entered them.
type backfillForm struct {
	Key                                     string // key of the preview from which the backfill is started; empty if there is none
	From, To, Which, Order, InFlight, Pause string

	Erase bool
}

// backfillPreview says what a backfill would do.
type backfillPreview struct {
	Key       string // so that a form that is sent twice starts one backfill
	Dates     int64
	Cost      estimate.Cost
	Time      time.Duration
	Conflicts backfill.Conflicts
	Survey    protection.Survey // dates that have lost events
}

// backfillsView is the list of backfills with the form.
type backfillsView struct {
	Form    backfillForm
	Filled  bool
	Wrong   string
	Preview *backfillPreview
	All     []backfill.Status
	Older   url.Values // query of the next page; nil on the last
	First   bool
	Here    url.Values // query of this page; nil on the first
}

// open reports whether any listed backfill is open.
func (v backfillsView) open() bool {
	return slices.ContainsFunc(v.All, func(b backfill.Status) bool { return b.FinishedAt == nil })
}

// newBackfillForm reads the form from a query and fills in defaults.
func newBackfillForm(values url.Values, today date.Date) backfillForm {
	form := backfillForm{
		From: values.Get("from"), To: values.Get("to"), Which: values.Get("which"), Order: values.Get("order"),
		InFlight: values.Get("in_flight"), Pause: values.Get("pause"), Erase: values.Get("erase") != "",
		Key: values.Get("key"),
	}
	if form.Which != "all" {
		form.Which = "incomplete"
	}
	if form.Order != "newest" {
		form.Order = "oldest"
	}
	if form.InFlight == "" {
		form.InFlight = "1"
	}
	if form.Pause == "" {
		form.Pause = "0"
	}
	if form.From == "" && form.To == "" {
		form.From, form.To = today.AddDays(-30).String(), today.AddDays(-1).String()
	}
	return form
}

// values returns the form as a query.
func (f backfillForm) values() url.Values {
	return url.Values{
		"from": {f.From}, "to": {f.To}, "which": {f.Which}, "order": {f.Order}, "in_flight": {f.InFlight}, "pause": {f.Pause},
	}
}

// plan returns the plan that the form describes. Its errors are sentences for the user.
func (f backfillForm) plan(today date.Date, user string) (backfill.Plan, error) {
	request := backfill.Request{
		From: f.From, To: f.To, NewestFirst: f.Order == "newest", EveryDate: f.Which == "all", Erase: f.Erase, Key: f.Key,
	}
	inFlight, err := strconv.Atoi(f.InFlight)
	if err != nil {
		return backfill.Plan{}, backfill.ErrInFlight
	}
	request.InFlight = &inFlight
	if request.PauseSeconds, err = strconv.ParseFloat(f.Pause, 64); err != nil {
		return backfill.Plan{}, backfill.ErrPause
	}
	plan, err := request.Plan(today)
	plan.By, plan.Via = user, audit.ViaWeb
	return plan, err
}

// showBackfills shows the form, a preview once the form is filled in, and the list of backfills.
func (s *Pages) showBackfills(w http.ResponseWriter, r *http.Request) error {
	ctx, query := r.Context(), r.URL.Query()
	today, err := schedule.Today(ctx, s.DB, s.Clock)
	if err != nil {
		return err
	}
	view := backfillsView{Form: newBackfillForm(query, today), Filled: query.Has("from")}
	if err := s.listBackfills(ctx, &view, query); err != nil {
		return err
	}
	if err := s.fillPreview(ctx, &view, today); err != nil {
		return err
	}
	status := http.StatusOK
	if view.Wrong != "" {
		status = http.StatusUnprocessableEntity
	}
	return s.Render(w, r, status, "Backfills", backfillsPage(view))
}

// fillPreview adds what the backfill would do, or what is wrong with the form, once the form is filled in.
func (s *Pages) fillPreview(ctx context.Context, view *backfillsView, today date.Date) error {
	if !view.Filled {
		return nil
	}
	plan, err := view.Form.plan(today, door.User(ctx))
	if err != nil {
		view.Wrong = page.Sentence(err.Error()) // The page shows the error.
		return nil
	}
	view.Preview, err = s.previewBackfill(ctx, plan)
	return err
}

func (s *Pages) listBackfills(ctx context.Context, view *backfillsView, query url.Values) error {
	at, err := page.CursorOf(query)
	if err != nil {
		return err
	}
	if view.First = at.Before == 0; !view.First {
		view.Here = url.Values{"before": {query.Get("before")}}
	}
	return s.DB.Read(ctx, func(on postgres.DBTX) (err error) {
		view.All, err = backfill.List(ctx, on, at.Before, backfillsShown+1)
		if len(view.All) > backfillsShown {
			view.All = view.All[:backfillsShown]
			view.Older = url.Values{"before": {strconv.FormatInt(view.All[backfillsShown-1].ID, 10)}}
		}
		return err
	})
}

func (s *Pages) previewBackfill(ctx context.Context, plan backfill.Plan) (*backfillPreview, error) {
	preview := &backfillPreview{Key: rand.Text()}
	var dates []date.Date
	err := s.DB.Read(ctx, func(on postgres.DBTX) (err error) {
		if dates, err = backfill.Preview(ctx, on, plan); err != nil {
			return err
		}
		preview.Conflicts, err = backfill.FindConflicts(ctx, on, plan.Range)
		return err
	})
	if err != nil {
		return nil, err
	}
	if preview.Cost, err = estimate.Dates(ctx, s.DB, s.Clock, dates); err != nil {
		return nil, err
	}
	if preview.Survey, err = protection.Look(ctx, s.DB, s.DB, s.Clock, dates, surveyTime); err != nil {
		return nil, err
	}
	preview.Dates = int64(len(dates))
	preview.Time = preview.Cost.Alongside(plan.InFlight, plan.Pause, len(dates))
	return preview, nil
}

// surveyTime is the longest time a preview spends counting events of complete dates.
const surveyTime = 2 * time.Second

// withEvents says how many of the dates have events.
func (p backfillPreview) withEvents() string {
	found := format.Number(int64(p.Cost.WithEvents))
	switch {
	case int64(p.Cost.Looked) == p.Dates:
		return found
	case p.Cost.WithEvents == 0:
		return "unknown"
	default:
		return "at least " + found
	}
}

// about writes an estimate, or says that there is none.
func (p backfillPreview) about(figure string) string {
	if !p.Cost.Known {
		return "unknown"
	}
	return figure
}

// withoutEvents returns how many of the dates checked have no events.
func (p backfillPreview) withoutEvents() int64 { return int64(p.Cost.Looked - p.Cost.WithEvents) }

// startBackfill starts the backfill that the form describes.
func (s *Pages) startBackfill(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	today, err := schedule.Today(ctx, s.DB, s.Clock)
	if err != nil {
		return err
	}
	form := newBackfillForm(r.PostForm, today)
	if form.Erase && !page.CanErase(ctx) {
		return page.ErrMayNotErase
	}
	plan, err := form.plan(today, door.User(ctx))
	if err != nil {
		return page.Mistake(err)
	}
	var id int64
	err = s.DB.Tx(ctx, func(tx pgx.Tx) error {
		id, _, err = backfill.Start(ctx, tx, plan)
		return err
	})
	if errors.Is(err, backfill.ErrKey) {
		return page.Mistake(err)
	}
	if err != nil {
		return err
	}
	s.Done(w, r, "started", nil, "backfills", strconv.FormatInt(id, 10))
	return nil
}
