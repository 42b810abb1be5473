package browser_test

import (
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/test/browser"
)

func TestMain(m *testing.M) {
	code := m.Run()
	browser.Stop()
	os.Exit(code)
}

func TestPage(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		_, _ = io.WriteString(w, `<!DOCTYPE html><title>x</title><h1>`+html.EscapeString(user+":"+password)+`</h1>
			<p id="script">off</p><script>document.getElementById("script").textContent = "on"</script>`)
	}))
	t.Cleanup(server.Close)

	t.Run("Credentials", func(t *testing.T) {
		t.Parallel()
		p := browser.Open(t, browser.Options{User: "admin", Password: "secret"})
		p.Go(t, server.URL)
		require.Equal(t, "admin:secret", p.Text(t, "h1"))
		require.Equal(t, "on", p.Text(t, "#script"))
	})

	t.Run("Look", func(t *testing.T) {
		t.Parallel()
		p := browser.Open(t, browser.Options{Dark: true, Width: 390})
		p.Go(t, server.URL)
		require.True(t, browser.Evaluate[bool](t, p, `matchMedia("(prefers-color-scheme: dark)").matches`))
		require.Equal(t, 390, browser.Evaluate[int](t, p, `screen.width`))
		require.NotEmpty(t, p.Screenshot(t))
	})

	t.Run("NoJavaScript", func(t *testing.T) {
		t.Parallel()
		p := browser.Open(t, browser.Options{NoJavaScript: true})
		p.Go(t, server.URL)
		require.Equal(t, "off", p.Text(t, "#script"))
	})
}
