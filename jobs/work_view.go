package jobs

import "github.com/riverqueue/river"

// WorkViewArgs are the arguments of the job that works on a view's task: a build, a refresh of much, or a verification. Workers
// insert it; there is at most one per task that is not finished.
type WorkViewArgs struct {
	Task int64 `json:"task" river:"unique"`
}

// workViewAttempts is for errors of Daymill's own database. What goes wrong with a task is written down with the task, and
// tried again by later jobs.
const workViewAttempts = 3

// Kind is work_view.
func (WorkViewArgs) Kind() string { return "work_view" }

// InsertOpts makes the job the only one of its task.
func (WorkViewArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{
		Queue: QueueCapture, MaxAttempts: workViewAttempts,
		UniqueOpts: river.UniqueOpts{ByArgs: true, ByState: activeStates()},
	}
}
