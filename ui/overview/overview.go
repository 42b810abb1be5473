// Package overview shows whether everything is well, and what to do if not.
package overview

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	archive "github.com/daymill/daymill/internal/archive/standing"
	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/health"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/presence"
	"github.com/daymill/daymill/internal/rollup/backfill"
	"github.com/daymill/daymill/internal/rollup/ledger"
	"github.com/daymill/daymill/internal/rollup/source"
	"github.com/daymill/daymill/internal/rollup/standing"
	"github.com/daymill/daymill/internal/worker"
	"github.com/daymill/daymill/internal/worker/verdict"
	"github.com/daymill/daymill/ui/calendar"
	"github.com/daymill/daymill/ui/format"
	"github.com/daymill/daymill/ui/page"
)

// How many rows the overview lists. Other pages have the rest.
const (
	mostFailures  = 6
	mostBackfills = 5
	mostProcesses = 8
)

// faultsKept is how long a check of the installed objects stays valid. The check reads the catalog, and the overview refreshes itself often.
const faultsKept = 45 * time.Second

// overviewView is the overview. It refreshes itself every ten seconds with short queries. The results of slow queries are kept for a while:
// see faultsKept, checkKept and calendar.Finder.
type overviewView struct {
	Status   statusView
	Calendar calendar.View
}

// statusView is the current state of the installation.
type statusView struct {
	Verdict health.Finding
	Setup   *setupView // nil once a date was complete

	NextRun   *time.Time // of the daily job; nil if it is paused or no worker runs
	LastRun   *time.Time
	PausedAt  *time.Time // when the daily job was paused
	Queue     []queueStateView
	Oldest    *time.Time // when the oldest job became ready
	NextRetry *time.Time
	Workers   []processView
	Others    int // worker processes that are not listed
	Backfills []openBackfillView
	Failures  []failureView
	Failing   int64 // all failing dates, listed or not
}

type queueStateView struct {
	State string
	Jobs  int64
}

type processView struct {
	Name, Version string
	SeenAt        time.Time
	Workers       int
}

type openBackfillView struct {
	ID          string
	Title       string
	State       string
	Done, Dates int64
	Progress    string // in words
}

type failureView struct {
	Date, State, Error string
	At                 *time.Time
}

// Pages is the overview.
type Pages struct {
	*page.Site

	Finder  *calendar.Finder
	Archive *archive.Source // nil if there is none

	faults page.Kept[[]string]
	checks page.Kept[source.Report]
}

// Places returns the entry of the navigation.
func (*Pages) Places() []page.Place { return []page.Place{{Name: "Overview"}} }

// Route adds the pages to a mux.
func (s *Pages) Route(mux *http.ServeMux) {
	mux.Handle("GET /{$}", s.Page(s.showOverview))
}

func (s *Pages) showOverview(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	year, err := yearParameter(r, page.ScopeOf(ctx))
	if err != nil {
		return err
	}
	var view overviewView
	if view.Calendar, err = s.readCalendar(ctx, year); err != nil {
		return err
	}
	if view.Status, err = s.readStatus(ctx); err != nil {
		return err
	}
	return s.Render(w, r, http.StatusOK, "Overview", overviewPage(view))
}

// yearParameter returns the requested year; by default the current one.
func yearParameter(r *http.Request, sc page.Scope) (int, error) {
	text := r.URL.Query().Get("year")
	if text == "" {
		return calendar.YearOf(sc.Today), nil
	}
	year, err := strconv.Atoi(text)
	if err != nil || year < 1 || year > 9999 {
		return 0, page.Mistake(errors.New("the year must be a number such as 2026"))
	}
	return year, nil
}

func (s *Pages) readCalendar(ctx context.Context, year int) (calendar.View, error) {
	sc := page.ScopeOf(ctx)
	missing := s.Finder.Of(ctx, year, sc.Today)
	var view calendar.View
	err := s.DB.Read(ctx, func(on postgres.DBTX) error {
		days, err := ledger.Calendar(ctx, on, calendar.YearRange(year))
		view = calendar.New(year, days, missing, sc.Today)
		return err
	})
	if err != nil {
		return calendar.View{}, err
	}
	view.Years = s.years(ctx, year, missing)
	return view, nil
}

