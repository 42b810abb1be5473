// Package date lists dates, and shows and requests each.
package date

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/ledger"
	"github.com/daymill/daymill/ui/calendar"
	"github.com/daymill/daymill/ui/format"
	"github.com/daymill/daymill/ui/page"
)

// datesPerPage is how many dates a page of the list has.
const datesPerPage = 50

// The first and last date of a filter without bounds.
//
//nolint:gochecknoglobals // Go has no constants of this type.
var (
	firstOfAll = date.New(1, time.January, 1)
	lastOfAll  = date.New(9999, time.December, 31)
)

// Groups of states that the list can be filtered by.
const (
	stateIncomplete = "incomplete"
	stateFailing    = "failing" // retrying or failed, cancelled, or left by its worker
)

// listStates returns the states and groups of states that the list can be filtered by.
func listStates() []string {
	states := slices.DeleteFunc(calendar.States(), func(state string) bool {
		return state == ledger.StatePlanned || state == calendar.StateNoEvents
	})
	return append([]string{stateIncomplete, stateFailing}, states...)
}

// datesView is the list of dates.
type datesView struct {
	Filter dateFilterView
	Wrong  string // what is wrong with the filter
	Rows   []dateRowView
	// Newer and Older are the queries of the neighbouring pages; nil if there is none.
	Newer, Older url.Values
	// Missing reports that the list shows a year's missing dates: those with events that nobody has requested. The ledger does not have them.
	Missing bool
	Year    int  // of Missing
	Known   bool // whether the search for them has finished
}

type dateFilterView struct {
	State, From, To string
	States          []string
}

func (f dateFilterView) query() url.Values {
	query := url.Values{}
	for name, value := range map[string]string{"state": f.State, "from": f.From, "to": f.To} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return query
}

type dateRowView struct {
	Date, State                   string
	Complete                      bool // the date was complete at some time; the figures are from its last completion
	Events, Entities, RowsChanged int64
	Took                          time.Duration
	CompletedAt                   *time.Time
}

// Pages are the list of dates, and the page of each.
type Pages struct {
	*page.Site

	Finder *calendar.Finder
}

// Places returns the entry of the navigation.
func (*Pages) Places() []page.Place { return []page.Place{{Name: "Dates", Path: "dates"}} }

// Route adds the pages to a mux.
func (s *Pages) Route(mux *http.ServeMux) {
	mux.Handle("GET /dates", s.Page(s.showDates))
	mux.Handle("GET /dates/{date}", s.Page(s.showDate))
	mux.Handle("POST /dates/{date}/request", s.Page(s.requestDate))
}

func (s *Pages) showDates(w http.ResponseWriter, r *http.Request) error {
	filter, err := dateFilter(r.URL.Query())
	view := datesView{Filter: dateFilterView{State: filter.State, From: r.URL.Query().Get("from"), To: r.URL.Query().Get("to")}}
	view.Filter.States = listStates()
	if view.Wrong = page.Wrong(err); view.Wrong == "" && err == nil {
		if filter.State == calendar.StateMissing {
			err = s.readMissing(r.Context(), filter, &view)
		} else {
			err = s.readDates(r.Context(), filter, &view)
		}
	}
	if err != nil && view.Wrong == "" {
		return err
	}
	return s.Render(w, r, page.StatusOf(view.Wrong), "Dates", datesPage(view))
}

// dateFilter reads a filter from a query.
func dateFilter(query url.Values) (ledger.Filter, error) {
	filter := ledger.Filter{State: query.Get("state"), Range: date.Range{First: firstOfAll, Last: lastOfAll}}
	if filter.State != "" && !slices.Contains(listStates(), filter.State) {
		return filter, page.Mistake(fmt.Errorf("there is no state %q: it is one of %s", format.Shortened(filter.State, 40), strings.Join(listStates(), ", ")))
	}
	var before, after date.Date
	for name, into := range map[string]*date.Date{
		"from": &filter.Range.First, "to": &filter.Range.Last, "before": &before, "after": &after,
	} {
		text := query.Get(name)
		if text == "" {
			continue
		}
		d, err := date.Parse(text)
		if err != nil {
			return filter, page.Mistake(err)
		}
		*into = d
	}
	if filter.Range.Last.Before(filter.Range.First) {
		return filter, page.Mistake(date.ErrReversed)
	}
	switch {
	case !before.IsZero():
		filter.Before = &before
	case !after.IsZero():
		filter.After = &after
	}
	return filter, nil
}

func (s *Pages) readDates(ctx context.Context, filter ledger.Filter, view *datesView) error {
	var list []ledger.DateRow
	var more bool
	err := s.DB.Read(ctx, func(on postgres.DBTX) (err error) {
		list, more, err = ledger.Dates(ctx, on, filter, datesPerPage)
		return err
	})
	if err != nil {
		return err
	}
	for _, d := range list {
		view.Rows = append(view.Rows, dateRowView{
			Date: d.Date.String(), State: d.State, Complete: d.CompletedAt != nil, CompletedAt: d.CompletedAt,
			Events: d.Events, Entities: d.Entities, RowsChanged: d.RowsChanged, Took: d.Took,
		})
	}
	if len(list) == 0 {
		return nil
	}
	if filter.Before != nil || filter.After != nil && more {
		view.Newer = view.Filter.query()
		view.Newer.Set("after", list[0].Date.String())
	}
	if filter.After != nil || more {
		view.Older = view.Filter.query()
		view.Older.Set("before", list[len(list)-1].Date.String())
	}
	return nil
}

// readMissing lists the missing dates of one year: the last year of the range, or this year.
func (s *Pages) readMissing(ctx context.Context, filter ledger.Filter, view *datesView) error {
	sc := page.ScopeOf(ctx)
	view.Missing, view.Year = true, min(calendar.YearOf(sc.Today), calendar.YearOf(filter.Range.Last))
	missing := s.Finder.Of(ctx, view.Year, sc.Today)
	view.Known = missing.Known
	var days []ledger.Day
	err := s.DB.Read(ctx, func(on postgres.DBTX) (err error) {
		days, err = ledger.Calendar(ctx, on, calendar.YearRange(view.Year))
		return err
	})
	if err != nil {
		return err
	}
	for _, month := range calendar.New(view.Year, days, missing, sc.Today).Months {
		for _, day := range month.Days {
			if day.State == calendar.StateMissing && !day.Date.Before(filter.Range.First) && !day.Date.After(filter.Range.Last) {
				view.Rows = append(view.Rows, dateRowView{Date: day.Date.String(), State: calendar.StateMissing})
			}
		}
	}
	slices.SortFunc(view.Rows, func(a, b dateRowView) int { return cmp.Compare(b.Date, a.Date) })
	return nil
}
