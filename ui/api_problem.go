package ui

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strings"
)

// problem is an error as RFC 9457 defines it, sent as application/problem+json.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"` // a sentence: what is wrong, and what fixes it
}

// apiError is an error that the API returns to its caller, with its status.
type apiError struct {
	status int
	detail string
}

func (e apiError) Error() string { return e.detail }

// unprocessable returns the error for a request that is well-formed but cannot be carried out.
func unprocessable(err error) error {
	return apiError{http.StatusUnprocessableEntity, sentence(err.Error())}
}

func writeProblem(w http.ResponseWriter, status int, detail string) {
	writeJSON(w, "application/problem+json", status, problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail,
	})
}

func writeJSON(w http.ResponseWriter, kind string, status int, value any) {
	body, err := json.Marshal(value)
	if err != nil { // Marshalling the API's own types cannot fail.
		panic(err)
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // The client has gone.
}

// refuse answers with one sentence: as text on the pages, as a problem in the API.
func refuse(w http.ResponseWriter, r *http.Request, status int, detail string) {
	if strings.HasPrefix(r.URL.Path, "/api/") {
		writeProblem(w, status, detail)
		return
	}
	text(w, status, detail+"\n")
}

// failAPI answers with an error, and logs the error if the caller did not cause it.
func (s *site) failAPI(w http.ResponseWriter, r *http.Request, err error) {
	var known apiError
	switch {
	case errors.As(err, &known):
		writeProblem(w, known.status, known.detail)
	case r.Context().Err() != nil && !errors.Is(r.Context().Err(), errAPITimeout):
		// The client has gone.
	default:
		s.Logger.ErrorContext(r.Context(), "an API call failed", slog.String("path", r.URL.Path), slog.String("error", err.Error()))
		writeProblem(w, http.StatusInternalServerError,
			"The database did not answer. Nothing was changed. The log of the web process has the cause.")
	}
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
		return apiError{http.StatusRequestEntityTooLarge, "The request is too large: the limit is 64 KiB."}
	case errors.As(err, &kind) && kind.Field != "":
		return apiError{http.StatusBadRequest, "The field " + shortened(kind.Field, 60) + " has the wrong type: see /api/openapi.json."}
	case strings.HasPrefix(err.Error(), "json: unknown field"):
		return apiError{http.StatusBadRequest, sentence(shortened(strings.TrimPrefix(err.Error(), "json: "), 100))}
	default:
		return apiError{http.StatusBadRequest, "The request is not one JSON object: " + sentence(shortened(strings.TrimPrefix(err.Error(), "json: "), 100))}
	}
}
