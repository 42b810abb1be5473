package view

import (
	"net/http"
	"strings"

	"github.com/daymill/daymill/internal/view"
	"github.com/daymill/daymill/ui/page"
)

// mostFound is how many rows a search shows.
const mostFound = 50

// search is the page that searches the rows of a view.
type search struct {
	Name, Words, Wrong string
	Found              *view.Sample // nil before there are words
}

// search shows rows of the application, so only admins may use it.
func (s *Pages) search(w http.ResponseWriter, r *http.Request) error {
	v, err := named(r, s.Views.DB)
	if err != nil {
		return err
	}
	p := search{Name: v.Name, Words: strings.TrimSpace(r.URL.Query().Get("q"))}
	status := http.StatusOK
	switch {
	case !page.CanChange(r.Context()) || p.Words == "":
	case len(p.Words) > page.LongestText || !storable(p.Words):
		p.Wrong, status = "Postgres cannot search for these words: write fewer, and only text", http.StatusUnprocessableEntity
	default:
		found, err := s.Views.Search(r.Context(), v.Name, p.Words, mostFound)
		if p.Wrong = page.Wrong(refused(err)); p.Wrong != "" {
			status = http.StatusUnprocessableEntity
		} else if err != nil {
			return refused(err)
		} else {
			p.Found = &found
		}
	}
	return s.Render(w, r, status, "Search "+v.Name, searchPage(p))
}
