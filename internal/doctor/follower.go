package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/postgres"
)

// Follower is a database that events are read from. One that cannot be opened has an error instead of a pool.
type Follower struct {
	DB  *postgres.DB
	Err error
}

// errUnopened says that a follower has neither a pool nor an error.
var errUnopened = errors.New("it was not opened")

// FollowerName names the follower at an index: a number is needed only if there are several.
func (e *Examination) FollowerName(index int) string {
	if len(e.Followers) == 1 {
		return "the follower"
	}
	return fmt.Sprintf("follower %d of --source-url", index+1)
}

// Refusal returns the level of a finding about a follower that runs do not read from: they read from another one that is usable.
func (e *Examination) Refusal(usable int) Level {
	if usable > 0 {
		return Warning
	}
	return Failure
}

// followed is what a follower says of itself.
type followed struct {
	recovery bool
	paused   *bool
	behind   *int64
	err      error
}

func (f followed) usable() bool { return f.err == nil && f.recovery && (f.paused == nil || !*f.paused) }

// checkFollower checks the databases that events are read from.
func checkFollower(ctx context.Context, e *Examination, tx pgx.Tx) error {
	if len(e.Followers) == 0 {
		return nil
	}
	var position string
	if err := tx.QueryRow(ctx, "SELECT pg_current_wal_lsn()::text").Scan(&position); err != nil {
		return fmt.Errorf("ask for the primary's position: %w", err)
	}
	all, usable := make([]followed, len(e.Followers)), 0
	for i, follower := range e.Followers {
		all[i] = follower.ask(ctx, position)
		if all[i].usable() {
			usable++
		}
	}
	for i, one := range all {
		e.judge(ctx, e.FollowerName(i), one, e.Refusal(usable))
	}
	return nil
}

// ask asks a follower how far it has come.
func (f Follower) ask(ctx context.Context, position string) (one followed) {
	if f.DB == nil {
		return followed{err: cmp.Or(f.Err, errUnopened)}
	}
	one.err = f.DB.QueryRow(ctx, `
		SELECT pg_is_in_recovery(), CASE WHEN pg_is_in_recovery() THEN pg_is_wal_replay_paused() END,
			CASE WHEN pg_is_in_recovery() THEN greatest(0, $1::pg_lsn - pg_last_wal_replay_lsn())::bigint END`, position).
		Scan(&one.recovery, &one.paused, &one.behind)
	return one
}

// judge adds the finding about a follower. The level is that of one that runs do not read from.
func (e *Examination) judge(ctx context.Context, name string, one followed, level Level) {
	consequence := "workers that read events from it cannot roll up dates"
	if level == Warning {
		consequence = "runs read from the others"
	}
	switch {
	case one.err != nil && e.Discreet:
		if e.Logger != nil {
			e.Logger.WarnContext(ctx, "a check of the doctor failed", slog.String("look", e.id), slog.String("error", one.err.Error()))
		}
		e.Addf(level, "%s cannot be reached, so %s: the log says why", name, consequence).Fixf("daymill doctor")
	case one.err != nil:
		e.Addf(level, "%s cannot be reached, so %s: %s", name, consequence, message(one.err)).Fixf("daymill doctor")
	case !one.recovery:
		e.Addf(level, "%s accepts writes, because it was promoted or never was a follower: runs refuse to read from it", name).
			Fixf("give --source-url the URL of a read replica, or leave it out")
	case one.paused != nil && *one.paused && level == Warning:
		e.Addf(level, "the replay of %s is paused, so runs read from the others", name).Fixf("SELECT pg_wal_replay_resume(); on the follower")
	case one.paused != nil && *one.paused:
		e.Addf(level, "the replay of %s is paused: every run waits for it, and fails after ten minutes", name).
			Fixf("SELECT pg_wal_replay_resume(); on the follower")
	case one.behind != nil && *one.behind > e.Limits.Lag:
		e.Addf(Warning, "%s is %d MB behind: a run that reads from it waits until it has caught up", name, *one.behind>>20).
			Fixf("see what holds it up: SELECT * FROM pg_stat_replication; on the primary")
	default:
		e.Addf(OK, "%s keeps up with the primary", name)
	}
}
