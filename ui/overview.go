package ui

import "net/http"

func (s *site) routeOverview(mux *http.ServeMux) {
	mux.Handle("GET /{$}", s.page(s.showOverview))
}

func (s *site) showOverview(w http.ResponseWriter, r *http.Request) error {
	return s.render(w, r, http.StatusOK, "Overview", overviewPage())
}
