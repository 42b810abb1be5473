// Package entity finds entities and shows their metrics.
package entity

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/label"
	"github.com/daymill/daymill/internal/rollup/metric"
	"github.com/daymill/daymill/ui/format"
	"github.com/daymill/daymill/ui/page"
)

const (
	entitiesShown = 25
	namesOffered  = 20
	// otherPrefix marks an event type without its own column, in a query.
	otherPrefix = "other:"
)

// Pages find entities and show each over time.
type Pages struct {
	*page.Site

	Labels label.Source

	warned atomic.Int64 // when the log last said that names cannot be read, in seconds
}

// Places returns the entry of the navigation.
func (*Pages) Places() []page.Place {
	return []page.Place{{Name: "Entities", Path: "entities", Also: []string{"entity"}}}
}

// Route adds the pages to a mux.
func (s *Pages) Route(mux *http.ServeMux) {
	mux.Handle("GET /entities", s.Page(s.showEntities))
	mux.Handle("GET /entity", s.Page(s.showEntity))
	mux.Handle("GET /entity.csv", s.Page(s.downloadEntity))
}

// choice is an option of a select.
type choice struct{ Value, Name string }

// entityRow is an entity in a list.
type entityRow struct {
	metric.Ranked

	Name string // that the application has; empty if it has none
	Link string // to the application; empty if there is none
}

// entitiesView is the page that finds entities.
type entitiesView struct {
	ID     string // the id that the user entered
	Wrong  string // what is wrong with the search
	Text   bool   // ids are text, and a prefix is enough
	IDKind string

	Searched bool
	Found    []entityRow // ids that begin with ID
	MoreThan int         // number found, if there are more; otherwise 0

	Metric  string
	Metrics []choice
	Period  string
	Periods []choice

	Top      []entityRow
	From, To string // first and last date added up; empty if none
	Dates    int
	Left     int // dates of the period beyond the limit
	Cut      bool
	Compared bool // the rows have the counts of the period before
	Named    bool // at least one row has a name
	Nameless bool // the names could not be read
	Linked   bool
}

// metricName returns a metric's name on the page.
func (v entitiesView) metricName() string {
	if name, other := strings.CutPrefix(v.Metric, otherPrefix); other {
		return name
	}
	return v.Metric
}

// periodName returns the length of the period.
func (v entitiesView) periodName() string { return format.Plural(int64(periodDays(v.Period)), "day") }

func periods() []choice {
	return []choice{{"1", "yesterday"}, {"7", "7 days"}, {"30", "30 days"}, {"90", "90 days"}, {"365", "365 days"}}
}

func periodDays(value string) int {
	return map[string]int{"1": 1, "7": 7, "30": 30, "90": 90, "365": 365}[value] // 0 for any other value
}

// showEntities finds an entity, or lists those with the highest counts.
func (s *Pages) showEntities(w http.ResponseWriter, r *http.Request) error {
	ctx, query := r.Context(), r.URL.Query()
	view := entitiesView{
		ID: query.Get("id"), Searched: query.Has("id") && query.Get("id") != "", Text: s.Installation.EntityType == entity.Text,
		IDKind: idKind(s.Installation.EntityType), Metric: query.Get("metric"), Period: query.Get("period"), Periods: periods(),
	}
	if view.Searched {
		done, err := s.findEntity(w, r, &view)
		if done || err != nil {
			return err
		}
		status := http.StatusOK
		if view.Wrong != "" {
			status = http.StatusUnprocessableEntity
		} else if len(view.Found) == 0 {
			status = http.StatusNotFound
		}
		return s.Render(w, r, status, "Entities", entitiesPage(view))
	}

	days := periodDays(view.Period)
	if days == 0 {
		view.Period, days = "7", 7
	}
	today := page.ScopeOf(ctx).Today
	period := date.Range{First: today.AddDays(-days), Last: today.AddDays(-1)}
	var names []string
	err := s.DB.Read(ctx, func(on postgres.DBTX) (err error) {
		names, err = metric.Names(ctx, on, period, namesOffered)
		return err
	})
	if err != nil {
		return err
	}
	by := metric.Metric{Column: view.Metric}
	name, other := strings.CutPrefix(view.Metric, otherPrefix)
	switch {
	case other && len(name) <= maxName && !strings.ContainsRune(name, 0) && strings.ToValidUTF8(name, "") == name:
		by = metric.Metric{EventType: name}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	case view.Metric != metric.Events && !slices.Contains(columns(), view.Metric):
		view.Metric, by.Column = metric.Views, metric.Views
	}
	view.Metrics = []choice{{metric.Events, "all events"}}
	for _, column := range columns() {
		view.Metrics = append(view.Metrics, choice{column, column})
	}
	for _, name := range names {
		view.Metrics = append(view.Metrics, choice{otherPrefix + name, format.Shortened(name, 40)})
	}
	top, err := metric.FindTop(ctx, s.DB, s.Installation.EntityType, by, period, entitiesShown)
	if err != nil {
		return err
	}
	view.Cut, view.Dates, view.Left, view.Compared = top.Cut, len(top.Dates), top.Others, top.Compared
	for _, ranked := range top.Entities {
		view.Top = append(view.Top, entityRow{Ranked: ranked})
	}
	s.name(ctx, &view, view.Top)
	if len(top.Dates) > 0 {
		view.From, view.To = top.Dates[len(top.Dates)-1].String(), top.Dates[0].String()
	}
	return s.Render(w, r, http.StatusOK, "Entities", entitiesPage(view))
}

