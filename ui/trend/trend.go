// Package trend shows how the work of the rollup goes, by hour or by day: what was done, how long it took, and what waited.
package trend

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/daymill/daymill/internal/rollup/ledger"
	"github.com/daymill/daymill/ui/component"
	"github.com/daymill/daymill/ui/format"
	"github.com/daymill/daymill/ui/page"
)

// Pages is the page of trends.
type Pages struct {
	*page.Site
}

// Places returns the entry of the navigation.
func (*Pages) Places() []page.Place { return []page.Place{{Name: "Trends", Path: "trends"}} }

// Route adds the page to a mux.
func (s *Pages) Route(mux *http.ServeMux) { mux.Handle("GET /trends", s.Page(s.showTrends)) }

// span is a period that the page offers.
type span struct {
	Name   string // in a query
	Label  string
	Unit   ledger.TrendUnit
	Number int
}

func spans() []span {
	return []span{{"24h", "24 hours", ledger.ByHour, 24}, {"72h", "72 hours", ledger.ByHour, 72}, {"30d", "30 days", ledger.ByDay, 30}, {"90d", "90 days", ledger.ByDay, 90}}
}

// trendsView is the page.
type trendsView struct {
	ledger.Trends

	Span   span
	Charts []trendChart
	Rows   []trendRow // latest first
}

// trendChart is a chart with what its colors mean.
type trendChart struct {
	component.Chart

	Series []component.Series
}

// trendRow is a row of the table.
type trendRow struct {
	ledger.Trend

	Title string
}

func (s *Pages) showTrends(w http.ResponseWriter, r *http.Request) error {
	name, all := r.URL.Query().Get("span"), spans()
	i := 0
	if name != "" {
		if i = slices.IndexFunc(all, func(one span) bool { return one.Name == name }); i < 0 {
			return page.Mistake(fmt.Errorf("there is no period %q: it is one of 24h, 72h, 30d, 90d", format.Shortened(name, 40)))
		}
	}
	view := trendsView{Span: all[i]}
	var err error
	view.Trends, err = Read(r.Context(), s.Site, view.Span.Unit, view.Span.Number)
	if err != nil {
		return err
	}
	view.draw()
	return s.Render(w, r, http.StatusOK, "Trends", trendsPage(&view))
}

// Read reads the trends up to now.
func Read(ctx context.Context, site *page.Site, unit ledger.TrendUnit, number int) (ledger.Trends, error) {
	return ledger.ReadTrends(ctx, site.DB, site.Clock.Now().In(site.Installation.Zone), site.Installation.TimeZone, unit, number)
}

// busy returns the rows in which something happened.
func (v *trendsView) busy() (rows []trendRow) {
	for _, row := range v.Rows {
		if row.Complete+row.Failed+row.Requests+row.Open > 0 {
			rows = append(rows, row)
		}
	}
	return rows
}

// quiet returns how many rows are not in busy.
func (v *trendsView) quiet() int64 { return int64(len(v.Rows) - len(v.busy())) }

// draw makes the charts and the rows.
func (v *trendsView) draw() {
	layout, label := "2006-01-02 15:04", "15:04"
	if v.Span.Unit == ledger.ByDay {
		layout, label = "2006-01-02", "01-02"
	}
	for _, t := range v.Each {
		v.Rows = append(v.Rows, trendRow{t, t.At.Format(layout)})
	}
	chart := func(name, title string, series []component.Series, value func(t ledger.Trend) ([]int64, []string), size component.Size) {
		buckets := make([]component.Bucket, len(v.Rows))
		for i := range series {
			series[i].Values = make([]int64, len(v.Rows))
		}
		for i, row := range v.Rows {
			values, lines := value(row.Trend)
			buckets[i] = component.Bucket{Label: row.At.Format(label), Title: row.Title, Lines: lines}
			for n := range values {
				series[n].Values[i] = values[n]
			}
		}
		size.Name, size.Width, size.Height, size.Labels = name, 380, 170, 4
		v.Charts = append(v.Charts, trendChart{
			component.NewChart(size, title, "By "+string(v.Span.Unit)+". The table below has the same figures.", buckets, series), series,
		})
	}
	times := component.Size{Write: component.WriteTime, Step: component.TimeStep}
	spread := func(s ledger.Spread, n int64) ([]int64, []string) {
		if n == 0 {
			return []int64{0, 0}, []string{"none"}
		}
		median, most := s.Median.Milliseconds(), s.Most.Milliseconds()
		return []int64{median, max(0, most-median)}, []string{"median " + component.WriteTime(median), "95 % within " + component.WriteTime(most)}
	}
	chart("runs", "Runs", []component.Series{{Name: "complete", Class: "clicks"}, {Name: "not complete", Class: "skips"}},
		func(t ledger.Trend) ([]int64, []string) { return []int64{t.Complete, t.Failed}, nil }, component.Size{})
	chart("events", "Events rolled up", []component.Series{{Name: "events", Class: "views"}},
		func(t ledger.Trend) ([]int64, []string) { return []int64{t.Events}, nil }, component.Size{})
	chart("duration", "Duration of a run", []component.Series{{Name: "median", Class: "views"}, {Name: "95 % within", Class: "saves"}},
		func(t ledger.Trend) ([]int64, []string) { return spread(t.Run, t.Complete) }, times)
	chart("waited", "From due to complete", []component.Series{{Name: "median", Class: "views"}, {Name: "95 % within", Class: "saves"}},
		func(t ledger.Trend) ([]int64, []string) { return spread(t.Waited, t.Requests) }, times)
	chart("requests", "Requests satisfied", []component.Series{{Name: "requests", Class: "clicks"}},
		func(t ledger.Trend) ([]int64, []string) { return []int64{t.Requests}, nil }, component.Size{})
	chart("open", "Open requests at the end", []component.Series{{Name: "requests", Class: "other1"}},
		func(t ledger.Trend) ([]int64, []string) { return []int64{t.Open}, nil }, component.Size{})
	slices.Reverse(v.Rows)
}

// spread writes a median and a 95th percentile; a dash if there was nothing.
func spread(s ledger.Spread, n int64) string {
	if n == 0 {
		return "–"
	}
	return component.WriteTime(s.Median.Milliseconds()) + " / " + component.WriteTime(s.Most.Milliseconds())
}
