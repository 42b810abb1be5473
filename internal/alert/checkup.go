package alert

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/doctor"
	"github.com/daymill/daymill/internal/text"
)

// overdue is how long a message may wait before that is a finding.
const overdue = 5 * time.Minute

// Checks returns the checks of alerts for [doctor.Config].
func Checks() []doctor.Check {
	return []doctor.Check{{ID: "alerts", Installed: true, Do: func(ctx context.Context, e *doctor.Examination, tx pgx.Tx) error {
		channels, err := List(ctx, tx)
		if err != nil {
			return err
		}
		if len(channels) == 0 {
			e.Addf(doctor.Note, "nobody is told when something is wrong: no channel of alerts is configured").
				Fixf("write alerts: into daymill.yaml, as docs/alerts.md shows, and run daymill apply")
			return nil
		}
		var well []string
		for _, one := range channels {
			if trouble := one.Trouble(e.Clock.Now()); trouble != "" {
				e.Addf(doctor.Warning, "%s", trouble).Fixf("daymill alert test %s", one.Name)
			} else {
				well = append(well, one.Name)
			}
		}
		if len(well) > 0 {
			e.Addf(doctor.OK, "alerts go to %s", strings.Join(well, ", "))
		}
		return nil
	}}}
}

// Trouble says in a sentence what keeps the messages of a channel from being sent; empty if nothing does.
func (s State) Trouble(now time.Time) string {
	switch {
	case s.Error != "" && s.FailedAt != nil:
		return "the latest message of the channel " + s.Name + " could not be sent and was given up: " + s.Error
	case s.Error != "":
		return "a message of the channel " + s.Name + " cannot be sent and is tried again: " + s.Error
	case s.Oldest != nil && now.Sub(*s.Oldest) > overdue:
		return "a message of the channel " + s.Name + " has been waiting for " + text.Duration(now.Sub(*s.Oldest)) +
			": run daymill web where the environment variables of its settings are set"
	default:
		return ""
	}
}
