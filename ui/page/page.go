// Package page has what all pages share: what a template knows about its request, the layout, links, places in lists, and how a page answers,
// redirects and fails. A package of pages embeds Site.
package page

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/a-h/templ"

	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/schema"
	"github.com/daymill/daymill/internal/telemetry"
	"github.com/daymill/daymill/internal/worker"
	"github.com/daymill/daymill/ui/door"
	"github.com/daymill/daymill/ui/reply"
)

// pageTimeout is the longest time a page may take.
const pageTimeout = 10 * time.Second

// ErrNotFound means that the page does not exist.
var ErrNotFound = errors.New("there is nothing here")

// Site has what every page needs.
type Site struct {
	DB           *postgres.DB
	Installation schema.Installation
	// Jobs acts on River's jobs and queues.
	Jobs   *worker.Admin
	Logger *slog.Logger
	// Outage is told whether Postgres answers.
	Outage *telemetry.Outage
	Clock  pace.Clock
	// BasePath is the path at which a proxy serves the pages, such as /daymill; empty at the root.
	BasePath string
	// Asset returns the URL of a file that pages load.
	Asset func(name string) string
	// Open reports whether the pages need no login.
	Open bool
	// Places are the entries of the navigation.
	Places []Place

	halt Kept[worker.Halt]
}

// inputError is a mistake in the user's input, as a sentence.
type inputError struct{ error }

func (e inputError) Unwrap() error { return e.error }

// Mistake returns an error that the page shows to the user as a sentence, with status 422.
func Mistake(err error) error { return inputError{err} }

// Wrong returns the sentence of a mistake; empty for any other error. Pages with a form show it beside what was entered.
func Wrong(err error) string {
	if input, ok := errors.AsType[inputError](err); ok {
		return Sentence(input.Error())
	}
	return ""
}

// StatusOf returns the status of a page that shows a mistake, or none if wrong is empty.
func StatusOf(wrong string) int {
	if wrong != "" {
		return http.StatusUnprocessableEntity
	}
	return http.StatusOK
}

// Page turns a function that may fail into a handler that shows the error.
func (s *Site) Page(handle func(w http.ResponseWriter, r *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := parse(r)
		if err == nil {
			err = handle(w, r)
		}
		var input inputError
		var large *http.MaxBytesError
		switch {
		case err == nil:
			s.Answered(r.Context())
		case errors.As(err, &large):
			s.Fail(w, r, http.StatusRequestEntityTooLarge, "That does not work", "The form is too large: the limit is 64 KiB.")
		case errors.Is(err, ErrNotFound):
			message := "There is nothing at this address."
			if r.Method == http.MethodPost {
				message = "What you wanted to change does not exist, or no longer: somebody may have removed it. Nothing was changed."
			}
			s.Fail(w, r, http.StatusNotFound, "Not found", message)
		case errors.As(err, &input):
			s.Fail(w, r, http.StatusUnprocessableEntity, "That does not work", Sentence(input.Error()))
		case errors.Is(err, errPageTooLarge):
			s.Logger.ErrorContext(r.Context(), "a page failed", slog.String("path", r.URL.Path), slog.String("error", err.Error()))
			s.Fail(w, r, http.StatusInternalServerError, "That did not work",
				"This page would be too large, because the data contain very long texts. Choose fewer dates or a narrower filter.")
		case errors.Is(r.Context().Err(), context.Canceled):
			// The client closed the connection.
		case postgres.IsUnreachable(err):
			s.Unreachable(w, r, "a page failed", err)
			s.Fail(w, r, http.StatusServiceUnavailable, "Postgres does not answer", Unanswered)
		default:
			s.Logger.ErrorContext(r.Context(), "a page failed", slog.String("path", r.URL.Path), slog.String("error", err.Error()))
			s.Fail(w, r, http.StatusInternalServerError, "That did not work",
				"The database did not answer. Nothing was changed. The log of the web process has the cause.")
		}
	})
}

// Unanswered is the answer to a request while Postgres does not answer.
const Unanswered = "Postgres does not answer: try again in a few seconds, or look into the log of the web process."

// retryAfter is when a client may try again, in seconds.
const retryAfter = "5"

// Unreachable prepares the answer to a request for which Postgres does not answer: it logs that, and says when to try again.
func (s *Site) Unreachable(w http.ResponseWriter, r *http.Request, message string, err error) {
	if r.Context().Err() == nil { // Otherwise the request may just have been a slow one.
		s.Outage.Report(r.Context(), s.Clock.Now(), err)
	}
	s.Logger.ErrorContext(r.Context(), message, slog.String("path", r.URL.Path), slog.String("error", err.Error())) //nolint:sloglint // The callers' messages are constants.
	w.Header().Set("Retry-After", retryAfter)
}

// Answered looks whether an outage is over, after a request that succeeded: it may not have needed Postgres.
func (s *Site) Answered(ctx context.Context) {
	if s.Outage.Lasts() {
		s.Outage.Report(ctx, s.Clock.Now(), s.DB.Ping(ctx))
	}
}

// parse reads a form. If the form is malformed or too large, nothing is changed, because a part of it might mean something else than the whole form.
func parse(r *http.Request) error {
	if r.Method != http.MethodPost {
		return nil
	}
	err := r.ParseForm()
	var large *http.MaxBytesError
	if err == nil || errors.As(err, &large) {
		return err
	}
	return Mistake(errors.New("the form cannot be read"))
}

// Fail answers with an error page, even after the request's timeout. If the page cannot be rendered, it answers with a line of text.
func (s *Site) Fail(w http.ResponseWriter, r *http.Request, status int, title, message string) {
	r = r.WithContext(context.WithoutCancel(r.Context()))
	back := ""
	if r.Method == http.MethodPost && status != http.StatusNotFound {
		back = door.From(r, s.BasePath)
	}
	if err := s.Render(w, r, status, title, failure(title, message, back)); err != nil {
		s.Logger.ErrorContext(r.Context(), "cannot render the error page", slog.String("error", err.Error()))
		reply.Text(w, status, message+"\n")
	}
}

// mostPage is the largest page in bytes. Only unusual data makes a page that large.
const mostPage = 4 << 20

// errPageTooLarge means that a page exceeds mostPage.
var errPageTooLarge = errors.New("the page is too large")

// boundedBuffer holds a page until it is complete, so that a failure can still set the status.
type boundedBuffer struct{ bytes.Buffer }

func (b *boundedBuffer) Write(p []byte) (int, error) {
	if b.Len()+len(p) > mostPage {
		return 0, errPageTooLarge
	}
	return b.Buffer.Write(p)
}

// Render answers with a page, or only with the fragment that htmx asks for: the header HX-Target names it, as `tag#name`.
func (*Site) Render(w http.ResponseWriter, r *http.Request, status int, title string, content templ.Component) error {
	var body boundedBuffer
	var err error
	if fragment := FragmentOf(r); fragment != "" && status == http.StatusOK {
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
	_, _ = body.WriteTo(w) // The client closed the connection.
	return nil
}

// FragmentOf returns the name of the fragment that a request asks for; empty for the whole page.
func FragmentOf(r *http.Request) string {
	if r.Header.Get("Hx-Request") != "true" || r.Header.Get("Hx-Request-Type") != "partial" {
		return ""
	}
	_, name, _ := strings.Cut(r.Header.Get("Hx-Target"), "#")
	return name
}

// Sentence turns an error's text into a sentence.
func Sentence(text string) string {
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
