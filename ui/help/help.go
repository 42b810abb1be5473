// Package help explains the words of the pages.
package help

import (
	"net/http"

	"github.com/daymill/daymill/ui/page"
)

// Pages is the page of words.
type Pages struct {
	*page.Site
}

// Places returns no entry of the navigation: every page links to this one at its foot.
func (*Pages) Places() []page.Place { return nil }

// Route adds the page to a mux.
func (s *Pages) Route(mux *http.ServeMux) {
	mux.Handle("GET /help", s.Page(func(w http.ResponseWriter, r *http.Request) error {
		return s.Render(w, r, http.StatusOK, "What the words mean", helpPage())
	}))
}
