// Package ui is what Daymill shows in a browser, and its HTTP API. Each page has one handler file and one template file
// of its name: overview, dates, jobs, backfills, entities, schedule,
// verifications, doctor, audit. What every page shares is here:
//
//	ui.go       the handler and its routes
//	secure.go   headers, hosts, origins, body sizes
//	access.go   who may come in, and who may change something
//	guard.go    credentials, and who has given wrong ones too often
//	page.go     how a page is rendered, and how a mistake is shown
//	format.go   numbers, durations and times as people read them
//	layout.templ, parts.templ
//	assets/     the stylesheet, the scripts and the icon, served by the binary
//
// Every page works without JavaScript: its state is in the URL, its changes are forms. htmx only refreshes what moves.
// Templates get view structs, and never see the database.
package ui

import (
	"context"
	"io"
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

// readyTimeout is how long the database may take to say that it is there.
const readyTimeout = 2 * time.Second

// Config is what the pages work with.
type Config struct {
	DB           *postgres.DB
	Installation schema.Installation
	// Jobs is what the pages do to River's jobs and queues.
	Jobs   *worker.Admin
	Logger *slog.Logger
	Clock  pace.Clock
	Access Access
	// Listeners are told of wrong credentials.
	Listeners telemetry.Listeners
	// BasePath is where a proxy has put the pages, such as /daymill; empty at the root.
	BasePath string
	// Metrics answers /metrics to whoever has Access.MetricsToken; nobody where nil.
	Metrics http.Handler
	// Doctor examines the database; there is no page of it where nil.
	Doctor func(ctx context.Context) doctor.Report
	// Ready says whether the database can be reached and is migrated. Its cause is for the log.
	Ready func(ctx context.Context) error
}

// site is the pages over one database.
type site struct {
	Config

	assets  assets
	guard   *guard
	missing *missing
	faults  *faults
	doctor  *doctor.Shared // nil where Config.Doctor is
}

// Handler returns the handler of every page.
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
	root.Handle("/api", s.routeAPI()) // Where a pattern is missing, a mux redirects, and out of the base path.
	root.Handle("GET /assets", http.NotFoundHandler())
	root.Handle("/", s.authenticated(s.scoped(s.routePages())))
	return s.recovered(secured(s.limited(s.based(s.hosted(s.sameOrigin(root))))))
}

// routePages are the pages, for those who are let in.
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
		// The cause names hosts and users; it is in the log.
		text(w, http.StatusServiceUnavailable, "not ready\n")
		return
	}
	text(w, http.StatusOK, "ready\n")
}

func text(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body) // Whoever asked has gone.
}
