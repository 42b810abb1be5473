// Package api serves the HTTP API: JSON for machines, with the errors of RFC 9457.
package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/daymill/daymill/internal/archive/standing"
	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/doctor"
	"github.com/daymill/daymill/internal/view"
	"github.com/daymill/daymill/internal/worker/verdict"
	"github.com/daymill/daymill/ui/door"
	"github.com/daymill/daymill/ui/page"
)

// errMayNotErase says which credentials may erase.
var errMayNotErase = apiError{http.StatusForbidden, "This token may not erase metrics: use the DAYMILL_ERASE_TOKEN of the web process, or log in as admin."}

// apiTimeout is the longest time a call may take.
const apiTimeout = 10 * time.Second

// errAPITimeout is the cause of a call's context when the call takes too long.
var errAPITimeout = context.DeadlineExceeded

// apiAccess says who may make a call.
type apiAccess int

const (
	byUser   apiAccess = iota // callers with the token, and users of the pages; viewers may only look
	byCron                    // callers with the cron secret
	byAnyone                  // everybody: the answer is public
)

// API is the API of one database.
type API struct {
	*page.Site

	Door *door.Door
	// Views works on views; nil if the process does not.
	Views *view.Engine
	// Archive reads the archive; nil if the process was given none.
	Archive *standing.Source
	// Judge reads the state of the installation and judges it.
	Judge func(ctx context.Context, today date.Date) (verdict.Verdict, error)
	// Doctor examines the database; nil for no such call.
	Doctor *doctor.Shared
}

// apiRoute is one call of the API. A test checks that openapi.json describes every one.
type apiRoute struct {
	method, path string
	access       apiAccess
	handle       func(w http.ResponseWriter, r *http.Request) error
}

