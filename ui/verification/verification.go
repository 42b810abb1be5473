// Package verification lists verifications and requests them.
package verification

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/verification"
	"github.com/daymill/daymill/internal/worker"
	"github.com/daymill/daymill/jobs"
	"github.com/daymill/daymill/ui/door"
	"github.com/daymill/daymill/ui/format"
	"github.com/daymill/daymill/ui/page"
)

// Pages is the list of verifications with the form.
type Pages struct {
	*page.Site
}

// Places returns the entry of the navigation.
func (*Pages) Places() []page.Place {
	return []page.Place{{Name: "Verifications", Path: "verifications"}}
}

// Route adds the pages to a mux.
func (s *Pages) Route(mux *http.ServeMux) {
	mux.Handle("GET /verifications", s.Page(s.showVerifications))
	mux.Handle("POST /verifications", s.Page(s.verify))
}

const (
	verificationsPerPage = 50
	verificationsOfDate  = 5
	verificationJobs     = 5
	mostOpenJobs         = 50 // jobs among which the page of a date looks for its own
)

// verificationsView is the page.
type verificationsView struct {
	Filter verification.Filter
	Self   url.Values // query of this page
	Live   bool
	Rows   []verificationRow
	Beside page.Neighbours
	Jobs   []verificationJob // running
	Form   verifyForm
}

// verifyForm is the form as the user filled it in.
type verifyForm struct {
	From, To, Sample string
	Repair           bool
	Wrong            string // what is wrong with it
}

// verificationRow is a verification in a list.
type verificationRow struct {
	Date, Result, By, Via string
	When                  time.Time
	Took                  time.Duration
	Judged                bool // the figures are meaningful
	Entities, Drifted     int64
	Counted, Stored       int64
	Difference            string // in events, with its sign
	RepairRequested       bool
	Repairable, Edited    bool
	Erased, Recorded      int64 // Erased of the Recorded events no longer exist: a repair would erase their metrics
}

type verificationJob struct{ ID, State, What string }

// verificationQuery writes a filter as a query.
func verificationQuery(filter verification.Filter) url.Values {
	query := url.Values{}
	if !filter.Date.IsZero() {
		query.Set("date", filter.Date.String())
	}
	if filter.Result != "" {
		query.Set("result", filter.Result)
	}
	return query
}

// ParseFilter reads a filter from a query.
func ParseFilter(given url.Values) (verification.Filter, error) {
	filter := verification.Filter{Result: given.Get("result")}
	if filter.Result != "" && !slices.Contains(verification.Results(), filter.Result) {
		return filter, fmt.Errorf("there is no result %q: it is one of %s", format.Shortened(filter.Result, 40),
			strings.Join(verification.Results(), ", "))
	}
	if text := given.Get("date"); text != "" {
		var err error
		if filter.Date, err = date.Parse(format.Shortened(text, 30)); err != nil {
			return filter, err
		}
	}
	return filter, nil
}

func (s *Pages) showVerifications(w http.ResponseWriter, r *http.Request) error {
	return s.show(w, r, verifyForm{})
}

// show shows the list below the form.
func (s *Pages) show(w http.ResponseWriter, r *http.Request, form verifyForm) error {
	ctx, given := r.Context(), r.URL.Query()
	filter, err := ParseFilter(given)
	if err != nil {
		return page.Mistake(err)
	}
	at, err := page.CursorOf(given)
	if err != nil {
		return err
	}
	var listed verification.Page
	var under []verification.Job
	err = s.DB.Read(ctx, func(on postgres.DBTX) (err error) {
		listed, err = verification.List(ctx, on, filter, at.Before, at.After, verificationsPerPage)
		if err == nil && at.After != 0 && listed.Newer == 0 && len(listed.Done) < verificationsPerPage {
			at = page.Cursor{} // Show the first page in full.
			listed, err = verification.List(ctx, on, filter, 0, 0, verificationsPerPage)
		}
		if err == nil {
			under, err = verification.Jobs(ctx, on, verificationJobs)
		}
		return err
	})
	if err != nil {
		return err
	}
	query := verificationQuery(filter)
	view := verificationsView{Filter: filter, Self: at.Query(query), Live: at == page.Cursor{}, Form: form}
	view.Beside = page.ByID(ctx, query, page.Cursor{After: listed.Newer}, page.Cursor{Before: listed.Older}, "verifications")
	for _, done := range listed.Done {
		view.Rows = append(view.Rows, newVerificationRow(done))
	}
	for _, job := range under {
		view.Jobs = append(view.Jobs, newVerificationJob(job))
	}
	return s.Render(w, r, page.StatusOf(form.Wrong), "Verifications", verificationsPage(view))
}

