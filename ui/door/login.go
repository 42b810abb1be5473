package door

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/daymill/daymill/ui/reply"
)

// LoginPath is the path of the login page.
const LoginPath = "/login"

// Authenticated lets in known users: those with a session, and scripts that send basic credentials. It lets viewers only look. It sends a browser
// to the login page.
func (d *Door) Authenticated(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, ok := d.who(w, r)
		if !ok {
			return
		}
		if !MayChange(who, r) {
			reply.Text(w, http.StatusForbidden, "A viewer may not change anything. Log in as admin.\n")
			return
		}
		next.ServeHTTP(w, r.WithContext(WithIdentity(r.Context(), who)))
	})
}

// MayChange reports whether a user may make a request that changes something.
func MayChange(who Identity, r *http.Request) bool {
	return who.Role.MayChange() || r.Method == http.MethodGet || r.Method == http.MethodHead
}

// who returns the user of a request. If it returns false, it has already answered the request.
func (d *Door) who(w http.ResponseWriter, r *http.Request) (Identity, bool) {
	if d.Access.Open() {
		return Identity{Name: AdminUser, Role: Admin}, true
	}
	if !d.Access.ByPassword() && d.Access.OIDC == nil {
		reply.Text(w, http.StatusForbidden, "Nobody can log in here: set DAYMILL_ADMIN_PASSWORD for the web process. "+
			"The API answers to tokens.\n")
		return Identity{}, false
	}
	who, came := d.Basic(r)
	switch came {
	case Right:
		return who, true
	case Throttled:
		w.Header().Set("Retry-After", RetryAfter)
		reply.Text(w, http.StatusTooManyRequests, "Too many wrong passwords: wait a few seconds and try again.\n")
		return Identity{}, false
	default:
	}
	if who, ok := d.session(r); ok && came == none {
		return who, true
	}
	switch {
	case r.Header.Get("Hx-Request") == "true":
		reply.Text(w, http.StatusUnauthorized, "The session is over: load the page again and log in.\n")
	case came == none && strings.Contains(r.Header.Get("Accept"), "text/html"):
		http.Redirect(w, r, d.loginAddress(r), http.StatusSeeOther)
	default:
		w.Header().Set("WWW-Authenticate", `Basic realm="Daymill", charset="UTF-8"`)
		reply.Text(w, http.StatusUnauthorized, "Daymill requires a user and a password.\n")
	}
	return Identity{}, false
}

// loginAddress returns the address of the login page, which leads back to the requested page or, for a form, to the page of the form.
func (d *Door) loginAddress(r *http.Request) string {
	back, over := r.URL.RequestURI(), ""
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		back, over = From(r, d.BasePath), "1"
	}
	query := url.Values{}
	if back = Inside(back); back != "/" {
		query.Set("next", back)
	}
	if over != "" {
		query.Set("unsent", over)
	}
	address := url.URL{Path: d.BasePath + LoginPath, RawQuery: query.Encode()}
	return address.String()
}

// From returns the path and query, below the base path, of the page whose form was sent; the overview's if it is not known.
func From(r *http.Request, basePath string) string {
	if page, err := url.Parse(r.Referer()); err == nil && page.Host == r.Host {
		return Inside(strings.TrimPrefix(page.RequestURI(), basePath))
	}
	return "/"
}

// Inside returns a path and query of these pages unchanged. It returns the overview's for everything that may lead elsewhere.
func Inside(text string) string {
	address, err := url.Parse(text)
	if err != nil || address.Scheme != "" || address.Host != "" || address.User != nil || !strings.HasPrefix(text, "/") ||
		strings.HasPrefix(text, "//") || strings.ContainsAny(text, "\\\r\n\t") || strings.HasPrefix(address.Path, LoginPath) {
		return "/"
	}
	return address.RequestURI()
}
