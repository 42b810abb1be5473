// Package job lists jobs, and retries, cancels and deletes them.
package job

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/a-h/templ"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/job"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/worker"
	"github.com/daymill/daymill/ui/format"
	"github.com/daymill/daymill/ui/page"
)

// Pages are the list of jobs, the page of each job, and the actions on many.
type Pages struct {
	*page.Site
}

// Places returns the entry of the navigation.
func (*Pages) Places() []page.Place { return []page.Place{{Name: "Jobs", Path: "jobs"}} }

// Route adds the pages to a mux.
func (s *Pages) Route(mux *http.ServeMux) {
	mux.Handle("GET /jobs", s.Page(s.showJobs))
	mux.Handle("GET /jobs/{id}", s.Page(s.showJob))
	mux.Handle("POST /jobs/{id}", s.Page(s.changeJob))
	mux.Handle("GET /jobs/bulk", s.Page(s.confirmBulk))
	mux.Handle("POST /jobs/bulk", s.Page(s.doBulk))
	mux.Handle("GET /jobs/bulk/result", s.Page(s.showBulk))
}

const (
	jobsPerPage = 50
)

// jobsView is a page of the list.
type jobsView struct {
	filter job.Filter
	wrong  string     // what is wrong with the filter
	query  url.Values // the filter
	self   url.Values // query of this page
	tabs   []jobTab
	rows   []jobRow
	live   bool
	beside page.Neighbours
}

// jobTab is a state with its number of jobs.
type jobTab struct {
	name    string
	count   string
	address templ.SafeURL
	current bool
}

// jobRow is a job in the list.
type jobRow struct {
	job.Job

	id    string
	when  string // the time of the last or next event
	error string
}

func (s *Pages) showJobs(w http.ResponseWriter, r *http.Request) error {
	ctx, given := r.Context(), r.URL.Query()
	filter, err := ParseFilter(given)
	if wrong := page.Wrong(err); wrong != "" {
		return s.Render(w, r, page.StatusOf(wrong), "Jobs", jobsPage(jobsView{filter: filter, wrong: wrong}))
	}
	if err != nil {
		return err
	}
	at, err := page.CursorOf(given)
	if err != nil {
		return err
	}
	var listed job.Page
	var counts map[string]job.Count
	err = s.DB.Read(ctx, func(on postgres.DBTX) (err error) {
		listed, counts, err = job.Reader{}.ListCounted(ctx, on, filter, job.Cursor(at), jobsPerPage)
		if err == nil && at.After != 0 && listed.Newer == (job.Cursor{}) && len(listed.Jobs) < jobsPerPage {
			at = page.Cursor{} // Show the first page in full.
			listed, err = job.Reader{}.List(ctx, on, filter, job.Cursor{}, jobsPerPage)
		}
		return err
	})
	if err != nil {
		return err
	}
	view := jobsView{
		filter: filter, query: jobQuery(filter), self: at.Query(jobQuery(filter)), tabs: jobTabs(ctx, filter, counts),
		live: at == page.Cursor{},
	}
	view.beside = page.ByID(ctx, view.query, page.Cursor(listed.Newer), page.Cursor(listed.Older), "jobs")
	view.beside.Unfinished = listed.Unfinished
	for _, j := range listed.Jobs {
		view.rows = append(view.rows, newJobRow(page.ScopeOf(ctx), j))
	}
	return s.Render(w, r, http.StatusOK, "Jobs", jobsPage(view))
}

func newJobRow(sc page.Scope, j job.Job) jobRow {
	row := jobRow{Job: j, id: strconv.FormatInt(j.ID, 10), error: format.Shortened(j.Error, 120)}
	switch {
	case j.FinalizedAt != nil:
		row.when = "ended " + sc.Relative(*j.FinalizedAt)
	case j.State == "retryable" || j.State == "scheduled":
		row.when = "next attempt " + sc.Relative(j.ScheduledAt)
	case j.State == "running" && j.AttemptedAt != nil:
		row.when = "since " + sc.Relative(*j.AttemptedAt)
	default:
		row.when = "waits since " + sc.Relative(j.ScheduledAt)
	}
	return row
}

