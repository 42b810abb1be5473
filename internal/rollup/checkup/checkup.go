// Package checkup has the rollup's checks for the doctor: of the source, of its watches and of the follower.
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
	"github.com/daymill/daymill/internal/text"
)

// Checks returns the rollup's checks for [doctor.Config].
func Checks() []doctor.Check {
	return []doctor.Check{
		{ID: "source", Installed: true, Do: lookAtSource},
		{ID: "watch", Installed: true, Do: lookAtWatch},
		{ID: "watch_faults", Installed: true, Do: lookAtWatchFaults},
		{ID: "follows", Installed: true, Do: lookAtFollower},
		{ID: "metric_retention", Installed: true, Do: lookAtRetention},
	}
}

// lookAtFollower checks that each follower follows this primary, and not a timeline that a failover has abandoned. To do so, it
// writes a mark on the primary, as runs do.
func lookAtFollower(ctx context.Context, e *doctor.Examination, _ pgx.Tx) error {
	errs, usable := make([]error, len(e.Followers)), 0
	for i, follower := range e.Followers {
		if follower.DB == nil {
			errs[i] = follower.Err
			continue
		}
		if _, errs[i] = replay.Look(ctx, e.DB, follower.DB, e.Clock); errs[i] == nil {
			usable++
		}
	}
	for i, err := range errs {
		switch {
		case errors.Is(err, replay.ErrNotFollower):
			e.Addf(e.Refusal(usable), "runs refuse to read from %s: %s", e.FollowerName(i), err).
				Fixf("create the follower again from the primary, or leave out its URL in --source-url")
		case err == nil:
			e.Addf(doctor.OK, "%s follows this primary", e.FollowerName(i))
		}
		// The check follower reports one that does not answer.
	}
	return nil
}

func lookAtSource(ctx context.Context, e *doctor.Examination, tx pgx.Tx) error {
	report, err := source.Check(ctx, e.DB, e.Installation)
	if err != nil {
		return err
	}
	if report.None() {
		used, err := db.New(tx).CapabilityUsed(ctx)
		if err != nil {
			return fmt.Errorf("find out which capabilities are used: %w", err)
		}
		if (used.HasStreams || used.HasViews) && !used.HasDates {
			e.Addf(doctor.Note, "no source of events is set, so no date is rolled up: capture and views do not need one").Fixf("daymill source set")
			return nil
		}
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
func lookAtWatch(ctx context.Context, e *doctor.Examination, tx pgx.Tx) error {
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
	elsewhere, err := source.ListElsewhere(ctx, tx)
	if err != nil {
		return err
	}
	for _, table := range elsewhere {
		e.Addf(doctor.Note, "%s can neither be watched nor captured, because %s: programs that write events of past dates must request these dates", table.Table, table.Because).
			Fixf("%s", source.AskSQL)
	}
	if len(all)+len(captured)+len(elsewhere) == 0 {
		e.Addf(doctor.Note, "no table is watched: programs that write events of past dates must request these dates").Fixf("daymill source watch")
	}
	for _, w := range all {
		again := "daymill source watch --table '" + w.Table + "' --time '" + w.Time + "'"
		switch {
		case w.Time == "":
			e.Addf(doctor.Failure, "%s no longer has the column that its triggers read, so late events are not noticed", w.Table).
				Fixf("daymill source unwatch --table '%s', then daymill source watch and name the column that has the instant", w.Table)
		case w.Unsound:
			e.Addf(doctor.Failure, "the triggers on %s are missing, disabled or changed, so late events are not noticed", w.Table).
				Fixf("daymill migrate")
		case len(w.Unwatched) > 0:
			e.Addf(doctor.Warning, "%d of %d tables of %s lack triggers: late events in %s are not noticed", len(w.Unwatched),
				w.Tables, w.Table, w.Unwatched[0]).Fixf("%s", again)
		case w.Renamed != "":
			e.Addf(doctor.Warning, "%s.%s was called %s when the triggers were created, so they look up the column in every statement", w.Table, w.Time, w.Renamed).
				Fixf("%s", again)
		default:
			e.Addf(doctor.OK, "%s is watched: its late events are rolled up automatically", w.Table)
		}
	}
	return nil
}

// lookAtWatchFaults looks for late events whose dates a watch could not request.
func lookAtWatchFaults(ctx context.Context, e *doctor.Examination, tx pgx.Tx) error {
	late, err := db.New(tx).WatchFaults(ctx)
	if err != nil {
		return fmt.Errorf("look for faults of watches: %w", err)
	}
	for _, f := range late {
		if f.Known {
			e.Addf(doctor.Warning, "a worker still has to request the late events of %s on %s, because the watch could not: %s", text.Plural(f.Faults, "statement"),
				f.TableName, f.Error).Fixf("daymill worker")
			continue
		}
		e.Addf(doctor.Failure, "late events of %s have not been noticed since %s: %s", f.TableName, f.Since.UTC().Format("2006-01-02 15:04:05 UTC"), f.Error).
			Fixf("daymill source watch; then daymill verify for the dates since then")
	}
	return nil
}
