package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/view"
	"github.com/daymill/daymill/internal/view/definition"
)

type viewCmd struct {
	Apply   viewApplyCmd   `cmd:"" help:"Make views match definitions: print the plan and carry it out."`
	List    viewListCmd    `cmd:"" help:"List the views and their states."`
	Show    viewShowCmd    `cmd:"" help:"Show one view: its table, its tasks and what has changed in its sources."`
	SQL     viewSQLCmd     `cmd:"" name:"sql" help:"Print the SQL of a view: CREATE TABLE, indexes, SELECT, refresh."`
	Build   viewBuildCmd   `cmd:"" help:"Work on a view's tasks in this process until they are done, without a worker."`
	Rebuild viewRebuildCmd `cmd:"" help:"Build a view's table again. The old table serves until the new one is complete."`
	Refresh viewRefreshCmd `cmd:"" help:"Update the rows of some keys, or all rows."`
	Verify  viewVerifyCmd  `cmd:"" help:"Compare a view with its SELECT, key by key, and with --repair update the keys that differ."`
	Drift   viewDriftCmd   `cmd:"" help:"Accept or reject changes of a view's tables."`
	Pause   viewPauseCmd   `cmd:"" help:"Pause a view: its table stays unchanged, and its changes wait in the log, until it is resumed."`
	Resume  viewResumeCmd  `cmd:"" help:"Resume a paused view."`
	Remove  viewRemoveCmd  `cmd:"" help:"Remove a view and drop its table."`
	Schema  viewSchemaCmd  `cmd:"" help:"Print the JSON Schema of definitions, for editors."`
}

type viewName struct {
	Name string `arg:"" help:"The view's name."`
}

// engine opens the database and an engine that works on its views. The caller closes both with the function that it returns.
func (a *app) engine(ctx context.Context, variables map[string]string) (*view.Engine, func(), error) {
	db, _, err := a.openInstalled(ctx, "view")
	if err != nil {
		return nil, nil, err
	}
	databases := a.databases(db, variables)
	return &view.Engine{DB: db, Databases: databases, Clock: a.testClock}, func() {
		databases.Close()
		db.Close()
	}, nil
}

// with calls do with an engine. If no view has the given name, or the user can fix what is wrong, it returns a usage error.
func (a *app) with(ctx context.Context, do func(engine *view.Engine) error) error {
	engine, done, err := a.engine(ctx, nil)
	if err != nil {
		return err
	}
	defer done()
	if err := do(engine); errors.Is(err, view.ErrNone) || view.IsRefused(err) {
		return usageError{err}
	} else if err != nil {
		return err
	}
	return nil
}

type viewListCmd struct {
	JSON bool `name:"json" help:"Print JSON."`
}

// Run lists the views.
func (c *viewListCmd) Run(ctx context.Context, a *app) error {
	return a.with(ctx, func(engine *view.Engine) error {
		reports, err := view.Reports(ctx, engine.DB)
		if err != nil {
			return err
		}
		if c.JSON {
			return a.printJSON(reports)
		}
		if len(reports) == 0 {
			a.printf("there are no views: write a definition as docs/views.md shows, and run `daymill view apply -f FILE`\n")
			return nil
		}
		table := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
		a.tablef(table, "NAME\tSTATE\tBEHIND\tREFRESHED\tTASKS\tDRIFT\tREASON\n")
		for _, r := range reports {
			a.tablef(table, "%s\t%s\t%s\t%s\t%d\t%d\t%s\n", r.Name, r.State, number(r.Behind), number(r.Refreshed), r.OpenTasks, r.OpenDrift, r.Reason)
		}
		return table.Flush()
	})
}

type viewShowCmd struct {
	viewName

	YAML bool `name:"yaml" xor:"form" help:"Print the definition, to apply it again."`
	JSON bool `name:"json" xor:"form" help:"Print JSON."`
}