func newVerificationRow(done verification.Done) verificationRow {
	row := verificationRow{
		Date: done.Date.String(), Result: done.Result, By: done.RequestedBy, Via: verificationVia(done.RequestedVia),
		When: done.FinishedAt, Took: done.FinishedAt.Sub(done.StartedAt),
		Judged:   done.Result == verification.Exact || done.Result == verification.Drifted,
		Entities: done.Entities, Drifted: done.DriftedEntities, Counted: done.EventsCounted, Stored: done.EventsStored,
		RepairRequested: done.RepairRequested, Repairable: done.Repairable,
		Erased: done.Erased(), Recorded: done.EventsRecorded, Edited: done.Edited(),
	}
	switch difference := done.EventsCounted - done.EventsStored; {
	case difference > 0:
		row.Difference = "+" + format.Number(difference)
	case difference < 0:
		row.Difference = "−" + format.Number(-difference)
	default:
		row.Difference = "0"
	}
	return row
}

// verificationVia says why a date was verified.
func verificationVia(via string) string {
	switch via {
	case "api":
		return "by API"
	case "cli":
		return "by command"
	case "job":
		return "by schedule"
	case "river":
		return "by job"
	case "web":
		return "here"
	default:
		return format.Shortened(via, 30)
	}
}

func newVerificationJob(job verification.Job) verificationJob {
	one := verificationJob{ID: strconv.FormatInt(job.ID, 10), State: job.State, What: "the daily verification"}
	switch {
	case job.Sample > 0:
		one.What = "a sample of " + format.Plural(int64(job.Sample), "date")
	case !job.First.IsZero():
		one.What = date.Range{First: job.First, Last: job.Last}.String()
		if job.First == job.Last {
			one.What = job.First.String()
		}
	}
	return one
}

// verify enqueues a job that verifies dates.
func (s *Pages) verify(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	form := verifyForm{
		From: strings.TrimSpace(r.PostFormValue("from")), To: strings.TrimSpace(r.PostFormValue("to")),
		Sample: strings.TrimSpace(r.PostFormValue("sample")), Repair: r.PostFormValue("repair") != "",
	}
	args, err := verifyArgs(form.From, form.To, form.Sample)
	if err != nil {
		form.Wrong = page.Wrong(page.Mistake(err))
		return s.show(w, r, form)
	}
	args.Repair = form.Repair
	_, enqueued, err := s.Jobs.Verify(ctx, args, audit.Who{Actor: door.User(ctx), Via: audit.ViaWeb})
	if errors.Is(err, worker.ErrVerify) {
		form.Wrong = page.Wrong(page.Mistake(err))
		return s.show(w, r, form)
	}
	if err != nil {
		return err
	}
	notice := map[bool]string{true: "verifying", false: "requested-already"}[enqueued]
	if r.PostFormValue("back") == "date" {
		s.Done(w, r, notice, nil, "dates", args.From.String())
	} else {
		s.Done(w, r, notice, nil, "verifications")
	}
	return nil
}

// verifyArgs reads a date, a range, or the size of a sample from a form.
func verifyArgs(from, to, sample string) (args jobs.VerifyDatesArgs, err error) {
	switch {
	case from == "" && to == "" && sample == "":
		return args, errors.New("give a date, a range, or the size of a sample")
	case (from != "" || to != "") && sample != "":
		return args, errors.New("give either dates or the size of a sample, not both")
	case sample != "":
		if args.Sample, err = strconv.Atoi(format.Shortened(sample, 20)); err != nil || args.Sample < 1 {
			return args, fmt.Errorf("%q is not a number of dates: give one from 1 to %d", format.Shortened(sample, 20), verification.MaxDates)
		}
		return args, nil
	case from == "":
		return args, errors.New("give the first date as well")
	case to == "":
		to = from
	}
	dates, err := date.Between(from, to)
	args.From, args.To = dates.First, dates.Last
	return args, err
}

