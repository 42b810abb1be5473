// Package standing judges the state of views. Its checks are the views' contribution to package health.
package standing

import (
	"context"
	"fmt"
	"strings"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/health"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/text"
	"github.com/daymill/daymill/internal/view"
)

// Facts are what the checks are based on.
type Facts struct{ Views []db.ViewStandingRow }

// Read reads the facts.
func Read(ctx context.Context, conn *postgres.DB) (facts Facts, err error) {
	err = conn.Read(ctx, func(on postgres.DBTX) error {
		facts.Views, err = db.New(on).ViewStanding(ctx)
		return err
	})
	if err != nil {
		return facts, fmt.Errorf("read the state of views: %w", err)
	}
	return facts, nil
}

// Checks returns the checks of views.
func (f Facts) Checks() []health.Check {
	check := func(name string, rank health.Rank, level health.Level, judge func(v db.ViewStandingRow) (sentence, command string)) health.Check {
		return health.Check{Name: name, Rank: rank, Judge: func() (health.Finding, bool) {
			for _, v := range f.Views {
				if sentence, command := judge(v); sentence != "" {
					return health.Finding{Level: level, Sentence: sentence, Command: "daymill view " + command}, true
				}
			}
			return health.Finding{}, false
		}}
	}
	return []health.Check{
		check("view_failed", health.Broken, health.Bad, failed),
		check("view_differs", health.Broken, health.Bad, differs),
		check("view_drift", health.Broken, health.Bad, stopped),
		check("view_failing", health.Behind, health.Wait, failing),
		check("view_waiting", health.Behind, health.Wait, waiting),
		check("view_paused", health.Behind, health.Wait, paused),
	}
}

func failed(v db.ViewStandingRow) (sentence, command string) {
	if v.Failed == "" {
		return "", ""
	}
	if strings.HasPrefix(v.Failed, "verify: ") {
		return fmt.Sprintf("a task of view %s has failed: %s", v.Name, v.Failed), "verify " + v.Name
	}
	if strings.HasPrefix(v.Failed, "refresh: ") {
		return fmt.Sprintf("a task of view %s has failed: %s", v.Name, v.Failed), "verify --repair " + v.Name
	}
	return fmt.Sprintf("a task of view %s has failed: %s", v.Name, v.Failed), "rebuild " + v.Name
}

func differs(v db.ViewStandingRow) (sentence, command string) {
	if v.Differing <= 0 {
		return "", ""
	}
	return fmt.Sprintf("view %s differs from its SELECT in %s", v.Name, text.Plural(v.Differing, "key")), "verify --repair " + v.Name
}

func stopped(v db.ViewStandingRow) (sentence, command string) {
	if !v.IsPaused || v.OpenDrift == 0 {
		return "", ""
	}
	return fmt.Sprintf("view %s is paused until somebody decides: %s", v.Name, v.PausedBecause), "drift accept " + v.Name
}

func failing(v db.ViewStandingRow) (sentence, command string) {
	if v.Failing == "" || v.IsPaused {
		return "", ""
	}
	if (view.Task{Error: v.Failing}).Waits() {
		return fmt.Sprintf("a task of view %s waits: %s", v.Name, v.Failing), "show " + v.Name
	}
	return fmt.Sprintf("a task of view %s fails and will be retried: %s", v.Name, v.Failing), "show " + v.Name
}

func waiting(v db.ViewStandingRow) (sentence, command string) {
	if !v.IsWaiting || v.IsPaused {
		return "", ""
	}
	return fmt.Sprintf("no worker works on a task of view %s: start a worker", v.Name), "show " + v.Name
}

func paused(v db.ViewStandingRow) (sentence, command string) {
	if !v.IsPaused || v.OpenDrift > 0 {
		return "", ""
	}
	because := ""
	if v.PausedBecause != "" {
		because = ": " + v.PausedBecause
	}
	return fmt.Sprintf("view %s is paused, so its rows do not change%s", v.Name, because), "resume " + v.Name
}
