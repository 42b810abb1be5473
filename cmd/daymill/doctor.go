package main

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/daymill/daymill/internal/alert"
	archive "github.com/daymill/daymill/internal/archive/checkup"
	capture "github.com/daymill/daymill/internal/capture/checkup"
	"github.com/daymill/daymill/internal/doctor"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/checkup"
	"github.com/daymill/daymill/internal/schema"
	views "github.com/daymill/daymill/internal/view"
	view "github.com/daymill/daymill/internal/view/checkup"
	"github.com/daymill/daymill/internal/worker"
)

type doctorCmd struct {
	sourceOptions

	JSON bool `name:"json" help:"Print JSON."`
}

var errDoctor = errors.New("something keeps Daymill from working: see the failures above, and what fixes them")

// Run prints the findings, and fails if one of them is a failure.
func (c *doctorCmd) Run(ctx context.Context, a *app) error {
	db, err := a.open(ctx, "doctor")
	if err != nil {
		return err
	}
	defer db.Close()
	config := doctor.Config{DB: db, Clock: a.machineClock(), PoolSize: a.PoolSize, River: river(ctx, db), Health: a.findings(db), Checks: a.checks()}
	followers, closeAll := c.examined(ctx, a)
	defer closeAll()
	config.Followers = followers
	findings := doctor.Examine(ctx, config)
	if c.JSON {
		err = a.printJSON(findings)
	} else {
		a.printFindings(findings)
	}
	if err == nil && doctor.Failed(findings) {
		err = errDoctor
	}
	return err
}

// examiner returns the checks of the page Doctor, which use the connections of the web process. Their findings name no
// host, because users of the pages may not be allowed to know where the database is. Each check opens the followers.
func (a *app) examiner(db *postgres.DB, source sourceOptions) func(ctx context.Context) doctor.Report {
	logger := a.logger()
	return func(ctx context.Context) doctor.Report {
		config := doctor.Config{
			Checks: a.checks(),
			DB:     db, Clock: a.machineClock(), PoolSize: a.PoolSize, River: river(ctx, db), Health: a.findings(db), Discreet: true, Logger: logger,
		}
		followers, closeAll := source.examined(ctx, a)
		defer closeAll()
		config.Followers = followers
		return doctor.Look(ctx, config)
	}
}

// checks returns the checks of all capabilities.
func (a *app) checks() []doctor.Check {
	return slices.Concat(checkup.Checks(), capture.Checks(a.openElsewhere), view.Checks(func(db *postgres.DB) *views.Databases { return a.databases(db, nil) }),
		archive.Checks(a.archive), alert.Checks())
}

// openElsewhere opens a captured database other than the application's; false if its URL is not in the environment.
func (a *app) openElsewhere(ctx context.Context, name, variable string) (source *postgres.DB, known bool, err error) {
	source, _, err = a.openSource(ctx, nil, name, variable)
	if errors.Is(err, errNoVariable) {
		return nil, false, nil
	}
	return source, true, err
}

// river returns the versions of River's tables.
func river(ctx context.Context, db *postgres.DB) doctor.River {
	found := doctor.River{Schema: schema.DefaultRiverSchema}
	// If nothing is installed, the tables will be in the default schema.
	if installation, err := schema.Get(ctx, db); err == nil {
		found.Schema = installation.RiverSchema
	}
	found.Applied, found.Newest, found.Err = worker.RiverVersions(ctx, db.Pool, found.Schema)
	return found
}

func (a *app) printFindings(findings []doctor.Finding) {
	for _, f := range findings {
		a.printf("%-8s %-13s %s\n", f.Level, f.ID, oneLine(f.Sentence))
		if f.Fix != "" && f.Level != doctor.OK {
			a.printf("%s%s\n", strings.Repeat(" ", 23), f.Fix)
		}
	}
}
