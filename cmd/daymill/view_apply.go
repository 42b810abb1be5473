package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/daymill/daymill/internal/config"
	"github.com/daymill/daymill/internal/document"
	"github.com/daymill/daymill/internal/view"
	"github.com/daymill/daymill/internal/view/definition"
)

type viewApplyCmd struct {
	File   string `name:"file" short:"f" placeholder:"FILE" help:"A file with definitions, or a folder of such files (.json, .yaml, .yml); the views of --config by default."`
	Config string `env:"DAYMILL_CONFIG" default:"daymill.yaml" placeholder:"FILE" help:"The file that names the databases; without it, only the database app is known."`
	DryRun bool   `help:"Print what would change, and change nothing."`
	JSON   bool   `name:"json" help:"Print JSON."`
}

// Run makes views match definitions.
func (c *viewApplyCmd) Run(ctx context.Context, a *app) error {
	file := &config.File{}
	if _, err := os.Stat(c.Config); err == nil {
		if file, err = readConfig(c.Config); err != nil {
			return err
		}
	} else if c.File == "" || c.Config != "daymill.yaml" {
		return usagef("there is no file %s: name a definition with --file", c.Config)
	}
	definitions := file.Views
	if c.File != "" {
		var err error
		if definitions, err = readDefinitions(c.File); err != nil {
			return err
		}
	}
	if len(definitions) == 0 {
		return usagef("%s has no definitions of views: write one as docs/views.md shows", cmpOr(c.File, c.Config))
	}
	engine, done, err := a.engine(ctx, file.Databases)
	if err != nil {
		return err
	}
	defer done()
	return a.applyViews(ctx, engine, definitions, c.DryRun, c.JSON)
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
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
	return engine.Apply(ctx, steps, whoOnCLI())
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

// readDefinitions reads a file, or all files of a folder, and returns all mistakes in them as one error of several lines.
func readDefinitions(name string) ([]definition.Definition, error) {
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, usagef("there is no file or folder %s", name)
	}
	if err != nil {
		return nil, usageError{fmt.Errorf("read definitions: %w", err)}
	}
	names := []string{name}
	if info.IsDir() {
		names = nil
		for _, pattern := range []string{"*.json", "*.yaml", "*.yml"} {
			found, err := filepath.Glob(filepath.Join(name, pattern))
			if err != nil {
				return nil, usageError{fmt.Errorf("read definitions: %w", err)}
			}
			names = append(names, found...)
		}
		slices.Sort(names)
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
