package page

import (
	"net/http"
	"net/url"
	"strings"
)

// noticeCookie is the cookie with the name of a notice for the next page. A notice in the URL would be shown again by a reload.
const noticeCookie = "daymill_notice"

// noticeAge is how many seconds a browser keeps a notice that no page has shown.
const noticeAge = 60

// notices are the messages that a page shows after a change. The text after a colon says what a worker does next. A page shows it only
// if workers take jobs.
var notices = map[string]string{ //nolint:gochecknoglobals // A table.
	"tested":            "Sent: the channel works if the message has arrived.",
	"accepted":          "Accepted.",
	"building":          "Applied: a worker builds the view.",
	"cancelled":         "Cancelled.",
	"captured":          "Saved: a worker follows within a few seconds.",
	"deleted":           "Deleted.",
	"discarded":         "Discarded.",
	"paused":            "Paused.",
	"rejected":          "Rejected: the view stays as it is.",
	"removed":           "Removed.",
	"requested":         "Requested: a worker takes it within a second or two.",
	"replayed":          "Requested: a worker delivers these changes again, in order.",
	"restarted":         "It begins again.",
	"resumed":           "Resumed.",
	"rewound":           "Rewound: it continues after this position.",
	"retried":           "Retried: a worker takes it within a second or two.",
	"sink":              "Added: a worker delivers what the log has from its position on.",
	"snapshot":          "Requested: a worker reads the existing rows, while changes continue.",
	"started":           "Started.",
	"unchanged":         "Nothing has changed.",
	"verifying":         "Requested: a worker verifies the dates one after another.",
	"requested-already": "The same is already requested.",
	"stopping":          "Asked to stop: its worker ends it within a second or two.",
}

// Done redirects the browser after a change, with a notice.
func (s *Site) Done(w http.ResponseWriter, r *http.Request, notice string, query url.Values, parts ...string) {
	s.halt.Forget()
	http.SetCookie(w, s.noticeCookie(notice, noticeAge))
	address := Link(s.BasePath, parts...)
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	http.Redirect(w, r, address, http.StatusSeeOther) //nolint:gosec // The address is on these pages, and its parts are escaped.
}

// takeNotice returns the notice that a whole page shows, and tells the browser to forget it.
func (s *Site) takeNotice(w http.ResponseWriter, r *http.Request) string {
	cookie, err := r.Cookie(noticeCookie)
	if err != nil || !isWhole(r) {
		return ""
	}
	http.SetCookie(w, s.noticeCookie("", -1))
	return notices[cookie.Value]
}

func (s *Site) noticeCookie(value string, age int) *http.Cookie {
	//nolint:gosec // It is not a secret.
	return &http.Cookie{Name: noticeCookie, Value: value, Path: s.BasePath + "/", MaxAge: age, HttpOnly: true, SameSite: http.SameSiteLaxMode}
}

// isWhole reports whether a request asks for a whole page.
func isWhole(r *http.Request) bool { return r.Method == http.MethodGet && FragmentOf(r) == "" }

// unlessHalted returns a notice without its promise if workers take no jobs.
func unlessHalted(notice string, halt string) string {
	if said, _, promises := strings.Cut(notice, ":"); promises && halt != "" {
		return said + "."
	}
	return notice
}
