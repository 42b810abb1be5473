// Package total shows the events of all entities over time.
package total

import (
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/ledger"
	"github.com/daymill/daymill/ui/component"
	"github.com/daymill/daymill/ui/format"
	"github.com/daymill/daymill/ui/page"
)

// Pages is the page of totals, and its file.
type Pages struct {
	*page.Site
}

// Places returns the entry of the navigation.
func (*Pages) Places() []page.Place { return []page.Place{{Name: "Totals", Path: "totals"}} }

// Route adds the pages to a mux.
func (s *Pages) Route(mux *http.ServeMux) {
	mux.Handle("GET /totals", s.Page(s.showTotals))
	mux.Handle("GET /totals.csv", s.Page(s.downloadTotals))
}

// defaultDays is how many dates the page shows at first.
const defaultDays = 90

// mostColumns is how many columns a chart has room for.
const mostColumns = 400

// totalsView is the page.
type totalsView struct {
	From, To, By, Days string
	Wrong              string // what is wrong with the form
	Before             date.Range
	Sum, SumBefore     int64
	Dates, DatesBefore int // with events that were counted, of the range and of the period before
	Incomplete         int64
	Wide, Narrow       component.Chart
	Rows               []totalRow // latest first
}

// totalRow is a column of the chart, beside the same column of the period before.
type totalRow struct {
	Title          string
	Events, Before int64
	// Dates and DatesBefore are how many dates have been counted.
	Dates, DatesBefore int
}

// before writes the events of the period before, if it has dates that have been counted.
func (r totalRow) before() string {
	if r.DatesBefore == 0 {
		return "–"
	}
	return format.Number(r.Before)
}

func (r totalRow) change() string { return change(r.Events, r.Before, r.Dates == r.DatesBefore) }

// change writes how much a sum has grown: +12 %, −3 %. Sums of different numbers of dates cannot be compared.
func change(now, before int64, same bool) string {
	if before == 0 || !same {
		return "–"
	}
	percent := math.Round((float64(now)/float64(before)-1)*1000) / 10
	text := strconv.FormatFloat(math.Abs(percent), 'f', -1, 64) + " %"
	switch {
	case percent > 0:
		return "+" + text
	case percent < 0:
		return "−" + text
	default:
		return "0 %"
	}
}

func units() []string { return []string{component.Date, component.Week, component.Month} }

// query returns the query of this range.
func (v *totalsView) query() url.Values {
	return url.Values{"from": {v.From}, "to": {v.To}}
}

// unitTitle returns a unit as a heading.
func unitTitle(unit string) string {
	return map[string]string{component.Date: "Date", component.Week: "Week", component.Month: "Month"}[unit]
}

// read reads the form, and returns what is wrong with it.
func (v *totalsView) read(query url.Values, today date.Date) (dates date.Range, err error) {
	v.From, v.To, v.By = format.Shortened(query.Get("from"), 30), format.Shortened(query.Get("to"), 30), query.Get("by")
	if v.From == "" && v.To == "" {
		v.Days = query.Get("days")
		n := map[string]int{"30": 30, "90": 90, "365": 365, "1095": 1095}[v.Days]
		if n == 0 {
			n, v.Days = defaultDays, strconv.Itoa(defaultDays)
		}
		dates = date.Range{First: today.AddDays(-n), Last: today.AddDays(-1)}
		v.From, v.To = dates.First.String(), dates.Last.String()
	} else if dates, err = date.Between(v.From, v.To); err != nil {
		return dates, err
	}
	if v.By != "" && !slices.Contains(units(), v.By) {
		return dates, fmt.Errorf("there is no unit %q: it is one of date, week, month", format.Shortened(v.By, 40))
	}
	if v.By = cmp.Or(v.By, component.UnitFor(dates)); v.By == component.Date && dates.Len() > mostColumns {
		return dates, errors.New("the chart has no room for so many dates: choose weeks or months, or a shorter range")
	}
	return dates, nil
}

