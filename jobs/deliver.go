package jobs

import "github.com/riverqueue/river"

// DeliverChangesArgs are the arguments of the job that delivers changes to one shard of a consumer. Workers insert the job. Each
// shard has at most one unfinished job.
type DeliverChangesArgs struct {
	Consumer string `json:"consumer" river:"unique"`
	Shard    int    `json:"shard" river:"unique"`
}

// deliverAttempts bounds attempts after errors of Daymill's own database. Later jobs deliver again what a sink did not accept.
const deliverAttempts = 3

// Kind returns deliver_changes.
func (DeliverChangesArgs) Kind() string { return "deliver_changes" }

// InsertOpts makes the job the only one of its shard.
func (DeliverChangesArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{
		Queue: QueueCapture, MaxAttempts: deliverAttempts,
		UniqueOpts: river.UniqueOpts{ByArgs: true, ByState: activeStates()},
	}
}
