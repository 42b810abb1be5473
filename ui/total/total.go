// Package total shows the events of all entities over time.
package total

import (
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/event"
	"github.com/daymill/daymill/internal/rollup/ledger"
	"github.com/daymill/daymill/internal/rollup/merge"
	"github.com/daymill/daymill/internal/text"
	"github.com/daymill/daymill/ui/component"
	"github.com/daymill/daymill/ui/format"
	"github.com/daymill/daymill/ui/page"
)

// Pages is the page of totals, and its file.
type Pages struct {
	*page.Site

	today page.Kept[soFar]
}

// soFar is the number of events of a date that is not over.
type soFar struct {
	Date   date.Date
	Events int64
	Known  bool
}

// text writes the number, or why it is not known.
func (f soFar) text() string {
	switch {
	case !f.Known:
		return "too many to count at once"
	case f.Events == event.MostSoFar:
		return "at least " + format.Number(f.Events)
	default:
		return format.Number(f.Events)
	}
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

// totalsView has what the page shows.
type totalsView struct {
	From, To, By, Days string
	Wrong              string // what is wrong with the form
	Before             date.Range
	Sum, SumBefore     int64
	Dates, DatesBefore int // how many dates of the range, and of the period before, have been counted
	Incomplete         int64
	Wide, Narrow       component.Chart
	Rows               []totalRow // latest first
	Types              division
	Today              soFar
}

// totalRow is a column of the chart, beside the same column of the period before.
type totalRow struct {
	Title          string
	Events, Before int64
	// Dates and DatesBefore are how many dates have been counted.
	Dates, DatesBefore int
	Values             []int64 // of each series
}

// before writes the number of events in the period before, or – if none of its dates has been counted.
func (r totalRow) before() string {
	if r.DatesBefore == 0 {
		return "–"
	}
	return format.Number(r.Before)
}

func (r totalRow) change() string { return change(r.Events, r.Before, r.Dates == r.DatesBefore) }

// change writes how much a sum has grown, such as +12 % or −3 %. same says whether both sums have the same
// number of dates; otherwise they cannot be compared.
func change(now, before int64, same bool) string {
	if before == 0 || !same {
		return "–"
	}
	return format.Growth(now, before)
}

// daysText writes a number of days of the form.
func daysText(days string) string {
	n, _ := strconv.ParseInt(days, 10, 64) // The form has only numbers.
	return format.Plural(n, "day")
}

func units() []string { return []string{component.Date, component.Week, component.Month} }

// query returns the query parameters of this range.
func (v *totalsView) query() url.Values {
	return url.Values{"from": {v.From}, "to": {v.To}}
}

// unitTitle returns a unit as a heading.
func unitTitle(unit string) string {
	return map[string]string{component.Date: "Date", component.Week: "Week", component.Month: "Month"}[unit]
}

// read parses the form. Its errors are for the user.
func (v *totalsView) read(query url.Values, today date.Date) (dates date.Range, err error) {
	v.From, v.To, v.By = format.Shortened(query.Get("from"), 30), format.Shortened(query.Get("to"), 30), query.Get("by")
	if v.From == "" && v.To == "" {
		v.Days = query.Get("days")
		n := map[string]int{"30": 30, "90": 90, "365": 365, "1095": 1095}[v.Days]
		switch {
		case n == 0 && v.Days != "":
			return dates, fmt.Errorf("there is no period of %q days: choose 30, 90, 365 or 1095, or give the first and the last date", format.Shortened(v.Days, 40))
		case n == 0:
			n, v.Days = defaultDays, strconv.Itoa(defaultDays)
		}
		dates = date.Range{First: today.AddDays(-n), Last: today.AddDays(-1)}
		v.From, v.To = dates.First.String(), dates.Last.String()
	} else if dates, err = date.Between(v.From, v.To); err != nil {
		return dates, err
	}
	if v.By != "" && !slices.Contains(units(), v.By) {
		return dates, fmt.Errorf("there is no unit %q: choose date, week or month", format.Shortened(v.By, 40))
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
	found, err := Read(r.Context(), s.DB, dates)
	if err != nil {
		return err
	}
	view.add(dates, found)
	today := page.ScopeOf(r.Context()).Today
	view.Today = s.today.Get(r.Context(), s.Site, soFarAge, func(ctx context.Context) (soFar, error) {
		n, known, err := event.SoFar(ctx, s.DB, today)
		return soFar{Date: today, Events: n, Known: known}, err
	})
	return s.Render(w, r, http.StatusOK, "Totals", totalsPage(&view))
}

// soFarAge is the maximum age of the number of today's events.
const soFarAge = 20 * time.Second

// Found has the events of a range and of the period before it, which has as many dates. The last complete run of each date
// counted them.
type Found struct {
	Before               date.Range
	Events, EventsBefore map[date.Date]int64
	Types, TypesBefore   map[date.Date]merge.Sums // of the dates whose counts by type are known
	Incomplete           int64                    // dates of the range that are not complete
}

// Read reads the events of a range and of the period before.
func Read(ctx context.Context, conn *postgres.DB, dates date.Range) (found Found, err error) {
	found.Before = date.Range{First: dates.First.AddDays(-dates.Len()), Last: dates.First.AddDays(-1)}
	err = conn.Read(ctx, func(on postgres.DBTX) error {
		if found.Events, err = ledger.Events(ctx, on, dates); err != nil {
			return err
		}
		if found.Types, err = ledger.Types(ctx, on, dates); err != nil {
			return err
		}
		if found.Incomplete, err = ledger.IncompleteDates(ctx, on, dates); err != nil || found.Before.First.Before(date.New(1, time.January, 1)) {
			return err
		}
		if found.EventsBefore, err = ledger.Events(ctx, on, found.Before); err != nil {
			return err
		}
		found.TypesBefore, err = ledger.Types(ctx, on, found.Before)
		return err
	})
	return found, err
}

// add adds up the dates of each column.
func (v *totalsView) add(dates date.Range, found Found) {
	v.Before, v.Incomplete = found.Before, found.Incomplete
	v.Types = divide(found.Events, found.EventsBefore, found.Types, found.TypesBefore)
	buckets, index := component.NewBuckets(dates, v.By)
	v.Rows = make([]totalRow, len(buckets))
	series := slices.Clone(v.Types.series)
	for i := range series {
		series[i].Values = make([]int64, len(buckets))
	}
	for d, n := range found.Events {
		at := index.Of(d)
		row := &v.Rows[at]
		row.Events += n
		row.Dates++
		v.Sum += n
		types, known := found.Types[d]
		for i, events := range v.Types.of(n, types, known) {
			series[i].Values[at] += events
		}
	}
	for d, n := range found.EventsBefore {
		row := &v.Rows[index.Of(d.AddDays(dates.Len()))]
		row.Before += n
		row.DatesBefore++
		v.SumBefore += n
	}
	v.Dates, v.DatesBefore = len(found.Events), len(found.EventsBefore)
	for i := range v.Rows {
		v.Rows[i].Title = buckets[i].Title
		for _, s := range series {
			v.Rows[i].Values = append(v.Rows[i].Values, s.Values[i])
		}
		buckets[i].Title += " (the period before: " + v.Rows[i].before() + ")"
	}
	slices.Reverse(v.Rows)
	title := "Events per " + v.By
	parts := []string{"From " + v.From + " to " + v.To + ": " + format.Number(v.Sum) + " in all"}
	for _, s := range series {
		if len(series) > 1 {
			parts = append(parts, format.Shortened(s.Name, 40)+" "+format.Number(s.Total))
		}
	}
	desc := strings.Join(parts, ", ") + "."
	v.Wide = component.NewChart(component.Size{Name: "wide", Width: 1040, Height: 300, Labels: 9}, title, desc, buckets, series)
	v.Narrow = component.NewChart(component.Size{Name: "narrow", Width: 360, Height: 260, Labels: 3}, title, desc, buckets, series)
}

// share writes which part of all events these are, in percent.
func (v *totalsView) share(events int64) string {
	return strconv.FormatFloat(100*float64(events)/float64(max(1, v.Sum)), 'f', 1, 64) + " %"
}

// changeOf writes the change of a series against the period before.
func (v *totalsView) changeOf(i int) string {
	return change(v.Types.series[i].Total, v.Types.before[i], v.Dates == v.DatesBefore && v.Types.unknown+v.Types.unknownBefore == 0)
}

// downloadTotals sends the range as CSV, with a row for each date that was ever complete. A date without counts by type has
// no values for them.
func (s *Pages) downloadTotals(w http.ResponseWriter, r *http.Request) error {
	view := totalsView{}
	query := r.URL.Query()
	query.Set("by", component.Month) // The file always has one row per date, so the chart's limit does not apply.
	dates, err := view.read(query, page.ScopeOf(r.Context()).Today)
	if err != nil {
		return page.Mistake(err)
	}
	found, err := Read(r.Context(), s.DB, dates)
	if err != nil {
		return err
	}
	header := w.Header()
	header.Set("Content-Type", "text/csv; charset=utf-8; header=present")
	header.Set("Content-Disposition", `attachment; filename="daymill-totals-`+view.From+"-"+view.To+`.csv"`)
	header.Set("Cache-Control", "no-store")
	out := csv.NewWriter(w)
	columns := []string{"metric_date", "events", "views_count", "clicks_count", "saves_count", "skips_count", "other_counts", "rest_count"}
	if err := out.Write(columns); err != nil {
		return err
	}
	for d := dates.First; !d.After(dates.Last); d = d.AddDays(1) {
		n, known := found.Events[d]
		if !known {
			continue
		}
		row := []string{d.String(), count(n), "", "", "", "", "", ""}
		if types, known := found.Types[d]; known && types.Total() == n {
			other := "{}"
			if len(types.Other) > 0 {
				if other, err = text.Encode(types.Other); err != nil {
					return err
				}
			}
			row = []string{d.String(), count(n), count(types.Views), count(types.Clicks), count(types.Saves), count(types.Skips), other, count(types.Rest)}
		}
		if err := out.Write(row); err != nil {
			return err
		}
	}
	out.Flush()
	return nil
}

func count(n int64) string { return strconv.FormatInt(n, 10) }
