// Package checkup is what the doctor looks at for the rollup: the source and the watches on it.
package checkup

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/doctor"
	"github.com/daymill/daymill/internal/rollup/replay"
	"github.com/daymill/daymill/internal/rollup/source"
)

// Checks are the rollup's, for [doctor.Config].
func Checks() []doctor.Check {
	return []doctor.Check{
		{ID: "source", Installed: true, Do: lookAtSource},
		{ID: "watch", Installed: true, Do: lookAtWatch},
		{ID: "watch_faults", Installed: true, Do: lookAtWatchFaults},
		{ID: "follows", Installed: true, Do: lookAtFollower},
	}
}

// lookAtFollower makes sure that the follower follows this primary, and not a timeline that a failover has left behind. It
// leaves a mark on the primary for that, as runs do.
func lookAtFollower(ctx context.Context, e *doctor.Examination, _ pgx.Tx) error {
	if e.Source == nil {
		return nil
	}
	err := replay.Check(ctx, e.DB, e.Source, e.Clock)
	switch {
	case errors.Is(err, replay.ErrNotFollower):
		e.Addf(doctor.Failure, "runs refuse to read from the follower: %s", err).Fixf("make the follower again from the primary, or leave --source-url out")
		return nil
	case err == nil:
		e.Addf(doctor.OK, "the follower follows this primary")
	}
	return err
}

func lookAtSource(ctx context.Context, e *doctor.Examination, _ pgx.Tx) error {
	report, err := source.Check(ctx, e.DB, e.Installation)
	if err != nil {
		return err
	}
	levels := map[source.Level]doctor.Level{source.OK: doctor.OK, source.Warning: doctor.Warning, source.Failure: doctor.Failure}
	for _, f := range report {
		finding := e.Addf(levels[f.Level], "%s", f.Sentence)
		if len(f.Fix) > 0 {
			finding.Fix = f.Fix[0]
		}
	}
	return nil
}

// lookAtWatch looks at the triggers for late events.
func lookAtWatch(ctx context.Context, e *doctor.Examination, _ pgx.Tx) error {
	all, err := source.Watches(ctx, e.DB)
	if err != nil {
		return err
	}
	captured, err := source.LateConsumers(ctx, e.DB)
	if err != nil {
		return err
	}
	for _, name := range captured {
		e.Addf(doctor.OK, "%s notices late events in the stream of changes", name)
	}
	if len(all)+len(captured) == 0 {
		e.Addf(doctor.Note, "no table is watched: whoever writes events of dates that are over has to enqueue them").Fixf("daymill source watch")
	}
	for _, w := range all {
		again := "daymill source watch --table '" + w.Table + "' --time '" + w.Time + "'"
		switch {
		case w.Time == "":
			e.Addf(doctor.Failure, "%s has lost the column that its triggers read: late events are not noticed", w.Table).
				Fixf("daymill source unwatch --table '%s', and daymill source watch with the column that has the instant", w.Table)
		case w.Unsound:
			e.Addf(doctor.Failure, "the triggers on %s are missing, disabled or changed: late events are not noticed", w.Table).
				Fixf("daymill migrate")
		case len(w.Unwatched) > 0:
			e.Addf(doctor.Warning, "%d of %d tables of %s have not all of the triggers: late events in %s are not noticed", len(w.Unwatched),
				w.Tables, w.Table, w.Unwatched[0]).Fixf("%s", again)
		case w.Renamed != "":
			e.Addf(doctor.Warning, "%s.%s was %s when the triggers were made: they look it up at every statement", w.Table, w.Time, w.Renamed).
				Fixf("%s", again)
		default:
			e.Addf(doctor.OK, "%s is watched: late events are rolled up without being told", w.Table)
		}
	}
	return nil
}

// lookAtWatchFaults looks for late events that a watch could not ask for.
func lookAtWatchFaults(ctx context.Context, e *doctor.Examination, tx pgx.Tx) error {
	late, err := db.New(tx).WatchFaults(ctx)
	if err != nil {
		return fmt.Errorf("look for faults of watches: %w", err)
	}
	for _, f := range late {
		if f.Known {
			e.Addf(doctor.Warning, "%d statements on %s had late events that a worker has yet to ask for, since the watch could not: %s", f.Faults,
				f.TableName, f.Error).Fixf("daymill worker")
			continue
		}
		e.Addf(doctor.Failure, "late events of %s are not noticed since %s: %s", f.TableName, f.Since.UTC().Format("2006-01-02 15:04:05 UTC"), f.Error).
			Fixf("daymill source watch; then daymill verify for the dates since then")
	}
	return nil
}