func (s *Pages) showTotals(w http.ResponseWriter, r *http.Request) error {
	view := totalsView{}
	dates, err := view.read(r.URL.Query(), page.ScopeOf(r.Context()).Today)
	if err != nil {
		view.Wrong = page.Wrong(page.Mistake(err))
		return s.Render(w, r, page.StatusOf(view.Wrong), "Totals", totalsPage(&view))
	}
	view.Before = date.Range{First: dates.First.AddDays(-dates.Len()), Last: dates.First.AddDays(-1)}
	var now, before map[date.Date]int64
	err = s.DB.Read(r.Context(), func(on postgres.DBTX) error {
		if now, err = ledger.Events(r.Context(), on, dates); err != nil {
			return err
		}
		if view.Before.First.Before(date.New(1, time.January, 1)) {
			return nil
		}
		if before, err = ledger.Events(r.Context(), on, view.Before); err != nil {
			return err
		}
		view.Incomplete, err = ledger.IncompleteDates(r.Context(), on, dates)
		return err
	})
	if err != nil {
		return err
	}
	view.add(dates, now, before)
	return s.Render(w, r, http.StatusOK, "Totals", totalsPage(&view))
}

// add adds the dates up by column.
func (v *totalsView) add(dates date.Range, now, before map[date.Date]int64) {
	buckets, index := component.NewBuckets(dates, v.By)
	v.Rows = make([]totalRow, len(buckets))
	for d, n := range now {
		row := &v.Rows[index.Of(d)]
		row.Events += n
		row.Dates++
		v.Sum += n
	}
	for d, n := range before {
		row := &v.Rows[index.Of(d.AddDays(dates.Len()))]
		row.Before += n
		row.DatesBefore++
		v.SumBefore += n
	}
	v.Dates, v.DatesBefore = len(now), len(before)
	events := make([]int64, len(buckets))
	for i := range v.Rows {
		v.Rows[i].Title, events[i] = buckets[i].Title, v.Rows[i].Events
		buckets[i].Title += " (the period before: " + v.Rows[i].before() + ")"
	}
	slices.Reverse(v.Rows)
	title := "Events per " + v.By
	desc := "From " + v.From + " to " + v.To + ": " + format.Number(v.Sum) + " in all."
	series := []component.Series{{Name: "events", Class: "views", Values: events, Total: v.Sum}}
	v.Wide = component.NewChart(component.Size{Name: "wide", Width: 1040, Height: 300, Labels: 9}, title, desc, buckets, series)
	v.Narrow = component.NewChart(component.Size{Name: "narrow", Width: 360, Height: 260, Labels: 3}, title, desc, buckets, series)
}

// downloadTotals sends the range as CSV, a row per date that was complete.
func (s *Pages) downloadTotals(w http.ResponseWriter, r *http.Request) error {
	view := totalsView{}
	query := r.URL.Query()
	query.Set("by", component.Month) // The file has dates, as many as the range.
	dates, err := view.read(query, page.ScopeOf(r.Context()).Today)
	if err != nil {
		return page.Mistake(err)
	}
	events, err := s.events(r.Context(), dates)
	if err != nil {
		return err
	}
	header := w.Header()
	header.Set("Content-Type", "text/csv; charset=utf-8; header=present")
	header.Set("Content-Disposition", `attachment; filename="daymill-totals-`+view.From+"-"+view.To+`.csv"`)
	header.Set("Cache-Control", "no-store")
	out := csv.NewWriter(w)
	if err := out.Write([]string{"metric_date", "events"}); err != nil {
		return err
	}
	for d := dates.First; !d.After(dates.Last); d = d.AddDays(1) {
		if n, known := events[d]; known {
			if err := out.Write([]string{d.String(), strconv.FormatInt(n, 10)}); err != nil {
				return err
			}
		}
	}
	out.Flush()
	return nil
}

func (s *Pages) events(ctx context.Context, dates date.Range) (events map[date.Date]int64, err error) {
	err = s.DB.Read(ctx, func(on postgres.DBTX) error {
		events, err = ledger.Events(ctx, on, dates)
		return err
	})
	return events, err
}
