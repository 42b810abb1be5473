package job

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/job"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/worker"
	"github.com/daymill/daymill/ui/door"
	"github.com/daymill/daymill/ui/page"
)

// Limits of one click on a bulk action. It acts on the newest bulkMost jobs of the filter, in transactions of at most bulkChunk jobs, whose
// arguments take at most bulkBytes together (or on one job, whatever its size), and for at most bulkTime. If that is not enough, the result offers
// to continue.
const (
	bulkMost  = 10_000
	bulkChunk = 100
	bulkBytes = 8 << 20
	bulkTime  = 5 * time.Second
)

// bulkAction is an action on many jobs.
type bulkAction struct {
	name   string // in forms and addresses
	button string
	done   string // past participle, for the result
	note   string // the consequences, for the confirmation
	danger bool
}

func bulkActions() []bulkAction {
	return []bulkAction{
		{
			name: "retry", button: "Retry", done: "retried",
			note: "Each job runs again as soon as a worker is free. If River has deleted a job, its date is requested again.",
		},
		{
			name: "cancel", button: "Cancel", done: "cancelled", danger: true,
			note: "Open requests for their dates are withdrawn with them. Running jobs are asked to stop.",
		},
		{
			name: "delete", button: "Delete", done: "deleted", danger: true,
			note: "They are deleted from River's table and from this history. Open requests for the dates of jobs that have not ended " +
				"are withdrawn with them. Running jobs stay.",
		},
	}
}

func findBulkAction(name string) (bulkAction, error) {
	for _, action := range bulkActions() {
		if action.name == name {
			return action, nil
		}
	}
	return bulkAction{}, page.Mistake(errors.New("the action must be retry, cancel or delete"))
}

// do carries out the action in a transaction.
func (a bulkAction) do(ctx context.Context, admin *worker.Admin, tx pgx.Tx, selection worker.Selection, who audit.Who) (worker.Outcome, error) {
	switch a.name {
	case "retry":
		return admin.Retry(ctx, tx, selection, who)
	case "cancel":
		return admin.Cancel(ctx, tx, selection)
	default:
		return admin.Delete(ctx, tx, selection)
	}
}

// bulkQuery returns the query of an action's confirmation.
func bulkQuery(action bulkAction, filter url.Values) url.Values {
	query := page.Cursor{}.Query(filter)
	query.Set("action", action.name)
	return query
}

// reasons lists why jobs were skipped, in the order of the result.
func reasons() []struct {
	reason worker.Reason
	text   string
} {
	return []struct {
		reason worker.Reason
		text   string
	}{
		{worker.Newer, "another job of the same date or kind is open"},
		{worker.Running, "a worker is running it"},
		{worker.Waiting, "it is already waiting for a worker"},
		{worker.Ended, "it had already ended"},
		{worker.Pruned, "River has deleted it, and it has no date to request"},
		{worker.Locked, "another transaction has locked it: try again in a moment"},
		{worker.Changed, "it has changed since you opened the page, or was deleted"},
	}
}

func reasonText(reason worker.Reason) string {
	for _, r := range reasons() {
		if r.reason == reason {
			return r.text
		}
	}
	return string(reason)
}

// bulk is an action on the jobs of a filter, from the confirmation to the result. Forms and URLs carry its state.
type bulk struct {
	action bulkAction
	filter job.Filter
	chosen bool         // the jobs were chosen by their ids: there is no filter
	since  job.Snapshot // jobs that are newer or have changed since are skipped
	shown  int          // how many jobs the confirmation announced
	before int64        // jobs from this id on are done; 0 at the start
	done   int
	skips  map[worker.Reason]int
}

func (b *bulk) handled() int {
	n := b.done
	for _, skipped := range b.skips {
		n += skipped
	}
	return n
}

// left returns how many jobs are still to do.
func (b *bulk) left() int { return max(0, b.shown-b.handled()) }

func (b *bulk) values() url.Values {
	values := bulkQuery(b.action, jobQuery(b.filter))
	values.Set("max_id", strconv.FormatInt(b.since.MaxID, 10))
	values.Set("at", b.since.At.UTC().Format(time.RFC3339Nano))
	values.Set("shown", strconv.Itoa(b.shown))
	if b.before != 0 {
		values.Set("before", strconv.FormatInt(b.before, 10))
	}
	if b.done != 0 {
		values.Set("done", strconv.Itoa(b.done))
	}
	for reason, n := range b.skips {
		values.Set("skip_"+string(reason), strconv.Itoa(n))
	}
	return values
}

