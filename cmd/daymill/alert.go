package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"github.com/daymill/daymill/internal/alert"
	"github.com/daymill/daymill/internal/alert/channel"
	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/telemetry"
)

type alertCmd struct {
	List alertListCmd `cmd:"" help:"List the channels, what is wrong, and whether messages are sent."`
	Test alertTestCmd `cmd:"" help:"Send a test to a channel, or to all, from this process."`
}

type alertListCmd struct {
	JSON bool `name:"json" help:"Print JSON."`
}

type alertTestCmd struct {
	Name string `arg:"" optional:"" help:"The channel; all if none is given."`
}

// keeper returns what looks and sends. Metrics may be nil.
func (a *app) keeper(db *postgres.DB, metrics *metrics) *alert.Keeper {
	listeners := telemetry.Listeners{telemetry.Log{Logger: a.logger()}}
	if metrics != nil {
		listeners = metrics.access
	}
	return &alert.Keeper{
		DB: db, Findings: a.findings(db), Listeners: listeners, Env: channel.Environment{Lookup: os.LookupEnv, Clock: a.machineClock()},
	}
}

// alerting tells people what is wrong until stop is called.
func (a *app) alerting(ctx context.Context, db *postgres.DB, metrics *metrics) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		a.keeper(db, metrics).Run(ctx)
	}()
	return func() {
		cancel()
		<-ended
	}
}

// channelReport is a channel as `alert list` reports it.
type channelReport struct {
	Name    string     `json:"name"`
	Kind    string     `json:"kind"`
	Level   string     `json:"level"`
	SentAt  *time.Time `json:"sent_at"`
	Waiting int64      `json:"waiting"`
	Trouble string     `json:"trouble,omitempty"`
}

// alertReport is what `alert list` reports.
type alertReport struct {
	Channels []channelReport `json:"channels"`
	Alerts   []channel.Alert `json:"alerts"` // those that last first
}

// Run lists channels and alerts.
func (c *alertListCmd) Run(ctx context.Context, a *app) error {
	db, _, err := a.openInstalled(ctx, "alert list")
	if err != nil {
		return err
	}
	defer db.Close()
	channels, err := alert.List(ctx, db)
	if err != nil {
		return err
	}
	alerts, err := alert.Alerts(ctx, db)
	if err != nil {
		return err
	}
	report := alertReport{Channels: []channelReport{}, Alerts: []channel.Alert{}}
	for _, one := range channels {
		report.Channels = append(report.Channels, channelReport{one.Name, one.Kind, string(one.Level), one.SentAt, one.Waiting, one.Trouble(a.clock().Now())})
	}
	for _, one := range alerts {
		report.Alerts = append(report.Alerts, one.Alert)
	}
	if c.JSON {
		return a.printJSON(report)
	}
	if len(report.Channels) == 0 {
		a.printf("nobody is told when something is wrong: write alerts: into daymill.yaml, as docs/alerts.md shows, and run `daymill apply`\n")
	}
	table := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	for _, one := range report.Channels {
		said := "nothing was sent yet"
		if one.SentAt != nil {
			said = "last sent " + one.SentAt.UTC().Format(time.RFC3339)
		}
		if one.Trouble != "" {
			said = oneLine(one.Trouble)
		}
		a.tablef(table, "%s\t%s\t%s\t%s\n", one.Name, one.Kind, one.Level, said)
	}
	for _, one := range report.Alerts {
		until := "still"
		if one.EndedAt != nil {
			until = one.EndedAt.UTC().Format(time.RFC3339)
		}
		a.tablef(table, "%s\t%s\t%s\t%s\n", one.BeganAt.UTC().Format(time.RFC3339), until, one.Level, oneLine(one.Sentence))
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print the list: %w", err)
	}
	return nil
}

// Run sends a test to each channel, and fails if one cannot be sent.
func (c *alertTestCmd) Run(ctx context.Context, a *app) error {
	db, _, err := a.openInstalled(ctx, "alert test")
	if err != nil {
		return err
	}
	defer db.Close()
	names := []string{c.Name}
	if c.Name == "" {
		channels, err := alert.List(ctx, db)
		if err != nil {
			return err
		}
		names = nil
		for _, one := range channels {
			names = append(names, one.Name)
		}
		if len(names) == 0 {
			return usagef("there is no channel: write alerts: into daymill.yaml, as docs/alerts.md shows, and run `daymill apply`")
		}
	}
	keeper := a.keeper(db, nil)
	keeper.Listeners = telemetry.Listeners{telemetry.Log{Logger: a.logger(), Quiet: true}}
	var failures []error
	for _, name := range names {
		switch err := keeper.Test(ctx, name, audit.Who{Actor: userName(), Via: audit.ViaCLI}); {
		case errors.Is(err, alert.ErrNone), errors.Is(err, alert.ErrTested):
			failures = append(failures, usageError{fmt.Errorf("%s: %w", name, err)})
		case err != nil:
			failures = append(failures, fmt.Errorf("%s: %w", name, err))
		default:
			a.printf("sent a test to %s\n", name)
		}
	}
	return errors.Join(failures...)
}
