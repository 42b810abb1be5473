package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/user"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/backfill"
	"github.com/daymill/daymill/internal/rollup/estimate"
	"github.com/daymill/daymill/internal/rollup/protection"
	"github.com/daymill/daymill/internal/rollup/schedule"
	"github.com/daymill/daymill/internal/schema"
	"github.com/daymill/daymill/internal/text"
)

type backfillCmd struct {
	Start  backfillStartCmd  `cmd:"" help:"Roll up a range of dates, one after another."`
	List   backfillListCmd   `cmd:"" help:"List backfills, latest first."`
	Show   backfillShowCmd   `cmd:"" help:"Show the progress of a backfill."`
	Pause  backfillPauseCmd  `cmd:"" help:"Pause a backfill: start no further dates until it is resumed."`
	Resume backfillResumeCmd `cmd:"" help:"Resume a paused backfill."`
	Cancel backfillCancelCmd `cmd:"" help:"Cancel a backfill; dates that are running finish."`
}

type backfillStartCmd struct {
	Dates       date.Range    `arg:"" name:"from..to" help:"The range, as 2026-03-01..2026-03-31."`
	NewestFirst bool          `help:"Take the dates from the last to the first."`
	EveryDate   bool          `help:"Also take dates that are complete."`
	InFlight    int           `default:"1" help:"How many dates at a time, over all workers together."`
	Pause       time.Duration `default:"0s" help:"How long to wait after each date."`
	Erase       bool          `help:"Erase metrics whose events no longer exist. Without it, dates that have fewer events than their last run counted are left unchanged."`
	By          string        `placeholder:"NAME" help:"Who starts the backfill, for the history; your user name by default."`
	DryRun      bool          `help:"Print how many dates and events it would cover and how long it would take, and do nothing."`
}

// Run starts a backfill, or prints what it would do.
func (c *backfillStartCmd) Run(ctx context.Context, a *app) error {
	db, _, err := a.openInstalled(ctx, "backfill")
	if err != nil {
		return err
	}
	defer db.Close()
	today, err := schedule.Today(ctx, db, a.clock())
	if err != nil {
		return err
	}
	plan := backfill.Plan{
		Range: c.Dates, NewestFirst: c.NewestFirst, EveryDate: c.EveryDate, InFlight: c.InFlight, Pause: c.Pause,
		Erase: c.Erase,
		By:    c.By, Via: "cli",
	}
	if plan.By == "" {
		plan.By = userName()
	}
	if err := plan.Validate(today); err != nil {
		return usageError{err}
	}
	if c.InFlight < 1 {
		return usageError{backfill.ErrInFlight}
	}
	dates, err := backfill.Preview(ctx, db, plan)
	if err != nil {
		return err
	}
	if c.DryRun {
		return c.preview(ctx, a, db, plan, dates)
	}
	if err := c.printLosses(ctx, a, db, dates); err != nil {
		return err
	}
	var id, started int64
	err = db.Tx(ctx, func(tx pgx.Tx) (err error) {
		id, started, err = backfill.Start(ctx, tx, plan)
		return err
	})
	if err != nil {
		return err
	}
	a.printf("backfill %d started: %s; watch it with `daymill backfill show %d`\n", id, plural(started, "date"), id)
	return nil
}

func (c *backfillStartCmd) preview(ctx context.Context, a *app, db *postgres.DB, plan backfill.Plan, dates []date.Date) error {
	cost, err := estimate.Dates(ctx, db, a.clock(), dates)
	if err != nil {
		return err
	}
	about := "number of events unknown, because Postgres took too long to estimate it"
	if cost.Known {
		about = fmt.Sprintf("about %s events, about %s", number(cost.Events),
			duration(cost.Alongside(plan.InFlight, plan.Pause, len(dates))))
	}
	if err := c.printLosses(ctx, a, db, dates); err != nil {
		return err
	}
	a.printf("%s of %s, %s; nothing was started\n", plural(int64(len(dates)), "date"), plan.Range, about)
	return nil
}

// surveyTime limits how long a verb counts events of complete dates before it starts a backfill, or prints what it would do.
const surveyTime = 30 * time.Second

// printLosses prints the dates whose metrics are no longer kept, and those that have fewer events than their last run counted, and what the backfill does
// to them.
func (c *backfillStartCmd) printLosses(ctx context.Context, a *app, db *postgres.DB, dates []date.Date) error {
	survey, err := protection.Look(ctx, db, db, a.clock(), dates, surveyTime)
	if err != nil {
		return err
	}
	keptFrom, err := schema.KeptFrom(ctx, db)
	if err != nil {
		return err
	}
	dropped := int64(0)
	for _, day := range dates {
		if day.Before(keptFrom) {
			dropped++
		}
	}
	if dropped > 0 {
		a.printf("%s\n", noLongerKept(dropped, keptFrom))
	}
	const most = 20
	for i, loss := range survey.Losses {
		if i == most {
			a.printf("and %s more\n", plural(int64(len(survey.Losses)-most), "date"))
			break
		}
		becomes := "it stays unchanged; with --erase the metrics of %s would be erased\n"
		switch {
		case c.Erase && c.DryRun:
			becomes = "the metrics of %s would be erased\n"
		case c.Erase:
			becomes = "the metrics of %s will be erased\n"
		}
		a.printf("%s: %s, and its last run counted %s: "+becomes, loss.Date, plural(loss.Counted, "event"), number(loss.Recorded),
			number(loss.Erased()))
	}
	if survey.Uncounted > 0 {
		a.printf("the time limit ran out before the events of %s were counted\n", plural(int64(survey.Uncounted), "date"))
	}
	return nil
}

