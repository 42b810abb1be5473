package date

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/figure"
	"github.com/daymill/daymill/internal/rollup/ledger"
	"github.com/daymill/daymill/internal/rollup/schedule"
	"github.com/daymill/daymill/ui/calendar"
	"github.com/daymill/daymill/ui/component"
	"github.com/daymill/daymill/ui/door"
	"github.com/daymill/daymill/ui/format"
	"github.com/daymill/daymill/ui/page"
	"github.com/daymill/daymill/ui/verification"
)

// How many rows the tables on a date's page have at most.
const (
	runsPerPage  = 10
	mostRequests = 20
	mostJobs     = 10
)

// dateView is the page of one date.
type dateView struct {
	Date          string
	Weekday       string
	Before, After string // the neighbouring dates; After is empty today
	State         string
	Means         string // what the state means, and what ends it
	Requestable   bool
	Live          bool       // the state will change without a user's action
	NextAttempt   *time.Time // when a job that failed is tried again
	Query         url.Values // of this page, for its refreshes
	CompletedAt   *time.Time
	Figures       *dateRunView // of the run that completed the date
	Events        int64        // of the last completion; kept longer than the run
	Entities      int64
	Running       *dateProgressView
	Runs          []dateRunView
	Newer, Older  url.Values
	Requests      []dateRequestView
	OtherRequests string // how many open requests are not listed; empty if all are
	Jobs          []dateJobView
	Top           *topView // nil if the date was never complete
	Verifiable    bool
	Verified      verification.DateView
}

// topView lists the date's top entities by one of the counts.
type topView struct {
	Recorded bool // the run has seen all entities
	By       string
	Rows     []topRowView
}

type topRowView struct {
	ID    string
	Count int64
}

// topOrders returns the counts by which a date's top entities are recorded.
func topOrders() []string { return []string{"events", "views", "clicks", "saves", "skips"} }

// dateProgressView is the progress of a run.
type dateProgressView struct {
	figure.Figures

	Phase  string
	Done   int64 // in thousandths
	Since  time.Time
	Worker string
}

type dateRunView struct {
	figure.Figures

	ID, State, Worker, Error    string
	StartedAt                   time.Time
	FinishedAt                  *time.Time
	Took                        time.Duration
	JobID, Attempt, ResumedFrom string
}

type dateRequestView struct {
	At         time.Time
	DueAt      *time.Time
	By, Via    string
	BackfillID string
	Claimed    bool
}

type dateJobView struct {
	ID, State            string
	Attempt, MaxAttempts int64
	CreatedAt            time.Time
	NextAt               *time.Time // when it is tried again
	FinalizedAt          *time.Time
}

// dateOf returns the date in a request's path, or errNotFound.
func dateOf(r *http.Request) (date.Date, error) {
	d, err := date.Parse(r.PathValue("date"))
	if err != nil {
		return date.Date{}, page.ErrNotFound
	}
	return d, nil
}

func (s *Pages) showDate(w http.ResponseWriter, r *http.Request) error {
	of, err := dateOf(r)
	if err != nil {
		return err
	}
	view, err := s.readDate(r.Context(), of, r.URL.Query())
	if err != nil {
		return err
	}
	return s.Render(w, r, http.StatusOK, of.String(), datePage(view))
}

func (s *Pages) readDate(ctx context.Context, day date.Date, query url.Values) (dateView, error) {
	sc := page.ScopeOf(ctx)
	at, err := page.CursorOf(query)
	if err != nil {
		return dateView{}, err
	}
	view := dateView{
		Date: day.String(), Weekday: day.Weekday().String(), Before: day.AddDays(-1).String(), Requestable: day.Before(sc.Today),
		Query: url.Values{},
	}
	if day.Before(sc.Today) {
		view.After = day.AddDays(1).String()
	}
	for _, name := range []string{"before", "after", "top"} {
		if value := query.Get(name); value != "" {
			view.Query.Set(name, value)
		}
	}
	var known ledger.Date
	err = s.DB.Read(ctx, func(on postgres.DBTX) error {
		var err error
		known, err = ledger.ReadDate(ctx, on, day)
		if errors.Is(err, ledger.ErrUnknownDate) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := view.readLists(ctx, on, day, known, at); err != nil || known.CompletedAt == nil {
			return err
		}
		top, err := ledger.ReadTop(ctx, on, day)
		view.Top = newTop(top, query.Get("top"))
		if err == nil {
			view.Verified, err = verification.ReadDate(ctx, on, day)
		}
		return err
	})
	if err != nil {
		return dateView{}, err
	}
	if known.State == "" {
		if known.State = stateFuture; !day.After(sc.Today) {
			known.State = calendar.StateIn(ledger.Day{}, false, day, s.Finder.Of(ctx, calendar.YearOf(day), sc.Today), sc.Today)
		}
	}
	view.take(known)
	return view, nil
}

func newTop(top ledger.Top, by string) *topView {
	if !slices.Contains(topOrders(), by) {
		by = topOrders()[0]
	}
	view := &topView{Recorded: top != nil, By: by}
	for _, r := range top[by] {
		view.Rows = append(view.Rows, topRowView{ID: r.ID, Count: r.Count})
	}
	return view
}

