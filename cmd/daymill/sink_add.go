package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/plan"
	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/config"
	"github.com/daymill/daymill/internal/postgres"
)

type sinkAddCmd struct {
	sinkName

	Settings []string `arg:"" name:"setting" help:"Settings as in daymill.yaml: kind=webhook url='$$EVENTS_URL' tables=public.orders. A value is YAML, so a list is '[a, b]'."`
}

// Run adds a sink without a file.
func (c *sinkAddCmd) Run(ctx context.Context, a *app) error {
	db, _, err := a.openInstalled(ctx, "sink")
	if err != nil {
		return err
	}
	defer db.Close()
	file, err := c.file(ctx, db)
	if err != nil {
		return err
	}
	var made plan.Plan
	err = db.Tx(ctx, func(tx pgx.Tx) error {
		if made, err = plan.Make(ctx, tx, file.Wanted, plan.Options{}); err != nil {
			return err
		}
		made = made.Of(c.Name)
		if made[0].Verb != plan.Create {
			return usagef("the sink %s already exists: `daymill sink show %s` shows its settings, and `daymill apply` changes them", c.Name, c.Name)
		}
		return made.Apply(ctx, tx, captureLog{}, whoOnCLI())
	})
	if err != nil {
		return err
	}
	a.printf("sink %s is added: %s\n", c.Name, made[0].Why)
	a.noteSinks(ctx, db, file)
	return nil
}

// file returns the daymill.yaml that would define the sink. It returns all mistakes as one error of several lines.
func (c *sinkAddCmd) file(ctx context.Context, db *postgres.DB) (*config.File, error) {
	var text strings.Builder
	names, err := stream.Names(ctx, db)
	if err != nil {
		return nil, err
	}
	text.WriteString("databases:\n  " + config.App + ": $DATABASE_URL\n")
	for _, name := range names {
		if name == config.App {
			continue
		}
		there, err := stream.Get(ctx, db, name)
		if err != nil {
			return nil, err
		}
		text.WriteString("  " + name + ": " + there.URL + "\n")
	}
	fmt.Fprintf(&text, "sinks:\n- name: %q\n", c.Name)
	for _, setting := range c.Settings {
		name, value, has := strings.Cut(setting, "=")
		if !has || strings.ContainsAny(setting, "\r\n") {
			return nil, usagef("%q is not a setting: write it as name=value, such as kind=webhook", setting)
		}
		text.WriteString("  " + name + ": " + value + "\n")
	}
	file, err := config.Parse("", []byte(text.String()))
	if mistakes := config.Mistakes(err); len(mistakes) > 0 {
		return nil, usageError{errors.New(strings.Join(mistakes, "\n"))}
	}
	return file, err
}
