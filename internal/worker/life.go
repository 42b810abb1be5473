package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/riverqueue/river/rivertype"

	"github.com/daymill/daymill/internal/clock"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/replay"
)

// ErrStandby says that the database takes no writes.
var ErrStandby = errors.New("the database is a standby, which takes no writes: give --database-url the URL of the primary, " +
	"and --source-url that of the standby where events should be read from it")

// serverTime has River go by Postgres's clock: what it schedules, and what it sends to Postgres as the time, which is
// Postgres's own where nil.
type serverTime struct{ clock *clock.Clock }

var _ rivertype.TimeGenerator = serverTime{}

// Now is the time.
func (t serverTime) Now() time.Time { return t.clock.Now() }

// NowOrNil is nil, so that Postgres takes its own.
func (serverTime) NowOrNil() *time.Time { return nil }

// prepare asks the database for the time before anything is done, and whether it takes writes at all.
func (r *reconciler) prepare(ctx context.Context) error {
	standby := false
	err := r.db.Read(ctx, func(on postgres.DBTX) error {
		return on.QueryRow(ctx, "SELECT pg_catalog.pg_is_in_recovery()").Scan(&standby)
	})
	switch {
	case err != nil:
		return fmt.Errorf("ask whether the database takes writes: %w", err)
	case standby:
		return ErrStandby
	}
	return r.server.Sync(ctx, r.db)
}

// troubles are what the process finds of itself that keeps it from its work, in sentences.
func (r *reconciler) troubles(ctx context.Context) []string {
	var found []string
	if err := r.server.Sync(ctx, r.db); err != nil {
		r.logger.WarnContext(ctx, "the clocks could not be compared", slog.String("error", err.Error()))
	}
	if r.server.Off() {
		way, by := "ahead of", r.server.Ahead()
		if by < 0 {
			way, by = "behind", -by
		}
		found = append(found, fmt.Sprintf("its machine's clock is %s %s Postgres's, by which it goes, so it leads nothing: set the clock",
			by.Round(time.Second), way))
	}
	if r.source != r.db {
		if err := replay.Check(ctx, r.db, r.source, r.clock); err != nil && ctx.Err() == nil {
			found = append(found, followerTrouble(err))
		}
	}
	return found
}

// followerTrouble is why the follower cannot be read from. Who reads pages may not be who may know where it is, so no host
// is in it: the log has the error.
func followerTrouble(err error) string {
	if errors.Is(err, replay.ErrNotFollower) {
		return err.Error()
	}
	return "the follower that it reads events from (--source-url) does not answer, and its log says why"
}

// examine tells of what the process finds of itself and of what is installed, and writes the former into the ledger.
func (r *reconciler) examine(ctx context.Context) []string {
	found := r.troubles(ctx)
	r.self.Trouble = strings.Join(found, "; ")
	return found
}

// right repairs what a process whose clock was ahead has left behind: jobs that begin in days, and dates that were completed
// before they were over.
func (r *reconciler) right(ctx context.Context, queries *db.Queries) error {
	jobs, err := queries.ReconcileRight(ctx)
	if err != nil {
		return fmt.Errorf("bring jobs forward: %w", err)
	}
	dates, err := queries.ReconcileReopen(ctx)
	if err != nil {
		return fmt.Errorf("reopen dates that are not over: %w", err)
	}
	if len(jobs) > 0 || dates > 0 {
		r.logger.WarnContext(ctx, "a clock was ahead: what it has left behind is repaired",
			slog.Int("jobs", len(jobs)), slog.Int64("dates", dates))
	}
	return nil
}
