// Package schedule shows the periodic jobs and the queues, and pauses them.
package schedule

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/presence"
	"github.com/daymill/daymill/internal/rollup/schedule"
	"github.com/daymill/daymill/internal/worker"
	"github.com/daymill/daymill/jobs"
	"github.com/daymill/daymill/ui/calendar"
	"github.com/daymill/daymill/ui/door"
	"github.com/daymill/daymill/ui/page"
)

// Pages is the page of the schedule.
type Pages struct {
	*page.Site

	Finder *calendar.Finder
}

// Places returns the entry of the navigation.
func (*Pages) Places() []page.Place { return []page.Place{{Name: "Schedule", Path: "schedule"}} }

// Route adds the pages to a mux.
func (s *Pages) Route(mux *http.ServeMux) {
	mux.Handle("GET /schedule", s.Page(s.showSchedule))
	mux.Handle("POST /schedule", s.Page(s.changeSchedule))
}

// pastShown is how many jobs of a schedule the page lists.
const pastShown = 20

// missingShown is how many missing dates the page names.
const missingShown = 10

// Job is a periodic job.
type Job struct {
	Name, What string
	// Next is when the job is due; nil if it is paused, or if no worker has reported the hour.
	Next *time.Time
	// Last is when the job last did its work.
	Last *time.Time
	// Latest is the outcome of the latest job; nil if there was none.
	Latest *schedule.Outcome
	// Past lists the latest jobs, newest first.
	Past []schedule.Past
	// PausedAt is when the job was paused. Only the daily job can be paused.
	PausedAt *time.Time
	CanPause bool
}

// queueRow is a queue on the page.
type queueRow struct {
	worker.Queue

	What string
	// Unseen says why no worker has ever worked the queue.
	Unseen string
}

// scheduleView is the page.
type scheduleView struct {
	Jobs    []Job
	Queues  []queueRow
	Workers []presence.Worker
	// Leader is the client that enqueues the periodic jobs; empty if there is none.
	Leader string
	// Lookback is how many days before yesterday the daily job rolls up again; -1 if no worker has reported it.
	Lookback int
	// Missing are the first of this year's missing dates, and AllMissing is their number; -1 if not known yet.
	Missing    []date.Date
	AllMissing int
}

// leads reports whether a worker is the leader.
func (v scheduleView) leads(worker presence.Worker) bool { return worker.Name == v.Leader }

// foreign reports whether the leader is a client other than Daymill's workers.
func (v scheduleView) foreign() bool {
	return v.Leader != "" && !slices.ContainsFunc(v.Workers, v.leads)
}

// showSchedule shows what runs when.
func (s *Pages) showSchedule(w http.ResponseWriter, r *http.Request) error {
	view, err := s.readSchedule(r.Context())
	if err != nil {
		return err
	}
	return s.Render(w, r, http.StatusOK, "Schedule", schedulePage(view))
}

func (s *Pages) readSchedule(ctx context.Context) (scheduleView, error) {
	view := scheduleView{Lookback: -1, AllMissing: -1}
	var err error
	if view.Jobs, view.Workers, err = Read(ctx, s.Site); err != nil {
		return view, err
	}
	if len(view.Workers) > 0 {
		view.Lookback = view.Workers[0].Lookback
	}
	s.fillMissing(ctx, &view)
	if view.Leader, err = s.Jobs.Leader(ctx); err != nil {
		return view, err
	}
	return view, s.fillQueues(ctx, &view)
}

// Read reads the periodic jobs, and the workers that are alive.
func Read(ctx context.Context, site *page.Site) (all []Job, workers []presence.Worker, err error) {
	var names []string
	for _, kind := range worker.Kinds() {
		if kind.Daily {
			all = append(all, Job{Name: kind.Name, What: kind.Does, CanPause: kind.CanPause})
			names = append(names, kind.Name)
		}
	}
	var states map[string]schedule.State
	var latest map[string]schedule.Outcome
	var past map[string][]schedule.Past
	err = site.DB.Read(ctx, func(on postgres.DBTX) (err error) {
		if states, err = schedule.List(ctx, on); err != nil {
			return err
		}
		if latest, err = schedule.Latest(ctx, on, names); err != nil {
			return err
		}
		if past, err = schedule.History(ctx, on, names, pastShown); err != nil {
			return err
		}
		workers, err = presence.List(ctx, on, presence.Alive)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	now := site.Clock.Now()
	for i := range all {
		job := &all[i]
		state := states[job.Name]
		job.Last, job.PausedAt = state.LastRunAt, state.PausedAt
		job.Past = past[job.Name]
		if outcome, was := latest[job.Name]; was {
			job.Latest = &outcome
		}
		if len(workers) > 0 {
			job.Next = state.Next(schedule.DailyOf(workers[0], site.Installation.Zone), now)
		}
	}
	return all, workers, nil
}

// fillMissing adds this year's missing dates, which the daily job would request.
func (s *Pages) fillMissing(ctx context.Context, view *scheduleView) {
	today := page.ScopeOf(ctx).Today
	found := s.Finder.Of(ctx, calendar.YearOf(today), today)
	if !found.Known {
		return
	}
	view.AllMissing = len(found.Dates)
	view.Missing = slices.SortedFunc(maps.Keys(found.Dates), date.Date.Compare)
	view.Missing = view.Missing[:min(missingShown, len(view.Missing))]
}

func (s *Pages) fillQueues(ctx context.Context, view *scheduleView) error {
	queues, err := s.Jobs.Queues(ctx)
	what := map[string]string{
		jobs.QueueRollup: "rollups, a job per date", jobs.QueueControl: "backfills to start and the periodic jobs",
		jobs.QueueCapture: "changes to deliver, a job per shard of a sink", jobs.QueueArchive: "bases, proofs and pruning of the archive",
	}
	for _, q := range queues {
		row := queueRow{Queue: q, What: what[q.Name], Unseen: "never: start a worker"}
		if q.Name == jobs.QueueArchive && len(view.Workers) > 0 {
			row.Unseen = "never: there is no archive, because no worker was given DAYMILL_ARCHIVE"
		}
		view.Queues = append(view.Queues, row)
	}
	return err
}

// changeSchedule runs the daily job, or pauses or resumes the daily job or a queue.
func (s *Pages) changeSchedule(w http.ResponseWriter, r *http.Request) error {
	ctx, queue := r.Context(), r.PostFormValue("queue")
	who := audit.Who{Actor: door.User(ctx), Via: audit.ViaWeb}
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
		err = page.Mistake(errors.New("the action must be run, pause or resume"))
	}
	if errors.Is(err, worker.ErrNoQueue) {
		return page.Mistake(err)
	}
	if err != nil {
		return err
	}
	s.Done(w, r, notice, nil, "schedule")
	return nil
}
