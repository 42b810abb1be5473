package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/rollup/schedule"
	"github.com/daymill/daymill/internal/worker"
	"github.com/daymill/daymill/ui/reply"
	schedulepage "github.com/daymill/daymill/ui/schedule"
)

type scheduleAnswer struct {
	Name string `json:"name"`
	Does string `json:"does"`
	// NextRunAt is null if the job is paused, or if no worker is alive.
	NextRunAt *time.Time   `json:"next_run_at"`
	LastRunAt *time.Time   `json:"last_run_at"`
	PausedAt  *time.Time   `json:"paused_at"`
	Jobs      []runOfDaily `json:"jobs"`
}

// runOfDaily is a job of a schedule.
type runOfDaily struct {
	ID    int64     `json:"id"`
	State string    `json:"state"`
	DueAt time.Time `json:"due_at"`
	Error string    `json:"error"`
	// TookSeconds is null if its last attempt has not ended.
	TookSeconds *float64 `json:"took_seconds"`
}

type schedulesAnswer struct {
	Schedules []scheduleAnswer `json:"schedules"`
}

// apiListSchedules lists the periodic jobs.
func (s *API) apiListSchedules(w http.ResponseWriter, r *http.Request) error {
	all, _, err := schedulepage.Read(r.Context(), s.Site)
	if err != nil {
		return err
	}
	answer := schedulesAnswer{Schedules: make([]scheduleAnswer, len(all))}
	for i, one := range all {
		answer.Schedules[i] = scheduleAnswer{
			Name: one.Name, Does: one.What, NextRunAt: one.Next, LastRunAt: one.Last, PausedAt: one.PausedAt, Jobs: make([]runOfDaily, len(one.Past)),
		}
		for k, past := range one.Past {
			run := runOfDaily{ID: past.JobID, State: past.State, DueAt: past.At, Error: past.Error}
			if past.Took != nil {
				seconds := past.Took.Seconds()
				run.TookSeconds = &seconds
			}
			answer.Schedules[i].Jobs[k] = run
		}
	}
	reply.JSON(w, "application/json", http.StatusOK, answer)
	return nil
}

// apiPauseSchedule, apiResumeSchedule and apiRunSchedule change the daily job, and return the schedules.
func (s *API) apiPauseSchedule(w http.ResponseWriter, r *http.Request) error {
	return s.changeSchedule(w, r, func(ctx context.Context, who audit.Who) error { return schedule.Pause(ctx, s.DB, who) })
}

func (s *API) apiResumeSchedule(w http.ResponseWriter, r *http.Request) error {
	return s.changeSchedule(w, r, func(ctx context.Context, who audit.Who) error { return schedule.Resume(ctx, s.DB, who) })
}

func (s *API) apiRunSchedule(w http.ResponseWriter, r *http.Request) error {
	return s.changeSchedule(w, r, s.Jobs.RunDaily)
}

func (s *API) changeSchedule(w http.ResponseWriter, r *http.Request, change func(ctx context.Context, who audit.Who) error) error {
	if err := decode(r, &struct{}{}); err != nil {
		return err
	}
	if err := change(r.Context(), via(r.Context())); err != nil {
		return err
	}
	return s.apiListSchedules(w, r)
}

type queueAnswer struct {
	Name     string     `json:"name"`
	PausedAt *time.Time `json:"paused_at"`
	// SeenAt is when a worker last reported that it works the queue; null if none ever did.
	SeenAt *time.Time `json:"seen_at"`
}

type queuesAnswer struct {
	Queues []queueAnswer `json:"queues"`
}

// apiListQueues lists Daymill's queues.
func (s *API) apiListQueues(w http.ResponseWriter, r *http.Request) error {
	queues, err := s.Jobs.Queues(r.Context())
	if err != nil {
		return err
	}
	answer := queuesAnswer{Queues: make([]queueAnswer, len(queues))}
	for i, q := range queues {
		answer.Queues[i] = queueAnswer{Name: q.Name, PausedAt: q.PausedAt}
		if !q.SeenAt.IsZero() {
			answer.Queues[i].SeenAt = &q.SeenAt
		}
	}
	reply.JSON(w, "application/json", http.StatusOK, answer)
	return nil
}

// apiPauseQueue and apiResumeQueue change a queue, and return the queues.
func (s *API) apiPauseQueue(w http.ResponseWriter, r *http.Request) error {
	return s.changeQueue(w, r, s.Jobs.PauseQueue)
}

func (s *API) apiResumeQueue(w http.ResponseWriter, r *http.Request) error {
	return s.changeQueue(w, r, s.Jobs.ResumeQueue)
}

func (s *API) changeQueue(w http.ResponseWriter, r *http.Request, change func(ctx context.Context, name string, who audit.Who) error) error {
	if err := decode(r, &struct{}{}); err != nil {
		return err
	}
	err := change(r.Context(), r.PathValue("name"), via(r.Context()))
	if errors.Is(err, worker.ErrNoQueue) {
		return apiError{http.StatusNotFound, "There is no such queue, or no worker has created it yet."}
	}
	if err != nil {
		return err
	}
	return s.apiListQueues(w, r)
}
