package ui_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/test/browser"
)

// TestLoginBrowser logs in and out by keyboard alone.
func TestLoginBrowser(t *testing.T) {
	t.Parallel()
	s := serve(t, database(t), nil)
	page := browser.Open(t, browser.Options{})
	page.Go(t, s.URL+"/dates")
	page.See(t, "#login-name:focus") // The first field has the focus.
	page.Type(t, "admin\twrong password\r")
	page.See(t, "#mistake")
	page.See(t, "#login-password:focus")
	page.Type(t, adminPassword+"\r")
	page.See(t, "//h1[text()='Dates']")
	require.Equal(t, s.URL+"/dates", page.Location(t))
	page.Click(t, "//button[text()='Log out']")
	page.See(t, "#login-name")
	page.Go(t, s.URL+"/")
	page.See(t, "#login-name")
}
