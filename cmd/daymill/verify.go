package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/user"
	"slices"
	"text/tabwriter"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/verification"
)

type verifyCmd struct {
	engineOptions

	Dates  *date.Range `arg:"" optional:"" name:"date" help:"The date, as 2026-03-01, or a range, as 2026-03-01..2026-03-31; a sample of the finished dates by default."`
	Sample int         `default:"7" help:"Without a date: how many finished dates to choose at random."`
	Seed   *int64      `placeholder:"NUMBER" help:"Choose the same sample as the run that printed this seed."`
	Repair bool        `help:"Request a rollup of the dates that have drifted, except those that have fewer events than their last run counted."`
	Erase  bool        `help:"With --repair: include those dates, which erases metrics whose events no longer exist."`
	Show   int         `default:"20" help:"How many entities to list per date; totals include all."`
	JSON   bool        `name:"json" help:"Print JSON."`
}

// errDrift says that metrics do not match the events.
var errDrift = errors.New("metrics have drifted from the events")

// errViewDrift says that a view differs from its SELECT.
var errViewDrift = errors.New("differs from its SELECT")

// verified is the report in JSON.
type verified struct {
	// Seed is the seed of the sample, and Of is how many dates it was drawn from.
	Seed  *int64                `json:"seed,omitempty"`
	Of    int64                 `json:"of,omitempty"`
	Dates []verification.Result `json:"dates"`
	// Drifted, Judged and Skipped count dates: those that differ, those that were compared, and those of the range that
	// are not finished.
	Drifted int64 `json:"drifted"`
	Judged  int64 `json:"judged"`
	Skipped int64 `json:"skipped"`
}

// Run compares dates with their events.
func (c *verifyCmd) Run(ctx context.Context, a *app) error {
	if err := c.check(); err != nil {
		return err
	}
	switch {
	case c.Sample < 1 || c.Sample > date.MaxDates:
		return usagef("--sample is %d: give a number of dates from 1 to %d", c.Sample, date.MaxDates)
	case c.Show < 1 || c.Show > 10_000:
		return usagef("--show is %d: give a number of entities from 1 to 10000", c.Show)
	case c.Erase && !c.Repair:
		return usagef("--erase works only with --repair: give both")
	case c.Dates != nil && c.Seed != nil:
		return usagef("--seed draws a sample: give it without dates")
	}
	listeners, stopTracing, err := a.verbTelemetry(ctx)
	if err != nil {
		return err
	}
	defer stopTracing()
	conn, installation, err := a.openInstalled(ctx, "verify")
	if err != nil {
		return err
	}
	defer conn.Close()
	events, closeEvents, err := c.open(ctx, a, conn, "verify")
	if err != nil {
		return err
	}
	defer closeEvents()
	report := verified{Dates: []verification.Result{}}
	dates, err := c.choose(ctx, a, conn, &report)
	if err != nil {
		return err
	}
	speed, stop := c.govern(ctx, a, conn)
	defer stop()
	verifier := &verification.Verifier{
		Primary: conn, Source: events, Type: installation.EntityType, Clock: a.clock(),
		Options:   verification.Options{Pace: speed, MaxEntities: c.MaxEntities, Drifts: c.Show},
		Listeners: listeners,
	}
	for _, day := range dates {
		if err := c.verify(ctx, a, verifier, day, &report); err != nil {
			return err
		}
	}
	return c.finish(a, report)
}

// choose returns the dates to verify.
func (c *verifyCmd) choose(ctx context.Context, a *app, conn *postgres.DB, report *verified) ([]date.Date, error) {
	if c.Dates != nil {
		dates, err := verification.InRange(ctx, conn, *c.Dates)
		report.Skipped = int64(c.Dates.Len() - len(dates))
		return dates, err
	}
	report.Seed = c.Seed
	if report.Seed == nil {
		seed := rand.Int64N(1_000_000)
		report.Seed = &seed
	}
	dates, of, err := verification.Sample(ctx, conn, c.Sample, *report.Seed)
	report.Of = of
	if err == nil && !c.JSON {
		a.printf("%d of %s, drawn with --seed %d\n", len(dates), plural(of, "finished date"), *report.Seed)
	}
	return dates, err
}

