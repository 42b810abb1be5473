package job

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/job"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/worker"
	"github.com/daymill/daymill/ui/page"
)

// Selection is the jobs that a program's call acts on.
type Selection struct {
	Filter job.Filter
	// IDs are the chosen jobs; with nil, the jobs of Filter.
	IDs []int64
	// Since is the time of the first call: jobs that are newer or have changed since are skipped. Zero is now.
	Since job.Snapshot
	// Before excludes the jobs from this id on, which earlier calls have handled; 0 is none.
	Before int64
}

// Result is what a call did.
type Result struct {
	Done    int
	Skipped map[worker.Reason]int
	// Rest is the selection for the next call, and More whether it has jobs.
	Rest Selection
	More bool
}

// Match returns how many jobs a call would act on, and the selection of exactly these jobs as they are now.
func Match(ctx context.Context, site *page.Site, of Selection) (n int, same Selection, err error) {
	err = site.DB.Read(ctx, func(on postgres.DBTX) error {
		ids, _, err := of.ids(ctx, on)
		if err != nil || of.IDs == nil {
			n = len(ids)
			return err
		}
		refs, err := job.Still(ctx, on, job.Filter{}, of.Since, ids)
		n = len(refs)
		return err
	})
	return n, of, err
}

// ChangeMany retries, cancels or deletes jobs, with the limits of the pages. The audit records who did it. An error may be a mistake:
// see [page.Wrong].
func ChangeMany(ctx context.Context, site *page.Site, name string, selection Selection, who audit.Who) (Result, error) {
	action, err := findBulkAction(name)
	if err != nil {
		return Result{}, err
	}
	var ids []int64
	more := false
	err = site.DB.Read(ctx, func(on postgres.DBTX) error {
		ids, more, err = selection.ids(ctx, on)
		return err
	})
	if err != nil {
		return Result{}, err
	}
	b := bulk{
		action: action, filter: selection.Filter, chosen: selection.IDs != nil, since: selection.Since, before: selection.Before, skips: make(map[worker.Reason]int),
	}
	rest, err := b.run(ctx, site, ids, who)
	if err != nil {
		if b.before == selection.Before {
			return Result{}, err
		}
		// Chunks that are done stay done, and the caller continues with the others.
		site.Logger.ErrorContext(ctx, "bulk change interrupted", slog.String("error", err.Error()))
	}
	selection.Before = b.before
	return Result{Done: b.done, Skipped: b.skips, Rest: selection, More: more || len(rest) > 0}, nil
}

// ids returns the jobs that are still to do, newest first, and whether there are more than a call may change. It sets the snapshot if there
// is none.
func (s *Selection) ids(ctx context.Context, on postgres.DBTX) (ids []int64, more bool, err error) {
	if s.Since.At.IsZero() {
		if s.Since, err = job.Now(ctx, on); err != nil {
			return nil, false, err
		}
	}
	if s.IDs != nil {
		ids = slices.Clone(s.IDs)
		slices.Sort(ids)
		ids = slices.Compact(ids)
		slices.Reverse(ids)
		if s.Before != 0 {
			ids = slices.DeleteFunc(ids, func(id int64) bool { return id >= s.Before })
		}
		return ids, false, nil
	}
	b := bulk{filter: s.Filter, since: s.Since, before: s.Before}
	return b.ids(ctx, on, bulkMost)
}

// run acts on jobs, newest first, for at most bulkTime, and returns those that it did not reach.
func (b *bulk) run(ctx context.Context, site *page.Site, ids []int64, who audit.Who) (rest []int64, err error) {
	for start := site.Clock.Now(); len(ids) > 0 && site.Clock.Now().Sub(start) < bulkTime; {
		fit := 0
		err := site.DB.Read(ctx, func(on postgres.DBTX) (err error) {
			fit, err = job.Fit(ctx, on, ids[:min(bulkChunk, len(ids))], bulkBytes)
			return err
		})
		if err != nil {
			return ids, err
		}
		chunk := ids[:fit]
		outcome, err := b.actOn(ctx, site, chunk, who)
		if err != nil {
			return ids, err
		}
		ids = ids[len(chunk):]
		b.before = chunk[len(chunk)-1]
		b.done += outcome.Done
		for reason, n := range outcome.Skipped {
			b.skips[reason] += n
		}
	}
	return ids, nil
}

// actOn applies the action to a chunk of jobs and writes it to the audit.
func (b *bulk) actOn(ctx context.Context, site *page.Site, ids []int64, who audit.Who) (outcome worker.Outcome, err error) {
	selection := worker.Selection{Filter: b.filter, Since: b.since, IDs: ids, Sweep: true}
	err = site.DB.Tx(ctx, func(tx pgx.Tx) error {
		outcome, err = b.action.do(ctx, site.Jobs, tx, selection, who)
		if err != nil || outcome.Done == 0 {
			return err
		}
		target, which := describeJobs(b.filter), fmt.Sprintf("%d..%d", ids[len(ids)-1], ids[0])
		if b.chosen {
			target, which = "chosen jobs", strings.Trim(fmt.Sprint(ids), "[]")
		}
		detail := map[string]any{b.action.done: outcome.Done, "job ids": which}
		if skipped := len(ids) - outcome.Done; skipped > 0 {
			detail["skipped"] = skipped
		}
		return audit.Record(ctx, tx, audit.Entry{Who: who, Action: b.action.name + " jobs", Target: target, Detail: detail})
	})
	return outcome, err
}
