package ui

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/a-h/templ"

	"github.com/daymill/daymill/internal/date"
)

// pageTimeout is how long a page may take to be made.
const pageTimeout = 10 * time.Second

// errNotFound is a page that there is not.
var errNotFound = errors.New("there is nothing here")

// inputError is a mistake in what a person has asked, as a sentence.
type inputError struct{ error }

func (e inputError) Unwrap() error { return e.error }

// scope is what every template knows of the request it is rendered for.
type scope struct {
	base     string
	user     string
	path     string // without the base
	zone     *time.Location
	zoneName string
	now      time.Time
	today    date.Date
	asset    func(name string) string
	open     bool // nobody has to log in
	notice   string
}

type scopeKey struct{}

func scopeOf(ctx context.Context) scope {
	sc, _ := ctx.Value(scopeKey{}).(scope)
	return sc
}

// scoped gives a request its scope.
func (s *site) scoped(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := s.Clock.Now()
		sc := scope{
			base: s.BasePath, user: userOf(r.Context()), path: r.URL.Path,
			zone: s.Installation.Zone, zoneName: s.Installation.TimeZone,
			now: now, today: date.Of(now, s.Installation.Zone),
			asset: s.assets.address(s.BasePath), open: s.Access.Open(), notice: noticeText(r.URL.Query()),
		}
		ctx, cancel := context.WithTimeout(context.WithValue(r.Context(), scopeKey{}, sc), pageTimeout)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// page makes a handler of one that may fail, and shows its failure.
func (s *site) page(handle func(w http.ResponseWriter, r *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := parse(r)
		if err == nil {
			err = handle(w, r)
		}
		var input inputError
		var large *http.MaxBytesError
		switch {
		case err == nil:
		case errors.As(err, &large):
			s.fail(w, r, http.StatusRequestEntityTooLarge, "That does not work", "The form is too large: 64 KiB are enough for anything.")
		case errors.Is(err, errNotFound):
			s.fail(w, r, http.StatusNotFound, "Not found", "There is nothing at this address.")
		case errors.As(err, &input):
			s.fail(w, r, http.StatusUnprocessableEntity, "That does not work", sentence(input.Error()))
		case errors.Is(err, errPageTooLarge):
			s.Logger.ErrorContext(r.Context(), "a page failed", slog.String("path", r.URL.Path), slog.String("error", err.Error()))
			s.fail(w, r, http.StatusInternalServerError, "That did not work",
				"This page would be too large: the data have texts that are far too long. Choose fewer dates, or a narrower filter.")
		case errors.Is(r.Context().Err(), context.Canceled):
			// Whoever asked has gone.
		default:
			s.Logger.ErrorContext(r.Context(), "a page failed", slog.String("path", r.URL.Path), slog.String("error", err.Error()))
			s.fail(w, r, http.StatusInternalServerError, "That did not work",
				"The database could not be asked. Nothing was changed; the log of the web process says why.")
		}
	})
}

// parse reads a form. One that cannot be read, or is cut off because it is too large, changes nothing: what was read of it
// might ask for something else than the whole.
func parse(r *http.Request) error {
	if r.Method != http.MethodPost {
		return nil
	}
	err := r.ParseForm()
	var large *http.MaxBytesError
	if err == nil || errors.As(err, &large) {
		return err
	}
	return inputError{errors.New("the form cannot be read")}
}

// fail answers with a page that says what has failed, though the request's time may be over. Where not even that can be
// made, the answer is a line of text.
func (s *site) fail(w http.ResponseWriter, r *http.Request, status int, title, message string) {
	r = r.WithContext(context.WithoutCancel(r.Context()))
	if err := s.render(w, r, status, title, failure(title, message)); err != nil {
		s.Logger.ErrorContext(r.Context(), "cannot say what failed", slog.String("error", err.Error()))
		text(w, status, message+"\n")
	}
}

// mostPage is how many bytes a page may have. None comes near it but by what somebody has put into the data.
const mostPage = 4 << 20

// errPageTooLarge is a page of more bytes than mostPage.
var errPageTooLarge = errors.New("the page is too large")

// boundedBuffer keeps a page until it is whole, so that one that fails has a status.
type boundedBuffer struct{ bytes.Buffer }

func (b *boundedBuffer) Write(p []byte) (int, error) {
	if b.Len()+len(p) > mostPage {
		return 0, errPageTooLarge
	}
	return b.Buffer.Write(p)
}

// render answers with a page, or with just the fragment of it that htmx asks for: the one whose name is in the header
// HX-Target, as `tag#name`.
func (*site) render(w http.ResponseWriter, r *http.Request, status int, title string, content templ.Component) error {
	var body boundedBuffer
	var err error
	if fragment := fragmentOf(r); fragment != "" && status == http.StatusOK {
		err = templ.RenderFragments(r.Context(), &body, content, fragment)
	} else {
		err = layout(title, content).Render(r.Context(), &body)
	}
	if err != nil {
		return err
	}
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Cache-Control", "no-store")
	header.Set("Vary", "HX-Request, HX-Target")
	w.WriteHeader(status)
	_, _ = body.WriteTo(w) // Whoever asked has gone.
	return nil
}

// fragmentOf is the name of the fragment that a request wants; empty for the whole page.
func fragmentOf(r *http.Request) string {
	if r.Header.Get("Hx-Request") != "true" || r.Header.Get("Hx-Request-Type") != "partial" {
		return ""
	}
	_, name, _ := strings.Cut(r.Header.Get("Hx-Target"), "#")
	return name
}

// notices are what a page can say after it has been sent to by a change: their names are in the URL, never their text.
var notices = map[string]string{ //nolint:gochecknoglobals // A table.
	"cancelled":         "Cancelled.",
	"deleted":           "Deleted.",
	"paused":            "Paused.",
	"requested":         "Requested: the workers take it up within a second or two.",
	"resumed":           "Resumed.",
	"retried":           "Tried again: the workers take it up within a second or two.",
	"started":           "Started.",
	"verifying":         "Asked for: a worker verifies the dates one after another.",
	"verifying-already": "The same is asked for already.",
	"stopping":          "Asked to stop: its worker ends it within a second or two.",
}

func noticeText(query url.Values) string { return notices[query.Get("notice")] }

// done sends the browser on after a change, with a notice.
func (s *site) done(w http.ResponseWriter, r *http.Request, notice string, query url.Values, parts ...string) {
	if query == nil {
		query = url.Values{}
	}
	query.Set("notice", notice)
	http.Redirect(w, r, link(s.BasePath, parts...)+"?"+query.Encode(), http.StatusSeeOther)
}

// to is the address of a page, for templates.
func to(ctx context.Context, parts ...string) templ.SafeURL {
	return templ.SafeURL(link(scopeOf(ctx).base, parts...))
}

// toQuery is the address of a page with a query.
func toQuery(ctx context.Context, query url.Values, parts ...string) templ.SafeURL {
	if len(query) == 0 {
		return to(ctx, parts...)
	}
	return templ.SafeURL(link(scopeOf(ctx).base, parts...) + "?" + query.Encode())
}

// canChange reports whether forms that change something are shown.
func canChange(ctx context.Context) bool { return scopeOf(ctx).user == adminUser }

// sentence makes an error's text one.
func sentence(text string) string {
	if text == "" {
		return text
	}
	first, size := utf8.DecodeRuneInString(text)
	text = string(unicode.ToUpper(first)) + text[size:]
	if !strings.HasSuffix(text, ".") {
		text += "."
	}
	return text
}
