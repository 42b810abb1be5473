package entity

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/a-h/templ"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/ledger"
	"github.com/daymill/daymill/internal/rollup/metric"
	"github.com/daymill/daymill/ui/component"
	"github.com/daymill/daymill/ui/format"
	"github.com/daymill/daymill/ui/page"
)

const (
	entityDays     = 90 // of the default range
	entityRows     = 50 // per page of the table
	entityOthers   = 4  // other event types with a series of their own
	restSeries     = "rest"
	idShownAt      = 80
	entityNotFound = "There are no metrics for this entity"
)

// entityView shows an entity over time.
type entityView struct {
	ID       string
	From, To string
	Days     string // length of the range if it is one of those offered; otherwise empty
	Wrong    string
	Unknown  bool
	Known    *date.Range // first and last date with metrics

	Totals     []component.Series // every series of the range
	Shown      map[string]bool
	Chosen     bool // the user chose some of them
	Total      int64
	Unit       string // what a column covers: date, week or month
	Wide       component.Chart
	Narrow     component.Chart
	Rows       []entityDay
	Older      url.Values
	Newer      url.Values
	Incomplete int64
	Rest       int // event types combined in one series
	Called     entityRow
	Nameless   bool
}

// entityDay is a row of the table, with a value for each visible series.
type entityDay struct {
	Date   string
	Values []int64
	Total  int64
}

// shown returns the visible series.
func (v *entityView) shown() []component.Series {
	return slices.DeleteFunc(slices.Clone(v.Totals), func(s component.Series) bool { return !v.Shown[key(s)] })
}

// key returns a series' name in a query.
func key(s component.Series) string {
	switch {
	case s.Class == restSeries:
		return restSeries
	case strings.HasPrefix(s.Class, "other"):
		return otherPrefix + s.Name
	default:
		return s.Name
	}
}

// query returns the query of this view.
func (v *entityView) query() url.Values {
	query := url.Values{"id": {v.ID}}
	if v.Days != "" {
		query.Set("days", v.Days)
	} else {
		query.Set("from", v.From)
		query.Set("to", v.To)
	}
	if v.Chosen {
		for _, s := range v.shown() {
			query.Add("metric", key(s))
		}
	}
	return query
}

// forDays returns the query of this view over another number of days.
func (v *entityView) forDays(days string) url.Values {
	query := v.query()
	query.Del("from")
	query.Del("to")
	query.Set("days", days)
	return query
}

func withID(id string, also url.Values) url.Values {
	query := url.Values{"id": {id}}
	maps.Copy(query, also)
	return query
}

// entityRange reads the range from a query.
func entityRange(query url.Values, today date.Date) (dates date.Range, days string, err error) {
	if from, to := query.Get("from"), query.Get("to"); from != "" || to != "" {
		if from == "" || to == "" {
			return date.Range{}, "", errRange
		}
		dates, err = date.Between(from, to)
		return dates, "", err
	}
	days = query.Get("days")
	n := map[string]int{"7": 7, "30": 30, "90": entityDays, "365": 365}[days]
	if n == 0 {
		n, days = entityDays, strconv.Itoa(entityDays)
	}
	return date.Range{First: today.AddDays(-n), Last: today.AddDays(-1)}, days, nil
}

// showEntity shows an entity over time.
func (s *Pages) showEntity(w http.ResponseWriter, r *http.Request) error {
	ctx, query := r.Context(), r.URL.Query()
	id, err := metric.ID(s.Installation.EntityType, query.Get("id"))
	if err != nil {
		return page.Mistake(err)
	}
	dates, days, err := entityRange(query, page.ScopeOf(ctx).Today)
	if err != nil {
		return s.showMistake(w, r, id, err)
	}
	view := entityView{ID: id, From: dates.First.String(), To: dates.Last.String(), Days: days}
	var rows []metric.Day
	err = s.DB.Read(ctx, func(on postgres.DBTX) error {
		bounds, known, err := metric.Bounds(ctx, on, id)
		if err != nil || !known {
			view.Unknown = !known
			return err
		}
		view.Known = &bounds
		if err = metric.CheckSize(ctx, on, id, dates); err != nil {
			return err
		}
		if rows, err = metric.Days(ctx, on, id, dates, date.MaxDates); err != nil {
			return err
		}
		view.Incomplete, err = ledger.IncompleteDates(ctx, on, dates)
		return err
	})
	if errors.Is(err, metric.ErrTooMuch) {
		return s.showMistake(w, r, id, err)
	}
	if err != nil {
		return err
	}
	if view.Unknown {
		return s.Render(w, r, http.StatusNotFound, entityNotFound, entityPage(&view))
	}
	names, known := s.names(ctx, []string{id})
	view.Called, view.Nameless = entityRow{Ranked: metric.Ranked{ID: id}, Name: names[id], Link: s.Labels.Link(id)}, !known
	view.total(rows, query["metric"])
	before := date.Date{}
	if text := query.Get("before"); text != "" {
		if before, err = date.Parse(format.Shortened(text, 30)); err != nil {
			return page.Mistake(err)
		}
	}
	view.list(rows, before)
	view.draw(rows, dates)
	return s.Render(w, r, http.StatusOK, "Entity "+format.ID(id), entityPage(&view))
}

