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
	"github.com/daymill/daymill/internal/presence"
	"github.com/daymill/daymill/internal/rollup/replay"
)

// serverTime makes River use Postgres's clock, for its schedule and in its statements.
type serverTime struct{ clock *clock.Clock }

var _ rivertype.TimeGenerator = serverTime{}

// Now returns Postgres's time.
func (t serverTime) Now() time.Time { return t.clock.Now() }

// NowOrNil returns nil, so that statements use Postgres's now().
func (serverTime) NowOrNil() *time.Time { return nil }

// prepare reads Postgres's clock, and returns postgres.ErrStandby if the database accepts no writes. It runs before everything else.
func (r *reconciler) prepare(ctx context.Context) error {
	if err := r.db.CheckWritable(ctx); err != nil {
		return err
	}
	return r.server.Sync(ctx, r.db)
}

// troubles returns sentences about the problems that keep this process from its work.
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
		found = append(found, fmt.Sprintf("its machine's clock is %s %s Postgres's, so it does not become leader: set the clock",
			by.Round(time.Second), way))
	}
	if trouble := r.follow(ctx); trouble != "" && ctx.Err() == nil {
		found = append(found, trouble)
	}
	return found
}

// follow looks at the followers, and returns a sentence if events cannot be read from any.
func (r *reconciler) follow(ctx context.Context) string {
	var followers []presence.Follower
	var trouble string
	switch source := r.source.(type) {
	case *replay.Followers:
		var err error
		followers, err = source.Look(ctx, func(number int, err error) {
			r.logger.WarnContext(ctx, "a follower cannot be read", slog.Int("follower", number), slog.String("error", err.Error()))
		})
		if err != nil {
			r.logger.WarnContext(ctx, "cannot look at the followers", slog.String("error", err.Error()))
			return ""
		}
		trouble = presence.Unread(followers)
	case *postgres.DB:
		if source == r.db {
			return ""
		}
		one, err := replay.Look(ctx, r.db, source, r.clock)
		followers = []presence.Follower{one}
		if err != nil {
			trouble = followerTrouble(err)
		}
	}
	if ctx.Err() == nil {
		r.self.Followers = followers
	}
	return trouble
}

// followerTrouble says why the follower cannot be read. Users of the pages may not be allowed to know its host, so the sentence
// does not contain it; the log has the error.
func followerTrouble(err error) string {
	if errors.Is(err, replay.ErrNotFollower) {
		return err.Error()
	}
	return "the follower that it reads events from (--source-url) does not answer; its log says why"
}

// examine reports problems of this process and of what is installed, and records the former for the pages.
func (r *reconciler) examine(ctx context.Context) []string {
	found := r.troubles(ctx)
	r.self.Trouble = strings.Join(found, "; ")
	return found
}

// right repairs what a process whose clock was ahead has done: jobs that are due only in days, and dates that
// were completed before they were over.
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
		r.logger.WarnContext(ctx, "the clock of a worker was ahead: its jobs and dates were repaired",
			slog.Int("jobs", len(jobs)), slog.Int64("dates", dates))
	}
	return nil
}