// jobTabs lists the states, with "all" first. It leaves out states without jobs, except the selected one.
func jobTabs(ctx context.Context, filter job.Filter, counts map[string]job.Count) []jobTab {
	all := jobTab{name: "all", current: filter.State == ""}
	tabs := []jobTab{{}}
	var sum job.Count
	for _, state := range job.States() {
		count := counts[state]
		sum.Jobs += count.Jobs
		sum.More = sum.More || count.More
		if count == (job.Count{}) && filter.State != state {
			continue
		}
		of := filter
		of.State = state
		tabs = append(tabs, jobTab{
			name: state, count: atLeast(count), current: filter.State == state, address: page.ToQuery(ctx, jobQuery(of), "jobs"),
		})
	}
	of := filter
	of.State = ""
	all.count, all.address = atLeast(sum), page.ToQuery(ctx, jobQuery(of), "jobs")
	tabs[0] = all
	return tabs
}

// atLeast writes a count that may have reached its limit: 1,234 or 10,000+.
func atLeast(count job.Count) string {
	if count.More {
		return format.Number(count.Jobs) + "+"
	}
	return format.Number(count.Jobs)
}

// ParseFilter reads a filter from a query or a form. An error is a mistake: see [page.Wrong].
func ParseFilter(values url.Values) (job.Filter, error) {
	filter := job.Filter{
		State: strings.TrimSpace(values.Get("state")), Kind: strings.TrimSpace(values.Get("kind")),
		Text: strings.TrimSpace(values.Get("q")),
	}
	if filter.State != "" && !slices.Contains(job.States(), filter.State) {
		return job.Filter{}, page.Mistake(fmt.Errorf("there is no state %q: it is one of %s",
			format.Shortened(filter.State, 40), strings.Join(job.States(), ", ")))
	}
	if filter.Kind != "" && !slices.Contains(worker.KindNames(), filter.Kind) {
		return job.Filter{}, page.Mistake(fmt.Errorf("there is no kind %q: it is one of %s",
			format.Shortened(filter.Kind, 40), strings.Join(worker.KindNames(), ", ")))
	}
	if len(filter.Text) > page.LongestText {
		return filter, page.Mistake(fmt.Errorf("the text has %d bytes: give at most %d", len(filter.Text), page.LongestText))
	}
	if strings.ContainsRune(filter.Text, 0) || !utf8.ValidString(filter.Text) {
		return job.Filter{}, page.Mistake(errors.New("the text has a character that Postgres cannot store"))
	}
	for name, d := range map[string]*date.Date{"from": &filter.First, "to": &filter.Last} {
		text := strings.TrimSpace(values.Get(name))
		if text == "" {
			continue
		}
		var err error
		if *d, err = date.Parse(text); err != nil {
			return job.Filter{}, page.Mistake(errors.New(format.Shortened(err.Error(), 120)))
		}
	}
	if !filter.First.IsZero() && !filter.Last.IsZero() && filter.Last.Before(filter.First) {
		return filter, page.Mistake(fmt.Errorf("the dates %s to %s are reversed: give the earlier one first", filter.First, filter.Last))
	}
	return filter, nil
}

// jobQuery writes a filter as a query or a form.
func jobQuery(filter job.Filter) url.Values {
	query := url.Values{}
	for name, value := range map[string]string{
		"state": filter.State, "kind": filter.Kind, "q": filter.Text, "from": filter.First.String(), "to": filter.Last.String(),
	} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return query
}

// describeJobs describes the jobs of a filter: discarded jobs of kind rollup_day, of the dates from 2026-03-01 on.
func describeJobs(filter job.Filter) string {
	text := "all jobs"
	if !filter.IsZero() {
		text = strings.TrimSpace(filter.State + " jobs")
	}
	var parts []string
	if filter.Kind != "" {
		parts = append(parts, "of kind "+filter.Kind)
	}
	switch {
	case !filter.First.IsZero() && !filter.Last.IsZero():
		parts = append(parts, "of the dates "+date.Range{First: filter.First, Last: filter.Last}.String())
	case !filter.First.IsZero():
		parts = append(parts, "of the dates from "+filter.First.String()+" on")
	case !filter.Last.IsZero():
		parts = append(parts, "of the dates up to "+filter.Last.String())
	}
	if filter.Text != "" {
		parts = append(parts, "with “"+filter.Text+"”")
	}
	if len(parts) == 0 {
		return text
	}
	return text + " " + strings.Join(parts, ", ")
}

// noJobs says that no jobs match a filter.
func noJobs(filter job.Filter) string {
	if filter.IsZero() {
		return "There are no jobs."
	}
	return "There are no " + describeJobs(filter) + "."
}
