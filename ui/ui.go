// Package ui serves Daymill's pages and its HTTP API. Each folder is a noun: the pages about it (overview, date, job, backfill, entity, schedule,
// verification, doctor, alert, audit, capture, view, archive), the API, and the packages that they share:
//
//	page       a request's scope, the layout, links, errors
//	component  headings, badges, buttons, times, charts
//	calendar   a year of dates
//	door       users, tokens, hosts, origins, headers
//	help       what the words mean
//	static     the stylesheet, the scripts and the icon
//	format, reply
//
// Every page works without JavaScript: URLs have its state, and forms make changes. htmx only refreshes live parts. Templates get view structs
// and never access the database.
package ui

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/daymill/daymill/internal/alert"
	"github.com/daymill/daymill/internal/archive/standing"
	"github.com/daymill/daymill/internal/doctor"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/label"
	"github.com/daymill/daymill/internal/schema"
	"github.com/daymill/daymill/internal/telemetry"
	"github.com/daymill/daymill/internal/view"
	"github.com/daymill/daymill/internal/worker"
	alertpage "github.com/daymill/daymill/ui/alert"
	"github.com/daymill/daymill/ui/api"
	"github.com/daymill/daymill/ui/archive"
	"github.com/daymill/daymill/ui/attention"
	"github.com/daymill/daymill/ui/audit"
	"github.com/daymill/daymill/ui/backfill"
	"github.com/daymill/daymill/ui/calendar"
	"github.com/daymill/daymill/ui/capture"
	"github.com/daymill/daymill/ui/date"
	doctorpage "github.com/daymill/daymill/ui/doctor"
	"github.com/daymill/daymill/ui/door"
	"github.com/daymill/daymill/ui/entity"
	"github.com/daymill/daymill/ui/help"
	"github.com/daymill/daymill/ui/job"
	"github.com/daymill/daymill/ui/login"
	"github.com/daymill/daymill/ui/overview"
	"github.com/daymill/daymill/ui/page"
	"github.com/daymill/daymill/ui/reply"
	"github.com/daymill/daymill/ui/schedule"
	"github.com/daymill/daymill/ui/static"
	"github.com/daymill/daymill/ui/total"
	"github.com/daymill/daymill/ui/trend"
	"github.com/daymill/daymill/ui/verification"
	viewpage "github.com/daymill/daymill/ui/view"
)

// readyTimeout is how long the database may take to answer the readiness check.
const readyTimeout = 2 * time.Second

// Config configures the pages.
type Config struct {
	DB           *postgres.DB
	Installation schema.Installation
	// Jobs acts on River's jobs and queues.
	Jobs   *worker.Admin
	Logger *slog.Logger
	Clock  pace.Clock
	Access door.Access
	// SessionKey signs session cookies. It is the same in all web processes of an installation.
	SessionKey []byte
	// Listeners receive a signal for wrong credentials.
	Listeners telemetry.Listeners
	// BasePath is the path at which a proxy serves the pages, such as /daymill; empty at the root.
	BasePath string
	// Metrics serves /metrics to requests with Access.MetricsToken; nil for no metrics.
	Metrics http.Handler
	// Doctor examines the database; if nil, there is no page.
	Doctor func(ctx context.Context) doctor.Report
	// Views changes views; if nil, there are no pages of views, and the API cannot change them.
	Views *view.Engine
	// Alerts tests channels of alerts; if nil, there is no page.
	Alerts *alert.Keeper
	// Labels gives entities names and links; may be empty.
	Labels label.Source
	// Archive reads the archive; if nil, there is no page.
	Archive *standing.Source
	// Ready returns an error if the database cannot be reached or is not migrated. The error is only logged.
	Ready func(ctx context.Context) error
}

// section is a group of pages.
type section interface {
	// Places returns its entries of the navigation.
	Places() []page.Place
	// Route adds its pages to a mux.
	Route(mux *http.ServeMux)
}

// Handler returns the handler of all pages and of the API.
func Handler(config Config) http.Handler {
	files := static.Load()
	entrance := door.New(door.Config{
		Access: config.Access, BasePath: config.BasePath, Logger: config.Logger, Clock: config.Clock, Listeners: config.Listeners,
		SessionKey: config.SessionKey,
	})
	outage := telemetry.NewOutage(config.Logger)
	site := &page.Site{
		DB: config.DB, Installation: config.Installation, Jobs: config.Jobs, Logger: outage.Logger(), Outage: outage, Clock: config.Clock, BasePath: config.BasePath,
		Asset: files.Address(config.BasePath), Open: config.Access.Open(),
	}
	var examiner *doctor.Shared
	if config.Doctor != nil {
		examiner = &doctor.Shared{Look: config.Doctor, Clock: config.Clock}
	}
	finder := calendar.NewFinder(site)
	front := &overview.Pages{Site: site, Finder: finder, Archive: config.Archive}
	calls := (&api.API{Site: site, Door: entrance, Doctor: examiner, Views: config.Views, Archive: config.Archive, Judge: front.Judge}).Handler()
	root := http.NewServeMux()
	root.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { reply.Text(w, http.StatusOK, "ok\n") })
	root.HandleFunc("GET /readyz", ready(config.Ready))
	root.HandleFunc("GET /metrics", metrics(entrance, config.Metrics))
	root.Handle("GET /assets/", http.StripPrefix("/assets/", files))
	root.Handle("/api/", calls)
	root.Handle("/api", calls) // Without a pattern, a mux redirects, and out of the base path.
	root.Handle("GET /assets", http.NotFoundHandler())
	(&login.Pages{Site: site, Door: entrance}).Route(root)
	root.Handle("/", entrance.Authenticated(site.Scoped(pages(site, sections(site, front, examiner, config)))))
	return entrance.Recovered(door.Secured(entrance.Limited(entrance.Based(entrance.Hosted(entrance.SameOrigin(root))))))
}

// sections returns the pages, in the order of the navigation.
func sections(site *page.Site, front *overview.Pages, examiner *doctor.Shared, config Config) []section {
	finder := front.Finder
	return []section{
		front,
		&attention.Pages{Site: site},
		&date.Pages{Site: site, Finder: finder},
		&job.Pages{Site: site},
		&backfill.Pages{Site: site},
		&total.Pages{Site: site},
		&trend.Pages{Site: site},
		&entity.Pages{Site: site, Labels: config.Labels},
		&schedule.Pages{Site: site, Finder: finder},
		&verification.Pages{Site: site},
		&capture.Pages{Site: site},
		&viewpage.Pages{Site: site, Views: config.Views},
		&archive.Pages{Site: site, Archive: config.Archive},
		&doctorpage.Pages{Site: site, Doctor: examiner},
		&alertpage.Pages{Site: site, Alerts: config.Alerts},
		&audit.Pages{Site: site},
		&help.Pages{Site: site},
	}
}

// pages returns the handler of the pages behind the login.
func pages(site *page.Site, all []section) http.Handler {
	mux := http.NewServeMux()
	for _, one := range all {
		site.Places = append(site.Places, one.Places()...)
		one.Route(mux)
	}
	mux.Handle("/", site.Page(func(http.ResponseWriter, *http.Request) error { return page.ErrNotFound }))
	return mux
}

// ready returns the handler of the readiness check.
func ready(check func(ctx context.Context) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
		defer cancel()
		if err := check(ctx); err != nil {
			// The cause names hosts and users, so only the log has it.
			reply.Text(w, http.StatusServiceUnavailable, "not ready\n")
			return
		}
		reply.Text(w, http.StatusOK, "ready\n")
	}
}
