package job

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/job"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/ledger"
	"github.com/daymill/daymill/internal/worker"
	"github.com/daymill/daymill/ui/door"
	"github.com/daymill/daymill/ui/format"
	"github.com/daymill/daymill/ui/page"
)

const (
	// longestJSON and longestTrace limit how much of a job's arguments and traces is shown, in characters.
	longestJSON  = 20_000
	longestTrace = 10_000
	errorsShown  = 50
)

// jobView is the page of one job.
type jobView struct {
	job.Detail

	Runs     []ledger.Run // the latest ones, newest first
	id       string
	args     string
	output   string
	failures []jobFailure // latest first
	left     int          // failures that are not listed
	timeline []jobMoment
	actions  []jobAction
	every    string // refresh interval; empty for never
}

type jobFailure struct {
	at      time.Time
	attempt int
	text    string
	trace   string
}

// jobMoment is an entry of the timeline.
type jobMoment struct {
	name string
	at   time.Time
	note string
}

// beside returns the text next to the entry's time.
func (m jobMoment) beside(sc page.Scope) string {
	if m.note == "" {
		return sc.Relative(m.at)
	}
	return sc.Relative(m.at) + ", " + m.note
}

type jobAction struct{ name, label, class string }

func (s *Pages) showJob(w http.ResponseWriter, r *http.Request) error {
	id, err := jobID(r)
	if err != nil {
		return err
	}
	detail, err := Get(r.Context(), s.Site, id)
	if err != nil {
		return err
	}
	view := newJobView(detail)
	if !detail.Date.IsZero() {
		err := s.DB.Read(r.Context(), func(on postgres.DBTX) (err error) {
			view.Runs, err = ledger.JobRuns(r.Context(), on, detail.Date, id)
			return err
		})
		if err != nil {
			return err
		}
	}
	return s.Render(w, r, http.StatusOK, "Job "+strconv.FormatInt(id, 10), jobPage(view))
}

func jobID(r *http.Request) (int64, error) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil || id < 1 {
		return 0, page.ErrNotFound
	}
	return id, nil
}

// Get reads a job. If there is none with this id, it returns [page.ErrNotFound].
func Get(ctx context.Context, site *page.Site, id int64) (detail job.Detail, err error) {
	err = site.DB.Read(ctx, func(on postgres.DBTX) (err error) {
		detail, err = job.Get(ctx, on, id)
		return err
	})
	if errors.Is(err, job.ErrNotFound) {
		err = page.ErrNotFound
	}
	return detail, err
}

func newJobView(d job.Detail) jobView {
	view := jobView{
		Detail: d, id: strconv.FormatInt(d.ID, 10), args: indented(d.Args), output: indented(d.Output), timeline: jobTimeline(d),
		actions: jobActions(d),
	}
	switch {
	case d.FinalizedAt != nil || d.Pruned:
	case d.State == "running":
		view.every = "every 2s"
	default:
		view.every = "every 5s"
	}
	var failures []struct {
		At      time.Time `json:"at"`
		Attempt int       `json:"attempt"`
		Error   string    `json:"error"`
		Trace   string    `json:"trace"`
	}
	if err := json.Unmarshal([]byte(d.Errors), &failures); err != nil { // Not River's format: show it unchanged.
		view.failures = []jobFailure{{text: format.Shortened(d.Errors, longestTrace)}}
		return view
	}
	slices.Reverse(failures)
	for i, f := range failures {
		if i == errorsShown {
			view.left = len(failures) - i
			break
		}
		view.failures = append(view.failures, jobFailure{
			at: f.At, attempt: f.Attempt, text: format.Shortened(f.Error, longestTrace), trace: format.Shortened(f.Trace, longestTrace),
		})
	}
	return view
}

// indented formats JSON for people, up to the limit.
func indented(text string) string {
	var out bytes.Buffer
	if err := json.Indent(&out, []byte(text), "", "  "); err == nil {
		text = out.String()
	}
	return format.Shortened(text, longestJSON)
}