func (v *dateView) readLists(ctx context.Context, on postgres.DBTX, day date.Date, known ledger.Date, at page.Cursor) error {
	runs, more, err := ledger.DateRuns(ctx, on, day, at.Before, at.After, runsPerPage)
	if err != nil {
		return err
	}
	for i := range runs {
		v.Runs = append(v.Runs, newDateRunView(&runs[i]))
	}
	if len(runs) > 0 {
		if at.Before != 0 || at.After != 0 && more {
			v.Newer = url.Values{"after": {v.Runs[0].ID}}
		}
		if at.After != 0 || more {
			v.Older = url.Values{"before": {v.Runs[len(runs)-1].ID}}
		}
	}
	jobs, err := ledger.Jobs(ctx, on, day, mostJobs)
	if err != nil {
		return err
	}
	for _, j := range jobs {
		one := dateJobView{
			ID: strconv.FormatInt(j.ID, 10), State: j.State, Attempt: int64(j.Attempt), MaxAttempts: int64(j.MaxAttempts),
			CreatedAt: j.CreatedAt, FinalizedAt: j.FinalizedAt,
		}
		if j.State == "retryable" {
			one.NextAt = &j.ScheduledAt
			v.NextAttempt = one.NextAt
		}
		v.Jobs = append(v.Jobs, one)
	}
	if known.Requests == 0 {
		return nil
	}
	requests, err := ledger.Requests(ctx, on, day, mostRequests)
	for _, q := range requests {
		one := dateRequestView{At: q.RequestedAt, DueAt: q.DueAt, By: q.By, Via: q.Via, Claimed: q.RunID != nil}
		if q.BackfillID != nil {
			one.BackfillID = strconv.FormatInt(*q.BackfillID, 10)
		}
		v.Requests = append(v.Requests, one)
	}
	if others := known.Requests - int64(len(requests)); others > 0 {
		v.OtherRequests = format.Plural(others, "other")
		if known.Requests >= ledger.MostOpen {
			v.OtherRequests = "at least " + v.OtherRequests
		}
	}
	return err
}

func (v *dateView) take(known ledger.Date) {
	v.State, v.Means = known.State, component.Means(known.State)
	v.CompletedAt, v.Events, v.Entities = known.CompletedAt, known.Events, known.Entities
	v.Verifiable = known.State == "complete" || known.State == "stale" || known.State == "protected"
	v.Live = known.State == "running" || known.State == "requested" || known.State == "retrying" || len(v.Verified.Jobs) > 0
	if known.Complete != nil {
		figures := newDateRunView(known.Complete)
		v.Figures = &figures
	}
	if last := known.Last; last != nil && known.State == "running" {
		v.Running = &dateProgressView{
			Phase: last.Phase, Done: int64(last.Progress * 1000), Since: last.StartedAt, Worker: last.Worker, Figures: last.Figures,
		}
	}
}

func newDateRunView(r *ledger.Run) dateRunView {
	v := dateRunView{
		ID: strconv.FormatInt(r.ID, 10), State: r.State, Worker: r.Worker, Error: r.Error, StartedAt: r.StartedAt,
		FinishedAt: r.FinishedAt, Figures: r.Figures,
	}
	if r.FinishedAt != nil {
		v.Took = r.FinishedAt.Sub(r.StartedAt)
	}
	if r.JobID != nil {
		v.JobID, v.Attempt = strconv.FormatInt(*r.JobID, 10), strconv.Itoa(r.Attempt)
	}
	if r.ResumedRunID != nil {
		v.ResumedFrom = strconv.FormatInt(*r.ResumedRunID, 10)
	}
	return v
}

// stateFuture is the state of a date that has not begun.
const stateFuture = "future"

// phaseWord says what a run is doing.
func phaseWord(phase string) string {
	switch phase {
	case "scan":
		return "Reading events"
	case "publish":
		return "Writing metrics"
	case "settle":
		return "Finishing"
	default:
		return phase
	}
}

// titled capitalizes a word for a heading.
func titled(word string) string { return strings.ToUpper(word[:1]) + word[1:] }

// losesEvents reports whether a repair would erase metrics whose events no longer exist. The page then asks for confirmation.
func (v *dateView) losesEvents() bool {
	return len(v.Verified.Rows) > 0 && v.Verified.Rows[0].Erased > 0
}

// requestDate requests a rollup of a date.
func (s *Pages) requestDate(w http.ResponseWriter, r *http.Request) error {
	day, err := dateOf(r)
	if err != nil {
		return err
	}
	today, err := schedule.Today(r.Context(), s.DB, s.Clock)
	if err != nil {
		return err
	}
	if r.PostFormValue("erase") != "" && !page.CanErase(r.Context()) {
		return page.ErrMayNotErase
	}
	err = s.DB.Tx(r.Context(), func(tx pgx.Tx) error {
		return ledger.RequestDates(r.Context(), tx, []date.Date{day}, ledger.Ask{
			By: door.User(r.Context()), Via: audit.ViaWeb, Repair: r.PostFormValue("repair") != "", Erase: r.PostFormValue("erase") != "",
			Today: today,
		})
	})
	if errors.Is(err, ledger.ErrFuture) {
		return page.Mistake(err)
	}
	if err != nil {
		return err
	}
	switch r.FormValue("back") {
	case "overview":
		s.Done(w, r, "requested", nil)
	case "verifications":
		s.Done(w, r, "requested", nil, "verifications")
	default:
		s.Done(w, r, "requested", nil, "dates", day.String())
	}
	return nil
}
