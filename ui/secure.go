package ui

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path"
	"runtime/debug"
	"strings"
)

// maxBody is the largest body that a request may have: forms and small JSON.
const maxBody = 64 << 10

// contentPolicy allows what the binary serves and nothing else: no inline script or style, no foreign host, no frame.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// secured sets the headers that every response has.
func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", contentPolicy)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("X-Frame-Options", "DENY")
		header.Set("Referrer-Policy", "same-origin")
		header.Set("Cross-Origin-Opener-Policy", "same-origin")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		header.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		// Browsers heed it over TLS alone, so that a client who claims TLS harms nobody.
		if r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https") {
			header.Set("Strict-Transport-Security", "max-age=31536000")
		}
		next.ServeHTTP(w, r)
	})
}

// recovered answers a bug with a page instead of a broken connection, and logs where it was.
func (s *site) recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			bug := recover()
			if bug == nil {
				return
			}
			if bug == http.ErrAbortHandler { //nolint:errorlint,err113 // It is this value that net/http panics with.
				panic(bug)
			}
			s.Logger.ErrorContext(r.Context(), "a page panicked", slog.String("path", r.URL.Path),
				slog.String("panic", fmt.Sprint(bug)), slog.String("stack", string(debug.Stack())))
			refuse(w, r, http.StatusInternalServerError, "Something went wrong here; the log says what.")
		}()
		next.ServeHTTP(w, r)
	})
}

// limited bounds what a request may send.
func (*site) limited(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		next.ServeHTTP(w, r)
	})
}

// based takes the base path off. Platforms ask for health at the root, with or without it.
func (s *site) based(next http.Handler) http.Handler {
	if s.BasePath == "" {
		return next
	}
	stripped := http.StripPrefix(s.BasePath, next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/healthz" || r.URL.Path == "/readyz":
			next.ServeHTTP(w, r)
		case r.URL.Path == s.BasePath:
			http.Redirect(w, r, s.BasePath+"/", http.StatusMovedPermanently)
		case strings.HasPrefix(r.URL.Path, s.BasePath+"/"):
			// A mux redirects to the path as it would be clean, which without the base path is somebody else's.
			given := strings.TrimPrefix(r.URL.EscapedPath(), s.BasePath)
			if clean := cleanPath(given); clean != given {
				address := url.URL{Path: s.BasePath, RawQuery: r.URL.RawQuery}
				http.Redirect(w, r, address.JoinPath(clean).String(), http.StatusTemporaryRedirect) //nolint:gosec // It begins with the base path.
				return
			}
			stripped.ServeHTTP(w, r)
		default:
			text(w, http.StatusNotFound, "There is nothing here; the pages are at "+s.BasePath+"/\n")
		}
	})
}

// cleanPath is a path without empty parts and dots, below its own root.
func cleanPath(given string) string {
	clean := path.Clean("/" + given)
	if clean != "/" && strings.HasSuffix(given, "/") {
		clean += "/"
	}
	return clean
}

// hosted refuses, where the pages are open because only this machine can reach them, names that are not this machine's:
// a page elsewhere whose name was made to lead here would otherwise be of the same origin (DNS rebinding).
func (s *site) hosted(next http.Handler) http.Handler {
	if !s.Access.Open() {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isLoopbackHost(r.Host) {
			refuse(w, r, http.StatusForbidden, "Without DAYMILL_ADMIN_PASSWORD the pages answer at 127.0.0.1 and localhost only.")
			return
		}
		if name := forwardedBy(r.Header); name != "" {
			refuse(w, r, http.StatusForbidden, "Without DAYMILL_ADMIN_PASSWORD the pages are for this machine only, and this request came "+
				"through a proxy (it has the header "+name+"): set DAYMILL_ADMIN_PASSWORD for this process.")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// forwardedBy names a header that proxies add to what they pass on; empty where there is none.
func forwardedBy(header http.Header) string {
	for _, name := range []string{
		"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Server",
		"X-Forwarded-Ssl", "X-Real-Ip", "X-Client-Ip", "X-Cluster-Client-Ip", "X-Original-Host", "X-Original-Forwarded-For",
		"X-Envoy-External-Address", "Cf-Connecting-Ip", "Cf-Ray", "Fastly-Client-Ip", "Fly-Client-Ip", "True-Client-Ip",
		"X-Amzn-Trace-Id", "X-Azure-Clientip", "X-Request-Start", "Ngrok-Trace-Id",
	} {
		if len(header.Values(name)) > 0 {
			return name
		}
	}
	return ""
}

// isLoopbackHost reports whether a host, with or without a port, names this machine only.
func isLoopbackHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return ip != nil && ip.IsLoopback()
}

// sameOrigin refuses changes that a page of another site has sent.
func (*site) sameOrigin(next http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		refuse(w, r, http.StatusForbidden, "This came from another site and was refused: nothing was changed."+hostHint(r))
	}))
	return protection.Handler(next)
}

// hostHint says what to set where a request may come from a page of this very site, behind a proxy that sends another host
// on: browsers that do not say so themselves leave only the two hosts to compare.
func hostHint(r *http.Request) string {
	origin, err := url.Parse(r.Header.Get("Origin"))
	if err != nil || origin.Host == "" || r.Header.Get("Sec-Fetch-Site") != "" {
		return ""
	}
	return fmt.Sprintf(" The page is at %q and the request names the host %q: if a proxy has put that in, have it pass on "+
		"the browser's Host header (nginx: proxy_set_header Host $http_host; Apache: ProxyPreserveHost On).",
		shortened(origin.Host, 80), shortened(r.Host, 80))
}

// link is the address of a page: the base path and the parts, each escaped.
func link(base string, parts ...string) string {
	var address strings.Builder
	address.WriteString(base)
	for _, part := range parts {
		address.WriteByte('/')
		address.WriteString(url.PathEscape(part))
	}
	if len(parts) == 0 {
		address.WriteByte('/')
	}
	return address.String()
}
