package jobs

import "github.com/riverqueue/river"

// WorkViewArgs are the arguments of the job that works on a view's task: a build, a refresh of many rows, or a verification.
// Workers insert the job. Each task has at most one unfinished job.
type WorkViewArgs struct {
	Task int64 `json:"task" river:"unique"`
}

// workViewAttempts bounds attempts after errors of Daymill's own database. Errors of a task are recorded with the task, and later
// jobs try the task again.
const workViewAttempts = 3

// Kind returns work_view.
func (WorkViewArgs) Kind() string { return "work_view" }

// InsertOpts makes the job the only one of its task.
func (WorkViewArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{
		Queue: QueueCapture, MaxAttempts: workViewAttempts,
		UniqueOpts: river.UniqueOpts{ByArgs: true, ByState: activeStates()},
	}
}
