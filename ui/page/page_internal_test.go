package page

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/a-h/templ"
	"github.com/stretchr/testify/require"
)

// TestPageFails: a page that cannot be rendered has a status and a sentence, whatever failed.
func TestPageFails(t *testing.T) {
	t.Parallel()
	s := &Site{Logger: slog.New(slog.DiscardHandler)}
	get := func(ctx context.Context, handle func(w http.ResponseWriter, r *http.Request) error) *httptest.ResponseRecorder {
		sc := Scope{Zone: time.UTC, asset: func(name string) string { return name }}
		request := httptest.NewRequestWithContext(context.WithValue(ctx, scopeKey{}, sc), http.MethodGet, "/x", nil)
		response := httptest.NewRecorder()
		s.Page(handle).ServeHTTP(response, request)
		return response
	}

	t.Run("Component", func(t *testing.T) {
		t.Parallel()
		answer := get(t.Context(), func(w http.ResponseWriter, r *http.Request) error {
			return s.Render(w, r, http.StatusOK, "x", templ.ComponentFunc(func(_ context.Context, w io.Writer) error {
				_, err := io.WriteString(w, "half a page")
				return errors.Join(err, errors.New("the other half"))
			}))
		})
		require.Equal(t, http.StatusInternalServerError, answer.Code)
		require.NotContains(t, answer.Body.String(), "half")
	})

	t.Run("TimeIsOver", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
		defer cancel()
		answer := get(ctx, func(_ http.ResponseWriter, r *http.Request) error { return r.Context().Err() })
		require.Equal(t, http.StatusServiceUnavailable, answer.Code)
		require.Contains(t, answer.Body.String(), "Postgres does not answer")
	})

	t.Run("TooLarge", func(t *testing.T) {
		t.Parallel()
		answer := get(t.Context(), func(w http.ResponseWriter, r *http.Request) error {
			return s.Render(w, r, http.StatusOK, "x", templ.ComponentFunc(func(_ context.Context, w io.Writer) error {
				_, err := w.Write(make([]byte, mostPage+1))
				return err
			}))
		})
		require.Equal(t, http.StatusInternalServerError, answer.Code)
		require.Contains(t, answer.Body.String(), "This page would be too large")
		require.Less(t, answer.Body.Len(), 20_000)
	})
}