// maxName is the longest name of an event type that a query may have, in bytes.
const maxName = 400

func columns() []string { return []string{metric.Views, metric.Clicks, metric.Saves, metric.Skips} }

func idKind(t entity.Type) string {
	switch t {
	case entity.Bigint:
		return "a whole number"
	case entity.UUID:
		return "a uuid"
	default:
		return "text; a prefix is enough"
	}
}

// findEntity redirects to the entity with the given id, or lists the ids that begin with it. It reports whether it has answered the request.
func (s *Pages) findEntity(w http.ResponseWriter, r *http.Request, view *entitiesView) (done bool, err error) {
	ctx := r.Context()
	id, err := metric.ID(s.Installation.EntityType, view.ID)
	if err != nil {
		view.Wrong, view.ID = page.Sentence(err.Error()), strings.ToValidUTF8(strings.ReplaceAll(view.ID, "\x00", ""), "\uFFFD")
		return false, nil
	}
	known := false
	err = s.DB.Read(ctx, func(on postgres.DBTX) error {
		if _, known, err = metric.Bounds(ctx, on, id); err != nil || known || !view.Text {
			return err
		}
		ids, err := metric.WithPrefix(ctx, on, id, entitiesShown+1)
		for _, id := range ids {
			view.Found = append(view.Found, entityRow{Ranked: metric.Ranked{ID: id}})
		}
		return err
	})
	if err != nil {
		return false, err
	}
	if known {
		http.Redirect(w, r, page.Link(s.BasePath, "entity")+"?"+url.Values{"id": {id}}.Encode(), http.StatusSeeOther)
		return true, nil
	}
	if len(view.Found) > entitiesShown {
		view.Found, view.MoreThan = view.Found[:entitiesShown], entitiesShown
	}
	s.name(ctx, view, view.Found)
	return false, nil
}

// name adds the application's names and links to rows.
func (s *Pages) name(ctx context.Context, view *entitiesView, rows []entityRow) {
	ids := make([]string, len(rows))
	for i, row := range rows {
		ids[i] = row.ID
	}
	names, known := s.names(ctx, ids)
	view.Nameless, view.Named, view.Linked = !known, len(names) > 0, s.Labels.URL != ""
	for i, row := range rows {
		rows[i].Name, rows[i].Link = names[row.ID], s.Labels.Link(row.ID)
	}
}

// names reads the names of entities. If that fails, known is false, and the log has the cause, at most once a minute.
func (s *Pages) names(ctx context.Context, ids []string) (names map[string]string, known bool) {
	names, err := s.Labels.Names(ctx, s.DB, ids)
	if err != nil {
		now, last := s.Clock.Now().Unix(), s.warned.Load()
		if ctx.Err() == nil && now-last >= 60 && s.warned.CompareAndSwap(last, now) {
			s.Logger.WarnContext(ctx, "the names of entities cannot be read", slog.String("error", err.Error()))
		}
		return nil, false
	}
	return names, true
}

// growth writes how much an entity's count has grown.
func (v entitiesView) growth(row entityRow) string {
	switch {
	case !v.Compared:
		return "–"
	case row.Before == 0:
		return "new"
	default:
		return format.Growth(row.Count, row.Before)
	}
}

func (v entitiesView) before(row entityRow) string {
	if !v.Compared {
		return "–"
	}
	return format.Number(row.Before)
}
