package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/health"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/presence"
	"github.com/daymill/daymill/internal/rollup/backfill"
	"github.com/daymill/daymill/internal/rollup/ledger"
	"github.com/daymill/daymill/internal/rollup/schedule"
	"github.com/daymill/daymill/internal/rollup/source"
	"github.com/daymill/daymill/internal/schema"
	"github.com/daymill/daymill/internal/text"
	"github.com/daymill/daymill/internal/worker"
)

type statusCmd struct {
	Runs int  `default:"5" help:"How many of the latest runs to list."`
	JSON bool `name:"json" help:"Print JSON."`
}

// status is the report in JSON.
type status struct {
	ledger.Status

	TimeZone   string    `json:"time_zone"`
	EntityType string    `json:"entity_type"`
	Today      date.Date `json:"today"`
	HasSource  bool      `json:"has_source"`
	// Metrics is how long metrics are kept.
	Metrics schema.Retention `json:"metrics"`
	// Watched lists the tables whose triggers request the dates of late events.
	Watched []source.Watched `json:"watched"`
	// Faults has a sentence for each installed object that is lost, disabled or changed, and for problems of the source.
	Faults []string `json:"faults"`
	// Missing lists dates that have events and are neither complete nor requested.
	Missing []date.Date `json:"missing"`

	// Verdict is the first of the findings. The page, the doctor and the alerts have the same findings.
	Verdict  health.Finding   `json:"verdict"`
	Findings []health.Finding `json:"findings"`

	Queue     worker.Depth      `json:"queue"`
	Backfills []backfill.Status `json:"open_backfills"`
}

// Run reports the state of dates, those that are missing, the queue and the last runs.
func (c *statusCmd) Run(ctx context.Context, a *app) error {
	if c.Runs < 0 || c.Runs > 1000 {
		return usagef("--runs is %d: give a number from 0 to 1000", c.Runs)
	}
	db, installation, err := a.openInstalled(ctx, "status")
	if err != nil {
		return err
	}
	defer db.Close()
	report := status{
		TimeZone: installation.TimeZone, EntityType: string(installation.EntityType), Backfills: []backfill.Status{},
	}
	if report.Today, err = schedule.Today(ctx, db, a.clock()); err != nil {
		return err
	}
	if report.HasSource, err = source.Exists(ctx, db); err != nil {
		return err
	}
	watched, err := source.Watches(ctx, db)
	if err != nil {
		return err
	}
	report.Watched = append([]source.Watched{}, watched...) // Not null in JSON.
	if report.Faults, err = source.Faults(ctx, db, installation); err != nil {
		return err
	}
	if report.Status, err = ledger.Read(ctx, db, c.Runs); err != nil {
		return err
	}
	report.Missing = []date.Date{} // Not null in JSON.
	if report.HasSource {
		if report.Missing, err = missing(ctx, a, db, installation); err != nil {
			return err
		}
	}
	if report.Queue, err = worker.QueueDepth(ctx, db, installation.RiverSchema); err != nil {
		return err
	}
	var latest []backfill.Status
	err = db.Read(ctx, func(on postgres.DBTX) error {
		if report.Metrics, err = schema.GetRetention(ctx, on); err != nil {
			return err
		}
		latest, err = backfill.List(ctx, on, 0, 20)
		return err
	})
	if err != nil {
		return err
	}
	for _, b := range latest {
		if b.FinishedAt == nil {
			report.Backfills = append(report.Backfills, b)
		}
	}
	archive, err := a.archive(ctx)
	if err != nil {
		return err
	}
	if report.Findings, err = examineHealth(ctx, db, installation, a.clock(), archive, report.Missing); err != nil {
		return err
	}
	report.Verdict = report.Findings[0] // The rollup always has one.
	if c.JSON {
		err = a.printJSON(report)
	} else {
		err = a.printStatus(report, installation.Zone)
	}
	if err == nil && health.Count(report.Findings, health.Bad) > 0 {
		err = errUnwell
	}
	return err
}

// errUnwell makes `daymill status` exit with code 1, so that scripts do not have to read the verdict.
var errUnwell = errors.New("something keeps dates from being right: see above")

func missing(ctx context.Context, a *app, db *postgres.DB, installation schema.Installation) ([]date.Date, error) {
	planner := &schedule.Planner{
		Primary: db, Source: db, Daily: schedule.Daily{Zone: installation.Zone}, Clock: a.clock(),
	}
	found, err := planner.Missing(ctx)
	return append([]date.Date{}, found...), err // As above.
}