// DateView has a date's latest verifications, with the details of the last one.
type DateView struct {
	Jobs   []verificationJob // open jobs that verify it
	Rows   []verificationRow
	More   bool
	Drifts []driftRow
	Others int64 // entities that drifted and are not listed
}

// driftRow is an entity whose stored row differs from its events.
type driftRow struct{ ID, Changes string }

// ReadDate reads the DateView of a date.
func ReadDate(ctx context.Context, on postgres.DBTX, day date.Date) (DateView, error) {
	view := DateView{}
	open, err := verification.Jobs(ctx, on, mostOpenJobs)
	if err != nil {
		return view, err
	}
	for _, job := range open {
		if !job.First.IsZero() && !day.Before(job.First) && !day.After(job.Last) && len(view.Jobs) < verificationJobs {
			view.Jobs = append(view.Jobs, newVerificationJob(job))
		}
	}
	listed, err := verification.List(ctx, on, verification.Filter{Date: day}, 0, 0, verificationsOfDate)
	if err != nil || len(listed.Done) == 0 {
		return view, err
	}
	view.More = listed.Older != 0
	for _, done := range listed.Done {
		view.Rows = append(view.Rows, newVerificationRow(done))
	}
	last := listed.Done[0]
	if last.DriftedEntities == 0 {
		return view, nil
	}
	drifts, err := verification.Drifts(ctx, on, last.ID)
	for _, drift := range drifts {
		view.Drifts = append(view.Drifts, driftRow{ID: drift.Entity, Changes: changesText(drift)})
	}
	view.Others = last.DriftedEntities - int64(len(drifts))
	return view, err
}

// mostChanges is how many counts of an entity a page shows.
const mostChanges = 12

// changesText writes the counts that differ, stored → counted: views 9 → 2, share 0 → 1.
func changesText(drift verification.Drift) string {
	stored, counted := countsOf(drift.Stored), countsOf(drift.Counted)
	var parts []string
	add := func(name string, values [2]string) {
		if values[0] != values[1] {
			parts = append(parts, format.Shortened(name, 60)+" "+format.Shortened(values[0], 40)+" → "+format.Shortened(values[1], 40))
		}
	}
	for i, name := range []string{"views", "clicks", "saves", "skips"} {
		add(name, [2]string{stored.own[i], counted.own[i]})
	}
	names := slices.Collect(maps.Keys(stored.other))
	names = append(names, slices.Collect(maps.Keys(counted.other))...)
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		add(name, [2]string{cmp.Or(stored.other[name], "0"), cmp.Or(counted.other[name], "0")})
	}
	switch {
	case drift.Stored == nil:
		parts = append(parts, "it has no row")
	case drift.Counted == nil:
		parts = append(parts, "it has no events")
	}
	if more := len(parts) - mostChanges; more > 0 {
		parts = append(parts[:mostChanges], "and "+format.Number(int64(more))+" more")
	}
	return strings.Join(parts, ", ")
}

// countTexts has an entity's counts as texts: somebody may have edited what is stored.
type countTexts struct {
	own   [4]string
	other map[string]string
}

func countsOf(counts *verification.Counts) countTexts {
	texts := countTexts{own: [4]string{"0", "0", "0", "0"}, other: make(map[string]string)}
	if counts == nil {
		return texts
	}
	for i, n := range []int32{counts.Views, counts.Clicks, counts.Saves, counts.Skips} {
		texts.own[i] = format.Number(int64(n))
	}
	var values map[string]json.RawMessage
	if err := json.Unmarshal(counts.Other, &values); err != nil {
		texts.other["other counts"] = string(counts.Other)
		return texts
	}
	for name, value := range values {
		texts.other[name] = string(value)
		if n, err := strconv.ParseInt(string(value), 10, 64); err == nil {
			texts.other[name] = format.Number(n)
		}
	}
	return texts
}
