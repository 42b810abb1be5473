package source

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/schema"
)

// Level says how grave a finding is.
type Level string

// The levels, from what is right to what keeps a run from being exact or gentle.
const (
	OK      Level = "ok"
	Warning Level = "warning"
	Failure Level = "failure"
)

// Finding is one thing that Check looked at.
type Finding struct {
	Level    Level
	Sentence string
	// Mend are the lines that set it right: statements to run, or advice. Empty where nothing is wrong.
	Mend []string
}

// Report is what Check found, in the order it looked.
type Report []Finding

// Failed reports whether any finding is a failure.
func (r Report) Failed() bool { return r.count(Failure) > 0 }

// Warnings is the number of warnings.
func (r Report) Warnings() int { return r.count(Warning) }

// Failures is the number of failures.
func (r Report) Failures() int { return r.count(Failure) }

func (r Report) count(level Level) (count int) {
	for _, finding := range r {
		if finding.Level == level {
			count++
		}
	}
	return count
}

func (r *Report) addf(level Level, format string, arguments ...any) *Finding {
	*r = append(*r, Finding{Level: level, Sentence: fmt.Sprintf(format, arguments...)})
	return &(*r)[len(*r)-1]
}

// Check looks whether analytics.events is what runs need: its columns, the right to read it, an index on the instant,
// and a plan for a slice that reads no whole table. It only plans, and reads no event. A view written by hand is
// checked in the same way as one that Set made.
func Check(ctx context.Context, conn *postgres.DB, installation schema.Installation) (Report, error) {
	var report Report
	err := conn.Tx(ctx, func(tx pgx.Tx) error {
		// Plans are compared with text, so instants have to be written in one way.
		if _, err := tx.Exec(ctx, "SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO'"); err != nil {
			return fmt.Errorf("make settings: %w", err)
		}
		for _, step := range []func(context.Context, pgx.Tx) (Report, error){
			func(ctx context.Context, tx pgx.Tx) (Report, error) { return checkView(ctx, tx, installation) },
			checkRights, checkInstant, checkSlice, checkColumns,
		} {
			findings, err := step(ctx, tx)
			if err != nil {
				return err
			}
			report = append(report, findings...)
			if findings.Failed() && len(findings) == 1 || step == nil {
				return nil
			}
		}
		return nil
	})
	return report, err
}