// showMistake shows the form as it was filled in, and what is wrong with it.
func (s *Pages) showMistake(w http.ResponseWriter, r *http.Request, id string, err error) error {
	query := r.URL.Query()
	view := entityView{
		ID: id, From: format.Shortened(query.Get("from"), 30), To: format.Shortened(query.Get("to"), 30), Wrong: page.Wrong(page.Mistake(err)),
	}
	var sum metric.Counts
	for _, name := range query["metric"] {
		if other, found := strings.CutPrefix(name, otherPrefix); found && len(sum.Other) < entityOthers && len(other) <= maxName {
			sum.Add(metric.Counts{Other: map[string]int64{other: 0}})
		}
	}
	view.total([]metric.Day{{Counts: sum}}, query["metric"])
	return s.Render(w, r, http.StatusUnprocessableEntity, "Entity "+format.ID(id), entityPage(&view))
}

// total adds up the range, and decides which series exist and which are visible.
func (v *entityView) total(rows []metric.Day, chosen []string) {
	var sum metric.Counts
	for _, day := range rows {
		sum.Add(day.Counts)
	}
	v.Totals = []component.Series{
		{Name: metric.Views, Class: metric.Views, Total: sum.Views},
		{Name: metric.Clicks, Class: metric.Clicks, Total: sum.Clicks},
		{Name: metric.Saves, Class: metric.Saves, Total: sum.Saves},
		{Name: metric.Skips, Class: metric.Skips, Total: sum.Skips},
	}
	names := sum.Names()
	rest := component.Series{Class: restSeries}
	for i, name := range names {
		// If only one name is left, it gets a series too. A name that is too long for a URL gets none.
		if len(name) <= maxName && (i < entityOthers || len(names) == entityOthers+1) {
			v.Totals = append(v.Totals, component.Series{Name: name, Class: "other" + strconv.Itoa(i+1), Total: sum.Other[name]})
			continue
		}
		v.Rest++
		rest.Total += sum.Other[name]
	}
	if v.Rest > 0 {
		rest.Name = format.Plural(int64(v.Rest), "other event type")
		v.Totals = append(v.Totals, rest)
	}
	v.Shown = make(map[string]bool)
	for _, s := range v.Totals {
		if slices.Contains(chosen, key(s)) {
			v.Shown[key(s)], v.Chosen = true, true
		}
	}
	for _, s := range v.Totals {
		v.Shown[key(s)] = v.Shown[key(s)] || !v.Chosen
		if v.Shown[key(s)] {
			v.Total += s.Total
		}
	}
}

// values returns a day's counts of the given series.
func values(day metric.Day, all []component.Series) []int64 {
	counts := make([]int64, len(all))
	named := int64(0)
	for i, s := range all {
		switch s.Class {
		case metric.Views:
			counts[i] = day.Views
		case metric.Clicks:
			counts[i] = day.Clicks
		case metric.Saves:
			counts[i] = day.Saves
		case metric.Skips:
			counts[i] = day.Skips
		case restSeries:
			counts[i] = max(0, day.Total()-day.Views-day.Clicks-day.Saves-day.Skips-named)
		default:
			counts[i] = day.Other[s.Name]
			named = metric.Sum(named, counts[i])
		}
	}
	return counts
}