// Run shows one view.
func (c *viewShowCmd) Run(ctx context.Context, a *app) error {
	return a.with(ctx, func(engine *view.Engine) error {
		v, err := view.Get(ctx, engine.DB, c.Name)
		if err != nil {
			return err
		}
		r, err := v.Report(ctx, engine.DB)
		if err != nil {
			return err
		}
		switch {
		case c.YAML && len(r.Versions) > 0:
			written, err := r.Definition()
			if err != nil {
				return err
			}
			a.printf("%s", written)
			return nil
		case c.JSON:
			return a.printJSON(struct {
				view.Report

				Tasks []view.Task  `json:"tasks"`
				Drift []view.Drift `json:"drift"`
			}{r, r.Tasks, r.Drift})
		}
		return c.print(a, v, r)
	})
}

func (*viewShowCmd) print(a *app, v view.View, r view.Report) error {
	when := func(at time.Time) string { return at.UTC().Format("2006-01-02 15:04:05 MST") }
	table := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	a.tablef(table, "view\t%s\nstate\t%s%s\nmade\t%s\nbehind\t%s\nrefreshed\t%s\n", v.Name, r.State, because(r.Reason), when(v.CreatedAt),
		plural(r.Behind, "change"), plural(r.Refreshed, "key"))
	if v.RefreshedAt != nil {
		a.tablef(table, "last refresh\t%s\n", when(*v.RefreshedAt))
	}
	for _, version := range r.Versions {
		a.tablef(table, "table\tviews.%s, %s\n", version.Table, version.State)
	}
	for _, reading := range r.Readings {
		a.tablef(table, "read on a schedule\t%s\n", readingText(reading, when))
	}
	for _, task := range r.Tasks {
		a.tablef(table, "task %d\t%s %s%s%s\n", task.ID, task.Kind, task.State, progress(task, a.clock().Now()), because(task.Error))
	}
	for _, d := range r.Drift {
		a.tablef(table, "drift %d\t%s: %s\n", d.ID, d.State, d.Sentence)
	}
	return table.Flush()
}

// readingText returns how far behind a table may be that is read on a schedule.
func readingText(r view.Reading, when func(time.Time) string) string {
	text := r.Table + ": "
	if r.Column != "" {
		text += fmt.Sprintf("changes of %s every %s, ", r.Column, duration(r.Every))
	}
	text += "all rows every " + duration(r.Full)
	if r.LookedAt != nil {
		text += "; looked at " + when(*r.LookedAt)
	}
	if r.ComparedAt != nil {
		text += "; compared at " + when(*r.ComparedAt)
	}
	return text + because(r.Error)
}

