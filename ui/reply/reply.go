// Package reply writes short answers: a line of text, JSON, and problems as RFC 9457 defines them.
package reply

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
)

// Text answers with a line of text.
func Text(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body) // The client closed the connection.
}

// problem is an error as RFC 9457 defines it, sent as application/problem+json.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"` // a sentence: what is wrong, and what fixes it
}

// Problem answers with an error as RFC 9457 defines it.
func Problem(w http.ResponseWriter, status int, detail string) {
	JSON(w, "application/problem+json", status, problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail,
	})
}

// JSON answers with a value as JSON of the given media type.
func JSON(w http.ResponseWriter, kind string, status int, value any) {
	body, err := json.Marshal(value)
	if err != nil { // Marshalling the API's own types cannot fail.
		panic(err)
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // The client closed the connection.
}

// Refuse answers with one sentence: as text on the pages, as a problem in the API.
func Refuse(w http.ResponseWriter, r *http.Request, status int, detail string) {
	if strings.HasPrefix(r.URL.Path, "/api/") {
		Problem(w, status, detail)
		return
	}
	Text(w, status, detail+"\n")
}
