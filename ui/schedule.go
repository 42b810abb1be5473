package ui

import (
	"errors"
	"net/http"
	"time"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/ledger"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/schedule"
	"github.com/daymill/daymill/jobs"
)

func (s *site) routeSchedule(mux *http.ServeMux) {
	mux.Handle("GET /schedule", s.page(s.showSchedule))
	mux.Handle("POST /schedule", s.page(s.changeSchedule))
}

// periodic is a periodic job as the page shows it.
type periodic struct {
	Name, What string
	// Next is when it is due; nil where it is paused, or where no worker has said its hour.
	Next *time.Time
	Last *time.Time
	// PausedAt is since when it is paused. Only the daily job can be.
	PausedAt *time.Time
	CanPause bool
}

// queueRow is a queue as the page shows it.
type queueRow struct {
	jobs.Queue

	What string
}

// scheduleView is the page.
type scheduleView struct {
	Jobs    []periodic
	Queues  []queueRow
	Workers []ledger.Worker
	// Lookback is how many days before yesterday are taken again; -1 where no worker has said so.
	Lookback int
}

// showSchedule shows what runs when.
func (s *site) showSchedule(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	view := scheduleView{Lookback: -1}
	var states map[string]schedule.State
	err := s.DB.Read(ctx, func(on postgres.DBTX) (err error) {
		if states, err = schedule.List(ctx, on); err != nil {
			return err
		}
		view.Workers, err = ledger.Workers(ctx, on, ledger.WorkerAlive)
		return err
	})
	if err != nil {
		return err
	}
	now := s.Clock.Now()
	for _, job := range []periodic{
		{Name: schedule.Name, What: "Asks for yesterday, the days before it, and every date that has events and is not complete.", CanPause: true},
		{Name: schedule.PruneName, What: "Deletes runs, requests, jobs and audit entries that were kept for long enough."},
	} {
		state := states[job.Name]
		job.Last, job.PausedAt = state.LastRunAt, state.PausedAt
		if len(view.Workers) > 0 {
			job.Next = state.Next(view.Workers[0].Daily(s.Installation.Zone), now)
			view.Lookback = view.Workers[0].Lookback
		}
		view.Jobs = append(view.Jobs, job)
	}
	queues, err := s.Jobs.Queues(ctx)
	if err != nil {
		return err
	}
	what := map[string]string{
		jobs.QueueRollup: "rollups, a job per date", jobs.QueueControl: "backfills to start and the periodic jobs",
	}
	for _, q := range queues {
		view.Queues = append(view.Queues, queueRow{Queue: q, What: what[q.Name]})
	}
	return s.render(w, r, http.StatusOK, "Schedule", schedulePage(view))
}

// changeSchedule runs the daily job, or pauses or resumes it or a queue.
func (s *site) changeSchedule(w http.ResponseWriter, r *http.Request) error {
	ctx, queue := r.Context(), r.PostFormValue("queue")
	who := audit.Who{Actor: userOf(ctx), Via: audit.ViaWeb}
	var err error
	notice := ""
	switch r.PostFormValue("action") {
	case "run":
		notice, err = "requested", s.Jobs.RunDaily(ctx, who)
	case "pause":
		notice, err = "paused", schedule.Pause(ctx, s.DB, who)
	case "resume":
		notice, err = "resumed", schedule.Resume(ctx, s.DB, who)
	case "pause-queue":
		notice, err = "paused", s.Jobs.PauseQueue(ctx, queue, who)
	case "resume-queue":
		notice, err = "resumed", s.Jobs.ResumeQueue(ctx, queue, who)
	default:
		err = inputError{errors.New("the schedule can be run, paused and resumed")}
	}
	if errors.Is(err, jobs.ErrNoQueue) {
		return inputError{err}
	}
	if err != nil {
		return err
	}
	s.done(w, r, notice, nil, "schedule")
	return nil
}
