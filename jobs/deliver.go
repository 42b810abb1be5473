package jobs

import "github.com/riverqueue/river"

// DeliverChangesArgs are the arguments of the job that delivers changes to one shard of a consumer. Workers insert it; there is
// at most one per shard that is not finished.
type DeliverChangesArgs struct {
	Consumer string `json:"consumer" river:"unique"`
	Shard    int    `json:"shard" river:"unique"`
}

// deliverAttempts is for errors of Daymill's own database. What a sink does not take is tried again by later jobs.
const deliverAttempts = 3

// Kind is deliver_changes.
func (DeliverChangesArgs) Kind() string { return "deliver_changes" }

// InsertOpts makes the job the only one of its shard.
func (DeliverChangesArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{
		Queue: QueueCapture, MaxAttempts: deliverAttempts,
		UniqueOpts: river.UniqueOpts{ByArgs: true, ByState: activeStates()},
	}
}