func (a *app) printStatus(report status, zone *time.Location) error {
	for _, finding := range report.Findings {
		a.printf("%s\n", finding.Sentence)
	}
	a.printf("\n")
	table := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	a.tablef(table, "today\t%s in %s\n", report.Today, report.TimeZone)
	if report.Dates["complete"] > 0 {
		a.tablef(table, "complete\t%s, %s to %s\n", plural(report.Dates["complete"], "date"), report.FirstComplete, report.LastComplete)
	}
	for _, state := range []string{"running", "requested", "retrying", "failed", "cancelled", "stale", "protected"} {
		if n := report.Dates[state]; n > 0 {
			a.tablef(table, "%s\t%s\n", state, plural(n, "date"))
		}
	}
	if n := report.Dates["waiting"]; n > 0 {
		a.tablef(table, "waiting\t%s%s\n", plural(n, "date"), dueText(report.NextDue, zone))
	}
	if n := len(report.Missing); n > 0 {
		a.tablef(table, "missing\t%s with events and without a rollup: %s\n", plural(int64(n), "date"), abridged(report.Missing))
	}
	if report.Metrics.Months > 0 {
		a.tablef(table, "retention\t%s\n", retentionText(report.Metrics))
	}
	a.tablef(table, "queue\t%s\n", queueText(report.Queue, a.clock().Now()))
	a.tablef(table, "workers\t%s\n", workersText(report.Workers))
	for _, line := range followersText(report.Workers) {
		a.tablef(table, "%s\n", line)
	}
	if text := scheduleText(report, zone, a.clock().Now()); text != "" {
		a.tablef(table, "schedule\t%s\n", text)
	}
	for _, fault := range report.Faults {
		a.tablef(table, "fault\t%s\n", oneLine(fault))
	}
	for _, watched := range report.Watched {
		a.tablef(table, "watched\t%s\n", watchedText(watched))
	}
	for _, b := range report.Backfills {
		a.tablef(table, "backfill %d\t%s, %d of %s done, left: %s\n", b.ID, b.State, b.Done(), plural(b.Dates, "date"), remaining(b))
	}
	for _, b := range report.Broken {
		a.tablef(table, "%s\t%s: %s\n", b.Date, b.State, oneLine(b.Error))
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print the status: %w", err)
	}
	return a.printRuns(report.Runs, zone)
}

func (a *app) printRuns(runs []ledger.Run, zone *time.Location) error {
	if len(runs) == 0 {
		return nil
	}
	a.printf("\n")
	table := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	a.tablef(table, "RUN\tDATE\tSTATE\tSTARTED (%s)\tTOOK\tEVENTS\tENTITIES\tROWS +/~/-\tWORKER\n", zone)
	for _, r := range runs {
		took := "…"
		if r.FinishedAt != nil {
			took = duration(r.FinishedAt.Sub(r.StartedAt))
		}
		a.tablef(table, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%d/%d/%d\t%s\n", r.ID, r.Date, r.State,
			r.StartedAt.In(zone).Format(time.DateTime), took, number(r.Events), number(r.Entities),
			r.Inserted, r.Updated, r.Deleted, r.Worker)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print the runs: %w", err)
	}
	return nil
}

// scheduleText says when the daily job last ran and, if known, when it is due.
func scheduleText(report status, zone *time.Location, now time.Time) string {
	const layout = "2006-01-02 15:04:05 MST"
	var parts []string
	if report.LastSchedule != nil {
		parts = append(parts, "last run "+report.LastSchedule.In(zone).Format(layout))
	}
	if report.SchedulePaused != nil {
		parts = append(parts, "paused since "+report.SchedulePaused.In(zone).Format(layout))
	} else if len(report.Workers) > 0 {
		parts = append(parts, "due "+schedule.DailyOf(report.Workers[0], zone).Next(now).In(zone).Format(layout))
	}
	return strings.Join(parts, ", ")
}

// dueText says when the first waiting date is due.
func dueText(due *time.Time, zone *time.Location) string {
	if due == nil {
		return ""
	}
	return ", due from " + due.In(zone).Format("2006-01-02 15:04:05 MST") + " on"
}

// workersText names the worker processes that are alive.
func workersText(workers []presence.Worker) string {
	if len(workers) == 0 {
		return "none seen in the last " + duration(presence.Alive)
	}
	names := make([]string, len(workers))
	for i, w := range workers {
		names[i] = w.Name
	}
	const most = 5
	text := number(int64(len(names))) + " alive: " + strings.Join(names[:min(most, len(names))], ", ")
	if len(names) > most {
		text += ", …"
	}
	return text
}

// followersText returns a line for each follower as the workers see it. Workers that see the same share a line.
func followersText(workers []presence.Worker) []string {
	seen := map[string]string{}
	for _, w := range workers {
		for _, f := range w.Followers {
			key := f.String()
			if seen[key] != "" {
				seen[key] += ", "
			}
			seen[key] += w.Name
		}
	}
	lines := make([]string, 0, len(seen))
	for _, key := range slices.Sorted(maps.Keys(seen)) {
		name, state, _ := strings.Cut(strings.TrimPrefix(key, "follower "), " ")
		lines = append(lines, "follower "+name+"\t"+oneLine(state+", says "+seen[key]))
	}
	return lines
}

func queueText(queue worker.Depth, now time.Time) string {
	var parts []string
	for _, state := range []string{"available", "running", "retryable", "scheduled", "pending"} {
		if n := queue.ByState[state]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s %s", number(n), state))
		}
	}
	if len(parts) == 0 {
		return "empty"
	}
	text := strings.Join(parts, ", ")
	if queue.OldestWaiting != nil {
		text += ", the oldest waiting for " + duration(now.Sub(*queue.OldestWaiting))
	}
	return text
}

// abridged lists a few dates.
func abridged(dates []date.Date) string {
	const most = 3
	names := make([]string, 0, most)
	for _, d := range dates[:min(most, len(dates))] {
		names = append(names, d.String())
	}
	text := strings.Join(names, ", ")
	if len(dates) > most {
		text += ", …"
	}
	return text
}

// oneLine returns a text as one line of at most 200 characters, so that it fits into a table.
func oneLine(value string) string { return text.Clip(text.Line(value), 200) }