func (s *API) apiRoutes() []apiRoute {
	return append(s.viewRoutes(), []apiRoute{
		{http.MethodGet, "/api/archive", byUser, s.apiShowArchive},
		{http.MethodPost, "/api/archive/bases", byUser, s.apiRequestBase},
		{http.MethodPost, "/api/archive/proofs", byUser, s.apiRequestProof},
		{http.MethodGet, "/api/backfills", byUser, s.apiListBackfills},
		{http.MethodPost, "/api/backfills", byUser, s.apiStartBackfill},
		{http.MethodGet, "/api/backfills/{id}", byUser, s.apiShowBackfill},
		{http.MethodPost, "/api/backfills/{id}/cancel", byUser, s.apiCancelBackfill},
		{http.MethodPost, "/api/backfills/{id}/pause", byUser, s.apiPauseBackfill},
		{http.MethodPost, "/api/backfills/{id}/resume", byUser, s.apiResumeBackfill},
		{http.MethodGet, "/api/changes", byUser, s.apiListChanges},
		{http.MethodGet, "/api/changes/{database}/{id}", byUser, s.apiShowChange},
		{http.MethodGet, "/api/consumers", byUser, s.apiListConsumers},
		{http.MethodGet, "/api/consumers/{name}", byUser, s.apiShowConsumer},
		{http.MethodPut, "/api/consumers/{name}", byUser, s.apiPutConsumer},
		{http.MethodDelete, "/api/consumers/{name}", byUser, s.apiRemoveConsumer},
		{http.MethodPost, "/api/consumers/{name}/ack", byUser, s.apiAckChanges},
		{http.MethodGet, "/api/consumers/{name}/deadletters", byUser, s.apiListLetters},
		{http.MethodPost, "/api/consumers/{name}/deadletters/discard", byUser, s.apiDiscardLetters},
		{http.MethodPost, "/api/consumers/{name}/deadletters/replay", byUser, s.apiReplayLetters},
		{http.MethodGet, "/api/consumers/{name}/deadletters/{id}", byUser, s.apiShowLetter},
		{http.MethodPost, "/api/consumers/{name}/pause", byUser, s.apiPauseConsumer},
		{http.MethodPost, "/api/consumers/{name}/poll", byUser, s.apiPollChanges},
		{http.MethodPost, "/api/consumers/{name}/resume", byUser, s.apiResumeConsumer},
		{http.MethodPost, "/api/consumers/{name}/rewind", byUser, s.apiRewindConsumer},
		{http.MethodPost, "/api/consumers/{name}/snapshot", byUser, s.apiSnapshotConsumer},
		{http.MethodGet, "/api/cron/daily-rollup", byCron, s.apiDailyRollup},
		{http.MethodGet, "/api/dates", byUser, s.apiListDates},
		{http.MethodGet, "/api/deadletters", byUser, s.apiListGroups},
		{http.MethodGet, "/api/doctor", byUser, s.apiExamine},
		{http.MethodGet, "/api/entities", byUser, s.apiListTop},
		{http.MethodGet, "/api/entities/{id}/metrics", byUser, s.apiShowMetrics},
		{http.MethodGet, "/api/jobs", byUser, s.apiListJobs},
		{http.MethodPost, "/api/jobs/cancel", byUser, s.apiCancelJobs},
		{http.MethodPost, "/api/jobs/delete", byUser, s.apiDeleteJobs},
		{http.MethodPost, "/api/jobs/retry", byUser, s.apiRetryJobs},
		{http.MethodGet, "/api/jobs/{id}", byUser, s.apiShowJob},
		{http.MethodDelete, "/api/jobs/{id}", byUser, s.apiDeleteJob},
		{http.MethodPost, "/api/jobs/{id}/cancel", byUser, s.apiCancelJob},
		{http.MethodPost, "/api/jobs/{id}/retry", byUser, s.apiRetryJob},
		{http.MethodGet, "/api/openapi.json", byAnyone, s.apiDescribe},
		{http.MethodGet, "/api/queues", byUser, s.apiListQueues},
		{http.MethodPost, "/api/queues/{name}/pause", byUser, s.apiPauseQueue},
		{http.MethodPost, "/api/queues/{name}/resume", byUser, s.apiResumeQueue},
		{http.MethodPost, "/api/rollups", byUser, s.apiRequestDates},
		{http.MethodGet, "/api/schedules", byUser, s.apiListSchedules},
		{http.MethodPost, "/api/schedules/daily_rollup/pause", byUser, s.apiPauseSchedule},
		{http.MethodPost, "/api/schedules/daily_rollup/resume", byUser, s.apiResumeSchedule},
		{http.MethodPost, "/api/schedules/daily_rollup/run", byUser, s.apiRunSchedule},
		{http.MethodGet, "/api/snapshots", byUser, s.apiListSnapshots},
		{http.MethodPost, "/api/snapshots/{id}", byUser, s.apiChangeSnapshot},
		{http.MethodGet, "/api/status", byUser, s.apiShowStatus},
		{http.MethodGet, "/api/streams", byUser, s.apiListStreams},
		{http.MethodPut, "/api/streams/{database}", byUser, s.apiPutStream},
		{http.MethodGet, "/api/totals", byUser, s.apiShowTotals},
		{http.MethodGet, "/api/trends", byUser, s.apiShowTrends},
		{http.MethodGet, "/api/verifications", byUser, s.apiListVerifications},
		{http.MethodPost, "/api/verifications", byUser, s.apiVerify},
	}...)
}

// Handler returns the handler of the HTTP API. It checks credentials itself and returns every error as a problem.
func (s *API) Handler() http.Handler {
	mux := http.NewServeMux()
	byPath := make(map[string][]apiRoute)
	for _, route := range s.apiRoutes() {
		byPath[route.path] = append(byPath[route.path], route)
	}
	for path, routes := range byPath {
		mux.Handle(path, s.api(routes))
	}
	mux.Handle("/", s.api(nil))
	return s.Door.Recovered(mux)
}