type backfillListCmd struct {
	Limit int  `default:"20" help:"How many backfills to list at most."`
	JSON  bool `name:"json" help:"Print JSON."`
}

// Run lists backfills.
func (c *backfillListCmd) Run(ctx context.Context, a *app) error {
	if c.Limit < 1 || c.Limit > 1000 {
		return usagef("--limit is %d: give a number from 1 to 1000", c.Limit)
	}
	db, _, err := a.openInstalled(ctx, "backfill")
	if err != nil {
		return err
	}
	defer db.Close()
	all, err := backfill.List(ctx, db, 0, c.Limit)
	if err != nil {
		return err
	}
	if c.JSON {
		return a.printJSON(all)
	}
	if len(all) == 0 {
		a.printf("there are no backfills: start one with `daymill backfill start FROM..TO`\n")
		return nil
	}
	table := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	a.tablef(table, "ID\tSTATE\tRANGE\tCOMPLETE\tFAILED\tLEFT\tBY\n")
	for _, b := range all {
		a.tablef(table, "%d\t%s\t%s..%s\t%d/%d\t%d\t%s\t%s (%s)\n",
			b.ID, b.State, b.First, b.Last, b.DatesComplete, b.Dates, b.DatesFailed, remaining(b), b.By, b.Via)
	}
	return table.Flush()
}

type backfillShowCmd struct {
	ID   int64 `arg:"" help:"The backfill's number."`
	JSON bool  `name:"json" help:"Print JSON."`
}

// Run shows one backfill.
func (c *backfillShowCmd) Run(ctx context.Context, a *app) error {
	db, installation, err := a.openInstalled(ctx, "backfill")
	if err != nil {
		return err
	}
	defer db.Close()
	b, err := backfill.Get(ctx, db, c.ID)
	if err != nil {
		return notFound(err)
	}
	if c.JSON {
		return a.printJSON(b)
	}
	a.printf("backfill %d is %s: %d of %s complete\n", b.ID, b.State, b.DatesComplete, plural(b.Dates, "date"))
	table := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	order := "oldest first"
	if b.NewestFirst {
		order = "newest first"
	}
	which := "incomplete dates"
	if b.EveryDate {
		which = "every date"
	}
	a.tablef(table, "range\t%s..%s, %s, %s\n", b.First, b.Last, which, order)
	a.tablef(table, "in flight\t%d of at most %d\n", b.DatesRequested, b.InFlight)
	a.tablef(table, "complete\t%d\n", b.DatesComplete)
	a.tablef(table, "failed\t%d\n", b.DatesFailed)
	a.tablef(table, "cancelled\t%d\n", b.DatesCancelled)
	a.tablef(table, "protected\t%d\n", b.DatesProtected)
	a.tablef(table, "left\t%s\n", remaining(b))
	a.tablef(table, "requested\t%s by %s (%s)\n",
		b.RequestedAt.In(installation.Zone).Format("2006-01-02 15:04:05 MST"), b.By, b.Via)
	return table.Flush()
}

type backfillID struct {
	ID int64 `arg:"" help:"The backfill's number."`
}

type (
	backfillPauseCmd  struct{ backfillID }
	backfillResumeCmd struct{ backfillID }
	backfillCancelCmd struct{ backfillID }
)

// Run pauses a backfill.
func (c *backfillPauseCmd) Run(ctx context.Context, a *app) error {
	return c.set(ctx, a, backfill.Paused)
}

// Run resumes a backfill.
func (c *backfillResumeCmd) Run(ctx context.Context, a *app) error {
	return c.set(ctx, a, backfill.Running)
}

// Run cancels a backfill.
func (c *backfillCancelCmd) Run(ctx context.Context, a *app) error {
	return c.set(ctx, a, backfill.Cancelled)
}

func (c backfillID) set(ctx context.Context, a *app, state string) error {
	db, _, err := a.openInstalled(ctx, "backfill")
	if err != nil {
		return err
	}
	defer db.Close()
	if err := backfill.SetState(ctx, db, c.ID, state, whoOnCLI()); err != nil {
		return notFound(err)
	}
	a.printf("backfill %d is %s\n", c.ID, state)
	return nil
}

// whoOnCLI returns who runs this command, for the audit.
func whoOnCLI() audit.Who { return audit.Who{Actor: userName(), Via: audit.ViaCLI} }

// userName returns the name of the user at the terminal, or "" if it is unknown.
func userName() string {
	u, err := user.Current()
	if err != nil {
		return ""
	}
	return u.Username
}

func notFound(err error) error {
	if errors.Is(err, backfill.ErrNotFound) || errors.Is(err, backfill.ErrEnded) {
		return usageError{err}
	}
	return err
}

func remaining(b backfill.Status) string {
	switch {
	case b.FinishedAt != nil:
		return "nothing"
	case b.RemainingSeconds == nil:
		return "not known yet"
	default:
		return "about " + duration(time.Duration(*b.RemainingSeconds*float64(time.Second)))
	}
}

func (a *app) printJSON(value any) error {
	var out strings.Builder
	encoder := json.NewEncoder(&out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("print JSON: %w", err)
	}
	_, err := io.WriteString(a.stdout, text.JSON(out.String()))
	return err
}
