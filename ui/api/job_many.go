package api

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/daymill/daymill/internal/job"
	"github.com/daymill/daymill/internal/worker"
	jobpage "github.com/daymill/daymill/ui/job"
	"github.com/daymill/daymill/ui/reply"
)

// mostIDs is how many jobs a call may name.
const mostIDs = 5_000

// jobSelection names jobs: ids, or all of a filter.
type jobSelection struct {
	IDs    []int64 `json:"ids"`
	All    bool    `json:"all"`
	State  string  `json:"state"` // this and the next ones with all
	Kind   string  `json:"kind"`
	Text   string  `json:"q"`
	From   string  `json:"from"`
	To     string  `json:"to"`
	DryRun bool    `json:"dry_run"`
	Cursor string  `json:"cursor"`
}

type jobsChanged struct {
	Jobs    int                   `json:"jobs"`
	Skipped map[worker.Reason]int `json:"skipped"`
	// NextCursor is the cursor for the next call; null if all jobs were handled.
	NextCursor *string `json:"next_cursor"`
}

// apiRetryJobs, apiCancelJobs and apiDeleteJobs change many jobs.
func (s *API) apiRetryJobs(w http.ResponseWriter, r *http.Request) error {
	return s.changeJobs(w, r, "retry")
}

func (s *API) apiCancelJobs(w http.ResponseWriter, r *http.Request) error {
	return s.changeJobs(w, r, "cancel")
}

func (s *API) apiDeleteJobs(w http.ResponseWriter, r *http.Request) error {
	return s.changeJobs(w, r, "delete")
}

func (s *API) changeJobs(w http.ResponseWriter, r *http.Request, action string) error {
	var request jobSelection
	if err := decode(r, &request); err != nil {
		return err
	}
	selection, err := request.selection()
	if err != nil {
		return err
	}
	if request.DryRun {
		n, same, err := jobpage.Match(r.Context(), s.Site, selection)
		if err != nil {
			return err
		}
		reply.JSON(w, "application/json", http.StatusOK, jobsChanged{Jobs: n, Skipped: map[worker.Reason]int{}, NextCursor: jobCursor(same)})
		return nil
	}
	result, err := jobpage.ChangeMany(r.Context(), s.Site, action, selection, via(r.Context()))
	if err != nil {
		return mistaken(err)
	}
	answer := jobsChanged{Jobs: result.Done, Skipped: result.Skipped}
	if result.More {
		answer.NextCursor = jobCursor(result.Rest)
	}
	reply.JSON(w, "application/json", http.StatusOK, answer)
	return nil
}

func (q jobSelection) selection() (selection jobpage.Selection, err error) {
	filtered := q.State+q.Kind+q.Text+q.From+q.To != ""
	switch {
	case q.All == (len(q.IDs) > 0):
		return selection, unprocessable(errors.New("give ids, or all: true"))
	case !q.All && filtered:
		return selection, unprocessable(errors.New("state, kind, q, from and to can be given only with all: true"))
	case len(q.IDs) > mostIDs:
		return selection, unprocessable(errors.New("give " + strconv.Itoa(mostIDs) + " ids at most"))
	}
	if q.All {
		selection.Filter, err = jobpage.ParseFilter(url.Values{"state": {q.State}, "kind": {q.Kind}, "q": {q.Text}, "from": {q.From}, "to": {q.To}})
		if err != nil {
			return selection, mistaken(err)
		}
	} else {
		selection.IDs = q.IDs
	}
	if q.Cursor == "" {
		return selection, nil
	}
	var at jobPosition
	errCursor := unprocessable(errors.New("the cursor was not returned by an earlier call"))
	content, err := base64.RawURLEncoding.DecodeString(q.Cursor)
	if err != nil || json.Unmarshal(content, &at) != nil {
		return selection, errCursor
	}
	if at.MaxID < 0 || at.MaxID == 1<<63-1 || at.Before < 0 || at.At.Year() < 2000 || at.At.Year() > 9999 {
		return selection, errCursor
	}
	selection.Since, selection.Before = job.Snapshot{MaxID: at.MaxID, At: at.At}, at.Before
	return selection, nil
}

// jobPosition is the content of a cursor.
type jobPosition struct {
	MaxID  int64     `json:"m"`
	At     time.Time `json:"t"`
	Before int64     `json:"b"`
}

func jobCursor(of jobpage.Selection) *string {
	content, err := json.Marshal(jobPosition{of.Since.MaxID, of.Since.At.UTC(), of.Before})
	if err != nil {
		return nil // A time of Postgres's clock can be written.
	}
	text := base64.RawURLEncoding.EncodeToString(content)
	return &text
}
