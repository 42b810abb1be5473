package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/daymill/daymill/internal/config"
	"github.com/daymill/daymill/internal/document"
	"github.com/daymill/daymill/internal/view"
	"github.com/daymill/daymill/internal/view/definition"
)

type viewApplyCmd struct {
	File   []string `name:"file" short:"f" placeholder:"FILE" sep:"none" help:"A file with definitions, or a folder of such files (.json, .yaml, .yml). May be given several times; the views of --config by default."`
	Config string   `env:"DAYMILL_CONFIG" default:"daymill.yaml" placeholder:"FILE" help:"The file that names the databases; without it, only the database app is known."`
	DryRun bool     `help:"Print what would change, and change nothing."`
	JSON   bool     `name:"json" help:"Print JSON."`
}

// Run makes views match definitions.
func (c *viewApplyCmd) Run(ctx context.Context, a *app) error {
	file := &config.File{}
	if _, err := os.Stat(c.Config); err == nil {
		if file, err = readConfig(c.Config); err != nil {
			return err
		}
	} else if len(c.File) == 0 || c.Config != "daymill.yaml" {
		return usagef("there is no file %s: name a definition with --file", c.Config)
	}
	definitions := file.Views
	if len(c.File) > 0 {
		var err error
		if definitions, err = readDefinitions(c.File); err != nil {
			return err
		}
	}
	if len(definitions) == 0 {
		return usagef("%s has no definitions of views: write one as docs/views.md shows", cmp.Or(strings.Join(c.File, ", "), c.Config))
	}
	engine, done, err := a.engine(ctx, file.Databases)
	if err != nil {
		return err
	}
	defer done()
	return a.applyViews(ctx, engine, definitions, c.DryRun, c.JSON)
}

// applyViews prints the plan for the definitions, and carries it out unless dryRun is set.
func (a *app) applyViews(ctx context.Context, engine *view.Engine, definitions []definition.Definition, dryRun, asJSON bool) error {
	steps, err := planViews(ctx, engine, definitions)
	if err != nil {
		return err
	}
	if asJSON {
		if err := a.printJSON(steps); err != nil {
			return err
		}
	} else {
		a.printSteps(steps)
	}
	if dryRun {
		return nil
	}
	if err := engine.Apply(ctx, steps, whoOnCLI()); err != nil || asJSON {
		return err
	}
	return a.printApplied(ctx, engine, steps)
}

// printApplied prints that steps are carried out, and what else they need: a worker, or that paused views are resumed.
func (a *app) printApplied(ctx context.Context, engine *view.Engine, steps []view.Step) error {
	steps = slices.DeleteFunc(slices.Clone(steps), func(s view.Step) bool { return s.Verb == view.StepKeep })
	if len(steps) == 0 {
		return nil
	}
	building := 0
	var paused []view.View
	for _, s := range steps {
		v, err := view.Get(ctx, engine.DB, s.View)
		if err != nil {
			return err
		}
		r, err := v.Report(ctx, engine.DB)
		if err != nil {
			return err
		}
		if r.OpenTasks == 0 {
			continue
		}
		building++
		if v.PausedAt != nil {
			paused = append(paused, v)
		}
	}
	works, err := workerAlive(ctx, engine.DB)
	if err != nil {
		return err
	}
	them := "it"
	if building > 1 {
		them = "them"
	}
	switch {
	case building == 0:
		a.printf("applied\n")
	case works:
		a.printf("applied: a worker builds %s\n", them)
	default:
		a.printf("applied: start `daymill worker`, which builds %s\n", them)
	}
	for _, v := range paused {
		a.printf("%s\n", waitsText(v))
	}
	return nil
}

// planViews returns the plan for definitions. What is wrong with them is a usageError.
func planViews(ctx context.Context, engine *view.Engine, definitions []definition.Definition) ([]view.Step, error) {
	steps, err := engine.Plan(ctx, definitions)
	if mistakes, ok := errors.AsType[document.Mistakes](err); ok {
		return nil, usageError{fmt.Errorf("%s:\n%w", plural(int64(len(mistakes)), "mistake"), mistakes)}
	}
	return steps, err
}

// printSteps prints steps and their notes.
func (a *app) printSteps(steps []view.Step) {
	for _, s := range steps {
		a.printf("%-7s view %s%s\n", s.Verb, s.View, because(s.Why))
		for _, note := range s.Notes {
			a.errorf("note: view %s: %s\n", s.View, note)
		}
	}
}

// definitionFiles returns a file, or all files of a folder.
func definitionFiles(name string) ([]string, error) {
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, usagef("there is no file or folder %s", name)
	}
	if err != nil {
		return nil, usageError{fmt.Errorf("read definitions: %w", err)}
	}
	if !info.IsDir() {
		return []string{name}, nil
	}
	var names []string
	for _, pattern := range []string{"*.json", "*.yaml", "*.yml"} {
		found, err := filepath.Glob(filepath.Join(name, pattern))
		if err != nil {
			return nil, usageError{fmt.Errorf("read definitions: %w", err)}
		}
		names = append(names, found...)
	}
	slices.Sort(names)
	return names, nil
}

// readDefinitions reads files, and all files of folders, each once. It returns all mistakes in them as one error of several lines.
func readDefinitions(given []string) ([]definition.Definition, error) {
	var names []string
	for _, name := range given {
		found, err := definitionFiles(filepath.Clean(name))
		if err != nil {
			return nil, err
		}
		for _, file := range found {
			if !slices.Contains(names, file) {
				names = append(names, file)
			}
		}
	}
	var definitions []definition.Definition
	var mistakes document.Mistakes
	where := map[string]string{}
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err != nil {
			return nil, usageError{fmt.Errorf("read definitions: %w", err)}
		}
		read, err := definition.Parse(name, content)
		if wrong, ok := errors.AsType[document.Mistakes](err); ok {
			mistakes = append(mistakes, wrong...)
		}
		for _, d := range read {
			if other, has := where[d.Name]; has {
				mistakes = append(mistakes, document.Mistake{File: name, Line: d.Line, Column: d.Column, Text: fmt.Sprintf("view %q is also defined in %s: give one of them another name", d.Name, other)})
			}
			where[d.Name] = name
		}
		definitions = append(definitions, read...)
	}
	if len(mistakes) > 0 {
		return nil, usageError{fmt.Errorf("%s:\n%w", plural(int64(len(mistakes)), "mistake"), mistakes)}
	}
	return definitions, nil
}
