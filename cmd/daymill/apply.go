package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/alert"
	"github.com/daymill/daymill/internal/capture/plan"
	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/config"
	"github.com/daymill/daymill/internal/document"
	"github.com/daymill/daymill/internal/view"
)

type applyCmd struct {
	File   string `name:"file" short:"f" aliases:"config" env:"DAYMILL_CONFIG" default:"daymill.yaml" placeholder:"FILE" help:"The file with databases, tables, sinks, views and alerts."`
	DryRun bool   `help:"Print what would change, and change nothing."`
	Remove bool   `help:"Remove sinks that are not in the file, with their positions and dead letters, and stop capturing tables that it no longer names."`
	Schema bool   `help:"Print the file's JSON Schema, for editors, and do nothing else."`
	JSON   bool   `name:"json" help:"Print JSON."`
}

// applyReport is what apply prints with --json.
type applyReport struct {
	DryRun  bool        `json:"dry_run"`
	Capture plan.Plan   `json:"capture"` // of captured tables
	Sinks   plan.Plan   `json:"sinks"`
	Alerts  []string    `json:"alerts"` // null if the file does not mention alerts
	Views   []view.Step `json:"views"`
}

// Run makes captured tables, sinks, alerts and views match the file.
func (c *applyCmd) Run(ctx context.Context, a *app) error {
	if c.Schema {
		a.printf("%s", config.Schema)
		return nil
	}
	file, err := readConfig(c.File)
	if err != nil {
		return err
	}
	db, _, err := a.openInstalled(ctx, "apply")
	if err != nil {
		return err
	}
	defer db.Close()
	databases := a.databases(db, file.Databases)
	defer databases.Close()
	engine := &view.Engine{DB: db, Databases: databases}
	views, mistakes := planViews(ctx, engine, file.Views)
	if _, usage := errors.AsType[usageError](mistakes); mistakes != nil && !usage {
		return mistakes
	}
	var made plan.Plan
	var alerts []string
	err = db.Tx(ctx, func(tx pgx.Tx) error {
		if made, err = plan.Make(ctx, tx, file.Wanted, plan.Options{Remove: c.Remove}); err != nil {
			return err
		}
		if file.Alerts != nil {
			if alerts, err = alert.Apply(ctx, tx, *file.Alerts, whoOnCLI()); err != nil {
				return err
			}
		}
		if c.DryRun || mistakes != nil || made.Refused() != nil {
			return errDryRun
		}
		return made.Apply(ctx, tx, captureLog{}, whoOnCLI())
	})
	if err != nil && !errors.Is(err, errDryRun) {
		return err
	}
	refused := made.Refused()
	if mistakes != nil {
		return usageError{errors.Join(mistakes, refused)}
	}
	if c.JSON {
		err = a.printJSON(applyReport{
			DryRun: c.DryRun, Capture: append(plan.Plan{}, made.OfCapture()...), Sinks: append(plan.Plan{}, made.OfSinks()...),
			Alerts: alertLines(alerts, file.Alerts != nil), Views: views,
		})
		if err != nil {
			return err
		}
	} else {
		c.print(a, file, made, alerts, views)
	}
	for _, name := range slices.Sorted(maps.Keys(file.Tables)) {
		kept := slices.ContainsFunc(made, func(s plan.Step) bool { return s.Capture == name && s.Verb == plan.Keep })
		a.noteCapture(ctx, db, stream.Config{Name: name, URL: file.Databases[name], Tables: file.Tables[name], KeysOnly: file.KeysOnly}, c.DryRun || !kept)
	}
	a.noteSinks(ctx, db, file)
	if refused != nil {
		return usageError{refused}
	}
	if c.DryRun {
		return nil
	}
	if err := engine.Apply(ctx, views, whoOnCLI()); err != nil || c.JSON {
		return err
	}
	return a.printApplied(ctx, engine, views)
}

// alertLines returns the lines of a part that the file has: an empty list if nothing changes there, and nil if the file does not have it.
func alertLines(lines []string, has bool) []string {
	if has && lines == nil {
		return []string{}
	}
	return lines
}

// print prints what changes, a line for each step.
func (c *applyCmd) print(a *app, file *config.File, made plan.Plan, alerts []string, views []view.Step) {
	for _, step := range made {
		a.printf("%-7s %s%s\n", step.Verb, step.What(), because(step.Why))
	}
	for _, one := range alerts {
		a.printf("%s\n", one)
	}
	if file.Alerts != nil && len(alerts) == 0 {
		a.printf("the channels of alerts are as in the file\n")
	}
	a.printSteps(views)
	if len(made)+len(views) == 0 && file.Alerts == nil {
		a.printf("the file has no sinks, and there are none\n")
	}
}

// errDryRun undoes a transaction.
var errDryRun = errors.New("nothing was changed")

func because(why string) string {
	if why == "" {
		return ""
	}
	return ": " + why
}

// readConfig reads a file. It returns all mistakes in it as one error of several lines.
func readConfig(name string) (*config.File, error) {
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, usagef("there is no file %s: write one as docs/capture.md shows, or name it with --file", name)
	}
	if err == nil && info.Size() > config.MaxFile {
		return nil, usagef("%s is larger than %d bytes", name, config.MaxFile)
	}
	content, err := os.ReadFile(name)
	if err != nil {
		return nil, usageError{fmt.Errorf("read the file: %w", err)}
	}
	file, err := config.Parse(name, content)
	if mistakes, ok := errors.AsType[document.Mistakes](err); ok {
		return nil, usageError{fmt.Errorf("%s:\n%w", plural(int64(len(mistakes)), "mistake"), mistakes)}
	}
	return file, err
}
