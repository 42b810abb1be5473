// Package help has the page that explains the words that the other pages use.
package help

import (
	"net/http"

	"github.com/daymill/daymill/ui/page"
)

// Pages has the page that explains words.
type Pages struct {
	*page.Site
}

// Places returns no entries: every page links to this one in its footer instead.
func (*Pages) Places() []page.Place { return nil }

// Route adds the page to a mux.
func (s *Pages) Route(mux *http.ServeMux) {
	mux.Handle("GET /help", s.Page(func(w http.ResponseWriter, r *http.Request) error {
		return s.Render(w, r, http.StatusOK, "What the words mean", helpPage())
	}))
}
