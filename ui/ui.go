// Package ui serves Daymill's pages and its HTTP API. Each page has a handler file and a template file of the same name:
// overview, dates, jobs, backfills, entities, schedule, verifications, doctor, audit. All pages share these files:
//
//	ui.go       the handler and its routes
//	secure.go   headers, hosts, origins, body sizes
//	access.go   users, tokens, and what each may change
//	guard.go    checks of credentials, and limits on failed ones
//	page.go     rendering of pages and errors
//	format.go   numbers, durations and times
//	layout.templ, parts.templ
//	assets/     the stylesheet, the scripts and the icon, served by the binary
//
// Every page works without JavaScript: URLs hold its state, forms make its changes. htmx only refreshes what changes. Templates get view structs
// and never access the database.
package ui

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/daymill/daymill/internal/doctor"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/schema"
	"github.com/daymill/daymill/internal/telemetry"
	"github.com/daymill/daymill/internal/worker"
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
	Access Access
	// Listeners receive wrong credentials.
	Listeners telemetry.Listeners
	// BasePath is the path at which a proxy serves the pages, such as /daymill; empty at the root.
	BasePath string
	// Metrics serves /metrics to requests with Access.MetricsToken; nil for no metrics.
	Metrics http.Handler
	// Doctor examines the database; nil for no such page.
	Doctor func(ctx context.Context) doctor.Report
	// Ready returns an error if the database cannot be reached or is not migrated. The error is only logged.
	Ready func(ctx context.Context) error
}

// site is the pages of one database.
type site struct {
	Config

	assets  assets
	guard   *guard
	missing *missing
	faults  *faults
	doctor  *doctor.Shared // nil if Config.Doctor is
}

// Handler returns the handler of all pages and of the API.
func Handler(config Config) http.Handler {
	s := &site{Config: config, assets: loadAssets(), guard: newGuard(config.Access, config.Clock, config.Listeners)}
	s.missing = newMissing(config)
	s.faults = &faults{Config: config}
	if config.Doctor != nil {
		s.doctor = &doctor.Shared{Look: config.Doctor, Clock: config.Clock}
	}
	root := http.NewServeMux()
	root.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, "ok\n") })
	root.HandleFunc("GET /readyz", s.readyz)
	root.HandleFunc("GET /metrics", s.metrics)
	root.Handle("GET /assets/", http.StripPrefix("/assets/", s.assets))
	root.Handle("/api/", s.routeAPI())
	root.Handle("/api", s.routeAPI()) // Without a pattern, a mux redirects, and out of the base path.
	root.Handle("GET /assets", http.NotFoundHandler())
	root.Handle("/", s.authenticated(s.scoped(s.routePages())))
	return s.recovered(secured(s.limited(s.based(s.hosted(s.sameOrigin(root))))))
}

// routePages returns the handler of the pages behind the login.
func (s *site) routePages() http.Handler {
	pages := http.NewServeMux()
	s.routeOverview(pages)
	s.routeDates(pages)
	s.routeJobs(pages)
	s.routeBackfills(pages)
	s.routeEntities(pages)
	s.routeSchedule(pages)
	s.routeVerifications(pages)
	s.routeDoctor(pages)
	s.routeAudit(pages)
	pages.Handle("/", s.page(func(http.ResponseWriter, *http.Request) error { return errNotFound }))
	return pages
}

func (s *site) readyz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	if err := s.Ready(ctx); err != nil {
		// The cause names hosts and users, so only the log has it.
		text(w, http.StatusServiceUnavailable, "not ready\n")
		return
	}
	text(w, http.StatusOK, "ready\n")
}