// jobTimeline returns the past and future moments of a job, in order.
func jobTimeline(d job.Detail) []jobMoment {
	moments := []jobMoment{{name: "created", at: d.CreatedAt}}
	next := d.State == "retryable" || d.State == "scheduled" || d.State == "available" && d.Attempt > 0
	if !next && d.ScheduledAt.Sub(d.CreatedAt) > time.Second && d.Attempt <= 1 {
		moments = append(moments, jobMoment{name: "scheduled", at: d.ScheduledAt})
	}
	if d.AttemptedAt != nil {
		moments = append(moments, jobMoment{
			name: "attempted", at: *d.AttemptedAt, note: fmt.Sprintf("attempt %d of %d", d.Attempt, d.MaxAttempts),
		})
	}
	if d.FinalizedAt != nil {
		moments = append(moments, jobMoment{name: d.State, at: *d.FinalizedAt})
	}
	if next && d.FinalizedAt == nil {
		moments = append(moments, jobMoment{name: "next attempt", at: d.ScheduledAt})
	}
	if d.PrunedAt != nil {
		moments = append(moments, jobMoment{name: "deleted by River", at: *d.PrunedAt, note: "this history remains"})
	}
	return moments
}

// jobActions lists the actions that the job's state allows.
func jobActions(d job.Detail) []jobAction {
	retry := jobAction{"retry", "Retry", "primary"}
	cancel, remove := jobAction{"cancel", "Cancel", "danger"}, jobAction{"delete", "Delete", "danger"}
	switch {
	case d.Pruned && d.Date.IsZero():
		return []jobAction{remove}
	case d.Pruned:
		return []jobAction{{"retry", "Request its date again", "primary"}, remove}
	case d.FinalizedAt != nil:
		return []jobAction{retry, remove}
	case d.State == "running":
		return []jobAction{cancel}
	case d.State == "available":
		return []jobAction{cancel, remove}
	default:
		retry.label = "Start now"
		return []jobAction{retry, cancel, remove}
	}
}

func (s *Pages) changeJob(w http.ResponseWriter, r *http.Request) error {
	id, err := jobID(r)
	if err != nil {
		return err
	}
	action := r.PostForm.Get("action")
	before, err := Change(r.Context(), s.Site, id, action, audit.Who{Actor: door.User(r.Context()), Via: audit.ViaWeb})
	if err != nil {
		return err
	}
	here := []string{"jobs", strconv.FormatInt(id, 10)}
	switch {
	case action == "delete":
		s.Done(w, r, "deleted", url.Values{}, "jobs")
	case action == "cancel" && before.State == "running":
		s.Done(w, r, "stopping", nil, here...)
	case action == "cancel":
		s.Done(w, r, "cancelled", nil, here...)
	case before.Pruned:
		s.Done(w, r, "requested", nil, here...)
	default:
		s.Done(w, r, "retried", nil, here...)
	}
	return nil
}

// Change retries, cancels or deletes a job, and returns the job as it was before. The audit records who did it. An error may be
// [page.ErrNotFound], or a mistake: see [page.Wrong].
func Change(ctx context.Context, site *page.Site, id int64, name string, who audit.Who) (job.Detail, error) {
	action, err := findBulkAction(name)
	if err != nil {
		return job.Detail{}, err
	}
	detail, err := Get(ctx, site, id)
	if err != nil {
		return job.Detail{}, err
	}
	err = site.DB.Tx(ctx, func(tx pgx.Tx) error {
		outcome, err := action.do(ctx, site.Jobs, tx, worker.Selection{IDs: []int64{id}}, who)
		if err != nil {
			return err
		}
		for reason := range outcome.Skipped {
			return page.Mistake(fmt.Errorf("job %d is not %s: %s", id, action.done, reasonText(reason)))
		}
		entry := audit.Entry{
			Who: who, Action: action.name + " job", Target: strconv.FormatInt(id, 10), Detail: map[string]any{"kind": detail.Kind, "state": detail.State},
		}
		if !detail.Date.IsZero() {
			entry.Detail["date"] = detail.Date.String()
		}
		return audit.Record(ctx, tx, entry)
	})
	return detail, err
}