// list fills a page of the table, latest date first.
func (v *entityView) list(rows []metric.Day, before date.Date) {
	end := len(rows)
	if !before.IsZero() {
		end, _ = slices.BinarySearchFunc(rows, before, func(day metric.Day, d date.Date) int { return day.Date.Compare(d) })
		v.Newer = v.query()
		if newer := end + entityRows; newer < len(rows) {
			v.Newer.Set("before", rows[newer].Date.String())
		}
	}
	begin := max(0, end-entityRows)
	for i := end - 1; i >= begin; i-- {
		row := entityDay{Date: rows[i].Date.String()}
		for j, n := range values(rows[i], v.Totals) {
			if v.Shown[key(v.Totals[j])] {
				row.Values = append(row.Values, n)
				row.Total = metric.Sum(row.Total, n)
			}
		}
		v.Rows = append(v.Rows, row)
	}
	if begin > 0 {
		v.Older = v.query()
		v.Older.Set("before", rows[begin].Date.String())
	}
}

// draw makes the chart.
func (v *entityView) draw(rows []metric.Day, dates date.Range) {
	buckets, index := component.NewBuckets(dates, component.UnitFor(dates))
	v.Unit = index.Unit
	all := slices.Clone(v.Totals)
	for i := range all {
		all[i].Values = make([]int64, len(buckets))
	}
	for _, day := range rows {
		at := index.Of(day.Date)
		for i, n := range values(day, v.Totals) {
			all[i].Values[at] = metric.Sum(all[i].Values[at], n)
		}
	}
	all = slices.DeleteFunc(all, func(s component.Series) bool { return !v.Shown[key(s)] })
	title := "Events of " + format.ID(v.ID) + " per " + v.Unit
	parts := make([]string, 1, 1+len(all))
	parts[0] = "From " + v.From + " to " + v.To + ": " + format.Number(v.Total) + " in all"
	for _, s := range all {
		parts = append(parts, format.Shortened(s.Name, 40)+" "+format.Number(s.Total))
	}
	desc := strings.Join(parts, ", ") + "."
	v.Wide = component.NewChart(component.Size{Name: "wide", Width: 1040, Height: 300, Labels: 9}, title, desc, buckets, all)
	v.Narrow = component.NewChart(component.Size{Name: "narrow", Width: 360, Height: 260, Labels: 3}, title, desc, buckets, all)
}

// downloadEntity sends a range as CSV.
func (s *Pages) downloadEntity(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	id, err := metric.ID(s.Installation.EntityType, query.Get("id"))
	if err != nil {
		return page.Mistake(err)
	}
	dates, _, err := entityRange(query, page.ScopeOf(r.Context()).Today)
	if err != nil {
		return page.Mistake(err)
	}
	known := false
	err = s.DB.Read(r.Context(), func(on postgres.DBTX) error {
		_, known, err = metric.Bounds(r.Context(), on, id)
		return err
	})
	if err == nil && !known {
		err = page.ErrNotFound
	}
	if err != nil {
		return err
	}
	return WriteCSV(w, r, s.Site, id, dates)
}

// errRange is a mistake in the dates that the user entered.
var errRange = errors.New("give both a first and a last date")

// hostileID reports whether an id is too long for a heading.
func hostileID(id string) bool { return utf8.RuneCountInString(id) > idShownAt }

// csvQuery returns the query of the range's CSV file, which has all metrics.
func csvQuery(view *entityView) url.Values {
	return url.Values{"id": {view.ID}, "from": {view.From}, "to": {view.To}}
}

func datesQuery(view *entityView) url.Values {
	return url.Values{"state": {"incomplete"}, "from": {view.From}, "to": {view.To}}
}

// rangeQuery returns the range in which an entity has metrics, or the end of it if it is too long.
func rangeQuery(known *date.Range) url.Values {
	first := known.First
	if known.Len() > date.MaxDates {
		first = known.Last.AddDays(1 - date.MaxDates)
	}
	return url.Values{"from": {first.String()}, "to": {known.Last.String()}}
}

// datesAtLeast writes a count of dates that stops at a thousand.
func datesAtLeast(n int64) string {
	if n >= 1000 {
		return "1,000 dates or more"
	}
	return format.Plural(n, "date")
}

// beside returns the neighbouring pages of the table.
func beside(ctx context.Context, view *entityView) page.Neighbours {
	links := page.ByQuery(ctx, view.Newer, view.Older, "entity")
	for _, link := range []*templ.SafeURL{&links.Newer, &links.Older} {
		if *link != "" {
			*link += "#by-date"
		}
	}
	return links
}