// progress returns a task's progress as text.
func progress(t view.Task, now time.Time) string {
	var parts []string
	switch {
	case t.Total > 0 && t.State == view.Running:
		parts = append(parts, fmt.Sprintf("%s of about %s", number(t.Done), plural(t.Total, "key")))
	case t.Done > 0:
		parts = append(parts, plural(t.Done, "key"))
	}
	if left := t.Left(now); left > 0 {
		parts = append(parts, duration(left)+" to go")
	}
	if t.Copied > 0 {
		parts = append(parts, plural(t.Copied, "row")+" of other databases "+t.CopiedVerb())
	}
	if t.Kind == view.TaskVerify {
		differ := " differ"
		if t.Differing == 1 {
			differ = " differs"
		}
		parts = append(parts, number(t.Differing)+differ)
		if t.Repair {
			parts = append(parts, number(t.Repaired)+" repaired")
		}
		if t.Misfits > 0 {
			parts = append(parts, plural(t.Misfits, "value")+" that did not fit the type became NULL")
		}
		if len(t.Examples) > 0 {
			parts = append(parts, "such as "+strings.Join(t.Examples[:min(len(t.Examples), 5)], " and ")) //nolint:mnd // Enough examples.
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return ", " + strings.Join(parts, ", ")
}

type viewSQLCmd struct{ viewName }

// Run prints the SQL of a view.
func (c *viewSQLCmd) Run(ctx context.Context, a *app) error {
	return a.with(ctx, func(engine *view.Engine) error {
		v, err := view.Get(ctx, engine.DB, c.Name)
		if err != nil {
			return err
		}
		sql, err := v.SQL(ctx, engine.DB)
		if err != nil {
			return err
		}
		a.printf("-- the table\n%s;\n\n-- its indexes\n%s;\n\n", sql.Table, strings.Join(sql.Indexes, ";\n"))
		a.printf("-- the rows that the view should have\n%s;\n\n", sql.Select)
		a.printf("-- a refresh of some keys, in one transaction\n%s;\n", strings.Join(sql.Refresh, ";\n"))
		for _, touched := range sql.Touched {
			a.printf("\n-- the keys that a change of %s affects\n%s;\n", touched.Table, touched.SQL)
		}
		return nil
	})
}

type (
	viewPauseCmd struct {
		viewName

		Because string `placeholder:"TEXT" help:"The reason, for people who see the view paused."`
	}
	viewResumeCmd struct{ viewName }
	viewRemoveCmd struct{ viewName }
	viewSchemaCmd struct{}
)

// Run prints the schema.
func (viewSchemaCmd) Run(a *app) error {
	a.printf("%s", definition.Schema)
	return nil
}

// Run pauses a view.
func (c *viewPauseCmd) Run(ctx context.Context, a *app) error {
	return c.change(ctx, a, "is paused", func(tx pgx.Tx, v view.View) error { return view.Pause(ctx, tx, v, c.Because, whoOnCLI()) })
}

// Run resumes a view.
func (c *viewResumeCmd) Run(ctx context.Context, a *app) error {
	return c.change(ctx, a, "continues", func(tx pgx.Tx, v view.View) error { return view.Resume(ctx, tx, v, whoOnCLI()) })
}

func (c viewName) change(ctx context.Context, a *app, done string, do func(tx pgx.Tx, v view.View) error) error {
	return a.with(ctx, func(engine *view.Engine) error {
		err := engine.DB.Tx(ctx, func(tx pgx.Tx) error {
			v, err := view.Get(ctx, tx, c.Name)
			if err != nil {
				return err
			}
			return do(tx, v)
		})
		if err == nil {
			a.printf("view %s %s\n", c.Name, done)
		}
		return err
	})
}

// Run drops a view.
func (c *viewRemoveCmd) Run(ctx context.Context, a *app) error {
	return a.with(ctx, func(engine *view.Engine) error {
		captured, err := engine.Captured(ctx, c.Name)
		if err != nil {
			return err
		}
		if err := engine.Remove(ctx, c.Name, whoOnCLI()); err != nil {
			return err
		}
		a.printf("view %s is removed\n", c.Name)
		works, err := workerAlive(ctx, engine.DB)
		if err == nil && captured && !works {
			a.printf("no worker runs: the next one removes the triggers or the slot that captured changes only for this view\n")
		}
		return err
	})
}

type viewDriftCmd struct {
	Accept viewAcceptCmd `cmd:"" help:"Apply the changes to the view, including new columns and types, and resume it."`
	Reject viewRejectCmd `cmd:"" help:"Keep the view as it is."`
}

type (
	viewDecide struct {
		viewName

		ID []int64 `arg:"" optional:"" name:"id" help:"Numbers of entries, as view show prints them; all open entries by default."`
	}
	viewAcceptCmd struct{ viewDecide }
	viewRejectCmd struct{ viewDecide }
)

// Run accepts drift.
func (c *viewAcceptCmd) Run(ctx context.Context, a *app) error { return c.decide(ctx, a, true) }

// Run rejects drift.
func (c *viewRejectCmd) Run(ctx context.Context, a *app) error { return c.decide(ctx, a, false) }

func (c viewDecide) decide(ctx context.Context, a *app, accept bool) error {
	return a.with(ctx, func(engine *view.Engine) error {
		count, err := engine.Decide(ctx, c.Name, accept, c.ID, whoOnCLI())
		if err != nil {
			return err
		}
		if count == 0 {
			a.printf("view %s has no open drift\n", c.Name)
			return nil
		}
		a.printf("%s of drift %s\n", plural(int64(count), "entry"), map[bool]string{true: "accepted", false: "rejected"}[accept])
		return nil
	})
}
