package jobs

import "github.com/riverqueue/river"

// BaseArchiveArgs are the arguments of the job that makes a base of the archive. Workers insert it when one is due; there is at most one
// that is not finished.
type BaseArchiveArgs struct{}

// Kind returns base_archive.
func (BaseArchiveArgs) Kind() string { return "base_archive" }

// InsertOpts makes the job unique.
func (BaseArchiveArgs) InsertOpts() river.InsertOpts { return archiveOpts() }

// PruneArchiveArgs are the arguments of the job that deletes files that the archive no longer needs.
type PruneArchiveArgs struct{}

// Kind returns prune_archive.
func (PruneArchiveArgs) Kind() string { return "prune_archive" }

// InsertOpts makes the job unique.
func (PruneArchiveArgs) InsertOpts() river.InsertOpts { return archiveOpts() }

// ProveArchiveArgs are the arguments of the job that restores the archive into a scratch database and compares it with its source.
type ProveArchiveArgs struct{}

// Kind returns prove_archive.
func (ProveArchiveArgs) Kind() string { return "prove_archive" }

// InsertOpts makes the job unique.
func (ProveArchiveArgs) InsertOpts() river.InsertOpts { return archiveOpts() }

// archiveAttempts is small, because after a failure the next job is due again soon.
const archiveAttempts = 2

// archiveOpts puts the job into a separate queue, because a base or a proof may take hours.
func archiveOpts() river.InsertOpts {
	return river.InsertOpts{
		Queue: QueueArchive, MaxAttempts: archiveAttempts,
		UniqueOpts: river.UniqueOpts{ByArgs: true, ByState: activeStates()},
	}
}
