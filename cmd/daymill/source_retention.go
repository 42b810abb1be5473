package main

import (
	"context"
	"fmt"
	"time"

	"github.com/daymill/daymill/internal/rollup/source"
)

// days is a duration that is usually given in days: 90d, 2160h, or 0.
type days time.Duration

// UnmarshalText parses 90d, or a duration of package time.
func (d *days) UnmarshalText(text []byte) error {
	parsed, err := parseDuration(string(text))
	if err == nil {
		*d = days(parsed)
	}
	return err
}

// String returns whole days as 90d, and other durations as package time does.
func (d days) String() string {
	const day = days(24 * time.Hour)
	if d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	return time.Duration(d).String()
}

type sourceRetentionCmd struct {
	Retention *days `arg:"" optional:"" name:"duration" help:"How long the application keeps events, such as 90d or 2160h; 0 means forever. Without it, the command prints the current setting."`
}

// Run records how long events are kept, or prints it.
func (c *sourceRetentionCmd) Run(ctx context.Context, a *app) error {
	db, _, err := a.openInstalled(ctx, "source retention")
	if err != nil {
		return err
	}
	defer db.Close()
	if c.Retention != nil {
		if err := source.SetRetention(ctx, db, time.Duration(*c.Retention), whoOnCLI()); err != nil {
			return refused(err)
		}
	}
	retention, err := source.Retention(ctx, db)
	if err != nil {
		return err
	}
	if retention == 0 {
		a.printf("no retention is recorded: sweeps such as the daily job leave a date unchanged if it has lost events\n")
		return nil
	}
	a.printf("events are kept for %s: metrics of dates that begin earlier stay unchanged\n", days(retention))
	return nil
}
