package ui_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/ui"
	"github.com/daymill/daymill/ui/door"
)

func TestMetrics(t *testing.T) {
	t.Parallel()
	figures := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "figures") })
	quiet := slog.New(slog.DiscardHandler)
	alone := func(token string) http.Handler {
		return ui.MetricsHandler(ui.MetricsConfig{Handler: figures, Token: token, Logger: quiet, Clock: pace.SystemClock{}})
	}
	pages := func(token string) http.Handler {
		return ui.Handler(ui.Config{
			Logger: quiet, Clock: pace.SystemClock{}, Metrics: figures,
			Access: door.Access{AdminPassword: "secret", MetricsToken: token},
		})
	}
	get := func(t *testing.T, handler http.Handler, host, path, authorization string) *httptest.ResponseRecorder {
		request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+host+path, nil)
		if authorization != "" {
			request.Header.Set("Authorization", authorization)
		}
		response := httptest.NewRecorder()
		handler.ServeHTTP(response, request)
		return response
	}

	for name, handler := range map[string]func(string) http.Handler{"Alone": alone, "BesidePages": pages} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for authorization, want := range map[string]int{
				"":                    http.StatusUnauthorized,
				"Basic YWRtaW46czNj":  http.StatusUnauthorized,
				"Bearer":              http.StatusUnauthorized,
				"Bearer ":             http.StatusUnauthorized,
				"Bearer open":         http.StatusUnauthorized,
				"Bearer open sesame":  http.StatusOK,
				"Bearer open sesame2": http.StatusUnauthorized,
				"bearer open sesame":  http.StatusOK,
				"open sesame":         http.StatusUnauthorized,
			} {
				response := get(t, handler("open sesame"), "example.com", "/metrics", authorization)
				require.Equal(t, want, response.Code, authorization)
				if want != http.StatusOK {
					require.NotContains(t, response.Body.String(), "figures")
				}
			}
		})
	}

	t.Run("NothingElse", func(t *testing.T) {
		t.Parallel()
		require.Equal(t, http.StatusNotFound, get(t, alone("x"), "127.0.0.1", "/", "Bearer x").Code)
	})

	t.Run("Throttled", func(t *testing.T) {
		t.Parallel()
		handler := alone("open sesame")
		codes := map[int]int{}
		for range 20 {
			codes[get(t, handler, "example.com", "/metrics", "Bearer guess").Code]++
		}
		require.Positive(t, codes[http.StatusTooManyRequests])
	})

	// A site whose name was made to resolve to this machine gets no answer.
	t.Run("WithoutTokenThisMachineOnly", func(t *testing.T) {
		t.Parallel()
		for host, want := range map[string]int{
			"127.0.0.1:9464": http.StatusOK, "[::1]:9464": http.StatusOK, "localhost": http.StatusOK,
			"example.com": http.StatusForbidden, "127.0.0.1.example.com": http.StatusForbidden,
		} {
			require.Equal(t, want, get(t, alone(""), host, "/metrics", "").Code, host)
		}
	})

	t.Run("WithoutTokenNotBesidePages", func(t *testing.T) {
		t.Parallel()
		for _, authorization := range []string{"", "Bearer", "Bearer ", "Basic YWRtaW46c2VjcmV0"} {
			require.Equal(t, http.StatusNotFound, get(t, pages(""), "127.0.0.1", "/metrics", authorization).Code)
		}
	})
}
