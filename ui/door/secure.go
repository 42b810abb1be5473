package door

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path"
	"runtime/debug"
	"strings"

	"github.com/daymill/daymill/ui/format"
	"github.com/daymill/daymill/ui/reply"
)

// maxBody is the largest request body in bytes: requests are forms and small JSON.
const maxBody = 64 << 10

// contentPolicy allows only what the binary serves: no inline scripts or styles, no other hosts, no frames.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// Secured sets the headers of every response.
func Secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", contentPolicy)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("X-Frame-Options", "DENY")
		header.Set("Referrer-Policy", "same-origin")
		header.Set("Cross-Origin-Opener-Policy", "same-origin")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		header.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		// Browsers ignore it without TLS, so a client that only claims TLS harms nobody.
		if overTLS(r) {
			header.Set("Strict-Transport-Security", "max-age=31536000")
		}
		next.ServeHTTP(w, r)
	})
}

// Recovered answers a panic with an error page instead of a broken connection, and logs its stack.
func (d *Door) Recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			bug := recover()
			if bug == nil {
				return
			}
			if bug == http.ErrAbortHandler { //nolint:errorlint,err113 // net/http panics with exactly this value.
				panic(bug)
			}
			d.Logger.ErrorContext(r.Context(), "a page panicked", slog.String("path", r.URL.Path),
				slog.String("panic", fmt.Sprint(bug)), slog.String("stack", string(debug.Stack())))
			reply.Refuse(w, r, http.StatusInternalServerError, "Something went wrong. The log has the cause.")
		}()
		next.ServeHTTP(w, r)
	})
}

// Limited limits the size of a request's body.
func (*Door) Limited(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		next.ServeHTTP(w, r)
	})
}

// Based removes the base path. Platforms ask for health at the root, with or without the base path.
func (d *Door) Based(next http.Handler) http.Handler {
	if d.BasePath == "" {
		return next
	}
	stripped := http.StripPrefix(d.BasePath, next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/healthz" || r.URL.Path == "/readyz":
			next.ServeHTTP(w, r)
		case r.URL.Path == d.BasePath:
			http.Redirect(w, r, d.BasePath+"/", http.StatusMovedPermanently)
		case strings.HasPrefix(r.URL.Path, d.BasePath+"/"):
			// A mux would redirect to the clean path without the base path, which may belong to another program.
			given := strings.TrimPrefix(r.URL.EscapedPath(), d.BasePath)
			if clean := cleanPath(given); clean != given {
				address := url.URL{Path: d.BasePath, RawQuery: r.URL.RawQuery}
				http.Redirect(w, r, address.JoinPath(clean).String(), http.StatusTemporaryRedirect) //nolint:gosec // The URL begins with the base path.
				return
			}
			stripped.ServeHTTP(w, r)
		default:
			reply.Text(w, http.StatusNotFound, "There is nothing here; the pages are at "+d.BasePath+"/\n")
		}
	})
}

// cleanPath removes empty parts and dots from a path. The result stays below the root.
func cleanPath(given string) string {
	clean := path.Clean("/" + given)
	if clean != "/" && strings.HasSuffix(given, "/") {
		clean += "/"
	}
	return clean
}

// Hosted protects open pages, which only this machine can reach: it refuses requests for any host name that is not this machine's. Otherwise a
// foreign site whose name resolves to this machine would have the same origin (DNS rebinding).
func (d *Door) Hosted(next http.Handler) http.Handler {
	if !d.Access.Open() {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isLoopbackHost(r.Host) {
			reply.Refuse(w, r, http.StatusForbidden, "Without DAYMILL_ADMIN_PASSWORD the pages answer only at 127.0.0.1 and localhost.")
			return
		}
		if name := forwardedBy(r.Header); name != "" {
			reply.Refuse(w, r, http.StatusForbidden, "Without DAYMILL_ADMIN_PASSWORD the pages are only for this machine, and this request came "+
				"through a proxy (it has the header "+name+"): set DAYMILL_ADMIN_PASSWORD for this process.")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// forwardedBy returns the name of a header that proxies add; empty if there is none.
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

// isLoopbackHost reports whether a host, with or without a port, names only this machine.
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

// SameOrigin refuses changes that another site's page has sent.
func (*Door) SameOrigin(next http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reply.Refuse(w, r, http.StatusForbidden, "The request came from another site and was refused. Nothing was changed."+hostHint(r))
	}))
	return protection.Handler(next)
}

// hostHint returns what to set if the request may come from this site, through a proxy that changes the host: for browsers that do not send
// Sec-Fetch-Site, the two hosts are all there is to compare.
func hostHint(r *http.Request) string {
	origin, err := url.Parse(r.Header.Get("Origin"))
	if err != nil || origin.Host == "" || r.Header.Get("Sec-Fetch-Site") != "" {
		return ""
	}
	return fmt.Sprintf(" The page is at %q and the request names the host %q: if a proxy has changed it, have the proxy pass on "+
		"the browser's Host header (nginx: proxy_set_header Host $http_host; Apache: ProxyPreserveHost On).",
		format.Shortened(origin.Host, 80), format.Shortened(r.Host, 80))
}