// api returns the handler for one path and its routes, which may be none.
func (s *API) api(routes []apiRoute) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		access, limit := byUser, apiTimeout
		if len(routes) > 0 {
			access, limit = routes[0].access, routes[0].limit()
		}
		ctx, cancel := context.WithTimeout(r.Context(), limit)
		defer cancel()
		r = r.WithContext(ctx)
		who, err := s.apiUser(w, r, access)
		if err != nil {
			s.failAPI(w, r, err)
			return
		}
		method := r.Method
		if method == http.MethodHead && access != byCron { // HEAD counts as GET, but not for cron calls, whose GET changes something.
			method = http.MethodGet
		}
		at := slices.IndexFunc(routes, func(route apiRoute) bool { return route.method == method })
		switch {
		case len(routes) == 0:
			err = apiError{http.StatusNotFound, "There is nothing at this address. See /api/openapi.json."}
		case at < 0:
			w.Header().Set("Allow", allowed(routes))
			err = apiError{http.StatusMethodNotAllowed, "This address accepts " + allowed(routes) + "."}
		case !who.May(area(r.URL.Path)):
			err = apiError{http.StatusForbidden, "This token may only call " + strings.ReplaceAll(who.Only, ",", ", ") + "."}
		case !door.MayChange(who, r):
			err = apiError{http.StatusForbidden, "A viewer may not change anything. Use the token, or log in as admin."}
		default:
			err = s.once(w, r.WithContext(door.WithIdentity(ctx, who)), routes[at])
		}
		if err != nil {
			s.failAPI(w, r, err)
			return
		}
		s.Answered(ctx)
	})
}

// allowed lists the methods that a path accepts, for the header Allow.
func allowed(routes []apiRoute) string {
	var methods []string
	for _, route := range routes {
		methods = append(methods, route.method)
		if route.method == http.MethodGet && route.access != byCron {
			methods = append(methods, http.MethodHead)
		}
	}
	return strings.Join(methods, ", ")
}

// apiUser returns the user who makes a call, or an error if the call is not allowed.
func (s *API) apiUser(w http.ResponseWriter, r *http.Request, access apiAccess) (door.Identity, error) {
	switch {
	case access == byAnyone:
		return door.Identity{}, nil
	case access == byCron && s.Door.Access.CronSecret == "":
		return door.Identity{}, apiError{http.StatusServiceUnavailable, "No scheduler may call this: set CRON_SECRET for the web process."}
	case access == byUser && s.Door.Access.Open():
		return door.Identity{Name: door.AdminUser, Role: door.Admin}, nil // Only this machine can reach it: see hosted.
	}
	who, came := s.credentials(r, access)
	switch came {
	case door.Right:
		return who, nil
	case door.Throttled:
		w.Header().Set("Retry-After", door.RetryAfter)
		return door.Identity{}, apiError{http.StatusTooManyRequests, "Too many wrong credentials: wait a few seconds and try again."}
	default:
	}
	w.Header().Set("WWW-Authenticate", `Bearer realm="Daymill"`)
	if access == byCron {
		return door.Identity{}, apiError{http.StatusUnauthorized, "Send the header Authorization: Bearer, and the CRON_SECRET of the web process."}
	}
	return door.Identity{}, apiError{
		http.StatusUnauthorized,
		"Send the header Authorization: Bearer, and the DAYMILL_API_TOKEN of the web process; or the user and password of the pages.",
	}
}

// credentials returns the user that a call's credentials belong to.
func (s *API) credentials(r *http.Request, access apiAccess) (door.Identity, door.Outcome) {
	if access == byCron {
		return door.Identity{Name: audit.ViaCron, Role: door.Editor}, s.Door.Token(r, door.CronCredential, s.Door.Access.CronSecret)
	}
	if _, _, is := r.BasicAuth(); is {
		return s.Door.Basic(r)
	}
	return s.Door.Bearer(r)
}

// Areas returns the first parts of the API's paths, without those that need no token of the API.
func Areas() (areas []string) {
	for _, route := range (&API{}).apiRoutes() {
		if one := area(route.path); route.access == byUser && !slices.Contains(areas, one) {
			areas = append(areas, one)
		}
	}
	slices.Sort(areas)
	return areas
}

// area returns the first part of a path of the API.
func area(path string) string {
	one, _, _ := strings.Cut(strings.TrimPrefix(path, "/api/"), "/")
	return one
}

// apiID returns the number in a call's path.
func apiID(r *http.Request, noun string) (int64, error) {
	id, err := page.PathID(r)
	if errors.Is(err, page.ErrNotFound) {
		return 0, apiError{http.StatusNotFound, "There is no such " + noun + "."}
	}
	return id, err
}
