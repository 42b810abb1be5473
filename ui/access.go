package ui

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/daymill/daymill/internal/pace"
)

// The users there are.
const (
	adminUser  = "admin"
	viewerUser = "viewer"
)

// Access says who may come in. A secret that is empty lets nobody in.
type Access struct {
	AdminPassword  string // of user admin, who may do everything
	ViewerPassword string // of user viewer, who may look
	APIToken       string // bearer token of the API
	CronSecret     string // bearer token of the schedulers that call /api/cron/…
	MetricsToken   string // bearer token of /metrics
}

// Open reports whether no password is set. The pages are then for this machine only, and whoever is on it is the admin.
func (a Access) Open() bool { return a.AdminPassword == "" && a.ViewerPassword == "" }

// Failures are throttled per client, and over all clients for those that pretend to be many.
const (
	failuresPerClient = 10 // at once, and then one every six seconds
	failuresOfAll     = 100
	clientsKept       = 10_000
)

// guard checks credentials.
type guard struct {
	access Access
	clock  pace.Clock

	mu      sync.Mutex
	clients map[string]*rate.Limiter // of failures
	all     *rate.Limiter
}

func newGuard(access Access, clock pace.Clock) *guard {
	return &guard{
		access: access, clock: clock,
		clients: make(map[string]*rate.Limiter), all: rate.NewLimiter(rate.Every(time.Second), failuresOfAll),
	}
}

// equal compares in constant time, whatever the lengths.
func equal(given, wanted string) bool {
	a, b := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(wanted))
	return wanted != "" && subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// user returns who the credentials belong to; empty where they are wrong.
func (g *guard) user(name, password string) string {
	admin := equal(password, g.access.AdminPassword)
	viewer := equal(password, g.access.ViewerPassword)
	switch {
	case name == adminUser && admin:
		return adminUser
	case name == viewerUser && viewer:
		return viewerUser
	default:
		return ""
	}
}

// throttled reports whether a client has failed too often to be heard at all.
func (g *guard) throttled(client string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.clock.Now()
	limiter := g.clients[client]
	return limiter != nil && limiter.TokensAt(now) < 1 || g.all.TokensAt(now) < 1
}

// failed counts a failure.
func (g *guard) failed(client string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.clock.Now()
	limiter := g.clients[client]
	if limiter == nil {
		if len(g.clients) >= clientsKept {
			clear(g.clients) // The limit over all still holds.
		}
		limiter = rate.NewLimiter(rate.Every(6*time.Second), failuresPerClient)
		g.clients[client] = limiter
	}
	limiter.AllowN(now, 1)
	g.all.AllowN(now, 1)
}

// clientOf is who is at the other end, as far as one can know: a platform's proxy appends the address it has seen.
func clientOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	forwarded := r.Header.Values("X-Forwarded-For")
	if len(forwarded) == 0 {
		return host
	}
	last := forwarded[len(forwarded)-1]
	return host + " " + strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:])
}

// basic returns the user of a request's basic credentials. Where it returns false, it has answered.
func (s *site) basic(w http.ResponseWriter, r *http.Request) (string, bool) {
	if s.Access.Open() {
		return adminUser, true
	}
	client := clientOf(r)
	if s.guard.throttled(client) {
		w.Header().Set("Retry-After", "60")
		text(w, http.StatusTooManyRequests, "Too many wrong passwords: wait a minute.\n")
		return "", false
	}
	name, password, given := r.BasicAuth()
	if user := s.guard.user(name, password); user != "" {
		return user, true
	}
	if given {
		s.guard.failed(client)
	}
	w.Header().Set("WWW-Authenticate", `Basic realm="Daymill", charset="UTF-8"`)
	text(w, http.StatusUnauthorized, "Daymill wants a user (admin or viewer) and a password.\n")
	return "", false
}

// mayChange reports whether a user may do what a request asks.
func mayChange(user string, r *http.Request) bool {
	return user != viewerUser || r.Method == http.MethodGet || r.Method == http.MethodHead
}

// authenticated lets users in, and viewers look.
func (s *site) authenticated(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, ok := s.basic(w, r)
		if !ok {
			return
		}
		if !mayChange(user, r) {
			text(w, http.StatusForbidden, "The viewer may look, and not change anything: log in as admin.\n")
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), userKey{}, user)))
	})
}

type userKey struct{}

// userOf is who asked; empty where nobody was authenticated.
func userOf(ctx context.Context) string {
	user, _ := ctx.Value(userKey{}).(string)
	return user
}