func (c *verifyCmd) verify(
	ctx context.Context, a *app, verifier *verification.Verifier, day date.Date, report *verified,
) error {
	order := verification.Order{Date: day, Via: "cli"}
	if c.Repair {
		order.Repair = verification.RepairGains
		if c.Erase {
			order.Repair = verification.RepairAll
		}
	}
	if u, err := user.Current(); err == nil {
		order.By = u.Username
	}
	meter := a.meter(day.String(), 1000)
	order.Progress = func(phase string, progress float64) {
		part := progress / 2
		if phase != "scan" {
			part += 0.5
		}
		meter.set(int64(part*1000), phase)
	}
	result, err := verifier.Verify(ctx, order)
	meter.finish()
	if err != nil && ctx.Err() != nil {
		return errors.New("interrupted; dates that were verified before are recorded")
	}
	if err != nil {
		return err
	}
	report.Dates = append(report.Dates, result)
	switch result.Result {
	case verification.Drifted:
		report.Drifted++
		report.Judged++
	case verification.Exact:
		report.Judged++
	}
	if c.JSON {
		return nil
	}
	return a.printVerified(result)
}

func (a *app) printVerified(r verification.Result) error {
	switch r.Result {
	case verification.Exact:
		a.printf("%s: exact: %s of %s in %s\n", r.Date, plural(r.EventsCounted, "event"), entities(r.Entities), duration(r.Took))
	case verification.Drifted:
		a.printf("%s: drifted: %s of %s; %s counted, %s stored\n", r.Date,
			number(r.DriftedEntities), entities(r.Entities), plural(r.EventsCounted, "event"), number(r.EventsStored))
		if err := a.printDrifts(r); err != nil {
			return err
		}
	case verification.Protected:
		a.printf("%s: %s\n", r.Date, r.Reason)
	default:
		a.printf("%s: %s: %s\n", r.Date, r.Result, r.Reason)
	}
	switch erased := r.Erased(); {
	case r.Repair:
		a.printf("%s: a rollup is requested\n", r.Date)
	case erased > 0:
		a.printf("%s: its last run counted %s: a rollup would erase the metrics of %s that are gone (`daymill verify --repair --erase %s` does)\n",
			r.Date, plural(r.EventsRecorded, "event"), number(erased), r.Date)
	}
	if r.Edited() {
		a.printf("%s: its last run counted the same events, so its metrics were edited since\n", r.Date)
	}
	return nil
}

func (a *app) printDrifts(r verification.Result) error {
	table := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	a.tablef(table, "  ENTITY\tSTORED\tCOUNTED\n")
	for _, drift := range r.Drifts {
		a.tablef(table, "  %s\t%s\t%s\n", oneLine(drift.Entity), countsText(drift.Stored), countsText(drift.Counted))
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print the entities: %w", err)
	}
	if more := r.DriftedEntities - int64(len(r.Drifts)); more > 0 {
		a.printf("  and %s more\n", number(more))
	}
	return nil
}

// countsText returns the counts of views, clicks, saves, skips and other types for a report.
func countsText(c *verification.Counts) string {
	if c == nil {
		return "nothing"
	}
	return oneLine(fmt.Sprintf("%d views, %d clicks, %d saves, %d skips, %s", c.Views, c.Clicks, c.Saves, c.Skips, cmp.Or(c.OtherText(), "{}")))
}

func entities(n int64) string { return plural(n, "entity") }

// finish prints the sum, and returns an error if anything has drifted.
func (c *verifyCmd) finish(a *app, report verified) error {
	if c.JSON {
		if err := a.printJSON(report); err != nil {
			return err
		}
	} else if report.Skipped > 0 {
		a.printf("%s not compared: no run has completed %s, or one is requested\n",
			plural(report.Skipped, "date"), pronoun(report.Skipped))
	}
	switch {
	case report.Drifted == 0:
		return nil
	case c.Repair && !slices.ContainsFunc(report.Dates, func(r verification.Result) bool { return r.Repair }):
		return fmt.Errorf("%s of %s: %w; nothing was requested, see the reasons above",
			plural(report.Drifted, "date"), number(report.Judged), errDrift)
	case c.Repair:
		return fmt.Errorf("%s of %s: %w; the workers roll up what was requested",
			plural(report.Drifted, "date"), number(report.Judged), errDrift)
	default:
		return fmt.Errorf("%s of %s: %w; unless events were dropped by retention, `daymill enqueue DATE` fixes a date",
			plural(report.Drifted, "date"), number(report.Judged), errDrift)
	}
}
