package api

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strings"

	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/ui/format"
	"github.com/daymill/daymill/ui/page"
	"github.com/daymill/daymill/ui/reply"
)

// apiError is an error that the API returns to its caller, with its status.
type apiError struct {
	status int
	detail string
}

func (e apiError) Error() string { return e.detail }

// unprocessable returns the error for a request that is well-formed but cannot be carried out.
func unprocessable(err error) error {
	return apiError{http.StatusUnprocessableEntity, page.Sentence(err.Error())}
}

// failAPI answers with an error, and logs the error if the caller did not cause it.
func (s *API) failAPI(w http.ResponseWriter, r *http.Request, err error) {
	var known apiError
	switch {
	case errors.As(err, &known):
		reply.Problem(w, known.status, known.detail)
	case r.Context().Err() != nil && !errors.Is(r.Context().Err(), errAPITimeout):
		// The client closed the connection.
	case postgres.IsUnreachable(err):
		s.Unreachable(w, r, "an API call failed", err)
		reply.Problem(w, http.StatusServiceUnavailable, page.Unanswered)
	default:
		s.Logger.ErrorContext(r.Context(), "an API call failed", slog.String("path", r.URL.Path), slog.String("error", err.Error()))
		reply.Problem(w, http.StatusInternalServerError,
			"The database did not answer. Nothing was changed. The log of the web process has the cause.")
	}
}

var errTooLarge = apiError{http.StatusRequestEntityTooLarge, "The request is too large: the limit is 64 KiB."}

// unreadable returns the error of a request whose body could not be read.
func unreadable(err error) error {
	if large := new(http.MaxBytesError); errors.As(err, &large) {
		return errTooLarge
	}
	return apiError{http.StatusBadRequest, "The request ended early."}
}

// decode reads a request's JSON into a struct and rejects unknown fields.
func decode(r *http.Request, into any) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return apiError{http.StatusUnsupportedMediaType, "Send JSON, with the header Content-Type: application/json."}
	}
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	err := decoder.Decode(into)
	if err == nil {
		if _, more := decoder.Token(); errors.Is(more, io.EOF) {
			return nil
		}
		err = errors.New("the request has more than one object")
	}
	var large *http.MaxBytesError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &large):
		return errTooLarge
	case errors.As(err, &kind) && kind.Field != "":
		return apiError{http.StatusBadRequest, "The field " + format.Shortened(kind.Field, 60) + " has the wrong type: see /api/openapi.json."}
	case strings.HasPrefix(err.Error(), "json: unknown field"):
		return apiError{http.StatusBadRequest, page.Sentence(format.Shortened(strings.TrimPrefix(err.Error(), "json: "), 100))}
	default:
		return apiError{http.StatusBadRequest, "The request is not one JSON object: " + page.Sentence(format.Shortened(strings.TrimPrefix(err.Error(), "json: "), 100))}
	}
}
