package ui

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"
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
	EraseToken     string // bearer token of the API that may erase metrics as well
	CronSecret     string // bearer token of the schedulers that call /api/cron/…
	MetricsToken   string // bearer token of /metrics
}

// Open reports whether neither a password nor a token of the API's is set. The pages and the API are then for this machine
// only, and whoever is on it is the admin. Where any of the four is set, everything else is closed as well.
func (a Access) Open() bool {
	return a.AdminPassword == "" && a.ViewerPassword == "" && a.APIToken == "" && a.EraseToken == ""
}

// named are the secrets, with the environment variable of each.
func (a Access) named() []struct{ name, secret string } {
	return []struct{ name, secret string }{
		{"DAYMILL_ADMIN_PASSWORD", a.AdminPassword},
		{"DAYMILL_VIEWER_PASSWORD", a.ViewerPassword},
		{"DAYMILL_API_TOKEN", a.APIToken},
		{"DAYMILL_ERASE_TOKEN", a.EraseToken},
		{"CRON_SECRET", a.CronSecret},
		{"DAYMILL_METRICS_TOKEN", a.MetricsToken},
	}
}

// shortestSecret is how many characters a secret has at least.
const shortestSecret = 8

// Check refuses secrets that let in whom they should not: short ones, two that are equal, and those that no client can
// send. It returns an error that names the variable and never the secret, and a warning for each secret that may be
// guessed.
func (a Access) Check() (warnings []string, err error) {
	all := a.named()
	for i, one := range all {
		if one.secret == "" {
			continue
		}
		switch {
		case one.secret != strings.TrimSpace(one.secret):
			return nil, fmt.Errorf("%s begins or ends with a space or a line break, which clients drop: set it without", one.name)
		case strings.IndexFunc(one.secret, unicode.IsControl) >= 0:
			return nil, fmt.Errorf("%s has a control character, which no client sends: set another", one.name)
		case utf8.RuneCountInString(one.secret) < shortestSecret:
			return nil, fmt.Errorf("%s has fewer than %d characters: set a longer one, such as of `openssl rand -hex 16`", one.name, shortestSecret)
		}
		for _, other := range all[:i] {
			if other.secret == one.secret {
				return nil, fmt.Errorf("%s and %s are equal, so that whoever has one has the other: set two different ones", other.name, one.name)
			}
		}
		if !Strong(one.secret) {
			warnings = append(warnings, one.name+" can be guessed, so tries are throttled, and others' tries can hold up yours: "+
				"set a longer one, such as of `openssl rand -hex 16`")
		}
	}
	return warnings, nil
}

// Strong reports whether a secret is too long and too varied to be guessed: 20 characters or more, 8 of them different.
func Strong(secret string) bool {
	const length, variety = 20, 8
	different := make(map[rune]bool)
	for _, c := range secret {
		different[c] = true
	}
	return utf8.RuneCountInString(secret) >= length && len(different) >= variety
}

// basic returns the user of a request's basic credentials. Where it returns false, it has answered.
func (s *site) basic(w http.ResponseWriter, r *http.Request) (string, bool) {
	if s.Access.Open() {
		return adminUser, true
	}
	if s.Access.AdminPassword == "" && s.Access.ViewerPassword == "" {
		text(w, http.StatusForbidden, "Nobody can log in here: set DAYMILL_ADMIN_PASSWORD for the web process. "+
			"The API answers to DAYMILL_API_TOKEN.\n")
		return "", false
	}
	user, came := s.guard.password(r)
	switch came {
	case right:
		return user, true
	case throttled:
		w.Header().Set("Retry-After", retryAfter)
		text(w, http.StatusTooManyRequests, "Too many wrong passwords: wait some seconds, and try again.\n")
	default:
		w.Header().Set("WWW-Authenticate", `Basic realm="Daymill", charset="UTF-8"`)
		text(w, http.StatusUnauthorized, "Daymill wants a user (admin or viewer) and a password.\n")
	}
	return "", false
}

// mayChange reports whether a user may do what a request asks.
func mayChange(user string, r *http.Request) bool {
	return user != viewerUser || r.Method == http.MethodGet || r.Method == http.MethodHead
}

// mayErase reports whether a user may erase metrics whose events are gone.
func mayErase(user string) bool { return user == adminUser || user == eraseUser }

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
