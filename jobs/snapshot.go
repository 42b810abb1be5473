package jobs

import "github.com/riverqueue/river"

// SnapshotTablesArgs are the arguments of the job that reads snapshots of a database's tables. Workers insert the job. Each
// database has at most one unfinished job.
type SnapshotTablesArgs struct {
	Stream string `json:"stream" river:"unique"`
}

// Kind returns snapshot_tables.
func (SnapshotTablesArgs) Kind() string { return "snapshot_tables" }

// InsertOpts makes the job the only one of its database.
func (SnapshotTablesArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{
		Queue: QueueCapture, MaxAttempts: deliverAttempts,
		UniqueOpts: river.UniqueOpts{ByArgs: true, ByState: activeStates()},
	}
}
