package overview

import (
	"context"
	"fmt"
	"time"

	"github.com/daymill/daymill/internal/rollup/source"
	"github.com/daymill/daymill/internal/rollup/standing"
	"github.com/daymill/daymill/ui/calendar"
	"github.com/daymill/daymill/ui/format"
	"github.com/daymill/daymill/ui/page"
)

// setupView has the first steps, until the first date is complete.
type setupView struct {
	NoSource bool
	Steps    []stepView
}

// stepView is one step of the setup.
type stepView struct {
	Title, Command string
	Done           bool
	State          string   // in words; empty once the step is done
	Parts          []string // of the page that does the same; nil if there is none
	Label          string   // of that page
}

// checkKept is how long a check of the source stays valid during the setup.
const checkKept = 20 * time.Second

// setup returns the steps that are left; nil once a date was complete.
func (s *Pages) setup(ctx context.Context, facts standing.Facts, missing calendar.Missing) *setupView {
	if facts.Dates("complete")+facts.Dates("stale")+facts.Dates("protected") > 0 || !facts.NoSource && !missing.Known {
		return nil
	}
	view := &setupView{NoSource: facts.NoSource}
	set := stepView{
		Title: "Say which table has the events", Done: !facts.NoSource, State: "analytics.events reads no table",
		Command: "daymill source set --table app.events --entity account_id --type kind --time created_at",
	}
	view.Steps = append(view.Steps, set, s.checkStep(ctx, facts.NoSource))
	run := stepView{Title: "Start a worker", Command: "daymill worker", Done: len(facts.Workers) > 0, State: "no worker has been seen for two minutes"}
	first := stepView{
		Title: "Roll up the history", State: "no date is complete yet", Parts: []string{"backfills"}, Label: "Start a backfill",
		Command: fmt.Sprintf("daymill backfill start %s..%s", firstDate(missing, page.ScopeOf(ctx)), page.ScopeOf(ctx).Today.AddDays(-1)),
	}
	switch {
	case facts.NoSource:
		first.State = "after the first step"
	case facts.NoEvents:
		first.State = "there are no events yet; daymill import loads files"
	case len(facts.States) > 0:
		first.State = "requested, and no date is complete yet"
	}
	view.Steps = append(view.Steps, run, first)
	return view
}

// checkStep is the step that checks how the source can be read.
func (s *Pages) checkStep(ctx context.Context, noSource bool) stepView {
	step := stepView{Title: "Check the columns, the rights and the index", Command: "daymill source check"}
	if noSource {
		step.State = "after the first step"
		return step
	}
	report := s.checks.Get(ctx, s.Site, checkKept, func(ctx context.Context) (source.Report, error) {
		return source.Check(ctx, s.DB, s.Installation)
	})
	problems := report.Count(source.Failure) + report.Count(source.Warning)
	step.Done, step.State = problems == 0 && len(report) > 0, "unknown"
	if problems > 0 {
		step.State = format.Plural(int64(problems), "problem") + "; the command says what fixes it"
	}
	return step
}

// firstDate returns the date of the first event, or the first of this year if it is unknown.
func firstDate(missing calendar.Missing, sc page.Scope) string {
	if !missing.First.IsZero() {
		return missing.First.String()
	}
	return fmt.Sprintf("%04d-01-01", calendar.YearOf(sc.Today))
}