// years returns the years to switch to, from the first event's year to the current one.
func (*Pages) years(ctx context.Context, shown int, missing calendar.Missing) []int {
	last := calendar.YearOf(page.ScopeOf(ctx).Today)
	first := last
	if !missing.First.IsZero() {
		first = max(calendar.YearOf(missing.First), last-calendar.MostYears)
	}
	var years []int
	for year := max(last, shown); year >= min(first, shown); year-- {
		if year <= last && year >= first || year == shown {
			years = append(years, year)
		}
	}
	return years
}

func (s *Pages) readStatus(ctx context.Context) (statusView, error) {
	sc := page.ScopeOf(ctx)
	var view statusView
	missing := s.Finder.Of(ctx, calendar.YearOf(sc.Today), sc.Today)
	read, err := s.judge(ctx, sc.Now, sc.Today, missing)
	if err != nil {
		return statusView{}, err
	}
	err = s.DB.Read(ctx, func(on postgres.DBTX) error {
		failures, err := ledger.Failures(ctx, on, mostFailures)
		if err != nil {
			return err
		}
		view.Failures = newFailures(failures)
		backfills, err := backfill.Open(ctx, on, mostBackfills)
		view.Backfills = newOpenBackfills(backfills)
		return err
	})
	if err != nil {
		return statusView{}, err
	}
	facts := read.Rollup
	view.Setup = s.setup(ctx, facts, missing)
	view.LastRun, view.PausedAt, view.NextRun = facts.Daily.LastRunAt, facts.Daily.PausedAt, facts.Next
	view.takeQueue(read.Queue)
	view.takeWorkers(facts.Workers)
	for _, state := range []string{"failed", "retrying", "cancelled", "interrupted"} {
		view.Failing += facts.Dates(state)
	}
	view.Verdict = read.Findings[0]
	return view, nil
}

// Judge reads the state of the installation and judges it, as the overview does.
func (s *Pages) Judge(ctx context.Context, today date.Date) (verdict.Verdict, error) {
	return s.judge(ctx, s.Clock.Now(), today, s.Finder.Of(ctx, calendar.YearOf(today), today))
}

func (s *Pages) judge(ctx context.Context, now time.Time, today date.Date, missing calendar.Missing) (verdict.Verdict, error) {
	return verdict.Read(ctx, s.DB, s.Installation, now, s.Archive, func(facts *standing.Facts) error {
		facts.NoSource, facts.NoEvents = missing.NoSource, missing.Known && missing.First.IsZero()
		facts.Missing, facts.MissingOf = slices.Collect(maps.Keys(missing.Dates)), strconv.Itoa(calendar.YearOf(today))
		facts.Faults = s.faults.Get(ctx, s.Site, faultsKept, func(ctx context.Context) ([]string, error) {
			return source.Faults(ctx, s.DB, s.Installation)
		})
		return nil
	})
}

func (v *statusView) takeQueue(queue worker.Depth) {
	v.Oldest, v.NextRetry = queue.OldestWaiting, queue.NextRetry
	for _, state := range []string{"running", "available", "retryable", "scheduled", "pending"} {
		if n := queue.ByState[state]; n > 0 || state == "running" || state == "available" {
			v.Queue = append(v.Queue, queueStateView{State: state, Jobs: n})
		}
	}
}

func (v *statusView) takeWorkers(workers []presence.Worker) {
	for _, w := range workers {
		if len(v.Workers) == mostProcesses {
			v.Others++
			continue
		}
		v.Workers = append(v.Workers, processView{Name: w.Name, Version: w.Version, SeenAt: w.LastSeenAt, Workers: w.Workers})
	}
}

func newFailures(failures []ledger.Failure) []failureView {
	views := make([]failureView, len(failures))
	for i, f := range failures {
		views[i] = failureView{Date: f.Date.String(), State: f.State, Error: format.Shortened(f.Error, 160), At: f.At}
	}
	return views
}

func newOpenBackfills(backfills []backfill.Status) []openBackfillView {
	views := make([]openBackfillView, len(backfills))
	for i, b := range backfills {
		views[i] = openBackfillView{
			ID: strconv.FormatInt(b.ID, 10), Title: b.First.String() + " to " + b.Last.String(), State: b.State,
			Done: b.Done(), Dates: b.Dates, Progress: format.Number(b.Done()) + " of " + format.Plural(b.Dates, "date"),
		}
		if b.RemainingSeconds != nil && b.State == backfill.Running {
			views[i].Progress += ", about " + format.Duration(time.Duration(*b.RemainingSeconds*float64(time.Second))) + " left"
		}
	}
	return views
}