func bulkOf(values url.Values) (b bulk, err error) {
	if b.action, err = findBulkAction(values.Get("action")); err != nil {
		return bulk{}, err
	}
	if b.filter, err = ParseFilter(values); err != nil {
		return bulk{}, err
	}
	errForm := page.Mistake(errors.New("the form is incomplete: start again from the list of jobs"))
	if b.since.MaxID, err = strconv.ParseInt(values.Get("max_id"), 10, 64); err != nil || b.since.MaxID < 0 || b.since.MaxID == 1<<63-1 {
		return bulk{}, errForm
	}
	if b.since.At, err = time.Parse(time.RFC3339Nano, values.Get("at")); err != nil || b.since.At.Year() > 9999 || b.since.At.Year() < 1 {
		return bulk{}, errForm
	}
	count := func(name string) int {
		n, parseErr := strconv.Atoi(values.Get(name))
		if values.Get(name) != "" && (parseErr != nil || n < 0 || n > bulkMost) {
			err = errForm
		}
		return n
	}
	b.shown, b.done, b.skips = count("shown"), count("done"), make(map[worker.Reason]int)
	for _, r := range reasons() {
		if n := count("skip_" + string(r.reason)); n > 0 {
			b.skips[r.reason] = n
		}
	}
	at, cursorErr := page.CursorOf(values)
	if err != nil || cursorErr != nil {
		return bulk{}, errForm
	}
	b.before = at.Before
	return b, nil
}

// ids returns the remaining jobs, newest first.
func (b *bulk) ids(ctx context.Context, on postgres.DBTX, limit int) ([]int64, bool, error) {
	since := b.since
	if b.before != 0 {
		since.MaxID = min(since.MaxID, b.before-1)
	}
	return job.Reader{}.IDs(ctx, on, b.filter, since, limit)
}

func (s *Pages) confirmBulk(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	if !page.CanChange(ctx) {
		s.Fail(w, r, http.StatusForbidden, "Not for viewers", "A viewer may not change anything. Log in as admin.")
		return nil
	}
	var b bulk
	var err error
	if b.action, err = findBulkAction(r.URL.Query().Get("action")); err != nil {
		return err
	}
	if b.filter, err = ParseFilter(r.URL.Query()); err != nil {
		return err
	}
	more := false
	err = s.DB.Read(ctx, func(on postgres.DBTX) error {
		if b.since, err = job.Now(ctx, on); err != nil {
			return err
		}
		var ids []int64
		ids, more, err = b.ids(ctx, on, bulkMost)
		b.shown = len(ids)
		return err
	})
	if err != nil {
		return err
	}
	return s.Render(w, r, http.StatusOK, b.action.button+" jobs", bulkPage(b, more))
}

func (s *Pages) doBulk(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	b, err := bulkOf(r.PostForm)
	if err != nil {
		return err
	}
	var ids []int64
	err = s.DB.Read(ctx, func(on postgres.DBTX) (err error) {
		ids, _, err = b.ids(ctx, on, min(bulkMost, b.left()))
		return err
	})
	if err != nil {
		return err
	}
	// Jobs that the confirmation counted and that no longer match.
	if gone := b.left() - len(ids); gone > 0 {
		b.skips[worker.Changed] += gone
	}
	if _, err := b.run(ctx, s.Site, ids, audit.Who{Actor: door.User(ctx), Via: audit.ViaWeb}); err != nil {
		// Chunks that are done stay done, and the result says how many jobs are left.
		if b.before == 0 {
			return err
		}
		s.Logger.ErrorContext(ctx, "bulk change interrupted", slog.String("error", err.Error()))
	}
	http.Redirect(w, r, page.Link(s.BasePath, "jobs", "bulk", "result")+"?"+b.values().Encode(), http.StatusSeeOther) //nolint:gosec // The URL begins with the base path.
	return nil
}

func (s *Pages) showBulk(w http.ResponseWriter, r *http.Request) error {
	b, err := bulkOf(r.URL.Query())
	if err != nil {
		return err
	}
	return s.Render(w, r, http.StatusOK, "Jobs "+b.action.done, bulkResult(b))
}
