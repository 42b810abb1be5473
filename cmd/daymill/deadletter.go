package main

import (
	"context"
	"errors"
	"text/tabwriter"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/capture/consumer"
	"github.com/daymill/daymill/internal/capture/report"
)

type deadletterCmd struct {
	List    deadletterListCmd    `cmd:"" help:"List changes that a sink refused, and changes that wait behind them."`
	Show    deadletterShowCmd    `cmd:"" help:"Show a dead letter, with its change and the sink's answer."`
	Replay  deadletterReplayCmd  `cmd:"" help:"Deliver the changes of a key again, in order."`
	Discard deadletterDiscardCmd `cmd:"" help:"Delete dead letters: the sink never receives them."`
}

type deadletterListCmd struct {
	Sink  string `arg:"" optional:"" help:"The sink's name; all by default."`
	After int64  `placeholder:"POSITION" help:"List dead letters after this position. A list has at most a thousand."`
	JSON  bool   `name:"json" help:"Print JSON."`
}

// Run lists dead letters.
func (c *deadletterListCmd) Run(ctx context.Context, a *app) error {
	db, _, err := a.openInstalled(ctx, "deadletter")
	if err != nil {
		return err
	}
	defer db.Close()
	letters, err := consumer.Letters(ctx, db, c.Sink, c.After)
	if err != nil {
		return err
	}
	if c.JSON {
		reports := make([]report.Letter, len(letters))
		for i, l := range letters {
			reports[i] = report.OfLetter(l)
		}
		return a.printJSON(reports)
	}
	if len(letters) == 0 {
		a.printf("there are no dead letters\n")
		return nil
	}
	table := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	a.tablef(table, "SINK\tPOSITION\tSTATE\tKEY\tATTEMPTS\tREASON\n")
	for _, l := range letters {
		a.tablef(table, "%s\t%d\t%s\t%s\t%d\t%s\n", l.Consumer, l.Position, l.State, l.Key, l.Attempts, l.Reason)
	}
	return table.Flush()
}

type deadletterShowCmd struct {
	Sink     string `arg:"" help:"The sink's name."`
	Position int64  `arg:"" help:"The change's position."`
	JSON     bool   `name:"json" help:"Print JSON."`
}

// Run shows one dead letter.
func (c *deadletterShowCmd) Run(ctx context.Context, a *app) error {
	db, installation, err := a.openInstalled(ctx, "deadletter")
	if err != nil {
		return err
	}
	defer db.Close()
	l, err := consumer.GetLetter(ctx, db, c.Sink, c.Position)
	if err != nil {
		return noLetter(err)
	}
	letter := report.OfLetter(l)
	letter.Change = &l.Change
	if c.JSON {
		return a.printJSON(letter)
	}
	table := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	a.tablef(table, "sink\t%s\nposition\t%d\nkey\t%s\nstate\t%s\nsince\t%s\nattempts\t%d\nreason\t%s\n", l.Consumer, l.Position, l.Key, l.State,
		l.CreatedAt.In(installation.Zone).Format("2006-01-02 15:04:05 MST"), l.Attempts, l.Reason)
	if l.Answer != "" {
		a.tablef(table, "answer\t%s\n", l.Answer)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	return a.printJSON(letter.Change)
}

type letterSelection struct {
	Sink      string  `arg:"" help:"The sink's name."`
	Positions []int64 `arg:"" optional:"" name:"position" help:"Positions of dead letters."`
	All       bool    `help:"All dead letters of the sink."`
}

type (
	deadletterReplayCmd  struct{ letterSelection }
	deadletterDiscardCmd struct{ letterSelection }
)

// Run requests that dead letters are delivered again.
func (c *deadletterReplayCmd) Run(ctx context.Context, a *app) error {
	return c.change(ctx, a, "will be delivered again, in order, by a worker", consumer.Replay)
}

// Run deletes dead letters.
func (c *deadletterDiscardCmd) Run(ctx context.Context, a *app) error {
	return c.change(ctx, a, "discarded", consumer.Discard)
}

func (c letterSelection) change(
	ctx context.Context, a *app, done string,
	change func(ctx context.Context, tx pgx.Tx, name string, positions []int64, who audit.Who) (int64, error),
) error {
	switch {
	case c.All && len(c.Positions) > 0:
		return usagef("positions and --all are both given: give positions, or --all for all of the sink")
	case !c.All && len(c.Positions) == 0:
		return usagef("no dead letters are given: give positions, or --all for all of the sink")
	}
	db, _, err := a.openInstalled(ctx, "deadletter")
	if err != nil {
		return err
	}
	defer db.Close()
	var count int64
	err = db.Tx(ctx, func(tx pgx.Tx) error {
		count, err = change(ctx, tx, c.Sink, c.Positions, whoOnCLI())
		return err
	})
	if err != nil {
		return noLetter(err)
	}
	a.printf("%s %s\n", plural(count, "dead letter"), done)
	return nil
}

func noLetter(err error) error {
	if errors.Is(err, consumer.ErrNoLetter) {
		return usageError{err}
	}
	return err
}
