package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/job"
	"github.com/daymill/daymill/internal/postgres"
	jobpage "github.com/daymill/daymill/ui/job"
	"github.com/daymill/daymill/ui/page"
	"github.com/daymill/daymill/ui/reply"
)

type jobAnswer struct {
	ID          int64      `json:"id"`
	Kind        string     `json:"kind"`
	Date        *date.Date `json:"date"` // null if it has none
	State       string     `json:"state"`
	Attempt     int        `json:"attempt"`
	MaxAttempts int        `json:"max_attempts"`
	CreatedAt   time.Time  `json:"created_at"`
	ScheduledAt time.Time  `json:"scheduled_at"`
	AttemptedAt *time.Time `json:"attempted_at"`
	FinalizedAt *time.Time `json:"finalized_at"`
	Pruned      bool       `json:"pruned"`
}

func newJobAnswer(j job.Job) jobAnswer {
	answer := jobAnswer{
		ID: j.ID, Kind: j.Kind, State: j.State, Attempt: j.Attempt, MaxAttempts: j.MaxAttempts, CreatedAt: j.CreatedAt, ScheduledAt: j.ScheduledAt,
		AttemptedAt: j.AttemptedAt, FinalizedAt: j.FinalizedAt, Pruned: j.Pruned,
	}
	if !j.Date.IsZero() {
		answer.Date = &j.Date
	}
	return answer
}

type listedJob struct {
	jobAnswer

	Error string `json:"error"` // the beginning of the last one
}

type jobsAnswer struct {
	Jobs []listedJob `json:"jobs"`
	// NextCursor is the cursor for the next call; null on the last page.
	NextCursor *string `json:"next_cursor"`
}

type jobDetails struct {
	jobAnswer

	Queue       string          `json:"queue"`
	Priority    int             `json:"priority"`
	AttemptedBy string          `json:"attempted_by"`
	Args        json.RawMessage `json:"args"`
	Errors      json.RawMessage `json:"errors"`
	Output      json.RawMessage `json:"output"`
}

// raw returns JSON as it is; null if it is empty, or was cut off because it is long.
func raw(text string) json.RawMessage {
	if !json.Valid([]byte(text)) {
		return json.RawMessage("null")
	}
	return json.RawMessage(text)
}

// apiListJobs lists jobs, newest first.
func (s *API) apiListJobs(w http.ResponseWriter, r *http.Request) error {
	ctx, query := r.Context(), r.URL.Query()
	filter, err := jobpage.ParseFilter(query)
	if err != nil {
		return mistaken(err)
	}
	limit, before, err := pageOf(query)
	if err != nil {
		return err
	}
	answer := jobsAnswer{Jobs: []listedJob{}}
	err = s.DB.Read(ctx, func(on postgres.DBTX) error {
		listed, err := job.Reader{}.List(ctx, on, filter, job.Cursor{Before: before}, limit)
		for _, j := range listed.Jobs {
			answer.Jobs = append(answer.Jobs, listedJob{newJobAnswer(j), j.Error})
		}
		if listed.Older.Before != 0 {
			answer.NextCursor = nextCursor(listed.Older.Before)
		}
		return err
	})
	if err != nil {
		return err
	}
	reply.JSON(w, "application/json", http.StatusOK, answer)
	return nil
}

// apiShowJob shows everything known about a job.
func (s *API) apiShowJob(w http.ResponseWriter, r *http.Request) error {
	id, err := apiID(r, "job")
	if err != nil {
		return err
	}
	detail, err := jobpage.Get(r.Context(), s.Site, id)
	if err != nil {
		return mistaken(err)
	}
	reply.JSON(w, "application/json", http.StatusOK, jobDetails{
		jobAnswer: newJobAnswer(detail.Job), Queue: detail.Queue, Priority: detail.Priority, AttemptedBy: detail.AttemptedBy,
		Args: raw(detail.Args), Errors: raw(detail.Errors), Output: raw(detail.Output),
	})
	return nil
}

// apiRetryJob, apiCancelJob and apiDeleteJob change a job.
func (s *API) apiRetryJob(w http.ResponseWriter, r *http.Request) error {
	return s.changeJob(w, r, "retry")
}

func (s *API) apiCancelJob(w http.ResponseWriter, r *http.Request) error {
	return s.changeJob(w, r, "cancel")
}

func (s *API) apiDeleteJob(w http.ResponseWriter, r *http.Request) error {
	return s.changeJob(w, r, "delete")
}

func (s *API) changeJob(w http.ResponseWriter, r *http.Request, action string) error {
	if r.Method == http.MethodPost {
		if err := decode(r, &struct{}{}); err != nil {
			return err
		}
	}
	id, err := apiID(r, "job")
	if err != nil {
		return err
	}
	if _, err := jobpage.Change(r.Context(), s.Site, id, action, via(r.Context())); err != nil {
		return mistaken(err)
	}
	if action == "delete" {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return s.apiShowJob(w, r)
}

// mistaken returns the answer to a caller's mistake, and other errors as they are.
func mistaken(err error) error {
	if errors.Is(err, page.ErrNotFound) {
		return apiError{http.StatusNotFound, "There is no such job."}
	}
	if wrong := page.Wrong(err); wrong != "" {
		return apiError{http.StatusUnprocessableEntity, wrong}
	}
	return err
}
