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

// Run makes captured tables and sinks match the file.
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
	var made plan.Plan
	err = db.Tx(ctx, func(tx pgx.Tx) error {
		if made, err = plan.Make(ctx, tx, file.Wanted, plan.Options{Remove: c.Remove}); err != nil || c.DryRun {
			return err
		}
		return made.Apply(ctx, tx, captureLog{}, whoOnCLI())
	})
	refused := errors.Is(err, plan.ErrRefused)
	if err != nil && !refused {
		return err
	}
	if c.DryRun {
		err = made.Refused()
	}
	if c.JSON {
		if printErr := a.printJSON(made); printErr != nil {
			return printErr
		}
	} else {
		for _, step := range made {
			a.printf("%-7s %s%s\n", step.Verb, step.What(), because(step.Why))
		}
		if len(made) == 0 && file.Alerts == nil {
			a.printf("the file has no sinks, and there are none\n")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(file.Tables)) {
		kept := slices.ContainsFunc(made, func(s plan.Step) bool { return s.Capture == name && s.Verb == plan.Keep })
		a.noteCapture(ctx, db, stream.Config{Name: name, URL: file.Databases[name], Tables: file.Tables[name], KeysOnly: file.KeysOnly}, c.DryRun || !kept)
	}
	if err != nil {
		return usageError{err}
	}
	if err := a.applyAlerts(ctx, db, file.Alerts, c.DryRun, c.JSON); err != nil {
		return err
	}
	if len(file.Views) == 0 {
		return nil
	}
	databases := a.databases(db, file.Databases)
	defer databases.Close()
	return a.applyViews(ctx, &view.Engine{DB: db, Databases: databases}, file.Views, c.DryRun, c.JSON)
}

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
