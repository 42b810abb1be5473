package door

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/daymill/daymill/ui/reply"
)

// Names of the two users.
const (
	AdminUser  = "admin"
	viewerUser = "viewer"
)

// Access holds the secrets that let clients in. An empty secret lets nobody in.
type Access struct {
	AdminPassword  string // of the user admin, who may do everything
	ViewerPassword string // of the user viewer, who may only look
	APIToken       string // bearer token for the API
	EraseToken     string // bearer token for the API that may also erase metrics
	CronSecret     string // bearer token for schedulers that call /api/cron/…
	MetricsToken   string // bearer token for /metrics
}

// Open reports whether neither a password nor an API token is set. The pages and the API then answer only this machine, and every user of it is the
// admin. If any of the four is set, everything else is closed as well.
func (a Access) Open() bool {
	return a.AdminPassword == "" && a.ViewerPassword == "" && a.APIToken == "" && a.EraseToken == ""
}

// named returns the secrets, each with its environment variable.
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

// shortestSecret is the minimum length of a secret in characters.
const shortestSecret = 8

// Check rejects unsafe secrets: short ones, two equal ones, and those that no client can send. Its error names the variable and never the secret.
// It returns a warning for each secret that could be guessed.
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

// basic returns the user of a request's basic credentials. If it returns false, it has already answered the request.
func (d *Door) basic(w http.ResponseWriter, r *http.Request) (string, bool) {
	if d.Access.Open() {
		return AdminUser, true
	}
	if d.Access.AdminPassword == "" && d.Access.ViewerPassword == "" {
		reply.Text(w, http.StatusForbidden, "Nobody can log in here: set DAYMILL_ADMIN_PASSWORD for the web process. "+
			"The API answers to DAYMILL_API_TOKEN.\n")
		return "", false
	}
	user, came := d.Password(r)
	switch came {
	case Right:
		return user, true
	case Throttled:
		w.Header().Set("Retry-After", RetryAfter)
		reply.Text(w, http.StatusTooManyRequests, "Too many wrong passwords: wait some seconds, and try again.\n")
	default:
		w.Header().Set("WWW-Authenticate", `Basic realm="Daymill", charset="UTF-8"`)
		reply.Text(w, http.StatusUnauthorized, "Daymill wants a user (admin or viewer) and a password.\n")
	}
	return "", false
}

// MayChange reports whether a user may make a request that changes something.
func MayChange(user string, r *http.Request) bool {
	return user != viewerUser || r.Method == http.MethodGet || r.Method == http.MethodHead
}

// MayErase reports whether a user may erase metrics whose events no longer exist.
func MayErase(user string) bool { return user == AdminUser || user == EraseUser }

// Authenticated lets in known users, and lets viewers only look.
func (d *Door) Authenticated(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, ok := d.basic(w, r)
		if !ok {
			return
		}
		if !MayChange(user, r) {
			reply.Text(w, http.StatusForbidden, "A viewer may not change anything. Log in as admin.\n")
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), userKey{}, user)))
	})
}

// EraseUser is the name in the audit of a caller with the API token that may erase.
const EraseUser = "api-erase"
