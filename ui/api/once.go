package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/daymill/daymill/internal/call"
	"github.com/daymill/daymill/ui/door"
	"github.com/daymill/daymill/ui/page"
)

const (
	// keyHeader identifies a call among those of the same user, so that it can be sent again.
	keyHeader = "Idempotency-Key"
	// onceLook is the interval at which a repeated call looks for the answer of the first.
	onceLook = 50 * time.Millisecond
)

var errStillRuns = apiError{http.StatusConflict, "An earlier call with this key has not ended: try again in a few seconds."}

// keyed reports whether the answers of a call with a key are remembered. A backfill remembers its own key, for as long as there is a backfill. A
// poll returns other changes each time.
func (r apiRoute) keyed() bool {
	return r.method == http.MethodPost && r.path != "/api/backfills" && !strings.HasSuffix(r.path, "/poll")
}

// once does what a call asks for. If an earlier call of the user had the same key, it only repeats its answer.
func (s *API) once(w http.ResponseWriter, r *http.Request, route apiRoute) error {
	key := r.Header.Get(keyHeader)
	if key == "" || !route.keyed() {
		return route.handle(w, r)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return unreadable(err)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	hash := sha256.Sum256(fmt.Appendf(nil, "%s %s\n%s", r.Method, r.URL.EscapedPath(), body))
	this := call.Call{Actor: door.User(r.Context()), Key: key, Request: hash[:]}
	for {
		begun, answer, err := this.Begin(r.Context(), s.DB)
		switch {
		case errors.Is(err, call.ErrLong), errors.Is(err, call.ErrOther):
			return unprocessable(err)
		case errors.Is(err, call.ErrInterrupted):
			return apiError{http.StatusConflict, page.Sentence(err.Error())}
		case err != nil:
			return err
		case begun:
			return s.remembered(w, r, route, this)
		case answer != nil:
			write(w, *answer)
			return nil
		}
		if err := s.Clock.Sleep(r.Context(), onceLook); err != nil {
			w.Header().Set("Retry-After", door.RetryAfter)
			return errStillRuns
		}
	}
}

// remembered does what a call asks for and stores its answer, also if the client does not wait for it.
func (s *API) remembered(w http.ResponseWriter, r *http.Request, route apiRoute, this call.Call) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), route.limit())
	defer cancel()
	held := &heldAnswer{header: make(http.Header), status: http.StatusOK}
	err := route.handle(held, r.WithContext(ctx))
	var refused apiError
	after, stop := context.WithTimeout(context.WithoutCancel(r.Context()), apiTimeout)
	defer stop()
	switch {
	case errors.As(err, &refused):
		s.logUnstored(after, this.Forget(after, s.DB))
		return err
	case err != nil:
		s.logUnstored(after, this.Fail(after, s.DB))
		return err
	}
	answer := call.Answer{
		Status: held.status, MediaType: held.header.Get("Content-Type"), Location: held.header.Get("Location"), Body: held.body.String(),
	}
	s.logUnstored(after, this.End(after, s.DB, answer))
	write(w, answer)
	return nil
}

func (s *API) logUnstored(ctx context.Context, err error) {
	if err != nil {
		s.Logger.ErrorContext(ctx, "a call cannot be repeated with its key", slog.String("error", err.Error()))
	}
}

func write(w http.ResponseWriter, answer call.Answer) {
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	if answer.MediaType != "" {
		header.Set("Content-Type", answer.MediaType)
	}
	if answer.Location != "" {
		header.Set("Location", answer.Location)
	}
	w.WriteHeader(answer.Status)
	_, _ = io.WriteString(w, answer.Body) // The client closed the connection.
}

// heldAnswer keeps an answer instead of sending it.
type heldAnswer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (h *heldAnswer) Header() http.Header            { return h.header }
func (h *heldAnswer) WriteHeader(status int)         { h.status = status }
func (h *heldAnswer) Write(part []byte) (int, error) { return h.body.Write(part) }
